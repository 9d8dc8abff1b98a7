"""README's link between two sites, typed as it is written there: with a file, by hand, and with wg-quick."""

import contextlib
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.tunnel.builds import ROOT
from bench.tunnel.command import CommandError, run
from bench.tunnel.site import poll
from tests.pages import blocks_in
from tests.requirements import require_tool

from .typed import Typed

# A site's own directories, so that both interfaces can have the same name.
OWN = (
    "mkdir -p -m 755 /run/wireguard && mkdir -p -m 700 /run/pywg && mount -t tmpfs none /run/wireguard && "
    "mount -t tmpfs none /run/pywg && mount -t tmpfs none /etc/wireguard && echo ready"
)
OUTER = {"A": "198.51.100.1", "B": "203.0.113.1"}
INNER = {"A": "10.99.0.1", "B": "10.99.0.2"}
BEHIND = {"A": "192.168.1", "B": "192.168.2"}
OTHER = {"A": "B", "B": "A"}


def blocks(title: str = "Use it") -> list[str]:
    """What is to be typed, or to be in a file, below a title."""
    return blocks_in((ROOT / "README.md").read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0])


class Site(Typed):
    """A router with a network behind it."""

    def __init__(self, letter: str, pywg: str) -> None:
        super().__init__(f"pywg-readme-{secrets.token_hex(3)}{letter.lower()}", pywg, OWN)
        self.letter = letter

    def begin(self) -> None:
        """Makes it, without a link to anywhere."""
        super().begin()
        self.namespace.run("ip", "address", "add", f"{BEHIND[self.letter]}.1/24", "dev", "lo")

    def daemons(self) -> int:
        """How many processes run there."""
        return len(self.namespace.pids()) - 1

    def reaches(self, source: str, target: str) -> None:
        """Until a ping is answered."""

        def answered() -> bool:
            with contextlib.suppress(CommandError):
                return bool(self.namespace.run("ping", "-n", "-c", "1", "-W", "0.5", "-I", source, target))
            return False

        poll(answered, f"{target} answers {source}")


@pytest.fixture
def sites(pywg: str) -> Iterator[dict[str, Site]]:
    made = {letter: Site(letter, pywg) for letter in "AB"}
    try:
        for site in made.values():
            site.begin()
        a, b = (site.namespace.name for site in made.values())
        run("ip", "link", "add", "veth", "netns", a, "type", "veth", "peer", "veth", "netns", b)
        for letter, site in made.items():
            site.namespace.run("ip", "address", "add", f"{OUTER[letter]}/32", "dev", "veth")
            site.namespace.run("ip", "link", "set", "veth", "up")
            site.namespace.run("ip", "route", "add", f"{OUTER[OTHER[letter]]}/32", "dev", "veth", "src", OUTER[letter])
        yield made
    finally:
        for site in made.values():
            site.namespace.remove()


def make_keys(sites: dict[str, Site]) -> dict[str, str]:
    """The public keys, by the name that README has for them."""
    return {f"KEY_OF_{letter}": site.type(blocks()[0]).strip() for letter, site in sites.items()}


def with_keys(text: str, keys: dict[str, str]) -> str:
    for name, key in keys.items():
        text = text.replace(name, key)
    return text


def carries(sites: dict[str, Site]) -> None:
    """Between the ends of the tunnel, and between the networks behind them."""
    for letter, site in sites.items():
        other = OTHER[letter]
        site.reaches(INNER[letter], INNER[other])
        site.reaches(f"{BEHIND[letter]}.1", f"{BEHIND[other]}.1")
        assert "latest handshake" in site.type("wg show")
        assert "tun type tun" in site.type("ip -details link show wg0")
        assert "up=1\n" in site.type("pywg stats wg0")


def ends(site: Site) -> None:
    """Polls until no daemon is left there."""
    poll(lambda: site.daemons() == 0, "the daemon has ended")


def test_the_commands(sites: dict[str, Site]) -> None:
    keys = make_keys(sites)
    for site, commands in zip(sites.values(), blocks()[3:5], strict=True):
        site.type(with_keys(commands, keys))
    carries(sites)
    for site in sites.values():
        site.type("ip link del wg0")
        ends(site)


@pytest.mark.parametrize(("up", "down"), [(2, "pywg down wg0"), (5, "wg-quick down wg0")])
def test_the_file(sites: dict[str, Site], up: int, down: str) -> None:
    require_tool("wg-quick")
    keys = make_keys(sites)
    file, command = blocks()[1], blocks()[up]
    assert down.split(maxsplit=1)[0] in command
    at_b = file
    for one, other in (("KEY_OF_B", "KEY_OF_A"), (OUTER["B"], OUTER["A"]), (f"{INNER['A']}/24", f"{INNER['B']}/24")):
        assert one in at_b
        at_b = at_b.replace(one, other)
    at_b = at_b.replace(f"{INNER['B']}/32, {BEHIND['B']}.0/24", f"{INNER['A']}/32, {BEHIND['A']}.0/24")
    for site, text in zip(sites.values(), (file, at_b), strict=True):
        assert re.search(r"PrivateKey = KEY\b", text)
        secret = site.type("cat /etc/wireguard/wg0.key").strip()
        written = with_keys(re.sub(r"= KEY\b", f"= {secret}", text), keys)
        site.type('umask 077; printf "%s\\n" "$TEXT" > /etc/wireguard/wg0.conf', TEXT=written)
        site.type(command)
    carries(sites)
    for site in sites.values():
        site.type(down)
        ends(site)


def test_what_takes_a_file_without_wg_quick(sites: dict[str, Site]) -> None:
    """The pipe that README has for those who want to be sure that it is pywg."""
    (pipe,) = re.findall(r"`(wg-quick strip wg0 [^`]*)`", (ROOT / "README.md").read_text())
    site = sites["A"]
    make_keys(sites)
    text = (
        f"[Interface]\nPrivateKey = {site.type('cat /etc/wireguard/wg0.key').strip()}\nListenPort = 51999\nMTU = 1400\n"
    )
    site.type('umask 077; printf "%s" "$TEXT" > /etc/wireguard/wg0.conf; pywg wg0; ' + pipe, TEXT=text)
    assert site.type("wg show wg0 listen-port") == "51999\n"


@pytest.mark.dropin("1", "wg-quick")
@pytest.mark.parametrize("name", ["bench", "stats", "log", "run", "status"])
def test_wg_quick_makes_interfaces_that_are_called_like_commands(
    sites: dict[str, Site], pywg: str, tmp_path: Path, name: str
) -> None:
    require_tool("wg-quick")
    readme = (ROOT / "README.md").read_text()
    ((link, variable),) = re.findall(r"`ln -s pywg /usr/local/bin/([\w-]+)` and\n`(\w+=)\1`", readme)
    (tmp_path / link).symlink_to(pywg)
    site = sites["A"]
    text = "[Interface]\nListenPort = 51820\nAddress = 10.99.0.1/24\n"
    site.type(f'printf "%s" "$TEXT" > /etc/wireguard/{name}.conf', TEXT=text)
    site.type(f"{variable}{tmp_path}/{link} wg-quick up {name}")
    assert site.type(f"wg show {name} listen-port") == "51820\n"
    assert "mtu=1420" in site.type(f"pywg stats {name}")
    site.type(f"wg-quick down {name}")
    poll(lambda: site.daemons() == 0, "the daemon has ended")
