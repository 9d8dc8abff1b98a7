"""A test that did not run is seen: with --no-skips, which CI and `make test TESTS=fast` have, its skip is a failure."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SKIPPED = {
    "a test": "import pytest\ndef test_it():\n    pytest.skip('no such tool')\n",
    "a module": "import pytest\npytest.skip('no such tool', allow_module_level=True)\n",
    "a mark": "import pytest\n@pytest.mark.skipif(True, reason='no such tool')\ndef test_it():\n    pass\n",
}


def _run(directory: Path, text: str, *options: str, **environ: str) -> subprocess.CompletedProcess[str]:
    (directory / "test_it.py").write_text(text)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-c", os.devnull, "-p", "tests.conftest", *options, str(directory)],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "CI"} | environ,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("text", SKIPPED.values(), ids=SKIPPED.keys())
def test_a_skip_is_a_failure_where_none_is_allowed(text: str, tmp_path: Path) -> None:
    control = _run(tmp_path, text)
    assert control.returncode in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    for ended in (_run(tmp_path, text, "--no-skips"), _run(tmp_path, text, CI="true")):
        assert ended.returncode != 0
        assert "did not run, which is a failure here" in ended.stdout
        assert "no such tool" in ended.stdout


def test_what_no_distribution_has_may_be_skipped(tmp_path: Path) -> None:
    text = SKIPPED["a test"].replace("no such tool", "Go is not installed")
    assert _run(tmp_path, text, "--no-skips").returncode == 0


def test_the_fast_ones_allow_no_skip() -> None:
    would = subprocess.run(
        ["make", "--dry-run", "test", "TESTS=fast"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert "--no-skips" in would
    assert "mypy" in would


def test_what_runs_in_a_session_of_its_own_is_there() -> None:
    """Of a path that is not, pytest runs nothing at all."""
    would = subprocess.run(
        ["make", "--dry-run", "test", "TESTS=tests"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    named = set(re.findall(r"tests/\S+", would))
    assert "tests/meta" in named
    assert {path for path in named if not (ROOT / path).exists()} == set()
