"""How a daemon ends, survives and comes back, while traffic flows."""

import contextlib
import errno
import os
import signal
import socket
import time
from collections.abc import Callable

import pytest

from bench.tunnel import traffic
from bench.tunnel.command import run
from bench.tunnel.lab import Lab
from bench.tunnel.site import Site, poll
from bench.tunnel.transfer import exchange
from tests import stale

from . import dropin
from .conftest import OpenLab
from .inner_udp import Wire, payload

EXITS_WITHIN_S = 1.0  # what a drop-in for wireguard-go promises
EXITS_IN_THE_END_S = 10.0
ATTEMPTS = 3  # the promise is of the daemon, and not of a machine that has other things to do

WAYS: dict[str, Callable[[Site], object]] = {
    "SIGTERM": lambda site: os.kill(site.pid, signal.SIGTERM),
    "SIGINT": lambda site: os.kill(site.pid, signal.SIGINT),
    "link-del": lambda site: site.ip("link", "del", site.interface),
    "socket-removed": lambda site: site.uapi_socket.unlink(),
}


def _has_interface(site: Site) -> bool:
    return site.interface in site.ip("-o", "link")


@pytest.mark.dropin("5")
@pytest.mark.known_bug("Deadlock on close")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("end", ["near", "far"], ids=["sender", "receiver"])
def test_exits_0_within_a_second_under_load(daemon: str, way: str, end: str, open_lab: OpenLab) -> None:
    took: list[float] = []
    while len(took) < ATTEMPTS and min(took, default=EXITS_IN_THE_END_S) > EXITS_WITHIN_S:
        lab = open_lab(daemon, daemon)
        lab.establish()
        site: Site = getattr(lab, end)
        with traffic.background(lab.near, lab.far, lab.far.inner(4)):
            began = time.monotonic()
            WAYS[way](site)
            assert site.daemon is not None
            assert site.daemon.wait(EXITS_IN_THE_END_S) == 0, site.log_tail()
            took.append(time.monotonic() - began)
        assert not site.uapi_socket.exists()
        assert not _has_interface(site)
    assert min(took) <= EXITS_WITHIN_S, took


@pytest.mark.dropin("5")
def test_sighup_does_nothing(daemon: str, open_lab: OpenLab) -> None:
    if daemon.startswith("wireguard-go"):
        pytest.xfail("wireguard-go ends on SIGHUP")
    lab = open_lab(daemon, daemon)
    lab.establish()
    os.kill(lab.near.pid, signal.SIGHUP)
    with Wire(lab.near, lab.far) as wire:
        wire.check_alive()
    assert lab.near.alive()


def test_restarted_responder_starts_a_new_session(pair: tuple[str, str], open_lab: OpenLab) -> None:
    lab = open_lab(*pair, psk=True)
    lab.establish()
    _stop(lab.far)
    _restart(lab, lab.far, peer=lab.near)
    with Wire(lab.far, lab.near) as back, Wire(lab.near, lab.far) as there:
        back.check_alive()
        there.check([payload(size) for size in range(100)])


def test_restarted_initiator_starts_a_new_session(pair: tuple[str, str], open_lab: OpenLab) -> None:
    lab = open_lab(*pair, psk=True)
    lab.establish()
    _stop(lab.near)
    _restart(lab, lab.near, peer=lab.far)
    with Wire(lab.near, lab.far) as there, Wire(lab.far, lab.near) as back:
        there.check_alive()
        back.check([payload(size) for size in range(100)])


def _stop(site: Site) -> None:
    assert site.daemon is not None
    site.daemon.kill()  # no goodbye: the socket file stays behind, and the next one has to take it over
    site.daemon.wait()
    stale.lies_at(site.uapi_socket)


def _restart(lab: Lab, site: Site, *, peer: Site) -> None:
    site.start()
    site.configure(lab.mtu)
    site.add_peer(peer, preshared_key=lab.preshared_key, endpoint=lab.outer)


