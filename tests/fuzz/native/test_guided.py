"""Every kept input of every target, and that what libFuzzer finds has a name and is found again."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import corpus
from tests.fuzz.native.builds import CHECKED, TARGETS
from tests.fuzz.native.runner import Done, again, fuzz, inputs

ROOT = Path(__file__).parents[3]
KEPT_BYTES = 300 * 1024  # of all targets


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:
    CHECKED.build()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("target", TARGETS)
def test_kept_inputs(target: str) -> None:
    kept = inputs(target)
    assert kept
    assert again(CHECKED, target, kept) is None


@pytest.mark.timeout(900)
@pytest.mark.parametrize("target", ["outbound", "inbound"])
def test_what_is_found_is_found_again(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the data plane had damaged a datagram: without that, the same input is fine."""
    monkeypatch.setenv("PYWG_FUZZ_DAMAGE", "1")
    done = fuzz(CHECKED, target, seconds=60, apart=tmp_path)
    (file,) = tmp_path.iterdir()
    assert done.failure is not None
    assert f"python -m tests.fuzz.native --again {file}\n" in done.failure
    assert "Assertion of the target: " in done.failure
    assert again(CHECKED, target, [file]) is not None
    monkeypatch.delenv("PYWG_FUZZ_DAMAGE")
    assert again(CHECKED, target, [file]) is None


def test_the_corpus_is_small() -> None:
    assert sum(corpus.packed(target).stat().st_size for target in TARGETS) <= KEPT_BYTES


def test_a_run_says_what_it_came_to() -> None:
    assert str(Done("outbound", 2000, 0.1, 300, None)) == (
        "outbound: 2000 executions, 20000 a CPU second, 300 edges, nothing found"
    )
    assert str(Done("outbound", 5, 0.1, 300, "why")) == "outbound: after 5 executions: why"


def test_unknown_target() -> None:
    command = [sys.executable, "-m", "tests.fuzz.native", "nothing"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 2
