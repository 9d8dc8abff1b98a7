"""The same thing again and again, under load. PYWG_LONG=1 does it as often as one would in a night."""

import contextlib
import os
import time
from pathlib import Path

import pytest

from bench.tunnel import traffic
from bench.tunnel.site import LINK, LISTEN_PORT, Site, poll
from bench.tunnel.transfer import TransferError, exchange
from tests import stale

from . import dropin
from .conftest import OpenLab
from .dropin import OURS, Client, get, nft, peers, scaled, set_
from .inner_udp import Wire, payload
from .outer_link import Stranger, initiation

pytest_generate_tests = dropin.parametrize_subject

RESUMES_WITHIN_S = 2.0  # what is promised when we initiate
FOUND_WITHIN_S = 3.0  # well before the next handshake, and before the keepalive after next
RSS_MAY_GROW = 8 << 20
FAILED_HANDSHAKES = 300  # a round: enough to show what one leaves behind, and too few to be a flood
PAGE_LEN = os.sysconf("SC_PAGE_SIZE")


@pytest.mark.dropin("16", "endpoint changes")
def test_endpoint_changes_every_second_under_traffic(subject: str, open_lab: OpenLab) -> None:
    """Between IPv4 and IPv6 on one side, ports on the other: TCP loses no byte, and no session begins anew."""
    lab = dropin.tunnel(open_lab, subject)
    near, far = lab.near, lab.far
    before = far.wg("show", far.interface, "latest-handshakes")
    # Whoever got another port and then only listens is not found again: the keepalive makes near speak.
    near.wg("set", near.interface, "peer", far.keys.public, "persistent-keepalive", "1")
    with dropin.repeated(lambda: exchange(near.namespace, far.namespace, far.inner(4), 2_000_000)):
        for number in range(scaled(5, 60)):
            host = far.outer(4) if number % 2 else f"[{far.outer(6)}]"
            near.wg("set", near.interface, "peer", far.keys.public, "endpoint", f"{host}:{LISTEN_PORT}")
            if number % 3 == 0:
                near.wg("set", near.interface, "listen-port", str(40_000 + number))
                # Who moved has to speak first: with nothing to send, it would be found by the next handshake only.
                # Not with one ping alone: what is on its way to a socket that closes is lost, whichever daemon's it is.
                dropin.resumes(near, far.inner(4), FOUND_WITHIN_S)
            time.sleep(1)
    assert far.wg("show", far.interface, "latest-handshakes") == before


def _change(number: int, key: str, other: str) -> list[str]:
    """One of eight kinds of change; after all of them nothing is left but the other peer's last values."""
    peer = f"public_key={key}"
    return [
        [peer, f"allowed_ip=10.100.{number % 256}.0/24", "endpoint=10.77.0.99:1"],
        [peer, "replace_allowed_ips=true", "allowed_ip=fd00:100::/32"],
        [peer, "preshared_key=" + f"{number:064x}", "persistent_keepalive_interval=25"],
        [f"fwmark={number}"],
        [f"public_key={other}", "update_only=true", f"persistent_keepalive_interval={number % 100 + 20}"],
        [peer, "remove=true"],
        ["fwmark=0"],
        [f"public_key={number:062x}7f", "allowed_ip=10.101.0.0/16", f"public_key={number:062x}7f", "remove=true"],
    ][number % 8]


@pytest.mark.dropin("8", "9", "14", "configuration changes")
@pytest.mark.known_bug("Nil dereference")
def test_1000_configuration_changes_under_iperf3(subject: str, open_lab: OpenLab) -> None:
    lab = dropin.tunnel(open_lab, subject)
    near, far = lab.near, lab.far
    (key,) = dropin.public_keys(1)
    other = dropin.hexkey(far.keys.public)
    before = near.wg("show", near.interface, "latest-handshakes")
    shown = 0

    def show() -> None:
        """While peers, endpoints and prefixes come and go."""
        nonlocal shown
        shown += get(near).count("public_key=")
        time.sleep(0.01)

    with traffic.background(near, far, far.inner(4)), Client(near) as client, dropin.repeated(show):
        for number in range(1000):
            lines = _change(number, dropin.hexkey(key), other)
            assert client.ask("\n".join(["set=1", *lines, "", ""])) == "errno=0\n\n"
        moved = far.transferred()[0]
        poll(lambda: far.transferred()[0] > moved + 5_000_000, "iperf3 still moves data")
    assert shown > 0
    (peer,) = peers(near)
    assert peer["public_key"] == [other]
    assert sorted(peer["allowed_ip"]) == ["10.78.0.2/32", "fd00:78::2/128"]
    assert "fwmark" not in get(near)
    assert near.wg("show", near.interface, "latest-handshakes") == before


