"""The first process of a companion, which starts another keeper where one was killed. It does nothing else.

Where it is killed itself, the keeper takes its place.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable

from pywg.runtime.base.libc import prctl

_PR_SET_PDEATHSIG = 1
_ENDS = (signal.SIGTERM, signal.SIGINT)
_ORPHANED = signal.SIGUSR1
"""What the kernel sends a keeper whose guardian has ended."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_LOOK_S = 0.05
_LIVED_S = 60.0
"""Seconds after which one that is killed is no sign of what kills the next one at once."""


Work = Callable[[Callable[[], None]], None]
"""What a child does. It calls its argument when it is ready, and lets what signals raise in it pass."""
_NEVER_READY = 1
_FAILED = 2


class _OrphanedError(BaseException):
    """The guardian of this process has ended."""


def guard(work: Work, ready: Callable[[], None], say: Callable[[str], None], succeed: Callable[[], None]) -> None:
    """Does `work` in a child, and again where it was killed, or has failed after it was `ready`.

    Returns when the child does, or a signal asks for the end. Raises SystemExit where the first child has never been
    ready, and told why. A child whose guardian was killed calls `succeed`, and goes on here in its place.
    """
    awaited = {*_ENDS, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    pause = _FIRST_PAUSE_S
    first = True
    try:
        while True:
            began = time.monotonic()
            pid = _begin(work, ready, before)
            if pid:
                code = _wait(pid, awaited)
                how = f"was killed by signal {-code}" if code < 0 else "has failed"
            else:
                _inherit(awaited)
                succeed()
                code, how = _FAILED, "has lost its first process"
            if code == 0:
                return
            if first and code == _NEVER_READY:
                raise SystemExit(1)
            first = False
            pause = _FIRST_PAUSE_S if time.monotonic() - began > _LIVED_S else min(2 * pause, _LONGEST_PAUSE_S)
            say(f"the companion {how}; another starts in {pause:.1f} s")
            if _is_asked_to_end(pause):
                return
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _is_asked_to_end(within_s: float) -> bool:
    """Whether a signal comes in this time, for which it waits. Not by sigtimedwait(3): of a process that was stopped,
    or frozen with its machine, until the time was over, Python returns a signal that nobody has sent."""
    until = time.monotonic() + within_s
    while not signal.sigpending() & {*_ENDS}:
        left = until - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(left, _LOOK_S))
    signal.sigwait(_ENDS)
    return True


def _begin(work: Work, ready: Callable[[], None], mask: "set[signal.Signals | int]") -> int:
    """Starts a child, and returns its PID. Returns 0 in a child that has become an orphan, and in no other."""
    guardian = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    status = _NEVER_READY
    orphaned = False

    def tell() -> None:
        nonlocal status
        status = _FAILED
        ready()

    try:
        signal.signal(_ORPHANED, _be_orphaned)
        prctl(_PR_SET_PDEATHSIG, _ORPHANED)
        if os.getppid() != guardian:
            raise _OrphanedError
        signal.pthread_sigmask(signal.SIG_SETMASK, mask - {_ORPHANED})
        work(tell)
        status = 0
    except _OrphanedError:
        orphaned = True
    except BaseException as error:  # noqa: BLE001 - the guardian's stack is below this
        with contextlib.suppress(OSError):
            print(f"pywg: {getattr(error, 'strerror', None) or error}", file=sys.stderr, flush=True)
    finally:
        if not orphaned:
            os._exit(status)
    return 0


def _be_orphaned(_number: int, _frame: object) -> None:
    raise _OrphanedError


def _inherit(awaited: set[signal.Signals]) -> None:
    """Makes the signals of this process a guardian's."""
    signal.signal(_ORPHANED, signal.SIG_DFL)
    prctl(_PR_SET_PDEATHSIG, 0)  # the one that has adopted this process is none of ours
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    for number in _ENDS:
        signal.signal(number, signal.SIG_DFL)


def _wait(pid: int, awaited: set[signal.Signals]) -> int:
    """A child's exit status, or the signal below zero; 0 too where this process was asked to end, and has ended it."""
    while True:
        if signal.sigwait(awaited) in _ENDS:
            os.kill(pid, signal.SIGTERM)  # not yet waited for, so it is no other process
            os.waitpid(pid, 0)
            return 0
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
