"""One operation on a running daemon's configuration socket, and its reply."""

import errno

from pywg.errors import DeviceError
from pywg.runtime.uapi.socket import connect

_TIMEOUT_S = 10.0


def ask(interface: str, request: bytes) -> list[str]:
    """The lines of the reply, without the blank one; none from a daemon that hangs up, as on what it doesn't know.

    Raises DeviceError when no daemon answers.
    """
    with connect(interface) as sock:
        sock.settimeout(_TIMEOUT_S)
        reply = bytearray()
        try:
            sock.sendall(request)
            while not reply.endswith(b"\n\n") and (received := sock.recv(1 << 16)):
                reply += received
        except OSError as error:
            text = f"the daemon of {interface} doesn't answer: {error}"
            raise DeviceError(error.errno or errno.EIO, text) from error
    return reply.decode("ascii", "replace").split()
