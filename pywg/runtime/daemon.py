"""Going to the background: the parent returns when its child is ready, or has failed.

The fork comes before any thread, loop or key exists. Ready means that interface and configuration socket answer.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Callable

READY = b"ready"


def in_background(serve: Callable[[Callable[[], None]], int], *, keep_output: bool) -> int:
    """Runs `serve(ready)` in a child of its own session; `serve` calls `ready()` once, and returns the exit status.

    In the parent: 0 when the child is ready; otherwise the child's exit status, at least 1, the child having said why
    on standard error. In the child: what `serve` returns. After `ready`, standard output and error are /dev/null
    unless `keep_output`.
    """
    readable, writable = os.pipe()
    child = os.fork()
    if child:
        os.close(writable)
        return _await_child(child, readable)
    os.close(readable)
    os.setsid()
    os.chdir("/")
    _replace_with_null(0, os.O_RDONLY)

    def ready() -> None:
        if not keep_output:
            _replace_with_null(1, os.O_WRONLY)
            _replace_with_null(2, os.O_WRONLY)
        with contextlib.suppress(BrokenPipeError):  # the parent was killed: the daemon is wanted none the less
            os.write(writable, READY)
        os.close(writable)

    return serve(ready)


def open_standard_descriptors() -> None:
    """Makes 0, 1 and 2 /dev/null where they are closed: else the next thing to be opened would get the log lines."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)


def _await_child(child: int, readable: int) -> int:
    with os.fdopen(readable, "rb") as pipe:
        if pipe.read() == READY:
            return 0
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        print(f"pywg: the daemon died of {signal.Signals(-code).name} before it was ready", file=sys.stderr)
    return code if code > 0 else 1


def _replace_with_null(fd: int, flags: int) -> None:
    null = os.open(os.devnull, flags)
    if null != fd:
        os.dup2(null, fd)
        os.close(null)
