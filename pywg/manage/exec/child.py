"""Processes that end with the one that forks them, and say in one line why they fail."""

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence

from pywg.errors import DeviceError, PywgError, WgQuickError
from pywg.runtime.base.libc import prctl

FAILED = 1
_PR_SET_PDEATHSIG = 1


def flush() -> None:
    """Standard output and error, those that are there."""
    for output in (sys.stdout, sys.stderr):
        if output:
            output.flush()


def fork(work: Callable[[], int], *, close: Sequence[int]) -> int:
    """The PID of a process that does `work`, whose result is its exit status. These descriptors are closed in it."""
    flush()
    pid = os.fork()
    if pid:
        return pid
    status = FAILED
    try:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        for fd in close:
            os.close(fd)
        status = work()
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    except WgQuickError as error:
        say(f"{error}\n{error.excerpt}".rstrip())
    except DeviceError as error:
        say(error.strerror or str(error))
    except (PywgError, OSError) as error:
        say(str(error))
    except BaseException:  # noqa: BLE001 - nothing of this process may go on as the one that forked it
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stderr.flush()
        os._exit(status)


def say(text: str) -> None:
    """A line on standard error."""
    with contextlib.suppress(OSError):
        print(f"pywg: {text}", file=sys.stderr, flush=True)


def status_of(status: int) -> tuple[int, int]:
    """(exit code, number of the signal that ended it) of what wait(2) tells; one of both is 0."""
    code = os.waitstatus_to_exitcode(status)
    return (code, 0) if code >= 0 else (0, -code)