@pytest.mark.dropin("12", "up and down")
def test_up_and_down_many_times(subject: str, open_lab: OpenLab) -> None:
    lab = dropin.tunnel(open_lab, subject)
    near, far = lab.near, lab.far
    before = near.usage()
    cycle = f"ip link set {near.interface} down; ip link set {near.interface} up"
    with dropin.repeated(lambda: dropin.kick(near, far.inner(4))):
        for number in range(500 if subject == OURS else scaled(100, 500)):
            near.namespace.run("sh", "-c", cycle)
            if number % 10 == 0:
                time.sleep(0.05)  # some are noticed one by one, others not before the next
    dropin.resumes(near, far.inner(4))
    assert near.alive()
    poll(lambda: near.usage().fds <= before.fds, "as many descriptors as before")
    assert near.usage().threads <= before.threads + 2
    with Wire(near, far) as wire:
        wire.check([payload(size) for size in range(50)])


@pytest.mark.dropin("5", "6", "kill -9 and restart")
def test_killed_and_restarted_under_load(subject: str, open_lab: OpenLab) -> None:
    """No goodbye: the stale socket is taken over, and the peer hears from us within 2 s of our being configured."""
    lab = dropin.tunnel(open_lab, subject, psk=True)
    near, far = lab.near, lab.far
    with dropin.repeated(lambda: dropin.kick(far, near.inner(4))):
        for _ in range(20 if subject == OURS else scaled(5, 20)):
            assert near.daemon is not None
            near.daemon.kill()
            near.daemon.wait()
            stale.lies_at(near.uapi_socket)
            near.start()
            near.configure(lab.mtu)
            near.add_peer(far, preshared_key=lab.preshared_key, endpoint=4)
            dropin.resumes(near, far.inner(4), RESUMES_WITHIN_S)


@pytest.mark.dropin("17", "loss")
@pytest.mark.parametrize(("percent", "length"), [(1, 3_000_000), (5, 500_000), (20, 20_000)])
@pytest.mark.timeout(400)
def test_loss(subject: str, percent: int, length: int, open_lab: OpenLab) -> None:
    """Random loss of the outer datagrams, both ways: what arrives inside is right, and a handshake gets through."""
    lab = open_lab(subject, subject)
    for site in lab.sites:
        nft(
            site,
            "table inet lossy {",
            "chain in { type filter hook input priority 0;",
            f'iifname "{LINK}" meta l4proto udp numgen random mod 100 < {percent} drop',
            "}",
            "}",
        )
    lab.establish(within_s=40)
    try:
        exchange(
            lab.near.namespace, lab.far.namespace, lab.far.inner(4), length * scaled(1, 1 if percent == 20 else 10)
        )
    except TransferError as error:
        if percent < 20 or "timed out" not in str(error):
            raise
        # One in a thousand connections loses so many in a row that TCP waits for longer than we do: not two of them.
        exchange(lab.near.namespace, lab.far.namespace, lab.far.inner(4), length)


def _rss(site: Site) -> int:
    return int(Path(f"/proc/{site.pid}/statm").read_text().split()[1]) * PAGE_LEN


def _churn(site: Site, far: Site, rounds: int) -> None:
    for number in range(rounds):
        with Stranger(far, site) as stranger:
            stranger.send(*(initiation(site.keys.public) for _ in range(FAILED_HANDSHAKES)))
        keys = [f"{number:030x}{index:032x}7e" for index in range(300)]
        added = [line for key in keys for line in (f"public_key={key}", "allowed_ip=10.200.0.0/24", "allowed_ip=::/0")]
        assert set_(site, *added) == 0
        get(site)
        assert set_(site, *[line for key in keys for line in (f"public_key={key}", "remove=true")]) == 0
        for port in (50_000 + number, LISTEN_PORT):
            assert set_(site, f"listen_port={port}") == 0
        with contextlib.ExitStack() as clients:
            for _ in range(10):
                clients.enter_context(Client(site))
        for state in ("down", "up"):
            site.ip("link", "set", site.interface, state)
        dropin.resumes(site, far.inner(4))


@pytest.mark.dropin("resources")
@pytest.mark.known_bug("Memory grows without bound under load")
@pytest.mark.known_bug("Failed inbound handshakes leak memory")
@pytest.mark.lacks("wireguard-go", "its pools keep what the churn made them take")
def test_descriptors_threads_and_memory_come_back(subject: str, open_lab: OpenLab) -> None:
    lab = dropin.tunnel(open_lab, subject)
    near, far = lab.near, lab.far
    _churn(near, far, 3)
    exchange(near.namespace, far.namespace, far.inner(4), 3_000_000)
    before, rss = near.usage(), _rss(near)
    _churn(near, far, scaled(10, 200))
    exchange(near.namespace, far.namespace, far.inner(4), 3_000_000)
    poll(lambda: near.usage().fds <= before.fds, "as many descriptors as before")
    poll(lambda: near.usage().threads <= before.threads + 2, "as many threads as before")
    assert _rss(near) - rss < RSS_MAY_GROW
