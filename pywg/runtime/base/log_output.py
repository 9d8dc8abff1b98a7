"""Where log lines go: standard error or the system's log. Writing a line never waits for its reader.

The reader may have stopped: a pipe fills, a terminal is held by Ctrl-S. O_NONBLOCK is no answer on the descriptor that
was inherited, as it belongs to the open file, which the parent process and the shell have too. So standard error is
written by what it is: a pipe or a terminal through an open file of our own (/proc/self/fd/2), a pipe without /proc as
poll() allows, a socket with MSG_DONTWAIT, a regular file as it is. What the reader doesn't take waits, up to QUEUE_LEN,
and then is refused; the log counts it. In the background the system's log takes the lines: standard error is gone, or
may go with its terminal.
"""

import contextlib
import enum
import os
import select
import socket
import stat
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeAlias

QUEUE_LEN = 256 << 10
"""Bytes of lines that wait for the reader of standard error."""
SYSTEM_LOG = "/dev/log"

_PIPE_BUF = 4096
"""A pipe that poll() calls writable takes so many bytes without waiting."""
_DAEMON_FACILITY = 3 << 3

_Send: TypeAlias = Callable[[memoryview], int]
"""Writes the beginning of some bytes, and returns how many; BlockingIOError: none now."""


class Level(enum.IntEnum):
    """How much is said: each level includes those before it."""

    SILENT = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    DEBUG = 4


_SEVERITIES = {Level.ERROR: 3, Level.WARNING: 4, Level.INFO: 6, Level.DEBUG: 7}
"""Syslog's."""


class Output(Protocol):
    """Takes lines, and never waits."""

    @property
    def waiting(self) -> bool:
        """Whether `flush` has something to do, once the reader goes on."""

    def put(self, level: Level, line: str, bare: str) -> bool:
        """Writes `line`, or `bare` where level, time and the line's end are said otherwise. False: it is lost."""

    def flush(self) -> None:
        """Writes what waits, as far as the reader takes it."""

    def close(self) -> None:
        """Gives up what waits. Idempotent."""


class StandardError:
    """Descriptor 2, or `fd`. When it fails for good, as a terminal does that was closed, lines go to `otherwise`."""

    def __init__(self, otherwise: Output | None = None, *, fd: int = 2) -> None:
        self._otherwise = otherwise
        self._queue: deque[memoryview] = deque()
        self._queue_len = 0
        self._failed = False
        self._own: int | None = None
        self._send = self._sender(fd)

    @property
    def waiting(self) -> bool:
        return bool(self._queue)

    def put(self, level: Level, line: str, bare: str) -> bool:
        self.flush()
        if not self._failed:
            data = line.encode("utf-8", "backslashreplace")
            if self._queue_len + len(data) > QUEUE_LEN:
                return False
            self._queue.append(memoryview(data))
            self._queue_len += len(data)
            self.flush()
        if self._failed and self._otherwise is not None:
            return self._otherwise.put(level, line, bare)
        return True

    def flush(self) -> None:
        try:
            while self._queue:
                rest = self._queue[0]
                sent = self._send(rest)
                self._queue_len -= sent
                if sent < len(rest):
                    self._queue[0] = rest[sent:]
                else:
                    self._queue.popleft()
        except BlockingIOError:
            return
        except OSError:  # nobody will read it any more: the tunnel matters more than its log
            self._failed = True
            self._forget()

    def close(self) -> None:
        self._forget()
        if self._own is not None:
            os.close(self._own)
            self._own = None
        self._failed = True

    def _forget(self) -> None:
        self._queue.clear()
        self._queue_len = 0

    def _sender(self, fd: int) -> _Send:
        try:
            mode = os.fstat(fd).st_mode
        except OSError:
            return _refuse
        if stat.S_ISSOCK(mode):
            with contextlib.suppress(OSError):
                return _socket_sender(fd)
        elif stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            # Without O_NOCTTY it would become the terminal of a daemon's session, which has none.
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            with contextlib.suppress(OSError):
                self._own = own = os.open(f"/proc/self/fd/{fd}", flags)
                return lambda data: os.write(own, data)
            if stat.S_ISFIFO(mode):
                return lambda data: _write_if_writable(fd, data)
        else:
            return lambda data: os.write(fd, data)
        return _refuse  # a terminal that poll() calls writable may take one byte, and hold up the writer of two


class SystemLog:
    """The datagram socket at /dev/log. Where there is none lines vanish. It connects at once, as it later can't."""

    waiting = False

    def __init__(self, path: str = SYSTEM_LOG) -> None:
        self._path = path
        self._socket: socket.socket | None = None
        with contextlib.suppress(OSError):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket = sock
            sock.connect(path)

    def put(self, level: Level, _line: str, bare: str) -> bool:
        if self._socket is None:
            return True
        priority = _DAEMON_FACILITY | _SEVERITIES[level]
        at = time.strftime("%b %e %H:%M:%S")  # English: Python leaves this part of the locale as it is
        data = f"<{priority}>{at} pywg[{os.getpid()}]: {bare}".encode("utf-8", "backslashreplace")
        for again in (True, False):
            try:
                self._socket.send(data, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return False
            except OSError:
                if again:
                    # The log's daemon was started anew, and with it the socket.
                    with contextlib.suppress(OSError):
                        self._socket.connect(self._path)
                continue
            return True
        return False

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _socket_sender(fd: int) -> _Send:
    sock = socket.socket(fileno=os.dup(fd))
    return lambda data: sock.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


def _write_if_writable(fd: int, data: memoryview) -> int:
    """For a pipe that can't be opened a second time, as /proc is missing."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    if not poll.poll(0):
        raise BlockingIOError
    return os.write(fd, data[:_PIPE_BUF])


def _refuse(_data: memoryview) -> int:
    raise OSError("standard error is closed, or a write to it may wait")
