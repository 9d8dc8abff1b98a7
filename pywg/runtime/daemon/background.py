"""The fork into the background: the parent returns when its child is ready, or has failed.

The fork comes before any thread, event loop or key exists. Ready means that interface and configuration socket answer.
"""

import contextlib
import errno
import os
import signal
import struct
import sys
from collections.abc import Callable

from pywg.runtime.base.failures import failed, needing, open_null
from pywg.runtime.base.libc import read_pipe

READY = b"ready"
_TOLD = b"told"
"""The child says why it ends, on standard error."""
_NUMBER = struct.Struct("=i")


def in_background(
    serve: Callable[[Callable[[], None]], int],
    *,
    keep_output: Callable[[], bool],
    started: Callable[[int], None] = lambda pid: None,
    orphan: bool = False,
) -> int:
    """Runs `serve(ready)` in a child of its own session; `serve` calls `ready()` once, and returns the exit status.

    The parent calls `started(pid)` and returns 0 when the child is ready. Otherwise it returns the child's exit status,
    at least 1, and the child has said why on standard error. The child returns what `serve` returns. After `ready`,
    standard output and error are /dev/null unless `keep_output()`.

    `orphan`: the child is init's from its start, so that a service manager which hears of it before this process has
    ended takes it for its own. Of one that fails the status is 1. It has taken over from another when it is ready, so
    that nobody else serves: whatever fails then, it goes on.
    """
    with needing("a process in the background"):
        readable, writable = os.pipe()
        child = os.fork()
    if child:
        with needing("the process in the background"):
            os.close(writable)
            if orphan:
                child = _orphan_of(child, readable)
            status = _await_child(child, readable, ours=not orphan)
        if status == 0:
            started(child)
        return status
    if orphan:
        _become_orphan(writable)
    null = -1
    waited_for = True

    def ready() -> None:
        nonlocal waited_for
        with needing("/dev/null in place of standard input and output"):
            said = os.dup(2)
        if not keep_output():
            _replace(1, null)
            _replace(2, null)
        if null > 2:
            os.close(null)
        _tell_parent(writable, said)
        os.close(said)
        waited_for = False  # the number is another file's, soon
        os.close(writable)

    def serves_already() -> None:
        nonlocal waited_for
        waited_for = False
        _detach(writable, null, keep_output=keep_output())

    try:
        os.close(readable)
        with needing("a session of its own"):
            os.setsid()
            os.chdir("/")
        null = open_null(os.O_RDWR)
        _replace(0, null)
        return serve(serves_already if orphan else ready)
    except BaseException:
        if waited_for:
            with contextlib.suppress(OSError):
                os.write(writable, _TOLD)
        raise


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


def _become_orphan(writable: int) -> None:
    """Goes on in a child of this process, which ends: the caller hears the child's number, or nothing of it goes on."""
    try:
        if os.fork():
            os._exit(0)
        os.write(writable, _NUMBER.pack(os.getpid()))
    except OSError:
        os._exit(1)


def _orphan_of(child: int, readable: int) -> int:
    """The number of what goes on in the child's place. Raises OSError."""
    os.waitpid(child, 0)
    number = read_pipe(readable, _NUMBER.size)
    if len(number) < _NUMBER.size:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return int(_NUMBER.unpack(number)[0])


def _detach(writable: int, null: int, *, keep_output: bool) -> None:
    """Says that the daemon is ready, and goes on whatever fails."""
    if not keep_output:
        for fd in (1, 2):
            with contextlib.suppress(OSError):
                os.dup2(null, fd)
    with contextlib.suppress(OSError):
        os.write(writable, READY)
    for fd in (writable, null)[: 1 + (null > 2)]:
        with contextlib.suppress(OSError):
            os.close(fd)


def _tell_parent(writable: int, said: int) -> None:
    """Says that the daemon is ready. `said`: what standard error was, for the line that says why that can't be said."""
    try:
        os.write(writable, READY)
    except BrokenPipeError:
        pass  # the parent was killed: the daemon is wanted all the same
    except OSError as error:
        os.dup2(said, 2)
        raise failed("a word to the process that waits", error) from error


def _await_child(child: int, readable: int, *, ours: bool = True) -> int:
    """`ours`: whether it is a child of this process, whose status can be had."""
    heard = b""
    try:
        while more := read_pipe(readable, len(READY)):
            heard += more
    except OSError:
        if ours:
            os.kill(child, signal.SIGTERM)  # or what is told to have failed would go on
            os.waitpid(child, 0)
            raise
    finally:
        os.close(readable)
    if heard == READY:
        return 0
    if not ours:
        if heard != _TOLD:
            text = "the new daemon ended without a word, or could not say it: `pywg status` shows which one serves"
            print(f"pywg: {text}", file=sys.stderr)
        return 1
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        print(f"pywg: the daemon died of {signal.Signals(-code).name} before it was ready", file=sys.stderr)
    return code if code > 0 else 1


def _replace(fd: int, null: int) -> None:
    with needing("/dev/null in place of standard input and output"):
        os.dup2(null, fd)
