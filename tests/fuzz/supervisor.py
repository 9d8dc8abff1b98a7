"""Runs fuzzers, each for so many seconds of CPU, some at a time: `python -m tests.fuzz.supervisor --seconds 3600`.

Without names all of them share the CPU time that the machine has in so many seconds. Status 1: something was found;
what is printed has it again. `make fuzz` runs this, and so do the tests, in the background (tests/fuzz/background.py).
"""

import argparse
import contextlib
import ctypes
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.fuzz import corpus, ledger
from tests.fuzz.fuzzer import FOUND, ROOT, Fuzzer, executions
from tests.fuzz.registry import fuzzers

POLL_S = 0.1
GRACE_CPU_S = 60.0
"""Seconds of CPU beyond its own that a fuzzer may need for the input at hand."""
HURRY = "hurry"
"""A file of that name among the results: nobody does anything else any more."""
SHOWN = 6000  # characters of what a fuzzer that has found something printed last
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


@dataclass(frozen=True)
class Result:
    """What a run of one fuzzer came to; `found` is "" when it found nothing."""

    name: str
    cpu_seconds: float
    executions: int
    found: str

    def __str__(self) -> str:
        rate = f"{self.executions / max(self.cpu_seconds, 0.01):.0f} a second" if self.executions else ""
        return f"{self.name}: {self.executions} inputs in {self.cpu_seconds:.0f} s of CPU, {rate}" + (
            f"\n{self.found}" if self.found else ", none failed"
        )


class Running:
    """A fuzzer that runs."""

    def __init__(self, fuzzer: Fuzzer, cpu_seconds: float) -> None:
        self.fuzzer = fuzzer
        self._cpu_seconds = cpu_seconds * fuzzer.share
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the result
        self._asked = False
        self._known = set(_artifacts(fuzzer))
        corpus.unpack(fuzzer.target)
        self.child = subprocess.Popen(
            fuzzer.command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            process_group=0,  # and no session of its own, which would be scheduled as one
            preexec_fn=functools.partial(end_with, os.getpid()),  # noqa: PLW1509 - this process has one thread
        )

    def poll(self) -> Result | None:
        """The result, once there is one."""
        used = cpu_of(self.child.pid)
        if (ended := os.wait4(self.child.pid, os.WNOHANG))[0]:
            self.child.returncode = os.waitstatus_to_exitcode(ended[1])
            return self._result(ended[2].ru_utime + ended[2].ru_stime)
        if used >= self._cpu_seconds and not self._asked:
            self.child.send_signal(signal.SIGUSR1)
            self._asked = True
        if used >= self._cpu_seconds + GRACE_CPU_S:
            self.kill()
            return self._result(used, f"one input took more than {GRACE_CPU_S:g} seconds")
        return None

    def kill(self) -> None:
        """Ends it, and what it has started."""
        if self.child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.child.pid, signal.SIGKILL)
            self.child.wait()

    def _result(self, cpu_seconds: float, found: str = "") -> Result:
        self._output.seek(0)
        output = self._output.read().decode(errors="replace")
        self._output.close()
        if self.child.returncode != 0 or found:
            status = f"it ended with status {self.child.returncode}"
            files = sorted(set(_artifacts(self.fuzzer)) - self._known)
            again = "".join(f"\nagain with: {' '.join((*self.fuzzer.again, str(file)))}" for file in files)
            found = f"{found or status}{again}\n{output[-SHOWN:]}"
        return Result(self.fuzzer.name, cpu_seconds, executions(output), found)


