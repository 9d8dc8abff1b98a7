"""The data plane and the targets built by clang, so that libFuzzer is guided by what an input reached.

A copy of the sources for each build is kept in .cache, and only what has changed is built again. A process runs it as
it is shipped, inside Python, behind four libraries that are loaded before everything else: libFuzzer, which Debian has
as an archive alone, faults.c, the sanitizers' runtime, and kernel.c.
"""

import fcntl
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from setup import whole
from tests.native_build import build_library
from tests.requirements import require_tool
from tests.sanitizers import KEPT, ROOT, copy_sources, share_translations

HERE = Path(__file__).parent
PLACE = HERE.relative_to(ROOT)
MARK = "def address("
WITHOUT_CIPHER = "def address(str _aead"
TARGETS = sorted(source.stem for source in HERE.glob("*.pyx") if MARK in source.read_text())
"""A target is a .pyx with `address(aead)`: that of an `int one(const uint8_t *data, size_t len) noexcept nogil`."""

CHEAP = "cheap"
"""Where a cipher's name stands: one of the target's own, with inputs that do little (ciphers.pyx)."""
WITH_CHEAP = {name for name in TARGETS if "ciphers cimport choose" in (HERE / f"{name}.pyx").read_text()}

ONE_CIPHER = {name for name in TARGETS if WITHOUT_CIPHER in (HERE / f"{name}.pyx").read_text()}
"""Those that don't use the cipher that they are given."""

OPTIONS = "detect_leaks=0:verify_asan_link_order=0:malloc_context_size=4:quarantine_size_mb=16:print_stacktrace=1"


@dataclass(frozen=True)
class Build:
    """A copy of the sources, with what was built from them."""

    name: str
    environment: dict[str, str]
    runtimes: tuple[str, ...] = ()  # of the compiler's
    guided: bool = True
    kind: str = "fast"  # what the ledger calls it (tests/fuzz/ledger.py)
    patched: dict[str, str] = field(default_factory=dict)  # what files of the copy are instead: text by path

    @property
    def directory(self) -> Path:
        """The copy."""
        return KEPT / self.name

    def module(self, target: str) -> Path:
        """What becomes of the target."""
        return self.directory / PLACE / f"{target}{sysconfig.get_config_var('EXT_SUFFIX')}"

    def command(self, *python: str) -> list[str]:
        """A command line that runs Python with what was built."""
        preload = [self.directory / "libfuzzer.so"] if self.guided else []
        # Before the runtime, which does what faults.c lets pass; and kernel.c behind it, which sees each buffer first.
        preload += [self.directory / "faults.so", *map(_runtime, self.runtimes), self.directory / "kernel.so"]
        return [
            # -R: with as many random bits as kernels use today, the shadow memory is sometimes in the way.
            *("setarch", "-R", "env", f"PYTHONPATH={self.directory}"),
            *(f"{runtime}_OPTIONS={OPTIONS}" for runtime in ("ASAN", "UBSAN")),
            # libFuzzer's functions of coverage are strong, the runtime's own weak: the first of them is used.
            f"LD_PRELOAD={' '.join(map(str, preload))}",
            *(sys.executable, "-P", *python),
        ]

    def build(self) -> None:
        """Builds what has changed. Skips the test without the compiler."""
        for tool in ("clang", "cc", "setarch"):
            require_tool(tool)
        KEPT.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time():
            copy_sources(self.directory)
            for path, text in self.patched.items():
                (self.directory / path).write_text(text)
            if "PYWG_COVERAGE" not in self.environment:
                share_translations(self.directory)
            if self.guided:
                _build_libfuzzer(self.directory / "libfuzzer.so")
            for library in ("kernel", "faults"):
                source, built = HERE / f"{library}.c", self.directory / f"{library}.so"
                if _is_stale(built, source, source.with_suffix(".h")):
                    build_library(source, built, sanitize="")
            sources = sorted(str(source.relative_to(ROOT)) for source in HERE.glob("*.pyx"))
            package = ("setup.py",) if self.guided else ("-m", "tests.fuzz.native.lines")
            for part in ((*package, "--quiet", "build_ext", "--inplace"), ("-m", "tests.native", *sources)):
                environment = {**os.environ, **self.environment}
                done = subprocess.run(
                    [sys.executable, *part],
                    check=False,
                    cwd=self.directory,
                    env=environment,
                    capture_output=True,
                    text=True,
                )
                assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


def _clang(sanitize: str, link: str = "clang -shared") -> dict[str, str]:
    return {"CC": "clang", "LDSHARED": link, "PYWG_SANITIZE": sanitize}


CHECKED = Build(
    "guided-address-undefined",
    _clang("address,undefined,fuzzer-no-link", "clang -shared -shared-libasan"),
    ("libclang_rt.asan-x86_64.so",),
    kind="checked",
)
FAST = Build("guided-fast", _clang("fuzzer-no-link") | {"CFLAGS": "-fno-sanitize-coverage=trace-cmp,stack-depth"})
"""Assertions and the targets' own checks alone, and no call for each comparison: a multiple of the executions."""
LINES = Build("lines", {"PYWG_COVERAGE": "1"}, guided=False)
"""Counts how often each line ran (coverage.py)."""


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    with (KEPT / "guided.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_stale(built: Path, *sources: Path) -> bool:
    return not built.exists() or max(source.stat().st_mtime for source in sources) > built.stat().st_mtime


def _runtime(name: str) -> Path:
    where = subprocess.run(["clang", "-print-resource-dir"], check=True, capture_output=True, text=True).stdout.strip()
    found = sorted(Path(where, "lib").rglob(name))
    assert found, f"clang has no {name}: install libclang-rt-dev"
    return found[0]


def _build_libfuzzer(target: Path) -> None:
    archive = _runtime("libclang_rt.fuzzer_no_main-x86_64.a")
    if _is_stale(target, archive):
        archived = (f"-Wl,--whole-archive,{archive},--no-whole-archive", "-lstdc++", "-lpthread", "-ldl", "-lm")
        with whole(str(target)) as partial:
            subprocess.run(["clang", "-shared", "-o", partial, *archived], check=True)
