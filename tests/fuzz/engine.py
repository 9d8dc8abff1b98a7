"""Runs cases until the time or their number is up, or one fails."""

import mmap
import os
import random
import signal
import struct
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass
class Attempt:
    """One case: where its random numbers come from, and where it notes what it tries before it does."""

    random: random.Random
    inputs: dict[str, object] = field(default_factory=dict)


_SHOWN_MAX = 500

Case = Callable[[Attempt], None]
"""Raises AssertionError, or anything, when something is wrong."""


@dataclass(frozen=True)
class Failure:
    """A case that failed, and how to have it again."""

    target: str
    seed: int
    number: int
    what: str

    def __str__(self) -> str:
        again = f"python -m tests.fuzz --seed {self.seed} --case {self.number} {self.target}"
        return f"{self.target} failed. Again with: {again}\n{self.what}"


def one_case(target: str, case: Case, seed: int, number: int) -> Failure | None:
    attempt = Attempt(random.Random(f"{target} {seed} {number}"))
    try:
        case(attempt)
    except Exception:  # noqa: BLE001 - whatever it is, it is what was looked for
        tried = "".join(f"{name} = {_shown(value)}\n" for name, value in attempt.inputs.items())
        return Failure(target, seed, number, f"{tried}{traceback.format_exc()}")
    return None


def run(
    target: str, case: Case, seed: int, *, seconds: float, cases: int | None = None, first: int = 0
) -> tuple[int, Failure | None]:
    """(how many cases were run, the first that failed)."""
    number = 0
    for number in _numbers(seconds, cases, first):
        failure = one_case(target, case, seed, number)
        if failure is not None:
            return number - first + 1, failure
    return number - first + 1, None


def run_apart(target: str, case: Case, seed: int, *, seconds: float) -> tuple[int, Failure | None]:
    """As `run`, in a child process: a crash of native code is a failure as well, and names its case."""
    at = mmap.mmap(-1, 8)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            for number in _numbers(seconds, None, 0):
                struct.pack_into("=q", at, 0, number)
                failure = one_case(target, case, seed, number)
                if failure is not None:
                    print(failure, flush=True)
                    break
            else:
                status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    (number,) = struct.unpack_from("=q", at)
    if status == 0:
        return number + 1, None
    what = f"killed by {signal.Signals(os.WTERMSIG(status)).name}" if os.WIFSIGNALED(status) else "(above)"
    return number + 1, Failure(target, seed, number, what)


def _numbers(seconds: float, cases: int | None, first: int) -> Iterator[int]:
    """At least one; from `first` on until the seconds are over or there were `cases`."""
    end = time.monotonic() + seconds
    number = first
    while cases is None or number - first < cases:
        yield number
        number += 1
        if time.monotonic() >= end:
            return


def _shown(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    text = value.hex() if isinstance(value, (bytes, bytearray)) else repr(value)
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}... ({len(text)} characters)"
