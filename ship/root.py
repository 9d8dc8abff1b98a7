"""A minimal Debian root, kept in .cache/ship, and commands in it. Needs root and debootstrap."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

KEPT = Path(__file__).resolve().parents[1] / ".cache" / "ship"
LENT = ("/etc/resolv.conf", "/usr/local/share/ca-certificates")
"""What this machine lends it, so that packages can be fetched."""
FILE_SYSTEMS = """mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm dev/net
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for node in null zero full random urandom tty net/tun; do touch "dev/$node"; mount --bind "/dev/$node" "dev/$node"; done
"""
"""In sh, in the root and in a mount namespace of its own: what a machine has below /proc, /sys and /dev."""
_ENTER = f"""
set -e
cd "$1"
shift
mount --make-rprivate /
{FILE_SYSTEMS}exec chroot . "$@"
"""
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
}


class Root:
    """A directory with a Debian in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def command(self, argv: Sequence[str], around: Sequence[str] = ()) -> list[str]:
        """What runs `argv` in the root: `around` it, in namespaces of its own for mounts and processes."""
        new = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
        return [*around, *new, "sh", "-c", _ENTER, "sh", str(self.directory), *argv]

    def run(self, *argv: str, around: Sequence[str] = (), more: Mapping[str, str] = MappingProxyType({})) -> str:
        """What it prints, errors included. SystemExit: it failed; what it said is shown."""
        done = subprocess.run(
            self.command(argv, around),
            env=environment(more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{done.stdout[-6000:]}\nship: status {done.returncode} of {' '.join(argv)}")
        return done.stdout

    def install(self, *packages: str) -> None:
        """By apt-get: names, or paths of .deb files in the root."""
        self.run("apt-get", "update")
        self.run("apt-get", "install", "--yes", "--no-install-recommends", *packages)


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """Of a command in a root."""
    return {**_ENVIRONMENT, **more}


def found(program: str, package: str = "") -> str:
    """Its path. SystemExit, with one line: it is missing, and is in that package, or in one of its name."""
    path = shutil.which(program)
    if path is None:
        raise SystemExit(f"{program} is missing: apt-get install {package or program}")
    return path


def needs_debootstrap() -> None:
    """SystemExit, with one line: no root can be made here."""
    if os.geteuid():
        raise SystemExit("a Debian root is made by root alone: run this as root")
    found("debootstrap")


def bootstrapped(suite: str) -> Root:
    """The root of that suite as debootstrap made it. It is kept, and not to be changed: copy_of(it) is. SystemExit."""
    made = KEPT / f"{suite}-minimal"
    if not made.exists():
        needs_debootstrap()
        new = made.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        new.parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["debootstrap", "--variant=minbase", suite, new],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{done.stdout[-2000:]}{done.stderr[-2000:]}\nship: no root of Debian {suite}")
        for path in LENT:
            subprocess.run(["cp", "--recursive", "--dereference", "--parents", path, new], check=True)
        os.rename(new, made)
    return Root(made)


def copy_of(root: Root, name: str) -> Root:
    """A fresh copy beside it, in place of one of that name."""
    target = KEPT / name
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(["cp", "--archive", "--reflink=auto", root.directory, target], check=True)
    return Root(target)
