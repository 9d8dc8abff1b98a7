"""`pywg stats` and `pywg log`: one operation on a running daemon's configuration socket, and its reply.

Statistics come from the monitoring socket where the caller may not use the other.
"""

import errno
import socket
import time

from pywg.errors import DeviceError
from pywg.runtime.uapi.socket import MONITOR, connect

_TIMEOUT_S = 10.0
"""Seconds for the whole reply."""
_MOST_REPLY = 1 << 20
"""Bytes of a reply: no pywg says so much."""


def stats(interface: str) -> int:
    """Prints the daemon's counters and offloads, one `name=value` a line, and returns 0.

    Raises DeviceError when no pywg answers.
    """
    try:
        sock = connect(interface)
    except DeviceError as error:
        if error.errno not in (errno.EACCES, errno.EPERM):
            raise
        try:
            sock = connect(interface, suffix=MONITOR)
        except DeviceError:
            raise error from None
    lines = _ask(sock, interface, b"stats=1\n\n")
    if not lines or lines[-1] != "errno=0" or not all(map(str.isprintable, lines)):
        raise DeviceError(errno.ENOTSUP, f"the daemon of {interface} has no statistics: it is not pywg")
    for line in lines[:-1]:
        print(line)
    return 0


def set_level(interface: str, level: str) -> int:
    """Sets the daemon's log level until it ends or is told another, and returns 0.

    Raises ConfigError for a word that is no level, DeviceError when no pywg answers. A daemon that went to the
    background without LOG_LEVEL has no standard error: its lines go to the system's log.
    """
    from pywg.runtime.base.log import parse_level

    word = parse_level(level).name.lower()
    if _ask(connect(interface), interface, f"log_level={word}\n\n".encode()) != ["errno=0"]:
        raise DeviceError(errno.ENOTSUP, f"the log level of {interface} can't be changed: its daemon is not pywg")
    return 0


def _ask(sock: socket.socket, interface: str, request: bytes) -> list[str]:
    """The lines of the reply, without the blank one. A daemon hangs up on an operation it doesn't know: no lines.

    Closes `sock`. Raises DeviceError when no daemon answers, or what answers goes on for ever.
    """
    end = time.monotonic() + _TIMEOUT_S
    with sock:
        sock.settimeout(_TIMEOUT_S)
        reply = bytearray()
        try:
            sock.sendall(request)
            while not reply.endswith(b"\n\n") and (received := sock.recv(1 << 16)):
                reply += received
                if len(reply) > _MOST_REPLY:
                    raise DeviceError(errno.EMSGSIZE, f"the daemon of {interface} says too much: it is not pywg")
                sock.settimeout(max(end - time.monotonic(), 0.001))
        except DeviceError:
            raise
        except OSError as error:
            text = f"the daemon of {interface} doesn't answer: {error}"
            raise DeviceError(error.errno or errno.EIO, text) from error
    return [line for line in reply.decode("ascii", "backslashreplace").split("\n") if line]
