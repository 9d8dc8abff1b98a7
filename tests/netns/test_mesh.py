"""`pywg init mesh`, brought up: each site reaches each, by both families, and what one does leaves the others alone."""

import functools
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.tunnel.command import CommandError, run
from bench.tunnel.namespace import Namespace
from bench.tunnel.site import poll
from pywg.cli.main import main
from pywg.manage import client
from pywg.manage.tunnel import state as states

from .machine import Machine

TABLE = """\
name, endpoint, networks
berlin, 10.50.0.1, 192.168.1.0/24 fd00:1::/64
paris, [fd50::2]:51822, 192.168.2.0/24 fd00:2::/64
lyon, 10.50.0.3, fd00:3::/64
oslo,, 192.168.4.0/24
"""
"""Paris is reached by IPv6 alone. Oslo has no endpoint, and calls the others."""
NAMES = ("berlin", "paris", "lyon", "oslo")
BEHIND = (("192.168.1.1", "fd00:1::1"), ("192.168.2.1", "fd00:2::1"), ("fd00:3::1",), ("192.168.4.1",))


@pytest.fixture
def sites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Machine]]:
    """A namespace each, on one bridge; none runs yet. The interfaces of all have the same name."""
    tmp_path.chmod(0o700)
    monkeypatch.setattr(states, "DIRECTORY", str(tmp_path / "state"))
    monkeypatch.delenv("LOG_LEVEL", raising=False)
    token = f"{os.getpid()}-{secrets.token_hex(3)}"
    between = Namespace(f"pywg-{token}m")
    spaces = [Namespace(f"pywg-{token}{letter}") for letter in "abcd"]
    made = [
        Machine(space, f"m{token[-8:]}", tmp_path / "mesh" / name) for space, name in zip(spaces, NAMES, strict=True)
    ]
    try:
        for space in (between, *spaces):
            space.create()
        between.run("sh", "-ec", "ip link add bridge type bridge; ip link set bridge up")
        for number, space in enumerate(spaces, 1):
            link = ("ip", "link", "add", f"v{number}", "netns", between.name, "type", "veth", "peer")
            run(*link, "name", "wan", "netns", space.name)
            between.run("ip", "link", "set", f"v{number}", "master", "bridge", "up")
            space.run(
                *("sh", "-ec"),
                f"ip link set wan up; ip address add 10.50.0.{number}/24 dev wan;"
                f"ip address add fd50::{number}/64 dev wan nodad;"
                + "".join(f"ip address add {address} dev lo;" for address in BEHIND[number - 1]),
            )
        yield made
    finally:
        for one in made:
            one.clear()
        for space in (between, *spaces):
            space.remove()


def plan(folder: Path, interface: str, *options: str, table: str = TABLE) -> None:
    """Types the command."""
    (folder / "mesh.csv").write_text(table)
    command = ["init", "mesh", str(folder / "mesh.csv"), "--interface", interface, "--ipv6", *options]
    assert main(command) == 0


def inner(site: Machine) -> list[str]:
    """Its addresses in the tunnel."""
    shown = site.namespace.run("ip", "-o", "address", "show", "dev", site.interface, "scope", "global")
    return [line.split()[3].partition("/")[0] for line in shown.splitlines()]


def reaches(site: Machine, address: str) -> bool:
    """Whether a ping is answered."""
    try:
        site.namespace.run("ping", "-n", "-c", "1", "-W", "1", address)
    except CommandError:
        return False
    return True


def reach_each_other(sites: list[Machine]) -> None:
    """All pairs, in both directions, by all addresses: of the tunnel, and of what is behind."""
    there = {site.folder.name: inner(site) + list(BEHIND[NAMES.index(site.folder.name)]) for site in sites}
    for site in reversed(sites):  # Oslo, which others can't call, comes first
        for other in sites:
            if other is not site:
                for address in there[other.folder.name]:
                    poll(functools.partial(reaches, site, address), f"{site.folder.name} to {address}")


def handshakes(site: Machine) -> dict[bytes, int]:
    """When each session began, by the peer's key."""
    with site.namespace.entered():
        return {peer.public_key: peer.last_handshake_ns for peer in client.get(site.interface).peers}


def test_four_sites(sites: list[Machine], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    berlin, paris, lyon, oslo = sites
    plan(tmp_path, berlin.interface)
    assert "4 sites" in capsys.readouterr().out
    for site in sites:
        subprocess.run(["wg-quick", "strip", str(site.path)], check=True, stdout=subprocess.DEVNULL)
        site.up()
        assert len(inner(site)) == 2
    reach_each_other(sites)

    rest = [berlin, lyon, oslo]
    before = [handshakes(site) for site in rest]
    paris.down()
    plan(tmp_path, berlin.interface, table=TABLE.replace("192.168.2.0/24", "192.168.2.0/24 192.168.22.0/24"))
    changed = berlin.reload()
    assert "+ route 192.168.22.0/24" in changed
    assert all("192.168.22.0/24" in line or "is what" in line for line in changed), "a further run keeps all else"
    reach_each_other(rest)
    assert [handshakes(site) for site in rest] == before, "no session is lost"
    paris.up()
    reach_each_other([paris, oslo])
    for site in sites:
        site.down()
    for site in sites:
        site.nothing_runs()
