"""The journal as the log's output, with fields: WIREGUARD_INTERFACE, and WIREGUARD_PEER, the peer as the lines name it.

Source: systemd's "Native Journal Protocol": one datagram an entry, a FIELD=value a line.
"""

import contextlib
import os
import socket

from pywg.runtime.base.log_output import FACILITY, SEVERITIES, Level, Output

SOCKET = "/run/systemd/journal/socket"
_PEER = "peer("
"""What begins the name of a peer in a message (log.peer_name)."""


class Journal:
    """The journal's socket, and `otherwise` for a line that it refuses. Both are open at once: the sandbox forbids it
    later."""

    def __init__(self, interface: str, otherwise: Output, *, path: str = SOCKET) -> None:
        self._interface = interface
        self._otherwise = otherwise
        self._socket: socket.socket | None = None
        with contextlib.suppress(OSError):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            try:
                sock.connect(path)
            except OSError:
                sock.close()
            else:
                self._socket = sock

    @property
    def waiting(self) -> bool:
        return self._otherwise.waiting

    def put(self, level: Level, line: str, bare: str) -> bool:
        if self._socket is not None:
            try:
                self._socket.send(self._entry(level, bare), socket.MSG_DONTWAIT)
            except BlockingIOError:
                return False
            except OSError:
                return self._otherwise.put(level, line, bare)
            return True
        return self._otherwise.put(level, line, bare)

    def flush(self) -> None:
        self._otherwise.flush()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._otherwise.close()

    def _entry(self, level: Level, bare: str) -> bytes:
        message = bare.replace("\n", " ")
        fields = {
            "MESSAGE": message,
            "PRIORITY": SEVERITIES[level],
            "SYSLOG_FACILITY": FACILITY >> 3,
            "SYSLOG_IDENTIFIER": "pywg",
            "SYSLOG_PID": os.getpid(),
            "WIREGUARD_INTERFACE": self._interface,
        }
        _, named, rest = message.partition(_PEER)
        if named:
            fields["WIREGUARD_PEER"] = rest.partition(")")[0]
        return "".join(f"{name}={value}\n" for name, value in fields.items()).encode("utf-8", "backslashreplace")


def is_stream(journal_stream: str, fd: int = 2) -> bool:
    """Whether `fd` is the stream that JOURNAL_STREAM names: what is written to it goes to the journal."""
    with contextlib.suppress(OSError):
        found = os.fstat(fd)
        return journal_stream == f"{found.st_dev}:{found.st_ino}"
    return False
