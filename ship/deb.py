"""python -m ship.deb: the Debian package of this checkout, in dist/. Needs root and debootstrap.

It is built in a root of Debian 13, of Debian's packages alone, as debian/control and debian/rules say. DEBFULLNAME and
DEBEMAIL name its maker.
"""

import email.utils
import os
import re
import shutil
from pathlib import Path

from ship.dist import epoch
from ship.root import KEPT, Root, bootstrapped, copy_of
from ship.run import DIST, ROOT, run, tell

SUITE = "trixie"
TOOLS = ("build-essential", "dpkg-dev", "lintian")
ALLOWED = ("bogus-mail-host", "mail-address-loops-or-bogus", "no-manual-page", "initial-upload-closes-no-bugs")
"""Tags of lintian that don't count: a package for others has its maker's address, and no bug of Debian's is closed."""


def version() -> str:
    """pywg's, as it stands in the package."""
    text = (ROOT / "pywg" / "__init__.py").read_text()
    (found,) = re.findall(r'^__version__ = "(.+)"$', text, re.M)
    return str(found)


def changelog(number: str) -> str:
    """debian/changelog: what is new stands in CHANGELOG.md."""
    name, address = os.environ.get("DEBFULLNAME", "the pywg authors"), os.environ.get("DEBEMAIL", "pywg@localhost")
    when = email.utils.formatdate(epoch())
    head = f"pywg ({number}) {SUITE}; urgency=medium"
    return f"{head}\n\n  * CHANGELOG.md says what is new.\n\n -- {name} <{address}>  {when}\n"


def builder() -> Root:
    """A root with what the build needs."""
    control = (ROOT / "debian" / "control").read_text()
    needs = re.search(r"^Build-Depends:\n((?: .+\n)+)", control, re.M)
    assert needs
    packages = [*re.findall(r"^ ([a-z0-9+.-]+)", needs[1], re.M), *TOOLS]
    packages = ["debhelper" if name == "debhelper-compat" else name for name in packages]
    root, stamp = Root(KEPT / f"{SUITE}-builder"), KEPT / f"{SUITE}-builder.packages"
    if not stamp.exists() or stamp.read_text().split() != packages:
        tell(f"making a root of Debian {SUITE}, with {', '.join(packages)}")
        stamp.unlink(missing_ok=True)
        root = copy_of(bootstrapped(SUITE), f"{SUITE}-builder")
        root.install(*packages)
        stamp.write_text(" ".join(packages))
    return root


def copy_sources(target: Path, number: str) -> None:
    """What git knows, as it is now, and the changelog."""
    shutil.rmtree(target, ignore_errors=True)
    for name in run("git", "-C", ROOT, "ls-files", "-z").split("\0"):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    (target / "debian" / "changelog").write_text(changelog(number))


def build(number: str) -> Path:
    """Builds, has lintian look at it, and returns the package."""
    root = builder()
    place = root.directory / "build"
    shutil.rmtree(place, ignore_errors=True)
    copy_sources(place / "pywg", number)
    tell("building the package")
    options = {"DEB_BUILD_OPTIONS": f"noautodbgsym parallel={len(os.sched_getaffinity(0))}"}
    root.run("sh", "-ec", "cd /build/pywg && dpkg-buildpackage --build=binary --no-sign", more=options)
    (package,) = place.glob("*.deb")
    said = root.run("sh", "-c", "lintian --allow-root --fail-on none /build/*.changes")
    found = [line for line in said.splitlines() if line[:2] in ("E:", "W:") and not any(tag in line for tag in ALLOWED)]
    print("\n".join(found) or f"ship: lintian finds nothing wrong with {package.name}", flush=True)
    if any(line.startswith("E:") for line in found):
        raise SystemExit(1)
    DIST.mkdir(exist_ok=True)
    return Path(shutil.copy(package, DIST))


def main() -> None:
    """Builds."""
    package = build(version())
    tell(f"dist/{package.name}: {package.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
