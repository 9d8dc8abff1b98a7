"""Doctor, asked in the namespace of a site; what it found in the present test is remembered."""

import contextlib
import json
import os
import struct
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from bench.tunnel.lab import Lab
from bench.tunnel.site import Site
from pywg.manage.doctor.checks import judge
from pywg.manage.doctor.finding import Finding, Severity
from pywg.manage.doctor.gather import gather

from ..dropin import nft

Fault = Callable[[Lab], contextlib.AbstractContextManager[None]]
WITHIN_S = 20.0
USER = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
"""A command line that begins so is an ordinary user's."""
looked: list[Finding] = []
_CLOCK = Path(__file__).parents[1] / "wall_clock.c"


def made(fault: Fault, row: str, text: str = "") -> object:
    """A row of a table of faults: what makes it, the finding that names it (rows.py), and more of its text."""
    return pytest.param(fault, row, text, id=fault.__name__, marks=pytest.mark.finds(row))


def findings(site: Site, path: str | Path = "", interface: str = "") -> list[Finding]:
    """What doctor finds in the site's namespace, by default about the site's interface."""
    with site.namespace.entered():
        found = judge(gather(interface or site.interface, str(path)))
    looked.extend(found)
    return found


def one_of(found: list[Finding], check: str) -> Finding:
    """The only finding of a check that is not "ok"."""
    (one,) = [one for one in found if one.check == check and one.severity != Severity.OK]
    return one


def wrong(found: list[Finding]) -> list[Finding]:
    """Those that call for a mend."""
    return [one for one in found if one.severity >= Severity.WARNING]


def program(
    pywg: str, site: Site, *wrapper: str, env: Mapping[str, str] | None = None
) -> tuple[int, dict[str, Finding]]:
    """`pywg doctor` as a program of its own, below a `wrapper`: its exit status, and its findings by check."""
    command = ["ip", "netns", "exec", site.namespace.name, *wrapper, pywg, "doctor", site.interface, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **(env or {})})
    assert done.stderr == ""
    (report,) = json.loads(done.stdout)
    assert report["status"] == done.returncode
    found = [
        Finding(Severity[one["severity"].upper()], one["check"], one["text"], one["mend"] or "", one["peer"] or "")
        for one in report["findings"]
    ]
    looked.extend(found)
    return done.returncode, {one.check: one for one in sorted(found, key=lambda one: one.severity)}


class Clock:
    """The wall clock of the programs that have its environment."""

    def __init__(self, directory: Path, offset_s: int = 0) -> None:
        self._offset = directory / "offset"
        self._offset.write_bytes(bytes(8))
        library = directory / "wall_clock.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, _CLOCK], check=True)
        self.env = {"LD_PRELOAD": str(library), "PYWG_WALL_CLOCK": str(self._offset)}
        self.set(offset_s)

    def set(self, offset_s: int) -> None:
        """Seconds beside the machine's; it is never without a value."""
        with self._offset.open("r+b") as file:
            file.write(struct.pack("q", offset_s))


@contextlib.contextmanager
def ruled(site: Site, *rules: str) -> Iterator[None]:
    """Rules of nftables in table inet f."""
    nft(site, "table inet f {", *rules, "}")
    try:
        yield
    finally:
        nft(site, "delete table inet f")


def chain(hook: str, rule: str, policy: str = "accept") -> str:
    """One of them."""
    return f"chain c {{ type filter hook {hook} priority 0; policy {policy}; {rule}\n}}"


def allowed(lab: Lab, *more: str) -> str:
    """The allowed IPs of the far site, and more."""
    return ",".join((f"{lab.far.inner(4)}/32", f"{lab.far.inner(6)}/128", *more))


@contextlib.contextmanager
def allowing(lab: Lab, *prefixes: str) -> Iterator[None]:
    """More allowed IPs."""
    lab.near.wg("set", lab.near.interface, "peer", lab.far.keys.public, "allowed-ips", allowed(lab, *prefixes))
    try:
        yield
    finally:
        lab.near.wg("set", lab.near.interface, "peer", lab.far.keys.public, "allowed-ips", allowed(lab))


@contextlib.contextmanager
def behind(lab: Lab) -> Iterator[None]:
    """A network behind each end, as far as routes are concerned."""
    with allowing(lab, "192.168.77.0/24"):
        lab.near.ip("link", "add", "lan", "type", "veth", "peer", "lan-far")
        lab.near.ip("address", "add", "192.168.66.1/24", "dev", "lan")
        lab.near.ip("link", "set", "lan", "up")
        lab.near.ip("route", "add", "192.168.77.0/24", "dev", lab.near.interface)
        try:
            yield
        finally:
            lab.near.ip("link", "delete", "lan")
            lab.near.ip("route", "delete", "192.168.77.0/24", "dev", lab.near.interface)


def unconnected(open_lab: Callable[..., Lab], near: object, far: object = None) -> Lab:
    """A lab whose sites know no peer."""
    lab = open_lab(near, far or near, connect=False)
    for one in lab.sites:
        one.configure(lab.mtu)
    return lab


def file_of(site: Site, folder: Path, *lines: str, name: str = "") -> Path:
    """A file, with the site's private key, that root alone may read."""
    path = folder / f"{name or site.interface}.conf"
    path.touch(0o600)
    path.write_text("\n".join(["[Interface]", f"PrivateKey = {site.keys.private}", *lines, ""]))
    return path
