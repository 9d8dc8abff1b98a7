"""A minimal Debian root, made by debootstrap in a temporary directory, and sites in it: namespaces of every kind.

What a user meets there is Debian's, but for what a machine lends it so that its packages can be fetched: name servers
and certificates. No systemd runs in it.
"""

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.tunnel.command import run
from bench.tunnel.namespace import Namespace
from ship.root import FILE_SYSTEMS, LENT
from tests import packages
from tests.first_minutes.terminal import Shell

SUITE = "trixie"
_DEBOOTSTRAP_S = 1800.0
_BEGIN = f"""
set -e
mount --make-rprivate /
mount -t overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" overlay "$2/root"
cd "$2/root"
{FILE_SYSTEMS}umount dev/net/tun
rm dev/net/tun
mknod -m 666 dev/net/tun c 10 200
mount -t tmpfs -o mode=755 tmpfs run
hostname "$3"
echo "$3" > etc/hostname
printf '127.0.0.1 localhost\\n127.0.1.1 %s\\n' "$3" > etc/hosts
setsid --ctty --wait chroot . sh -c 'cd && exec bash --norc --noprofile --noediting -i'
"""
"""In new namespaces: an overlay of the root in $1, its own in $2, the host's name in $3; then a shell. /dev/net/tun has
the mode that Debian's udev gives it, and not that of the machine below."""


class Debian:
    """The root, and the directory of each machine that has what is its own."""

    def __init__(self, directory: Path, root: Path | None = None) -> None:
        """`root`: one that is there already, and is not changed."""
        self._directory = directory
        self._root = root or directory / "root"

    def bootstrap(self) -> None:
        """Makes the root, and puts a checkout of these sources into the folder pywg of root's home."""
        run("debootstrap", "--variant=minbase", SUITE, str(self._root), timeout=_DEBOOTSTRAP_S)
        for path in LENT:
            run("cp", "--recursive", "--dereference", "--parents", path, str(self._root))
        for name in packages.sources():
            target = self._root / "root" / "pywg" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(packages.ROOT / name, target)

    @contextlib.contextmanager
    def machine(
        self, name: str, *, directory: str = "", over: str = "", namespace: Namespace | None = None
    ) -> Iterator[Shell]:
        """A shell of root on a machine of that name, over the root as another machine has left it, whose directory is
        `over`. Its own is `directory`, or its name."""
        own = self._directory / (directory or name)
        for part in ("upper", "work", "root"):
            (own / part).mkdir(parents=True)
        lower = f"{self._directory / over / 'upper'}:{self._root}" if over else str(self._root)
        network = ("ip", "netns", "exec", namespace.name) if namespace else ()
        new = ("unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child")
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        lent = {variable: text for variable, text in os.environ.items() if variable == "PIP_CERT"}
        with Shell([*network, *new, "sh", "-c", _BEGIN, "sh", lower, str(own), name], {"PATH": path, **lent}) as shell:
            yield shell


@contextlib.contextmanager
def debian() -> Iterator[Debian]:
    """The root while a `with` block lasts; nothing of it is left then."""
    with tempfile.TemporaryDirectory(prefix="pywg-debian-") as directory:
        made = Debian(Path(directory))
        made.bootstrap()
        yield made


@contextlib.contextmanager
def two_networks(near: str, far: str) -> Iterator[tuple[Namespace, Namespace]]:
    """Two namespaces that reach each other by these addresses alone; each has a network behind it, 192.168.1.0/24 and
    192.168.2.0/24, with the address 1."""
    made = [Namespace(f"pywg-minutes-{secrets.token_hex(3)}{letter}") for letter in "ab"]
    try:
        for namespace in made:
            namespace.create()
        names = [namespace.name for namespace in made]
        run("ip", "link", "add", "eth0", "netns", names[0], "type", "veth", "peer", "eth0", "netns", names[1])
        for number, (namespace, own, other) in enumerate(zip(made, (near, far), (far, near), strict=True), 1):
            namespace.run("ip", "address", "add", f"{own}/32", "dev", "eth0")
            namespace.run("ip", "link", "set", "eth0", "up")
            namespace.run("ip", "route", "add", f"{other}/32", "dev", "eth0", "src", own)
            namespace.run("ip", "route", "add", "default", "via", other, "dev", "eth0", "onlink")
            namespace.run("ip", "link", "add", "lan", "type", "veth", "peer", "switch")
            namespace.run("ip", "address", "add", f"192.168.{number}.1/24", "dev", "lan")
            for link in ("lan", "switch"):
                namespace.run("ip", "link", "set", link, "up")
        yield made[0], made[1]
    finally:
        for namespace in made:
            namespace.remove()
