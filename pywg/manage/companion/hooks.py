"""Hooks: programs of the operator's that run on events, with the facts in their environment.

No shell reads anything. A hook has a time to end in, few run at once, and a burst is cut: what does not run is counted.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping

from pywg.config.quick_extensions import EVERY_EVENT, HookSetting
from pywg.config.uapi_event_reader import Event
from pywg.config.uapi_events import FACTS, NAMES
from pywg.manage.reasons import REASONS
from pywg.runtime.base.accounts import Account

AT_ONCE = 4
TIMEOUT_S = 30.0
"""Seconds until a hook is killed, with all that it has started in its session's group."""
WAITING = 64
"""Hooks that wait for their turn; further ones are left out."""
A_SECOND = 10.0
BURST = 20
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
_MOST_VALUE = 4096


class Hooks:
    """Those of one interface. `account` is the user that they run as; None: this process'."""

    def __init__(
        self,
        interface: str,
        settings: list[HookSetting],
        *,
        account: Account | None,
        say: Callable[[str], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interface = interface
        self._settings = settings
        self._account = account
        self._say = say
        self._now = now
        self._running: dict[subprocess.Popen[bytes], float] = {}
        self._queue: deque[tuple[str, dict[str, str]]] = deque()
        self._tokens, self._filled_at = float(BURST), now()
        self.left_out = 0

    def on(self, event: Event, name: str | None) -> None:
        """Runs the hooks of an event of the peer that is called `name`. None for what is no event: who tells of it may
        have been broken into."""
        if event.name not in NAMES:
            return
        for setting in self._settings:
            if event.name not in setting.events and EVERY_EVENT not in setting.events:
                continue
            if len(self._queue) >= WAITING:
                self.left_out += 1
                if self.left_out.bit_count() == 1:
                    self._say(f"hooks: {self.left_out} left out so far: more events than they get done with")
                continue
            self._queue.append((setting.program, environment(self._interface, event, name)))
        self.work()

    def work(self) -> float | None:
        """Ends those that have run too long, starts those that may start; seconds until there is more of it to do."""
        now = self._now()
        for process, until in list(self._running.items()):
            if process.poll() is None and now >= until:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                self._say(f"hook {process.args!a} was killed: it ran for {TIMEOUT_S:.0f} s")
            if process.returncode is not None:
                del self._running[process]
        self._tokens = min(self._tokens + (now - self._filled_at) * A_SECOND, float(BURST))
        self._filled_at = now
        while self._queue and len(self._running) < AT_ONCE and self._tokens >= 1:
            self._tokens -= 1
            self._start(*self._queue.popleft(), now)
        if self._queue or self._running:
            return 0.1
        return None

    def close(self) -> None:
        """Kills those that run."""
        for process in self._running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._running.clear()

    def _start(self, program: str, facts: dict[str, str], now: float) -> None:
        account = self._account
        try:
            process = subprocess.Popen(
                [program],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=facts,
                cwd="/",
                start_new_session=True,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            self._say(f"hook {program!a} can't be run: {getattr(error, 'strerror', None) or error}")
        else:
            self._running[process] = now + TIMEOUT_S


def environment(interface: str, event: Event, name: str | None) -> dict[str, str]:
    """What a hook is told: PYWG_INTERFACE, PYWG_EVENT, PYWG_TIME, PYWG_PEER, and PYWG_ with the name of each fact."""
    found = {**_ENVIRONMENT, "PYWG_INTERFACE": interface, "PYWG_EVENT": event.name, "PYWG_TIME": f"{event.time:.3f}"}
    for key, value in _facts(event.facts).items():
        found[f"PYWG_{key.upper()}"] = value
    if name:
        found["PYWG_PEER"] = name
    return found


def _facts(facts: Mapping[str, str]) -> dict[str, str]:
    """Those that there are, and no others: another variable may be an option of a pywg that the hook calls."""
    return {
        key: value[:_MOST_VALUE]
        for key, value in facts.items()
        if (key in FACTS or key in REASONS) and value.isprintable()
    }
