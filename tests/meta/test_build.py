"""What is built again when something has changed, by make and by setup.py, how many at a time, and what is refused."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.requirements import require_tool

ROOT = Path(__file__).resolve().parents[2]
CIPHER = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("pywg/dataplane/crypto/chacha20poly1305/*.*"))
ENTRY = "def answer(): return 42\n"
NUMBER = """
cdef extern from "number/number.h" nogil:
    int number()
def read(): return number()
"""
HINT = """
cdef void checked() nogil: pass
def call():
    with nogil: checked()
"""


BOUNDS = "def first(const unsigned char[::1] data): return data[0]\n"


class Tree:
    """Our setup.py with modules of a few lines: they build within seconds."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, root)
        self.write("pywg/__init__.py", '__version__ = "0"\n')
        self.write("pywg/dataplane/__init__.py", "")
        self.write("pywg/dataplane/__init__.pxd", "")
        self.write("pywg/_fastpath.pyx", ENTRY)
        self.write("pywg/dataplane/number.pyx", NUMBER)
        self.write("pywg/dataplane/number/number.h", '#include "number/value.inc"\n')
        self.write("pywg/dataplane/number/value.inc", "static int number(void) { return 1; }\n")

    def write(self, name: str, text: str) -> None:
        """Writes a file, and the directories above it."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def build(self, *arguments: str, debug: bool = False) -> subprocess.CompletedProcess[str]:
        """Builds in place."""
        require_tool("cc")
        command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace", *arguments]
        environment = {**os.environ, "PYWG_DEBUG": str(int(debug))}
        return subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, check=False)

    def number(self) -> int:
        """What the module that was built says."""
        code = "from pywg.dataplane.number import read; print(read())"
        return int(subprocess.run([sys.executable, "-c", code], cwd=self.root, capture_output=True, check=True).stdout)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def modules(said: str, what: str) -> str:
    """How many modules setup.py has said that it did `what` with, and how many at a time."""
    found = re.search(rf"^setup\.py: {what} (\d+) modules?.*, (\d+) at a time$", said, re.M)
    return f"{found[1]} by {found[2]}" if found else ""


def test_an_edit_builds_what_depends_on_it(tree: Tree) -> None:
    here = len(os.sched_getaffinity(0))
    built = tree.build()
    assert built.returncode == 0, built.stderr
    assert (modules(built.stdout, "translating"), modules(built.stdout, "compiling")) == (f"2 by {here}",) * 2
    assert tree.number() == 1
    assert tree.build().stdout == "", "all is up to date"
    tree.write("pywg/dataplane/number/value.inc", "static int number(void) { return 2; }\n")
    built = tree.build("-j3")
    assert (modules(built.stdout, "translating"), modules(built.stdout, "compiling")) == ("", "1 by 3")
    assert tree.number() == 2
    tree.write("pywg/dataplane/number/number.h", "static int number(void) { return 3; }\n")
    assert modules(tree.build().stdout, "compiling") == f"1 by {here}"
    assert tree.number() == 3


def test_an_editable_installation_builds_nothing_again(tree: Tree) -> None:
    assert tree.build().returncode == 0
    code = "from setuptools import build_meta; build_meta.build_editable('.')"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tree.root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "setup.py:" not in done.stdout
    assert list(tree.root.glob("*.whl"))


@pytest.mark.parametrize("jobs", ["-j1", "-j2"])
def test_a_performance_hint_is_refused_every_time(tree: Tree, jobs: str) -> None:
    tree.write("pywg/dataplane/hint.pyx", HINT)
    for _ in range(2):
        built = tree.build(jobs)
        assert built.returncode != 0
        assert "performance hint: pywg/dataplane/hint.pyx" in built.stderr
    (tree.root / "pywg/dataplane/hint.pyx").unlink()
    assert tree.build(jobs).returncode == 0


def test_a_debug_build_checks_bounds_also_where_there_was_another(tree: Tree) -> None:
    tree.write("pywg/dataplane/bounds.pyx", BOUNDS)
    code = "from pywg.dataplane.bounds import first; first(b'')"
    found = {}
    for debug in (False, True):
        built = tree.build("--force", debug=debug)
        assert built.returncode == 0, built.stderr
        done = subprocess.run([sys.executable, "-c", code], cwd=tree.root, capture_output=True, text=True, check=False)
        found[debug] = "IndexError" in done.stderr
    assert found == {False: False, True: True}


def test_an_error_of_cython_is_shown(tree: Tree) -> None:
    tree.write("pywg/dataplane/wrong.pyx", "def f(: pass\n")
    built = tree.build()
    assert built.returncode != 0
    assert "pywg/dataplane/wrong.pyx:1" in built.stderr


def test_make_builds_after_every_edit() -> None:
    require_tool("make")
    known = _prerequisites(".venv/.built")
    assert len(CIPHER) > 5
    assert {*CIPHER, "pywg/_fastpath.pyx", "pywg/dataplane/wire/run.pxd", "setup.py"} <= known
    assert not {"README.md", "pywg/cli/main.py"} & known


def _prerequisites(target: str) -> set[str]:
    """What make has written down as the reasons to make `target` again."""
    command = ["make", "--print-data-base", "--question", "--dry-run", target]
    known = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    found = re.search(rf"^{re.escape(target)}: (.*)$", known, re.M)
    assert found, known
    return set(found[1].split())