@pytest.mark.dropin("5", "12")
def test_link_down_and_up_under_load(pair: tuple[str, str], open_lab: OpenLab) -> None:
    """Reads and writes of a TUN that is down fail with EIO; that must not end the daemon."""
    lab = open_lab(*pair)
    lab.establish()
    with traffic.background(lab.near, lab.far, lab.far.inner(4)):
        for site in lab.sites:
            site.ip("link", "set", site.interface, "down")
            site.await_link(up=False)  # until then the session of before may carry a packet, once it is up
            site.ip("link", "set", site.interface, "up")
            assert site.alive(), site.log_tail()
    for site in lab.sites:  # going down took the IPv6 addresses along
        site.ip("address", "replace", f"{site.inner(6)}/64", "dev", site.interface, "nodad")
    lab.near.wg("set", lab.near.interface, "peer", lab.far.keys.public, "endpoint", f"{lab.far.outer(4)}:51820")
    with Wire(lab.near, lab.far) as there, Wire(lab.far, lab.near) as back:
        poll(lambda: _arrives(there), "a datagram arrives again")
        back.check([payload(size) for size in range(100)])


def _arrives(wire: Wire) -> bool:
    with contextlib.suppress(AssertionError):
        wire.check_alive()
        return True
    return False


@pytest.mark.dropin("5")
@pytest.mark.known_bug("A probe before link-up")
def test_probes_before_link_up(daemon: str, open_lab: OpenLab) -> None:
    lab = open_lab(daemon, daemon, connect=False)
    for site in lab.sites:
        site.ip("link", "show", site.interface)
        site.namespace.run("ethtool", "-k", site.interface)
        site.namespace.run("ethtool", "-i", site.interface)
        assert site.wg("show", site.interface, "peers") == ""
        with site.namespace.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
            probe.sendto(payload(100), (site.interface, 0x0800))
        assert site.alive(), site.log_tail()
        site.configure(lab.mtu)
    lab.far.add_peer(lab.near)
    lab.near.add_peer(lab.far, endpoint=4)
    lab.establish()


@pytest.mark.dropin("12")
def test_mtu_changes_under_load(pair: tuple[str, str], open_lab: OpenLab) -> None:
    lab = open_lab(*pair, mtu=1420)
    lab.establish()
    with _exchanging(lab):
        for mtu in ("1280", "1380", "1420", "1300"):
            for site in lab.sites:
                site.ip("link", "set", site.interface, "mtu", mtu)
    with Wire(lab.near, lab.far) as wire:
        wire.check([payload(size) for size in range(1300 - 28 + 1)])


@pytest.mark.known_bug("Editing an existing peer")
def test_peers_added_and_removed_under_load(pair: tuple[str, str], open_lab: OpenLab) -> None:
    lab = open_lab(*pair)
    lab.establish()
    keys = [run("wg", "pubkey", stdin=run("wg", "genkey")).strip() for _ in range(30)]
    with _exchanging(lab):
        for site in lab.sites:
            for number, key in enumerate(keys):
                site.wg(
                    "set", site.interface, "peer", key, "allowed-ips", f"10.200.{number}.0/24,fd00:200:{number}::/48"
                )
            assert len(site.wg("show", site.interface, "peers").split()) == len(keys) + 1
            for key in keys:
                site.wg("set", site.interface, "peer", key, "remove")
            assert site.wg("show", site.interface, "peers").split() == [_other(lab, site).keys.public]


def test_the_peer_itself_is_removed_and_added_again_under_load(pair: tuple[str, str], open_lab: OpenLab) -> None:
    lab = open_lab(*pair)
    lab.establish()

    def exchange_with_the_peer() -> None:
        while True:
            try:
                return _exchange(lab)
            except OSError as error:
                if error.errno != errno.EHOSTUNREACH:  # a connection was begun while there was no peer
                    raise

    with dropin.repeated(exchange_with_the_peer):
        for _ in range(3):
            lab.near.wg("set", lab.near.interface, "peer", lab.far.keys.public, "remove")
            lab.near.add_peer(lab.far, endpoint=4)
    assert all(site.alive() for site in lab.sites)
    with Wire(lab.near, lab.far) as there:
        there.check([payload(size) for size in range(100)])


def _other(lab: Lab, site: Site) -> Site:
    return lab.far if site is lab.near else lab.near


def _exchanging(lab: Lab) -> contextlib.AbstractContextManager[None]:
    """Hashed bytes flow both ways as long as the block lasts; each round has to be right."""
    return dropin.repeated(lambda: _exchange(lab))


def _exchange(lab: Lab) -> None:
    exchange(lab.near.namespace, lab.far.namespace, lab.far.inner(4), 20_000_000)
