"""A namespace where tunnels of files come and go, and all that `ip`, `wg` and `nft` say about it, as one text."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.tunnel.command import CommandError
from bench.tunnel.namespace import Namespace
from bench.tunnel.site import UAPI_DIR, poll
from pywg.manage.tunnel import dns, state
from pywg.manage.tunnel import down as downs
from pywg.manage.tunnel import reload as reloads
from pywg.manage.tunnel import up as ups
from pywg.manage.tunnel.names import Target

RESOLVCONF = """#!/bin/sh
echo "$*" >> {folder}/resolvconf.log
[ "$1" = -a ] && cat > {folder}/servers
[ "$1" = -d ] && rm -f {folder}/servers
exit 0
"""
SHOWN = (
    "ip -o address show dev {0} 2>/dev/null | sed 's/^[0-9]*: //'; "
    "ip -o link show dev {0} 2>/dev/null | cut -d' ' -f2-5; "
    "for f in -4 -6; do ip $f route show table all; ip $f rule; done; nft list ruleset; "
    "sysctl net.ipv4.conf.all.src_valid_mark; ls {1}/servers 2>/dev/null && cat {1}/servers; "
    "wg show {0} listen-port; wg show {0} fwmark; "
    'for w in peers endpoints preshared-keys persistent-keepalive; do wg show {0} $w | sed "s/^/$w /" | sort; done; '
    "wg show {0} allowed-ips | tr '\\t ' '\\n' | sort"
)
LINKS = ("near", "far", "slow", "slower")
_OWN = re.compile(r"(fe80::\S+)/64 scope link stable-privacy")
"""The address that an interface gives itself, which is random."""


class Machine:
    """One namespace with two links, and one name for the interface of all files. In-process, `up` and the others run in
    the thread that calls them."""

    def __init__(self, namespace: Namespace, interface: str, folder: Path) -> None:
        self.namespace = namespace
        self.interface = interface
        self.folder = folder
        self.path = folder / f"{interface}.conf"
        self.target = Target(interface, str(self.path))
        self.log = folder / "log"
        self.resolv_conf = folder / "resolv.conf"
        self.socket = UAPI_DIR / f"{interface}.sock"

    def write(self, text: str) -> None:
        """The file of the interface."""
        self.path.write_bytes(text.replace("LOG", str(self.log)).encode())
        self.path.chmod(0o600)

    def up(self) -> list[str]:
        """`pywg up`."""
        with self.namespace.entered():
            return ups.up(self.target)

    def down(self) -> list[str]:
        """`pywg down`."""
        with self.namespace.entered():
            return downs.down(self.target)

    def reload(self) -> list[str]:
        """`pywg reload`."""
        with self.namespace.entered():
            return reloads.reload(self.target)

    def quick(self, verb: str) -> None:
        """wg-quick, with wireguard-go, which starts in no time: what is looked at is what stands around the daemon."""
        implementation = "WG_QUICK_USERSPACE_IMPLEMENTATION=wireguard-go"
        self.namespace.run("env", implementation, "wg-quick", verb, str(self.path))

    def settle(self) -> None:
        """Until each IPv6 address of an interface that is up has its local route, which the kernel makes later."""

        def settled() -> bool:
            shown = self.namespace.run("ip", "-6", "-o", "address", "show", "up")
            routes = self.namespace.run("ip", "-6", "route", "show", "table", "local")
            return all(f"local {address} dev " in routes for address in re.findall(r" inet6 ([\da-f:]+)", shown))

        poll(settled, "each address has its route")

    def shown(self) -> str:
        """Addresses, routes, rules, filters, name servers and the device, without what is random."""
        self.settle()
        text = self.namespace.run("sh", "-c", SHOWN.format(self.interface, self.folder) + "; true")
        for own in _OWN.findall(text):
            text = text.replace(own, "OWN")
        # wireguard-go keeps the longer form, and forgets the zone.
        lines = text.replace("[::ffff:10.77.0.2]", "10.77.0.2").replace("fe80::7%near", "fe80::7").splitlines()
        if self.resolv_conf.exists():
            lines.append(self.resolv_conf.read_text())
        return "\n".join(line.replace(" permanent", "") for line in lines)

    def logged(self) -> list[str]:
        """What hooks wrote since the last call."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return lines

    def hook_runs(self) -> None:
        """Wait until a hook has written a whole line: its shell makes the file a moment before it writes to it."""
        poll(lambda: self.log.exists() and self.log.read_text().endswith("\n"), "the hook runs")

    def nothing_is_remembered(self) -> None:
        """No state file, and no lock."""
        assert list(Path(state.DIRECTORY).glob("*")) == []

    def nothing_runs(self) -> None:
        """Neither a process nor a file of pywg's is left."""
        poll(lambda: self.namespace.pids() == [], "no process is left")
        assert not self.socket.exists()
        self.nothing_is_remembered()

    def clear(self) -> None:
        """After a test that failed."""
        with contextlib.suppress(CommandError):
            self.namespace.run("ip", "link", "del", self.interface)
        with contextlib.suppress(OSError, KeyboardInterrupt):
            self.down()


@contextlib.contextmanager
def machine(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """The machine, whose resolvconf, /etc/resolv.conf and state files are in `folder`."""
    folder.chmod(0o700)
    (folder / "bin").mkdir()
    resolvconf = folder / "bin" / "resolvconf"
    resolvconf.write_text(RESOLVCONF.format(folder=folder))
    resolvconf.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    monkeypatch.setattr(dns, "RESOLV_CONF", str(folder / "resolv.conf"))
    monkeypatch.setattr(dns, "RESOLVED", str(folder / "no resolved"))
    monkeypatch.setattr(state, "DIRECTORY", str(folder / "state"))
    monkeypatch.delenv("LOG_LEVEL", raising=False)
    namespace = Namespace(name)
    namespace.create()
    try:
        namespace.run(
            "sh",
            "-ec",
            "ip link add near type veth peer far; ip link add slow type veth peer slower; ip link set slow mtu 1400;"
            f"for l in {' '.join(LINKS)}; do ip link set $l addrgenmode none up; done;"
            "ip address add 10.77.0.1/24 dev near; ip address add fd00:77::1/64 dev near nodad;"
            "ip address add 10.76.0.1/24 dev slow; ip route add default via 10.77.0.2;"
            "ip route add default via fd00:77::2",
        )
        poll(lambda: _carries(namespace), "the links carry packets")
        yield Machine(namespace, f"q{name[-12:]}", folder)
    finally:
        namespace.remove()


def _carries(namespace: Namespace) -> bool:
    """Whether the kernel has heard that all links have a carrier, which changes what it says of routes."""
    routes = namespace.run("sh", "-c", "for f in -4 -6; do ip $f route show table all; done")
    return "linkdown" not in routes and all(f"ff00::/8 dev {link} " in routes for link in LINKS)
