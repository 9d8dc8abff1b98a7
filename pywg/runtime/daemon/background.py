"""The fork into the background: the parent returns when its child is ready, or has failed.

The fork comes before any thread, event loop or key exists. Ready means that interface and configuration socket answer.
"""

import errno
import os
import signal
import sys
from collections.abc import Callable

from pywg.runtime.base.failures import failed, needing, open_null
from pywg.runtime.base.libc import read_pipe

READY = b"ready"


def in_background(
    serve: Callable[[Callable[[], None]], int], *, keep_output: bool, started: Callable[[int], None] = lambda pid: None
) -> int:
    """Runs `serve(ready)` in a child of its own session; `serve` calls `ready()` once, and returns the exit status.

    The parent calls `started(pid)` and returns 0 when the child is ready. Otherwise it returns the child's exit status,
    at least 1, and the child has said why on standard error. The child returns what `serve` returns. After `ready`,
    standard output and error are /dev/null unless `keep_output`.
    """
    with needing("a process in the background"):
        readable, writable = os.pipe()
        child = os.fork()
    if child:
        os.close(writable)
        with needing("the process in the background"):
            status = _await_child(child, readable)
        if status == 0:
            started(child)
        return status
    os.close(readable)
    with needing("a session of its own"):
        os.setsid()
        os.chdir("/")
    null = open_null(os.O_RDWR)
    _replace(0, null)

    def ready() -> None:
        with needing("/dev/null in place of standard input and output"):
            said = os.dup(2)
        if not keep_output:
            _replace(1, null)
            _replace(2, null)
        if null > 2:
            os.close(null)
        _tell_parent(writable, said)
        os.close(said)
        os.close(writable)

    return serve(ready)


def open_standard_descriptors() -> None:
    """Opens 0, 1 and 2 as /dev/null where they are closed, or the next file to be opened would get the log lines.

    Raises DeviceError.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError as error:
            if error.errno == errno.EBADF:
                open_null(os.O_RDWR)  # the kernel gives the lowest free number


def _tell_parent(writable: int, said: int) -> None:
    """Says that the daemon is ready. `said`: what standard error was, for the line that says why that can't be said."""
    try:
        os.write(writable, READY)
    except BrokenPipeError:
        pass  # the parent was killed: the daemon is wanted all the same
    except OSError as error:
        os.dup2(said, 2)
        raise failed("a word to the process that waits", error) from error


def _await_child(child: int, readable: int) -> int:
    heard = b""
    try:
        while more := read_pipe(readable, len(READY)):
            heard += more
    except OSError:
        os.kill(child, signal.SIGTERM)  # or what is told to have failed would go on
        os.waitpid(child, 0)
        raise
    finally:
        os.close(readable)
    if heard == READY:
        return 0
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        print(f"pywg: the daemon died of {signal.Signals(-code).name} before it was ready", file=sys.stderr)
    return code if code > 0 else 1


def _replace(fd: int, null: int) -> None:
    with needing("/dev/null in place of standard input and output"):
        os.dup2(null, fd)