class Preparing:
    """What is built for fuzzers, while others run: each of those has to be ended when it has had its time."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the result
        self.child = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            preexec_fn=functools.partial(end_with, os.getpid()),  # noqa: PLW1509 - this process has one thread
        )

    def poll(self) -> str | None:
        """Once it has ended, what went wrong, or ""."""
        if self.child.poll() is None:
            return None
        self._output.seek(0)
        output = self._output.read().decode(errors="replace")
        self._output.close()
        return "" if self.child.returncode == 0 else f"{' '.join(self._command)} failed\n{output[-SHOWN:]}"

    def kill(self) -> None:
        """Ends it."""
        self.child.kill()
        self.child.wait()


def supervise(
    chosen: Sequence[Fuzzer],
    cpu_seconds: float,
    *,
    at_once: int,
    done: Callable[[Result], None],
    look: Callable[[], None] = lambda: None,
) -> None:
    """Runs them in this order, `at_once` at a time, and tells each result. Calls `look` again and again meanwhile."""
    waiting = list(chosen)
    running: list[Running] = []
    preparing: dict[tuple[str, ...], Preparing] = {}
    prepared: dict[tuple[str, ...], str] = {(): ""}
    try:
        while waiting or running:
            for command, build in list(preparing.items()):
                if (fault := build.poll()) is not None:
                    prepared[command] = fault
                    del preparing[command]
            while waiting and len(running) + len(preparing) < at_once:
                needed = waiting[0].prepare
                if needed not in prepared:
                    if needed not in preparing:
                        preparing[needed] = Preparing(needed)
                    break
                fuzzer = waiting.pop(0)
                if prepared[needed]:
                    done(Result(fuzzer.name, 0.0, 0, prepared[needed]))
                else:
                    running.append(Running(fuzzer, cpu_seconds))
            for one in list(running):
                if (result := one.poll()) is not None:
                    running.remove(one)
                    done(result)
            look()
            time.sleep(POLL_S)
    finally:
        for one in running:
            one.kill()
        for build in preparing.values():
            build.kill()


def end_with(parent: int) -> None:
    """Lets this process end when its parent, whose id is `parent`, does."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def cpu_of(pid: int) -> float:
    """Seconds of CPU that all threads of a process have used."""
    return time.clock_gettime(~pid << 3 | 2)  # CPUCLOCK_SCHED of a process, as clock_getcpuclockid(3) makes it


def idle() -> None:
    """From now on this process and those it starts get only what no other process wants."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def no_longer_idle() -> None:
    """The same as every other process again, and likewise all in the groups that its children lead. Needs root."""
    for pid in [os.getpid(), *_descendants(os.getpid())]:
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{pid}/task"):
                os.sched_setscheduler(int(thread), os.SCHED_OTHER, os.sched_param(0))


def _descendants(pid: int) -> Iterator[int]:
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield int(child)
            yield from _descendants(int(child))


def _artifacts(fuzzer: Fuzzer) -> list[Path]:
    return [file.relative_to(ROOT) for file in (ROOT / FOUND / fuzzer.target).glob("*")]


def write_result(directory: Path, result: Result) -> None:
    """Writes NAME.json, whole or not at all."""
    file = directory / f"{result.name}.json"
    part = file.with_suffix(".part")
    part.write_text(json.dumps(asdict(result)))
    part.rename(file)


def read_result(directory: Path, name: str) -> Result | None:
    """What `write_result` wrote, None before that."""
    file = directory / f"{name}.json"
    return Result(**json.loads(file.read_text())) if file.exists() else None


def main(arguments: list[str]) -> int:
    """The exit status."""
    known = {fuzzer.name: fuzzer for fuzzer in fuzzers()}
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.supervisor", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for all of them together (default: 60)")
    parser.add_argument("--each", type=float, help="seconds of CPU for each instead")
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 1, help="default: one for each processor")
    parser.add_argument("--results", type=Path, help="also write each result into this folder, as NAME.json")
    parser.add_argument("--idle", action="store_true", help="take only time that no other process wants")
    parser.add_argument("--record", action="store_true", help="add what is run to tests/fuzz/ledger.json")
    parser.add_argument("names", nargs="*", metavar="FUZZER", help=", ".join(known))
    given = parser.parse_args(arguments)
    unknown = set(given.names) - known.keys()
    if unknown:
        parser.error(f"no fuzzer {', '.join(sorted(unknown))}: choose from {', '.join(known)}")
    chosen = [known[name] for name in given.names or known]
    each = given.each or given.seconds * min(given.at_once, len(chosen)) / len(chosen)
    found: list[str] = []

    def done(result: Result) -> None:
        print(result, flush=True)
        if result.found:
            found.append(result.name)
        if given.record:
            it, found_one = known[result.name], bool(result.found)
            ledger.add(
                it.target, it.build, executions=result.executions, cpu_seconds=result.cpu_seconds, found=found_one
            )
        if given.results is not None:
            write_result(given.results, result)

    parent = os.getppid()

    def look() -> None:
        if os.getppid() != parent:
            raise SystemExit("the process that has started this one is gone")
        if given.results is not None and (given.results / HURRY).exists():
            no_longer_idle()

    if given.idle:
        idle()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(2))
    supervise(chosen, each, at_once=given.at_once, done=done, look=look)
    if found:
        print(f"found something: {', '.join(found)}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
