"""The data plane's tests once more, built with the compiler's address and undefined-behaviour sanitizers.

A read past the end or a use after free leaves no trace in an ordinary build. The first run builds, which takes two
minutes; what it built is kept in .cache, and only what has changed since is built again.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import require_tool

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / ".cache" / "sanitized"
SANITIZERS = "address,undefined"
NOT_AGAIN = (
    "test_sanitized.py",
    "test_plane_memory.py",  # measures memory, of which a sanitizer needs plenty
    "test_secret.py",  # looks at pages by itself
)
DEADLINE_S = 900


def copy_sources() -> None:
    """What is newer than the copy; the times are kept, since the build goes by them. What is gone here goes there."""
    for directory in ("pywg", "tests"):
        for copy in sources_in(BUILT, directory):
            if not (ROOT / copy.relative_to(BUILT)).exists():
                copy.unlink()
    for source in [ROOT / "setup.py", ROOT / "pyproject.toml", *sources_in(ROOT, "pywg"), *sources_in(ROOT, "tests")]:
        target = BUILT / source.relative_to(ROOT)
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


@pytest.fixture(scope="module")
def built() -> Path:
    require_tool("cc")
    require_tool("setarch")
    copy_sources()
    environment = {**os.environ, "PYWG_SANITIZE": SANITIZERS}
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace", f"-j{os.cpu_count()}"]
    done = subprocess.run(command, check=False, cwd=BUILT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return BUILT


@pytest.mark.timeout(DEADLINE_S)
def test_nothing_out_of_bounds_or_after_free(built: Path, tmp_path: Path) -> None:
    log = tmp_path / "report"
    options = f"detect_leaks=0:log_path={log}"
    environment = {
        **os.environ,
        "PYTHONPATH": str(built),
        "ASAN_OPTIONS": options,
        "UBSAN_OPTIONS": f"print_stacktrace=1:{options}",
    }
    preload = f"LD_PRELOAD={library('libasan.so')} {library('libubsan.so')}"
    # -R: with as many random bits as kernels use today, the shadow memory is sometimes in the way.
    command = ["setarch", "-R", "env", preload, sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    left_out = [f"--ignore=tests/fastpath/{name}" for name in NOT_AGAIN]
    done = subprocess.run(
        [*command, "tests/fastpath", *left_out], check=False, cwd=built, env=environment, capture_output=True, text=True
    )
    reports = [path.read_text()[:4000] for path in tmp_path.glob("report*")]
    assert reports == []
    assert done.returncode == 0, done.stdout[-4000:]
