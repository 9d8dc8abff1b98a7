"""What a newcomer relies on: the commands that README names, and files that say nothing about anybody's machine."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from pywg._fastpath import Plane
from tests.requirements import require_tool

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ("demo", "test", "bench", "bench-compare", "docs", "dist", "deb", "venv", "runtime", "lint", "fuzz", "clean")
# Absolute paths that are true on one machine only. In brackets, so that this file does not find itself.
MACHINE_PATHS = re.compile(r"(?<![\w.])/(?:[h]ome|[r]oot|[w]ork|[U]sers)/\w")


@pytest.mark.parametrize("target", TARGETS)
def test_makefile_has_the_target(target: str) -> None:
    require_tool("make")
    done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_demo_needs_nothing_of_the_tests() -> None:
    """Neither the test extra nor the packages; `make test` is the control."""
    require_tool("make")
    would: dict[str, str] = {}
    for target in ("demo", "test", "bench"):
        command = ["make", "--dry-run", "--what-if=pyproject.toml", target]
        would[target] = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"\.ci/(\w+) ?(\w*)", would["demo"])[:2] == [("packages", "demo"), ("venv", "")]
    assert ".ci/venv test" not in would["demo"]
    for target in ("test", "bench"):
        assert ".ci/venv test" in would[target]


def test_readme_names_only_targets_that_exist() -> None:
    named = set(re.findall(r"\bmake ([a-z]+)\b", (ROOT / "README.md").read_text()))
    assert named - {"keys"} <= set(TARGETS)
    assert {"demo", "test", "bench"} <= named


def test_documents_name_only_counters_that_exist() -> None:
    text = "".join(path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))))
    named = set(re.findall(r"`(?:counter_)?([rt]x_(?!bytes)\w+)", text))  # bytes are counted by peer
    assert named, "no counter is named at all"
    assert named - Plane().counters().keys() == set()


@pytest.mark.parametrize("script", [".ci/run", ".ci/packages", ".ci/venv"])
def test_scripts_can_be_run(script: str) -> None:
    require_tool("bash")
    assert os.access(ROOT / script, os.X_OK)
    subprocess.run(["bash", "-n", script], cwd=ROOT, check=True)


def test_no_machine_paths() -> None:
    require_tool("git")
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout: git can't say which files are ours")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = []
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if path.is_file() and (match := MACHINE_PATHS.search(path.read_text(errors="replace"))):
            found.append(f"{name}: {match[0]}")
    assert found == []
