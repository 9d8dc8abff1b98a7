"""Runs targets in processes of their own: as long as is wanted, with one input again, or to merge the corpus.

An input alone says what happens. tests/fuzz/fuzzer.py says where inputs are kept, and what was found.
"""

import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pywg._fastpath import available_aeads
from tests.fuzz import corpus
from tests.fuzz.fuzzer import FOUND, LEARNT, ROOT, Fuzzer, libfuzzer
from tests.fuzz.native.builds import CHEAP, CHECKED, ONE_CIPHER, TARGETS, WITH_CHEAP, Build

MEMORY_MB = 2048
MAX_LEN = 192  # of an input: what an input does takes time
KEPT_LEN = MAX_LEN  # of one that is kept
CHEAP_SHARE = 0.25
"""Of a target's time in `make test`: its inputs are short there, and fill no batch."""
SHORT_LEN = 64  # of an input with the cheap cipher, where a shorter one is worth more than one that does much
BRIEF = {"admission", "aead", "allowedips", "coalesce", "queues", "reorder", "tables"}
"""Those whose inputs are steps and little else: short ones, 1.4 to 4.5 times as many, do most of what long ones do."""
FLAGS = ("-len_control=0", "-entropic_scale_per_exec_time=1")
HANG_SECONDS = 120  # for one input, on a machine that is busy with something else
STATUS = {70: "a hang", 71: "too much memory", 77: "a finding"}
SHOWN = 6000


@dataclass(frozen=True)
class Done:
    """What a run came to."""

    target: str
    executions: int
    cpu_seconds: float
    reached: int  # edges of the data plane and the target
    failure: str | None

    def __str__(self) -> str:
        if self.failure is not None:
            return f"{self.target}: after {self.executions} executions: {self.failure}"
        rate = round(self.executions / max(self.cpu_seconds, 0.01))
        return f"{self.target}: {self.executions} executions, {rate} a CPU second, {self.reached} edges, nothing found"


def aeads(target: str) -> list[str]:
    """The ciphers that make a difference to the target; the cheap one is the last."""
    real = sorted(available_aeads())[: 1 if target in ONE_CIPHER else None]
    return [*real, CHEAP] if target in WITH_CHEAP else real


def pick(target: str) -> str:
    """A cipher for one run: mostly the cheap one, with which a second has ten times as many inputs."""
    chance = random.SystemRandom()
    if target in WITH_CHEAP and chance.randrange(4):
        return CHEAP
    return chance.choice([backend for backend in aeads(target) if backend != CHEAP])


def pick_length(target: str) -> int:
    """The longest input of one run: mostly the short one, where a target is brief."""
    return SHORT_LEN if target in BRIEF and random.SystemRandom().randrange(4) else MAX_LEN


def fuzzers() -> list[Fuzzer]:
    """Those of all targets; none where there is no clang."""
    return [one for name in TARGETS for one in fuzzers_of(name)] if shutil.which("clang") else []


def fuzzers_of(target: str) -> list[Fuzzer]:
    """With any of the ciphers, and with the cheap one; together they have the time of one."""
    real = random.SystemRandom().choice([backend for backend in aeads(target) if backend != CHEAP])
    if target not in WITH_CHEAP:
        return [fuzzer(target, target, real, 0.5 if target in ONE_CIPHER else 1.0)]
    return [fuzzer(target, target, real, 1 - CHEAP_SHARE), fuzzer(f"{target}-{CHEAP}", target, CHEAP, CHEAP_SHARE)]


def fuzzer(name: str, target: str, backend: str, share: float) -> Fuzzer:
    """The fuzzer of one target with one cipher, under ASan and UBSan."""
    command = (sys.executable, "-m", "tests.fuzz.native")
    return libfuzzer(
        name,
        CHECKED.command(*_inside(CHECKED, target, backend, 0)),
        target=target,
        options=_flags(backend),
        prepare=(*command, "--build"),
        again=("python", "-m", "tests.fuzz.native", "--again"),
        memory_mb=MEMORY_MB,
        build=CHECKED.kind,
        share=share,
    )


def inputs(target: str) -> list[Path]:
    """The kept ones, as files."""
    return sorted(corpus.unpack(target).iterdir())


