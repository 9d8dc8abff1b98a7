"""What another processor's wheel is made with: a compiler that crosses, and of Debian that processor's packages.

They are unpacked and not installed, so nothing of them runs here: headers and libraries to build with, and for tests
under an emulator (`python -m tests.installs aarch64`) Python. All of the release that this machine has.
"""

import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from ship.root import KEPT, found, needs_debootstrap

PROCESSORS = {"aarch64": "arm64"}
"""Debian's name of each."""
PACKAGES = ("libssl-dev", "libpython3-dev", "python3-minimal", "python3", "iproute2", "wireguard-tools")


class Cross(NamedTuple):
    """The tools for one processor."""

    processor: str
    root: Path
    """Debian's files"""

    @property
    def triplet(self) -> str:
        """As the compiler calls it."""
        return f"{self.processor}-linux-gnu"

    @property
    def libraries(self) -> Path:
        """The folder of shared libraries."""
        return self.root / "usr" / "lib" / self.triplet

    def building(self) -> dict[str, str]:
        """The environment for setuptools."""
        return {
            "CC": f"{self.triplet}-gcc --sysroot={self.root}",
            "CFLAGS": f"-I{self.root}/usr/include/python{python_of(self.root)}",
            "_PYTHON_HOST_PLATFORM": f"linux-{self.processor}",
        }

    def link_tools(self, directory: Path) -> None:
        """Makes a folder of programs that read its files, under the names that auditwheel calls."""
        directory.mkdir()
        (directory / "strip").symlink_to(found(f"{self.triplet}-strip", f"gcc-{self.triplet}"))

    def package_of(self, name: str) -> tuple[Path, bytes]:
        """Debian's package that has this library, as a file, and its text about copyright. SystemExit: none has."""
        for package in sorted((self.root / "packages").glob("*.deb")):
            listed = subprocess.run(["dpkg-deb", "--contents", package], capture_output=True, text=True, check=True)
            if re.search(rf"/{re.escape(name)}$", listed.stdout, re.M):
                (own,) = re.findall(r"\./usr/share/doc/([^/\n]+)/copyright$", listed.stdout, re.M)
                return package, (self.root / "usr" / "share" / "doc" / own / "copyright").read_bytes()
        raise SystemExit(f"ship: no package in {self.root} has {name}")


def python_of(root: Path) -> str:
    """The version of its Python, 3.11."""
    (folder,) = (root / "usr" / "include").glob("python3.*")
    return folder.name.removeprefix("python")


def cross(processor: str) -> Cross:
    """The tools, made where they are not there yet. Needs root and debootstrap. SystemExit."""
    found(f"{processor}-linux-gnu-gcc", f"gcc-{processor}-linux-gnu")
    suite = platform.freedesktop_os_release()["VERSION_CODENAME"]
    made = KEPT / f"{suite}-{processor}"
    if not made.exists():
        needs_debootstrap()
        new = made.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        new.parent.mkdir(parents=True, exist_ok=True)
        options = [
            "--foreign",
            "--variant=minbase",
            f"--arch={PROCESSORS[processor]}",
            f"--include={','.join(PACKAGES)}",
        ]
        done = subprocess.run(
            ["debootstrap", *options, suite, new],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{done.stdout[-2000:]}{done.stderr[-2000:]}\nship: no packages of {processor}")
        (new / "var" / "cache" / "apt" / "archives").rename(new / "packages")
        for package in sorted((new / "packages").glob("*.deb")):
            subprocess.run(["dpkg-deb", "--extract", package, new], check=True)
        new.rename(made)
    return Cross(processor, made)
