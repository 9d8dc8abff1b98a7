"""A bounded run of every driver, and that what it finds has a name and is found again."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.native.drivers import DRIVERS, Done, built, run

ROOT = Path(__file__).parents[3]
SEED = 1
CASES = {"outbound": 400, "inbound": 600}
SECONDS = 60.0  # of processor time, whatever there is of cases


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    with built() as made:
        yield made


@pytest.mark.timeout(900)
@pytest.mark.parametrize("driver", DRIVERS)
def test_nothing_is_found(directory: Path, driver: str) -> None:
    done = run(directory, driver, SEED, seconds=SECONDS, cases=CASES[driver])
    assert done.failure is None, str(done)
    assert done.cases > 100
    assert done.frames > 100 * done.cases  # else there was nothing to find


@pytest.mark.timeout(300)
def test_a_crash_names_its_case(directory: Path) -> None:
    """Where the kernel is not the drivers' (LD_PRELOAD), no case can run."""
    (directory / "broken.none.so").write_bytes((directory / "kernel.so").read_bytes())
    done = run(directory, "broken", SEED, seconds=1, first=7)
    assert done.failure is not None
    assert f"--seed {SEED} --case 7 broken" in str(done)


def test_a_run_says_its_seed_and_count() -> None:
    assert str(Done("outbound", 5, 10, 2000, 0.1, None)) == (
        "outbound: 10 cases of seed 5, 2000 frames, 20000 a CPU second"
    )


def test_unknown_driver() -> None:
    command = [sys.executable, "-m", "tests.fuzz.native", "nothing"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 2