def fuzz(
    build: Build,
    target: str,
    *,
    seconds: float,
    jobs: int = 1,
    backends: Sequence[str] = (),
    most: int = -1,
    longest: int = MAX_LEN,
    apart: Path | None = None,
) -> Done:
    """Looks for inputs that end a process, for so many CPU seconds of each job, or `most` executions of each.

    The jobs take these ciphers in turn, or all in turn. `longest`: no input has more bytes. `apart`: what is found
    comes there, and the kept corpus alone is what it begins with.
    """
    with tempfile.TemporaryDirectory() as name:
        own = Path(name) if apart else ROOT / LEARNT / target
        found = apart or ROOT / FOUND / target
        kept = corpus.unpack(target)
        for directory in (own, found):
            directory.mkdir(parents=True, exist_ok=True)
        flags = (
            f"-timeout={HANG_SECONDS}",
            f"-runs={most}",
            "-print_final_stats=1",
            f"-artifact_prefix={found}/",
        )
        running = []
        for job in range(jobs):
            turns = backends or aeads(target)
            backend = turns[job % len(turns)]
            inside = _inside(build, target, backend, seconds)
            command = build.command(*inside, *_flags(backend, longest), *flags, str(own), str(kept))
            running.append(_start(command, build))
        ended = [_end(process) for process in running]
    failures = [said for status, said, _ in ended if status != 0]
    return Done(
        target,
        executions=sum(_number(r"stat::number_of_executed_units: (\d+)", said) for _, said, _ in ended),
        cpu_seconds=sum(spent for _, _, spent in ended),
        reached=max(_number(r"cov: (\d+)", said) for _, said, _ in ended),
        failure=_told(build, failures[0]) if failures else None,
    )


def again(build: Build, target: str, files: list[Path]) -> str | None:
    """Runs these inputs, with each of the backends. What was found, None: nothing."""
    for backend in aeads(target):
        flags = (f"-timeout={HANG_SECONDS}",) if build.guided else ()
        # All of them at once; libFuzzer has no limit, a command line has.
        for at in range(0, len(files), 1000):
            names = map(str, files[at : at + 1000])
            status, said, _ = _end(_start(build.command(*_inside(build, target, backend, 0), *flags, *names), build))
            if status != 0:
                return f"with {backend}: {_ending(status)}\n{said[-SHOWN:]}"
    return None


def merge(build: Build, target: str) -> tuple[int, int]:
    """Keeps the fewest inputs that reach what all of them do. How many there are then, and their bytes."""
    with tempfile.TemporaryDirectory() as name:
        merged = Path(name, "merged")
        short = Path(name, "short")
        for directory in (merged, short):
            directory.mkdir()
        for source in (*inputs(target), *(ROOT / LEARNT / target).glob("*")):
            if source.stat().st_size <= KEPT_LEN:
                shutil.copy2(source, short)
        command = build.command(*_inside(build, target, aeads(target)[0], 0))
        flags = ("-set_cover_merge=1", "-use_counters=0", f"-max_len={KEPT_LEN}", f"-timeout={HANG_SECONDS}")
        status, said, _ = _end(_start([*command, *flags, str(merged), str(short)], build))
        assert status == 0, said[-SHOWN:]
        return corpus.pack(target, merged.iterdir())


def _flags(backend: str, longest: int = MAX_LEN) -> tuple[str, ...]:
    return (*FLAGS, f"-max_len={min(longest, SHORT_LEN) if backend == CHEAP else longest}")


def _inside(build: Build, target: str, backend: str, seconds: float) -> tuple[str, ...]:
    return ("-m", "tests.fuzz.native.inside", str(build.module(target)), backend, str(seconds))


def _start(command: list[str], build: Build) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command, cwd=build.directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )


def _end(process: "subprocess.Popen[str]") -> tuple[int, str, float]:
    """Status, what it said, CPU seconds."""
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, said, usage.ru_utime + usage.ru_stime


def _number(pattern: str, said: str) -> int:
    found = re.findall(pattern, said)
    return int(found[-1]) if found else 0


def _ending(status: int) -> str:
    return STATUS.get(status, f"status {status}")


def _told(build: Build, said: str) -> str:
    """What a process that failed said, and the command that has it again."""
    written = re.search(r"Test unit written to (\S+)", said)
    option = "" if build == CHECKED else " --fast"
    repeat = f"Again with: python -m tests.fuzz.native{option} --again {written[1]}\n" if written else "no input\n"
    begins = re.search(r"(==\d+==\s*ERROR|Assertion|runtime error|SUMMARY)", said)
    at = said.rfind("\n", 0, begins.start()) + 1 if begins else max(len(said) - SHOWN, 0)
    return repeat + said[at : at + SHOWN]
