"""The libraries of the system that auditwheel has put into a wheel: Debian's package of each, and its licence."""

import platform
import re
import subprocess
import zipfile
from pathlib import Path

from ship.bill import Library
from ship.cross import Cross
from ship.run import run

LICENCE = {"libssl3": "Apache-2.0", "libssl3t64": "Apache-2.0"}
"""Of libraries that may be in the wheel, by Debian's package."""
_SHOWN = "${Package} ${source:Package} ${Version} ${Architecture}"


def inside(wheel: Path, cross: Cross | None = None) -> dict[str, tuple[Library, bytes]]:
    """Those in the wheel, by their paths there; of this system, or of what is crossed to. SystemExit: of one nothing is
    known."""
    with zipfile.ZipFile(wheel) as archive:
        found = {name: archive.read(name) for name in archive.namelist() if ".libs/" in name and ".so" in name}
    return {name: (_library(name.rpartition("/")[2], cross), data) for name, data in sorted(found.items())}


def _library(name: str, cross: Cross | None) -> Library:
    """The name has a digest in it, libcrypto-0123abcd.so.3."""
    plain = re.sub(r"-[0-9a-f]{8}(?=\.so)", "", name)
    if cross is None:
        shown = run("dpkg-query", "--show", f"--showformat={_SHOWN}", _owner(plain))
        text = Path("/usr/share/doc", shown.split()[0], "copyright").read_bytes()
    else:
        package, text = cross.package_of(plain)
        shown = run("dpkg-deb", "--show", f"--showformat={_SHOWN}", package)
    package_name, source, version, processor = shown.split()
    if package_name not in LICENCE:
        raise SystemExit(f"ship: {name} of {package_name} is in the wheel, and LICENCE does not know it")
    system = platform.freedesktop_os_release()
    number = f"{system['ID']}-{system['VERSION_ID']}"
    return Library(package_name, source, version, number, processor, LICENCE[package_name], text)


def _owner(library: str) -> str:
    """Debian's package of a library of this system; /lib may be a link to /usr/lib, by which dpkg does not know it."""
    places = re.findall(rf"^\s*{re.escape(library)} .* => (\S+)$", run("/sbin/ldconfig", "--print-cache"), re.M)
    if not places:
        raise SystemExit(f"ship: {library} is in the wheel, and no library of this system is called so")
    file = Path(places[0])
    for path in (file, file.resolve(), Path(str(file.resolve()).removeprefix("/usr"))):
        done = subprocess.run(["dpkg-query", "--search", str(path)], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.rpartition(": ")[0]
    raise SystemExit(f"ship: {file} is in the wheel, and is of no package")
