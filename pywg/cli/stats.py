"""`pywg stats IFACE`: the counters and offloads of a running daemon, one `name=value` a line."""

import errno

from pywg.errors import DeviceError
from pywg.runtime.uapi_socket import connect

_SECONDS = 10.0


def stats(interface: str) -> int:
    """Prints them and returns 0. Raises DeviceError when no daemon of ours answers."""
    lines = _ask(interface)
    if not lines or lines[-1] != "errno=0":
        raise DeviceError(errno.ENOTSUP, f"the daemon of {interface} has no statistics: it is not pywg")
    for line in lines[:-1]:
        print(line)
    return 0


def _ask(interface: str) -> list[str]:
    with connect(interface) as sock:
        sock.settimeout(_SECONDS)
        reply = bytearray()
        try:
            sock.sendall(b"stats=1\n\n")
            while not reply.endswith(b"\n\n") and (received := sock.recv(1 << 16)):
                reply += received
        except OSError as error:
            text = f"the daemon of {interface} doesn't answer: {error}"
            raise DeviceError(error.errno or errno.EIO, text) from error
    return reply.decode("ascii", "replace").split()
