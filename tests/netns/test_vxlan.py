"""VXLAN inside the tunnel, over IPv4 and IPv6, without and with checksums of its own: it passes as superframes."""

import os
import re
import shlex
import socket
import sysconfig
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from bench.tunnel import transfer
from bench.tunnel.command import run
from bench.tunnel.implementations import find
from bench.tunnel.lab import Lab
from bench.tunnel.site import Site

from .conftest import OpenLab

RELEASE = tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])
SUPERFRAMES = RELEASE >= (6, 17)
LENGTH = 5_000_000
DEVICE = "vx0"
SHIM = Path(__file__).with_name("refuse_tunnels.c")
CHECKSUMS = {False: ["noudpcsum", "udp6zerocsumtx", "udp6zerocsumrx"], True: ["udpcsum"]}


class Kind(NamedTuple):
    """A VXLAN of a module's lab: over which IP, whether with a checksum of its own, and its port.

    The second one's port is that of Flannel and Cilium: none is known beforehand.
    """

    outer: int
    checksum: bool
    port: int


KINDS = [Kind(4, checksum=False, port=4789), Kind(6, checksum=True, port=8472)]


def inside(site: Site, family: int) -> str:
    """The site's address in the VXLAN."""
    return f"10.79.0.{site.number}" if family == 4 else f"fd00:79::{site.number}"


def join(lab: Lab, kind: Kind) -> None:
    """Joins the sites by a VXLAN through the tunnel."""
    headers = (20 if kind.outer == 4 else 40) + 8 + 8 + 14
    for site, other in (lab.sites, lab.sites[::-1]):
        place = ["local", site.inner(kind.outer), "remote", other.inner(kind.outer), "dstport", str(kind.port)]
        site.ip("link", "add", DEVICE, "type", "vxlan", "id", "7", *place, *CHECKSUMS[kind.checksum])
        site.ip("link", "set", DEVICE, "mtu", str(lab.mtu - headers), "up")
        site.ip("address", "add", f"{inside(site, 4)}/24", "dev", DEVICE)
        site.ip("address", "add", f"{inside(site, 6)}/64", "dev", DEVICE, "nodad")


def merged(lab: Lab) -> list[tuple[float, float]]:
    """Of each pywg: datagrams sent for a packet read, packets received for a write."""
    found = []
    for site in lab.sites:
        if stats := site.stats():
            datagrams, packets, received, writes = (
                int(stats[f"counter_{name}"]) for name in ("tx_datagrams", "tx_packets", "rx_packets", "rx_tun_writes")
            )
            found.append((datagrams / packets, received / writes))
    return found


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: f"v{kind.outer}")
def vxlan(pair: tuple[str, str], request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(*pair) as lab:
        lab.establish()
        join(lab, request.param)
        yield lab


def test_tcp(vxlan: Lab) -> None:
    """It passes as superframes, whatever the other end is: a read, and a write, for many datagrams."""
    for family in (4, 6):
        transfer.exchange(vxlan.near.namespace, vxlan.far.namespace, inside(vxlan.far, family), LENGTH)
    for site in vxlan.sites:
        if stats := site.stats():
            assert stats["offload_tun_tunnels"] == stats["offload_coalesce_tunnels"] == str(int(SUPERFRAMES))
            wrong = ("tx_malformed", "tx_unknown_gso", "tx_no_room", "tx_tun_error", "rx_tun_error")
            assert not any(int(stats[f"counter_{name}"]) for name in wrong), stats
    for out, back in merged(vxlan):
        assert (out > 1.5, back > 1.5) == (SUPERFRAMES, SUPERFRAMES), (out, back)


def test_udp(vxlan: Lab) -> None:
    """Datagrams inside come one by one, as they were sent."""
    near, far = vxlan.sites
    with (
        near.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        far.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind((inside(far, 4), 9000))
        receiver.settimeout(10)
        sender.connect((inside(far, 4), 9000))
        for length in (0, 1, 500, 1200, 1200, 1200, 9, 4000):
            sender.send(bytes([length & 0xFF]) * length)
            assert receiver.recv(65536) == bytes([length & 0xFF]) * length


def test_switched_off(pair: tuple[str, str], open_lab: OpenLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYWG_VXLAN_OFFLOAD", "0")
    lab = open_lab(*pair)
    lab.establish()
    join(lab, KINDS[0])
    transfer.exchange(lab.near.namespace, lab.far.namespace, inside(lab.far, 4), LENGTH // 10)
    for site in lab.sites:
        if stats := site.stats():
            assert stats["offload_tun_vnet_hdr"] == "1"
            assert stats["offload_tun_tunnels"] == stats["offload_coalesce_tunnels"] == "0"
    for out, back in merged(lab):
        assert (out > 3, back > 3) == (False, False), (out, back)


def test_a_tun_that_refuses_them(pywg: str, tmp_path: Path, open_lab: OpenLab) -> None:
    """What was in the superframe comes all the same, and no more is made, until the TUN is another."""
    library = tmp_path / "refuse_tunnels.so"
    run(*shlex.split(sysconfig.get_config_var("CC")), "-shared", "-fPIC", "-O1", "-o", str(library), str(SHIM), "-ldl")
    env = {"LD_PRELOAD": str(library), "PATH": os.environ["PATH"]}
    lab = open_lab("pywg", replace(find("pywg"), env=env))
    lab.establish()
    join(lab, KINDS[0])
    transfer.exchange(lab.near.namespace, lab.far.namespace, inside(lab.far, 4), LENGTH)
    near, far = (site.stats() for site in lab.sites)
    assert near["offload_coalesce_tunnels"] == str(int(SUPERFRAMES))
    assert far["offload_coalesce_tunnels"] == "0"
    assert (far["counter_rx_tun_error"], far["counter_rx_packets"]) == ("0", far["counter_rx_tun_writes"])
