"""What is said of the listen port is so: what get shows, what a set is answered, and what the kernel has bound."""

import os
import random
import socket
from pathlib import Path

import pytest

from bench.tunnel.command import CommandError
from bench.tunnel.site import Site, poll
from tests.requirements import require_tool

from . import dropin
from .conftest import OpenLab
from .dropin import get, set_

pytest_generate_tests = dropin.parametrize_subject

ADDRESSES = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}
TAKEN = -98
PORTS = (4001, 4002, 4003)


class Others:
    """Other programs' sockets in a namespace, one a port and family."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._sockets: dict[tuple[int, socket.AddressFamily], socket.socket] = {}

    def take(self, port: int, family: socket.AddressFamily) -> None:
        """If it is free."""
        sock = self._site.namespace.socket(family, socket.SOCK_DGRAM)
        try:
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((ADDRESSES[family], port))
        except OSError:
            sock.close()
        else:
            self._sockets[port, family] = sock

    def free(self, port: int) -> None:
        """In both families."""
        for key in [key for key in self._sockets if key[0] == port]:
            self._sockets.pop(key).close()

    def has(self, port: int) -> bool:
        """In either family."""
        return any(number == port for number, _ in self._sockets)

    def not_theirs(self) -> tuple[set[int], set[int]]:
        """The local ports of all other IPv4 and IPv6 UDP sockets of the namespace."""
        apart = {str(os.fstat(sock.fileno()).st_ino) for sock in self._sockets.values()}
        tables = [self._site.namespace.run("cat", f"/proc/net/{name}").splitlines()[1:] for name in ("udp", "udp6")]
        four, six = (
            {int(row[1].rpartition(":")[2], 16) for row in map(str.split, table) if row[9] not in apart}
            for table in tables
        )
        return four, six


def _shown(site: Site) -> int:
    """The listen port that get shows, 0 for none."""
    return sum(int(line.removeprefix("listen_port=")) for line in get(site).split() if line.startswith("listen_port="))


def _stat(site: Site, name: str) -> int:
    (value,) = (line.removeprefix(f"{name}=") for line in site.uapi("stats=1").split() if line.startswith(f"{name}="))
    return int(value)


@pytest.mark.dropin("4", "9", "13", "wg-quick")
@pytest.mark.lacks("wireguard-go", "may be given its port before it is up, and then has none, without a word")
def test_two_files_with_one_listen_port(subject: str, open_lab: OpenLab, tmp_path: Path) -> None:
    """The second wg-quick fails, says why, and leaves nothing; the first tunnel goes on."""
    require_tool("wg-quick")
    site = open_lab(None, None).near
    tmp_path.chmod(0o700)
    paths = [tmp_path / f"{site.interface}{letter}.conf" for letter in "ab"]
    for number, path in enumerate(paths, 1):
        private, _ = dropin.key_pair()
        path.write_text(f"[Interface]\nPrivateKey = {private}\nAddress = 10.9.{number}.1/24\nListenPort = 4001\n")
        path.chmod(0o600)
    quick = ("env", f"WG_QUICK_USERSPACE_IMPLEMENTATION={dropin.program(subject)}", "wg-quick")
    site.namespace.run(*quick, "up", str(paths[0]))
    with pytest.raises(CommandError, match="Address already in use"):
        site.namespace.run(*quick, "up", str(paths[1]))
    assert paths[1].stem not in site.ip("-o", "link")
    poll(lambda: len(dropin.daemon_pids(site.namespace)) == 1, "the second daemon has ended")
    assert dropin.udp_ports(site) == [4001]
    site.namespace.run(*quick, "down", str(paths[0]))
    poll(lambda: dropin.daemon_pids(site.namespace) == [], "the first daemon has ended")  # wg-quick waits for no daemon
    site.namespace.run(*quick, "up", str(paths[1]))
    assert dropin.udp_ports(site) == [4001]
    site.namespace.run(*quick, "down", str(paths[1]))


@pytest.mark.dropin("13")
def test_a_port_that_is_held_hears_nothing(pywg: str, open_lab: OpenLab) -> None:
    """What came while the interface was down is dropped, and what comes once it is up is received."""
    lab = open_lab(pywg, pywg, connect=False)
    near = lab.near
    assert set_(near, "listen_port=4001") == 0
    assert Others(near).not_theirs() == ({4001}, {4001})
    for family in (4, 6):
        with lab.far.namespace.socket({4: socket.AF_INET, 6: socket.AF_INET6}[family], socket.SOCK_DGRAM) as sender:
            before = _stat(near, "counter_rx_datagrams")
            for _ in range(10):
                sender.sendto(b"early", (near.outer(family), 4001))
            near.ip("link", "set", near.interface, "up")
            poll(lambda: _stat(near, "up") == 1, "near is up")
            sender.sendto(b"in time", (near.outer(family), 4001))

            def has_received(before: int = before) -> bool:
                return _stat(near, "counter_rx_datagrams") > before

            poll(has_received, "near has received something")
            assert _stat(near, "counter_rx_datagrams") == before + 1
        near.ip("link", "set", near.interface, "down")
        poll(lambda: _stat(near, "up") == 0, "near is down")
        assert set_(near, "listen_port=4001") == 0


class World:
    """A daemon whose interface is set up and down, and others who want its ports; what has to hold of it."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.others = Others(site)
        self.up = False
        self.asked = 0
        self.released = True
        """whether down gave up the port since it was asked for"""
        self.seen = {"refused": 0, "open": 0, "had later": 0}

    def set(self, port: int | None, fwmark: int | None) -> None:
        before = get(self.site), self.others.not_theirs()
        lines = [f"listen_port={port}"] * (port is not None) + [f"fwmark={fwmark}"] * (fwmark is not None)
        taken = port is not None and self.others.has(port) and port not in before[1][0]
        assert set_(self.site, *lines) == (TAKEN if taken else 0)
        if taken:
            self.seen["refused"] += 1
            assert (get(self.site), self.others.not_theirs()) == before
        elif port is not None:
            self.asked, self.released = port, False
            assert port in (0, _shown(self.site))

    def link(self, *, up: bool) -> None:
        self.site.ip("link", "set", self.site.interface, "up" if up else "down")
        self.released = self.released or (self.up and not up)
        self.up = up
        poll(lambda: _stat(self.site, "up") == up, "the daemon knows")

    def check(self) -> None:
        shown = _shown(self.site)
        if self.up and not _stat(self.site, "sockets_open") and not self.others.has(shown):
            poll(lambda: _stat(self.site, "sockets_open") == 1, "it is had once it is free")
            self.seen["had later"] += 1
        is_open = _stat(self.site, "sockets_open") == 1
        assert self.others.not_theirs() == (({shown}, {shown}) if is_open else (set(), set()))
        assert not self.asked or shown == self.asked
        assert is_open or not self.asked or self.released, "a port that was promised, and never given up"
        self.seen["open"] += is_open


@pytest.mark.dropin("8", "9", "13")
def test_whatever_is_set_is_so_or_refused(pywg: str, open_lab: OpenLab) -> None:
    """Sets, up, down and other programs' ports in random order."""
    world = World(open_lab(pywg, pywg, connect=False).near)
    chance = random.Random(13)
    for _ in range(dropin.scaled(150, 1500)):
        match chance.choice(("set", "set", "mark", "up", "down", "take", "take", "up in vain", "free")):
            case "set":
                world.set(chance.choice((0, *PORTS)), chance.choice((None, 0, 1, 2)))
            case "mark":
                world.set(None, chance.randrange(3))
            case "up":
                world.link(up=True)
            case "down":
                world.link(up=False)
            case "take":
                world.others.take(chance.choice(PORTS), chance.choice(list(ADDRESSES)))
            case "up in vain":
                world.link(up=False)
                port = _shown(world.site) or PORTS[0]
                world.others.take(port, chance.choice(list(ADDRESSES)))
                world.link(up=True)
                world.check()
                world.others.free(port)
            case "free":
                world.others.free(chance.choice(PORTS))
        world.check()
    assert all(world.seen.values()), world.seen
