"""The source distribution, the wheel that is built of it alone, and an environment with that wheel and no compiler.

The sources are copied first: what a checkout has besides, an older list of files for instance, must not help. What was
compiled is kept in .cache, and used again as long as the source distribution has files of the same names.
"""

import atexit
import contextlib
import fcntl
import functools
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from tests.requirements import require_tool

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / ".cache" / "packages"
NAME = "pywg-tunnel"
_NO_COMPILER = {"CC": "/bin/false", "CXX": "/bin/false", "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def sources() -> list[str]:
    """The files of the checkout, also those that are new; skips the test elsewhere."""
    git = require_tool("git")
    listed = _run(git, "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    return sorted(name for name in listed.split("\0") if name and (ROOT / name).is_file())


@functools.cache
def _own() -> Path:
    """What this session has made: another one that runs beside it makes its own."""
    made = tempfile.mkdtemp(prefix="packages-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """In the body, no other session uses what is kept."""
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@functools.cache
def sdist() -> Path:
    """The archive, made of nothing but the sources."""
    clean, made = KEPT / "sources", _own() / "sdist"
    with _alone():
        shutil.rmtree(clean, ignore_errors=True)
        for name in sources():
            target = clean / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
        made.mkdir()
        _backend("build_sdist", clean, made)
    (archive,) = made.iterdir()
    return archive


def sdist_names() -> set[str]:
    """The files in the archive, without its own directory."""
    with tarfile.open(sdist()) as archive:
        return {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}


@functools.cache
def wheel() -> Path:
    """The wheel, built of the archive and with the build requirements of this environment."""
    require_tool("cc")
    tree, made = KEPT / "tree", _own() / "wheel"
    made.mkdir()
    archive = sdist()
    with _alone():
        _unpack(archive, tree)
        _backend("build_wheel", tree, made)
    (archive,) = made.iterdir()
    return archive


def install(directory: Path) -> Path:
    """A fresh environment in `directory` with the wheel and what it needs; returns the directory of its programs.

    The packages are those of this environment, which saves asking an index for them; pip confirms that they are enough.
    """
    venv.create(directory, with_pip=False, symlinks=True)
    python = directory / "bin" / "python"
    pip("install", "--no-deps", str(wheel()), python=python)
    site = Path(_run(str(python), "-c", "import sysconfig; print(sysconfig.get_path('platlib'))").strip())
    needed = directory / "needed"
    needed.mkdir()
    for name in _needed(NAME) - {NAME}:
        for entry in {file.parts[0] for file in importlib.metadata.files(name) or () if file.parts[0] != ".."}:
            (needed / entry).symlink_to(str(importlib.metadata.distribution(name).locate_file(entry)))
    (site / "needed.pth").write_text(f"{needed}\n")
    pip("check", python=python)
    return directory / "bin"


def pip(*arguments: str, python: Path) -> str:
    """Runs this environment's pip for another environment, where there is no compiler and no index."""
    return _run(sys.executable, "-m", "pip", "--python", str(python), *arguments, environment=_NO_COMPILER)


def _needed(name: str) -> set[str]:
    """A distribution and what it requires on this system, and so on."""
    found = {name}
    for requirement in importlib.metadata.requires(name) or ():
        required = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        if "extra ==" not in requirement and required not in found:
            try:
                found |= _needed(required)
            except importlib.metadata.PackageNotFoundError:
                continue  # for another system or Python; else pip misses it as well, and says so
    return found


def _unpack(archive: Path, tree: Path) -> None:
    """Writes only what has changed: by their times the build knows what to build. Other names: all is built anew."""
    fresh = KEPT / "unpacked"
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.unpack_archive(archive, fresh)
    (top,) = fresh.iterdir()
    names = _files(top)
    if names != _files(tree):
        shutil.rmtree(tree, ignore_errors=True)
    for name in names:
        source, target = top / name, tree / name
        if not target.exists() or source.read_bytes() != target.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    shutil.rmtree(fresh)


def _files(directory: Path) -> set[Path]:
    """What a wheel is built of, below a directory."""
    not_built_of = {"build", "pywg_tunnel.egg-info", "tests", "fuzz"}
    files = {path.relative_to(directory) for path in directory.rglob("*") if path.is_file()}
    files = {path for path in files if path.parts[0] not in not_built_of}
    return {path for path in files if (path.parts[0], path.suffix) != ("bench", ".py")}  # its results are documents


def _backend(hook: str, directory: Path, made: Path) -> None:
    """Calls the build backend as pip and other front ends do."""
    code = f"from setuptools import build_meta; build_meta.{hook}({str(made)!r})"
    _run(sys.executable, "-P", "-c", code, cwd=directory)


def _run(*argv: str, cwd: Path | None = None, environment: Mapping[str, str] = MappingProxyType({})) -> str:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYWG_", "PYTHONPATH"))}
    done = subprocess.run(argv, check=False, cwd=cwd, env={**inherited, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, f"{argv}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout
