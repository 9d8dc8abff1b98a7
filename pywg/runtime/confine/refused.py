"""System calls that a filter refused: how many, and a log line that names the call and the thread.

They are a fault in pywg or in a library below it, or the work of an intruder; the tunnel lives on in either case. What
Landlock refuses can't be counted: the kernel tells the caller alone, and from Linux 6.15 on the audit log.
"""

import errno

from pywg._fastpath import refused_by_kind, refused_calls, refused_rearm, refused_watch
from pywg.runtime.base.clock import TimerHandle, cancel
from pywg.runtime.base.log import Level, Log
from pywg.runtime.base.reader import Loop, Reader
from pywg.runtime.confine import bpf, calls, seccomp

REST_S = 1.0
"""Seconds from one look at what was refused to the next: a thread that is refused all the time must not wake the loop
all the time."""
NONE = -1
"""The number of the last refused call while there is none."""


def count() -> bool:
    """Counts what filters refuse from now on; False where this machine has no way to. Raises OSError."""
    try:
        refused_watch()
    except OSError as error:
        if error.errno == errno.ENOSYS:
            return False
        raise
    return True


def stats() -> dict[str, int]:
    """`sandbox_refused`: how many calls were refused; `sandbox_refused_last`: the number of the last one. The same of
    each kind of thread."""
    refused, number, _ = refused_calls()
    found = {"sandbox_refused": refused, "sandbox_refused_last": number if refused else NONE}
    for kind, (count, last) in zip(seccomp.Thread, refused_by_kind(), strict=False):
        name = f"sandbox_refused_{kind.name.lower()}"
        found |= {name: count, f"{name}_last": last if count else NONE}
    return found


class RefusedCalls:
    """A watcher (base/system.py): from `start` to `close`, the log tells of refused calls, if they are `counted`."""

    def __init__(self, log: Log, *, counted: bool) -> None:
        self._log = log
        self._counted = counted
        self._told = 0
        self._reader: Reader | None = None
        self._resting: TimerHandle | None = None

    def start(self, loop: Loop) -> None:
        """Tells from the event loop's next turn on, of earlier calls too."""
        if not self._counted:
            return
        self._loop = loop
        self._reader = Reader(loop, refused_watch(), self._tell, what="sandbox", log=self._log)
        self._reader.start()

    def close(self) -> None:
        """Tells nothing afterwards."""
        cancel(self._resting)
        if self._reader is not None:
            self._reader.close()
        self._reader = None

    def _tell(self) -> None:
        assert self._reader is not None
        self._reader.pause()
        self._resting = self._loop.call_later(REST_S, self._reader.start)
        refused_rearm()
        refused, number, kind = refused_calls()
        more = f" ({refused - self._told} calls since the last look)" if refused - self._told > 1 else ""
        self._told = refused
        self._log.limited("refused system calls", f"sandbox: {sentence(number, kind)}{more}", Level.ERROR)


def sentence(number: int, kind: int) -> str:
    """Which thread may not call what."""
    machine = bpf.machine()
    name = calls.name_of(number, machine.calls if machine else ())
    thread = seccomp.NAMES[seccomp.Thread(kind)] if kind in set(seccomp.Thread) else "a thread"
    return f"{thread} was refused {name} ({number}), which it never needs: report it, or look for an intruder"
