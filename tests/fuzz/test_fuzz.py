"""A short run of every target, and that a fault of any of them is found, named and found again."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fastpath.plane_harness import PlaneHarness
from tests.fuzz import engine
from tests.fuzz.engine import Attempt, run, run_apart
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
SEED = 1
CASES = {"datagrams": 60}


@pytest.mark.parametrize("target", TARGETS)
def test_some_cases(target: str) -> None:
    count, failure = run(target, TARGETS[target], SEED, seconds=120, cases=CASES[target])
    assert failure is None, str(failure)
    assert count == CASES[target]


def lose(read_packets: Callable[[PlaneHarness], list[bytes]]) -> Callable[[PlaneHarness], list[bytes]]:
    return lambda harness: [one for one in read_packets(harness) if len(one) < 1000]


FAULTS: list[tuple[str, object, str, Callable[[Any], Any]]] = [
    ("datagrams", PlaneHarness, "read_packets", lose),
]


@pytest.mark.parametrize(("target", "owner", "name", "fault"), FAULTS, ids=[fault[0] for fault in FAULTS])
def test_a_fault_is_found_and_found_again(
    monkeypatch: pytest.MonkeyPatch, target: str, owner: object, name: str, fault: Callable[[Any], Any]
) -> None:
    monkeypatch.setattr(owner, name, fault(getattr(owner, name)))
    _, failure = run(target, TARGETS[target], SEED, seconds=120, cases=20 * CASES[target])
    assert failure is not None
    assert f"--seed {SEED} --case {failure.number} {target}" in str(failure)
    again = engine.one_case(target, TARGETS[target], SEED, failure.number)
    assert again is not None
    assert again.number == failure.number


def test_a_case_depends_on_target_seed_and_number_alone() -> None:
    def drawn(target: str, seed: int, number: int) -> float:
        found: list[float] = []
        engine.one_case(target, lambda attempt: found.append(attempt.random.random()), seed, number)
        return found[0]

    assert drawn("a", 1, 2) == drawn("a", 1, 2)
    assert len({drawn("a", 1, 2), drawn("b", 1, 2), drawn("a", 2, 2), drawn("a", 1, 3)}) == 4


def test_what_was_tried_is_shown() -> None:
    def fail(attempt: Attempt) -> None:
        attempt.inputs["packet"] = b"\x01\xff"
        raise ValueError("no")

    _, failure = run("some", fail, 7, seconds=1)
    assert failure is not None
    assert "packet = 01ff\n" in failure.what
    assert "ValueError: no" in failure.what


def test_a_crash_names_its_case() -> None:
    def crash(attempt: Attempt) -> None:
        if attempt.random.random() < 0.01:
            os.kill(os.getpid(), signal.SIGKILL)

    _, failure = run_apart("crash", crash, 3, seconds=60)
    assert failure is not None
    assert failure.what == "killed by SIGKILL"
    assert [run_apart_once(crash, number) for number in (failure.number - 1, failure.number)] == [False, True]


def run_apart_once(case: engine.Case, number: int) -> bool:
    """Whether that one case crashes."""
    child = os.fork()
    if child == 0:
        engine.one_case("crash", case, 3, number)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    full = [sys.executable, "-m", "tests.fuzz", *arguments]
    return subprocess.run(full, cwd=ROOT, capture_output=True, text=True, check=False)


def test_command_line() -> None:
    done = command("--seconds", "0.2", "--seed", "5")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == list(TARGETS)
    assert "seed 5" in done.stdout
    assert command("--seed", "5", "--case", "3", "datagrams").stdout == "datagrams: case 3 of seed 5 is fine\n"
    assert command("nothing").returncode == 2
