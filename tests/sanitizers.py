"""pywg built with the compiler's sanitizers: a read past the end, a use after free or a race leaves no trace otherwise.

The first build takes a minute or two; what was built is kept in .cache, and only what has changed is built again.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from setup import whole
from tests.requirements import require_tool

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / ".cache" / "sanitized"
TRANSLATED = Path("build/cython")


@dataclass(frozen=True)
class Sanitizer:
    """What the compiler is told, and the runtimes that this needs."""

    name: str
    libraries: tuple[str, ...]
    options: str

    @property
    def directory(self) -> Path:
        """A copy of the sources, with what was built from them."""
        return KEPT / self.name.replace(",", "-")

    def command(
        self, report: Path, *python: str, preload: tuple[Path, ...] = (), first: tuple[Path, ...] = ()
    ) -> tuple[str, ...]:
        """A command line that runs Python with what was built; what is found goes to files named like `report`.

        `preload`: libraries that come before all others but the sanitizer's own; `first`: those before that, too.
        """
        options = f"{self.options}:log_path={report}" + ":verify_asan_link_order=0" * bool(first)
        return (
            # -R: with as many random bits as kernels use today, the shadow memory is sometimes in the way.
            *("setarch", "-R", "env", f"PYTHONPATH={self.directory}", f"PYWG_SANITIZE={self.name}"),
            *(f"{runtime}_OPTIONS={options}" for runtime in ("ASAN", "UBSAN", "TSAN")),
            f"LD_PRELOAD={' '.join([*map(str, first), *map(_library, self.libraries), *map(str, preload)])}",
            *(sys.executable, "-P", *python),
        )

    def build(self, *sources: str) -> None:
        """With what tests call of it (tests/native), and such other `sources`. Skips the test without a compiler."""
        require_tool("cc")
        require_tool("setarch")
        KEPT.mkdir(parents=True, exist_ok=True)
        with (KEPT / f"{self.directory.name}.lock").open("w") as lock:  # two sessions of tests run beside each other
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._build(*sources)

    def _build(self, *sources: str) -> None:
        copy_sources(self.directory)
        share_translations(self.directory)
        parts = [("setup.py", "--quiet", "build_ext", "--inplace"), ("-m", "tests.native")]
        if sources:
            parts.append(("-m", "tests.native", *sources))
        environment = {**os.environ, "PYWG_SANITIZE": self.name}
        for part in parts:
            command = [sys.executable, *part]
            done = subprocess.run(
                command, check=False, cwd=self.directory, env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr[-4000:]


ADDRESS = Sanitizer("address,undefined", ("libasan.so", "libubsan.so"), "detect_leaks=0:print_stacktrace=1")
THREAD = Sanitizer("thread", ("libtsan.so",), "exitcode=0")


def said(report: Path) -> list[str]:
    """The beginning of each report."""
    return [path.read_text()[:4000] for path in report.parent.glob(f"{report.name}*")]


def copy_sources(target: Path) -> None:
    """With their times, by which the build knows what has changed. What is gone here goes there."""
    for directory in ("pywg", "tests"):
        for copy in (target / directory).rglob("*"):
            if copy.is_file() and copy.suffix != ".so" and not (ROOT / copy.relative_to(target)).exists():
                copy.unlink()
        ignored = shutil.ignore_patterns("*.so", "__pycache__")
        shutil.copytree(ROOT / directory, target / directory, ignore=ignored, dirs_exist_ok=True, copy_function=_copy)
    for name in ("setup.py", "pyproject.toml"):
        _copy(ROOT / name, target / name)


def _copy(source: str | Path, target: str | Path) -> None:
    """Never half a file, nor one that is as it was: what was built here before may run meanwhile."""
    now = os.stat(source)
    with contextlib.suppress(FileNotFoundError):
        there = os.stat(target)
        if (there.st_size, there.st_mtime_ns) == (now.st_size, now.st_mtime_ns):
            return
    with whole(str(target)) as partial:
        shutil.copy2(source, partial)


def share_translations(target: Path) -> None:
    """Cython gives every build the same C: it is taken from where there is a newer one."""
    for directory in (ROOT, ADDRESS.directory, THREAD.directory, *KEPT.glob("guided*")):
        if directory == target or not directory.is_dir():
            continue
        for translated in (directory / TRANSLATED).rglob("*.c"):
            here = target / translated.relative_to(directory)
            source = target / translated.relative_to(directory / TRANSLATED).with_suffix(".pyx")
            if source.exists() and (not here.exists() or translated.stat().st_mtime > here.stat().st_mtime):
                here.parent.mkdir(parents=True, exist_ok=True)
                with whole(str(here)) as partial:
                    shutil.copy2(translated, partial)


def _library(name: str) -> str:
    """The sanitizer's runtime, which has to be there before Python is."""
    path = subprocess.run(["cc", f"-print-file-name={name}"], check=True, capture_output=True, text=True).stdout.strip()
    assert Path(path).is_absolute(), f"the compiler has no {name}"
    return path
