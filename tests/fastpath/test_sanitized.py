"""The data plane's tests once more, built with the compiler's sanitizers.

A read past the end, a use after free or a race leaves no trace in an ordinary build. The first run builds, which takes
a minute or two for each; what it built is kept in .cache, and only what has changed since is built again.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import require_tool

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / ".cache" / "sanitized"
NOT_AGAIN = (
    "test_sanitized.py",
    "test_plane_memory.py",  # measures memory, of which a sanitizer needs plenty
    "test_secret.py",  # looks at pages by itself
)
OF_THREADS = (
    "test_helper_threads.py",
    "test_helpers.py",
    "test_lending.py",
    "test_plane_confirm.py",
    "test_plane_endpoints.py",
    "test_plane_lifecycle.py",
    "test_plane_loop.py",
    "test_plane_pressure.py",
    "test_plane_removal.py",
    "test_plane_staging.py",
    "test_plane_under_load.py",
)
DEADLINE_S = 900


@dataclass(frozen=True)
class Sanitizer:
    """What the compiler is told, the runtimes that this needs, and the tests to run with it."""

    name: str
    libraries: tuple[str, ...]
    tests: tuple[str, ...]
    options: str

    @property
    def directory(self) -> Path:
        return KEPT / self.name.replace(",", "-")


SANITIZERS = (
    Sanitizer(
        "address,undefined",
        ("libasan.so", "libubsan.so"),
        ("tests/fastpath", *(f"--ignore=tests/fastpath/{name}" for name in NOT_AGAIN)),
        "detect_leaks=0:print_stacktrace=1",
    ),
    Sanitizer("thread", ("libtsan.so",), tuple(f"tests/fastpath/{name}" for name in OF_THREADS), "exitcode=0"),
)


def copy_sources(built: Path) -> None:
    """What is newer than the copy; the times are kept, since the build goes by them. What is gone here goes there."""
    for directory in ("pywg", "tests"):
        for copy in sources_in(built, directory):
            if not (ROOT / copy.relative_to(built)).exists():
                copy.unlink()
    for source in [ROOT / "setup.py", ROOT / "pyproject.toml", *sources_in(ROOT, "pywg"), *sources_in(ROOT, "tests")]:
        target = built / source.relative_to(ROOT)
        if not target.exists() or target.stat().st_mtime != source.stat().st_mtime:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


def sources_in(root: Path, directory: str) -> list[Path]:
    return [path for path in (root / directory).rglob("*") if path.is_file() and path.suffix not in (".so", ".pyc")]


def library(name: str) -> str:
    """The sanitizer's runtime, which has to be there before Python is."""
    path = subprocess.run(["cc", f"-print-file-name={name}"], check=True, capture_output=True, text=True).stdout.strip()
    assert Path(path).is_absolute(), f"the compiler has no {name}"
    return path


def build(sanitizer: Sanitizer) -> None:
    copy_sources(sanitizer.directory)
    environment = {**os.environ, "PYWG_SANITIZE": sanitizer.name}
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace", f"-j{os.cpu_count()}"]
    done = subprocess.run(
        command, check=False, cwd=sanitizer.directory, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.timeout(DEADLINE_S)
@pytest.mark.parametrize("sanitizer", SANITIZERS, ids=lambda one: one.name)
def test_sanitizer_has_nothing_to_say(sanitizer: Sanitizer, tmp_path: Path) -> None:
    require_tool("cc")
    require_tool("setarch")
    build(sanitizer)
    options = f"{sanitizer.options}:log_path={tmp_path / 'report'}"
    environment = {
        **os.environ,
        "PYTHONPATH": str(sanitizer.directory),
        **{f"{name}_OPTIONS": options for name in ("ASAN", "UBSAN", "TSAN")},
    }
    preload = f"LD_PRELOAD={' '.join(map(library, sanitizer.libraries))}"
    # -R: with as many random bits as kernels use today, the shadow memory is sometimes in the way.
    command = ["setarch", "-R", "env", preload, sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *sanitizer.tests],
        check=False,
        cwd=sanitizer.directory,
        env=environment,
        capture_output=True,
        text=True,
    )
    reports = [path.read_text()[:4000] for path in tmp_path.glob("report*")]
    assert reports == []
    assert done.returncode == 0, done.stdout[-4000:]
