"""README's "Two sites", typed as it is written there: hosts behind both sites reach each other, and nothing more."""

import functools
import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.tunnel.command import CommandError, run
from bench.tunnel.namespace import Namespace
from bench.tunnel.site import poll
from pywg.manage.tunnel import state
from tests.requirements import require_tool

from .test_readme import BEHIND, INNER, OTHER, OUTER, Site, blocks, ends

NAMES = {"A": "berlin", "B": "paris"}
STRANGER = "192.168.77.1"
"""A host that the networks' routers know, and that no site's file has."""


class Place:
    """A router, the folder that was copied to it, and a host behind it."""

    def __init__(self, letter: str, pywg: str, folder: Path) -> None:
        self.letter = letter
        self.router = Site(letter, pywg)
        self.host = Namespace(f"pywg-init-{secrets.token_hex(3)}{letter.lower()}")
        self.folder = folder / NAMES[letter]
        self.address = f"{BEHIND[letter]}.7"

    def begin(self) -> None:
        """Makes both, and the network between them."""
        self.router.begin()
        for folder in ("/etc/sysctl.d", state.DIRECTORY):
            self.router.type(f"mkdir -p {folder} && mount -t tmpfs none {folder}")
        self.router.type(
            "cp /etc/nftables.conf /run/pywg/nftables.conf; mount --bind /run/pywg/nftables.conf /etc/nftables.conf"
        )
        self.host.create()
        lan = ["ip", "link", "add", "lan", "netns", self.router.namespace.name, "type", "veth", "peer", "lan", "netns"]
        run(*lan, self.host.name)
        self.router.namespace.run("ip", "address", "del", f"{BEHIND[self.letter]}.1/24", "dev", "lo")
        for namespace, number in ((self.router.namespace, 1), (self.host, 7)):
            namespace.run("ip", "address", "add", f"{BEHIND[self.letter]}.{number}/24", "dev", "lan")
            namespace.run("ip", "link", "set", "lan", "up")
        self.host.run("ip", "route", "add", "default", "via", f"{BEHIND[self.letter]}.1")
        self.host.run("ip", "address", "add", f"{STRANGER}/32", "dev", "lo")
        self.router.namespace.run("ip", "route", "add", f"{STRANGER}/32", "via", self.address)

    def remove(self) -> None:
        """Both."""
        self.host.remove()
        self.router.namespace.remove()

    def answers(self, source: str, target: str) -> bool:
        """A ping from the host behind it."""
        try:
            self.host.run("ping", "-n", "-c", "1", "-W", "1", "-I", source, target)
        except CommandError:
            return False
        return True


@pytest.fixture
def places(pywg: str, tmp_path: Path) -> Iterator[dict[str, Place]]:
    require_tool("nft")
    require_tool("sysctl")
    made = {letter: Place(letter, pywg, tmp_path) for letter in "AB"}
    try:
        for place in made.values():
            place.begin()
        a, b = (place.router.namespace.name for place in made.values())
        run("ip", "link", "add", "veth", "netns", a, "type", "veth", "peer", "veth", "netns", b)
        for letter, place in made.items():
            namespace = place.router.namespace
            namespace.run("ip", "address", "add", f"{OUTER[letter]}/32", "dev", "veth")
            namespace.run("ip", "link", "set", "veth", "up")
            namespace.run("ip", "route", "add", f"{OUTER[OTHER[letter]]}/32", "dev", "veth", "src", OUTER[letter])
        yield made
    finally:
        for place in made.values():
            place.remove()


def readme() -> list[str]:
    """The command that makes the files, and the commands for both sites."""
    return blocks("Two sites")[:2]


def write(command: str, folder: Path, pywg: str) -> str:
    """Types the command, and returns what it printed."""
    environment = {**os.environ, "PATH": f"{Path(pywg).parent}:{os.environ['PATH']}"}
    return subprocess.run(
        ["sh", "-ec", command], cwd=folder, env=environment, capture_output=True, text=True, check=True
    ).stdout


def commands_of(printed: str, name: str) -> list[str]:
    """What is to be typed at a site, as it was printed."""
    found = re.search(rf"^At {name},.*\n((?:  .*\n)+)", printed, re.M)
    assert found
    return [line.strip() for line in found[1].splitlines()]


def carry(places: dict[str, Place], printed: str) -> None:
    """Types what was printed, and sees whether the hosts reach each other."""
    for letter, place in places.items():
        enter, *commands = commands_of(printed, NAMES[letter])
        assert enter == f"cd {NAMES[letter]}"
        place.router.type("\n".join([f"cd {place.folder}", *commands]))
    for letter, place in places.items():
        other = places[OTHER[letter]]
        poll(functools.partial(place.answers, place.address, other.address), "the hosts reach each other")
        place.router.reaches(INNER[letter], INNER[OTHER[letter]])
    for letter, place in places.items():
        assert not place.answers(STRANGER, places[OTHER[letter]].address)
        assert "policy accept" in place.router.type("nft list table inet pywg-wg0")
        assert "tun type tun" in place.router.type("ip -details link show wg0")


def test_two_sites(places: dict[str, Place], pywg: str, tmp_path: Path) -> None:
    command, at_both = readme()
    printed = write(command, tmp_path, pywg)
    for name in NAMES.values():
        assert commands_of(printed, name)[1:] == at_both.splitlines()
    carry(places, printed)
    for place in places.values():
        place.router.type("pywg down wg0")
        ends(place.router)


def test_behind_nat(places: dict[str, Place], pywg: str, tmp_path: Path) -> None:
    """Paris has no address of its own outside: it calls, from wherever its router takes it, and stays reachable."""
    command = readme()[0].replace(f"--right-endpoint {OUTER['B']} ", "")
    assert command != readme()[0]
    nat = (
        "table ip nat { chain post { type nat hook postrouting priority 100; udp sport 51820 masquerade to :40000; }; }"
    )
    places["B"].router.type(f"echo '{nat}' | nft -f -")
    printed = write(command, tmp_path, pywg)
    assert "Endpoint" not in (places["A"].folder / "wg0.conf").read_text()
    assert "PersistentKeepalive = 25" in (places["B"].folder / "wg0.conf").read_text()
    carry(places, printed)
    assert f"{OUTER['B']}:40000" in places["A"].router.type("wg show wg0 endpoints")
