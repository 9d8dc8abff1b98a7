"""Builds what the model needs: the engine, the data plane's functions for it, and the drivers of the scenarios.

The sources are those that are shipped. The compiler is told to call a function at each access to memory, as for
ThreadSanitizer, and finds the engine instead of that one's runtime; what the data plane calls of the system is renamed
(rename.h). Each module is kept in .cache by what it is made of.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from setup import DIRECTIVES
from tests.native_build import ROOT
from tests.requirements import require_tool

HERE = Path(__file__).parent
KEPT = ROOT / ".cache" / "model"
ENGINE = tuple(HERE / name for name in ("memory.c", "threads.c", "explore.c"))
HEADERS = tuple(HERE / name for name in ("engine.h", "world.h", "rename.h"))
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
FLAGS = ("-fPIC", "-O1", "-g", "-UNDEBUG", "-fsanitize=thread", "-fno-builtin", "-w")
RING = ("reorder/reorder", "reorder/pool")
PATHS = (
    *RING,
    *("threads/threads", "threads/loops", "threads/handoff", "send/send", "send/seal", "udp/send", "udp/receive"),
    *("receive/receive", "receive/open", "receive/deliver", "receive/writer", "receive/coalesce"),
    *("state/dataplane", "state/peers", "state/staged", "state/events", "state/index_table", "state/allowedips"),
    *("crypto/aead", "crypto/aead_contexts"),
)
DRIVERS = {"ring": RING, "tunnel": PATHS, "shards": PATHS}
"""Each with the modules of the data plane that it runs: all that write to memory of its world."""


@dataclass(frozen=True)
class Edit:
    """A fault that is put into a source: `old`, which is there once, becomes `new`."""

    source: str
    old: str
    new: str

    def apply(self, text: str) -> str:
        assert text.count(self.old) == 1, f"{self.source}: {self.old!r} is there {text.count(self.old)} times"
        return text.replace(self.old, self.new)


def build(directory: Path, driver: str, *, edit: Edit | None = None) -> Path:
    """Puts a tree to run the driver in into `directory`, and returns the engine, a library to be preloaded."""
    require_tool("cc")
    KEPT.mkdir(parents=True, exist_ok=True)
    sources = (*(f"pywg/dataplane/{name}.pyx" for name in DRIVERS[driver]), f"tests/model/{driver}.pyx")
    _copy_sources(directory)
    if edit is not None:
        path = directory / edit.source
        path.write_text(edit.apply(path.read_text()))
    declarations = b"".join(path.read_bytes() for path in (*sorted(directory.rglob("*.pxd")), *HEADERS))
    missing = []
    for source in sources:
        kept = KEPT / (_digest(declarations, source, directory) + ".so")
        if not kept.exists():
            missing.append((source, kept))
    if missing:
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            done = [pool.submit(_make, directory, source, kept) for source, kept in missing]
        for one in done:
            one.result()
    for source in sources:
        kept = KEPT / (_digest(declarations, source, directory) + ".so")
        target = (directory / source).with_suffix(SUFFIX)
        target.unlink(missing_ok=True)
        target.symlink_to(kept)
    return _engine()


def _copy_sources(directory: Path) -> None:
    for path in (ROOT / "pywg").rglob("*"):
        target = directory / path.relative_to(ROOT)
        if path.suffix in (".pyx", ".pxd"):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
        elif path.suffix in (".py", ".so"):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path)
    inside = directory / "tests" / "model"
    inside.mkdir(parents=True)
    for path in (ROOT / "tests" / "__init__.py", HERE / "__init__.py", *HERE.glob("*.p[xy]*"), *HEADERS):
        shutil.copy2(path, directory / path.relative_to(ROOT))


def _digest(declarations: bytes, source: str, directory: Path) -> str:
    parts = (declarations, (directory / source).read_bytes(), repr((FLAGS, DIRECTIVES, sys.version)).encode())
    return f"{Path(source).stem}-{hashlib.sha256(b''.join(parts)).hexdigest()[:24]}"


def _make(directory: Path, module: str, kept: Path) -> None:
    """Beside what is kept, then in its place: another process may do the same at this time."""
    source = directory / module
    options = [f"-X{name}={value}" for name, value in DIRECTIVES.items() if name != "language_level"]
    subprocess.run([sys.executable, "-m", "cython", "-3", *options, module], check=True, cwd=directory)
    with tempfile.TemporaryDirectory(dir=KEPT) as name:
        compiled, linked = Path(name) / "one.o", Path(name) / "one.so"
        include = [f"-I{sysconfig.get_paths()['include']}", f"-I{HERE}", "-include", str(HERE / "rename.h")]
        subprocess.run(["cc", "-c", *FLAGS, *include, source.with_suffix(".c"), "-o", compiled], check=True)
        # Linked without the flag: the runtime is the engine.
        subprocess.run(["cc", "-shared", compiled, "-o", linked, "-lcrypto"], check=True)
        os.replace(linked, kept)


def _engine() -> Path:
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in (*ENGINE, *HEADERS))).hexdigest()[:24]
    kept = KEPT / f"engine-{digest}.so"
    if not kept.exists():
        with tempfile.TemporaryDirectory(dir=KEPT) as name:
            linked = Path(name) / "engine.so"
            warnings = ("-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror")
            subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-g", *warnings, *ENGINE, "-o", linked], check=True)
            os.replace(linked, kept)
    return kept
