"""Outputs of the log: standard error and the system's log. Writing a line never waits for its reader.

The reader may have stopped: a pipe fills, a terminal is held by Ctrl-S. Setting O_NONBLOCK on the inherited descriptor
is no answer: the flag belongs to the open file, which the parent process and the shell share. So the kind of standard
error decides how it is written: a pipe or a terminal through an open file of our own (/proc/self/fd/2), a pipe without
/proc as poll() allows, a socket with MSG_DONTWAIT, a regular file as it is. Lines that the reader doesn't take wait, up
to QUEUE_LEN; further lines are refused, and the log counts them. In the background the system's log takes the lines,
because standard error is gone, or may go with its terminal.
"""

import contextlib
import enum
import errno
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
"""Bytes that a pipe which poll() calls writable takes without waiting."""
FACILITY = 3 << 3
"""Syslog's, of daemons, as it stands beside a severity."""

_Send: TypeAlias = Callable[[memoryview], int]
"""Writes the beginning of some bytes, and returns how many. Raises BlockingIOError for none now."""


class Level(enum.IntEnum):
    """How much the log says: each level includes those before it."""

    SILENT = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    DEBUG = 4


SEVERITIES = {Level.ERROR: 3, Level.WARNING: 4, Level.INFO: 6, Level.DEBUG: 7}
"""Syslog's."""


class Output(Protocol):
    """An output of the log: takes lines, and never waits."""

    @property
    def waiting(self) -> bool:
        """Whether lines wait for the reader, and `flush`."""

    def put(self, level: Level, line: str, bare: str) -> bool:
        """Writes `line`, or `bare` where the output adds level, time and line end itself. False when it is lost."""

    def flush(self) -> None:
        """Writes waiting lines, as far as the reader takes them."""

    def close(self) -> None:
        """Gives up waiting lines. Idempotent."""


class StandardError:
    """Descriptor 2, or `fd`. Lines go to `otherwise` once it fails for good, as a closed terminal does."""

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
        except OSError:  # it has no reader any more, and the tunnel matters more than its log
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
            # O_NOCTTY, or the terminal would become that of the daemon's session, which has none.
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            with contextlib.suppress(OSError):
                self._own = own = os.open(f"/proc/self/fd/{fd}", flags)
                return lambda data: os.write(own, data)
            if stat.S_ISFIFO(mode):
                return lambda data: _write_if_writable(fd, data)
        else:
            return lambda data: _write_if_room(fd, data)
        return _refuse  # a terminal that poll() calls writable may take one byte, and hold up the writer of two


class SystemLog:
    """The datagram socket at /dev/log; without it lines vanish. It is opened at once: the sandbox forbids it later."""

    waiting = False

    def __init__(self, path: str = SYSTEM_LOG) -> None:
        self._path = os.path.realpath(path)
        self._socket: socket.socket | None = None
        with contextlib.suppress(OSError):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket = sock
            sock.connect(self._path)

    def put(self, level: Level, _line: str, bare: str) -> bool:
        if self._socket is None:
            return True
        priority = FACILITY | SEVERITIES[level]
        at = time.strftime("%b %e %H:%M:%S")  # English: Python leaves this part of the locale as it is
        data = f"<{priority}>{at} pywg[{os.getpid()}]: {bare}".encode("utf-8", "backslashreplace")
        for again in (True, False):
            try:
                self._socket.send(data, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return False
            except OSError:
                if again:
                    # The daemon of the system's log restarted, with a new socket.
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


def system_log_folder(path: str = SYSTEM_LOG) -> str:
    """The folder in which the socket of a system's log that is started again will be."""
    return os.path.dirname(os.path.realpath(path))


def _socket_sender(fd: int) -> _Send:
    sock = socket.socket(fileno=os.dup(fd))
    return lambda data: sock.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


def _write_if_writable(fd: int, data: memoryview) -> int:
    """Writes to a pipe that can't be opened a second time, because /proc is missing."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    if not poll.poll(0):
        raise BlockingIOError
    return os.write(fd, data[:_PIPE_BUF])


def _write_if_room(fd: int, data: memoryview) -> int:
    """Writes to a file. A full disk is a reader who may read again."""
    try:
        return os.write(fd, data)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise BlockingIOError from error
        raise


def _refuse(_data: memoryview) -> int:
    raise OSError("standard error is closed, or a write to it may wait")
