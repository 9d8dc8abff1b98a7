"""The outer side: sockets that come, go and change under live sessions, NATs, and peers that roam."""

import socket
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bench.tunnel.implementations import find
from bench.tunnel.namespace import Namespace
from bench.tunnel.site import LINK, LISTEN_PORT, Site, poll

from . import dropin
from .conftest import OpenLab
from .dropin import get, nft, set_
from .inner_udp import Wire
from .outer_link import INITIATION, TRANSPORT, Link, Stranger, hold_back, two_initiations

pytest_generate_tests = dropin.parametrize_subject

NO_IPV6 = Path(__file__).with_name("without_ipv6.py")


def _handshakes(site: Site) -> str:
    return site.wg("show", site.interface, "latest-handshakes")


def _endpoint(site: Site) -> str:
    return site.wg("show", site.interface, "endpoints").split()[1]


@pytest.mark.dropin("14")
def test_fwmark_changes_without_losing_the_session(subject: str, open_lab: OpenLab) -> None:
    lab = dropin.tunnel(open_lab, subject)
    before = _handshakes(lab.near)
    nft(
        lab.near,
        "table inet marks {",
        "chain out { type filter hook output priority 0;",
        f"udp sport {LISTEN_PORT} meta mark 0x1234 counter name one",
        f"udp sport {LISTEN_PORT} meta mark 0 counter name none",
        "}",
        "counter one {}",
        "counter none {}",
        "}",
    )

    def marked() -> tuple[bool, bool]:
        lines = [lab.near.namespace.run("nft", "reset", "counter", "inet", "marks", name) for name in ("one", "none")]
        return "packets 0 " not in lines[0], "packets 0 " not in lines[1]

    for value, expected in (("0x1234", (True, False)), ("off", (False, True)), ("0x1234", (True, False))):
        lab.near.wg("set", lab.near.interface, "fwmark", value)
        marked()
        assert dropin.answers_one(lab.near, lab.far.inner(4))
        assert marked() == expected
    assert _handshakes(lab.near) == before


@pytest.mark.dropin("14", "16")
def test_listen_port_changes_without_losing_the_session(subject: str, open_lab: OpenLab) -> None:
    lab = dropin.tunnel(open_lab, subject)
    before = _handshakes(lab.near)
    with dropin.repeated(lambda: dropin.kick(lab.near, lab.far.inner(4))):
        for port in (51999, 40001, 1024, LISTEN_PORT):
            lab.near.wg("set", lab.near.interface, "listen-port", str(port))
            dropin.resumes(lab.near, lab.far.inner(4))
            assert _endpoint(lab.far) == f"{lab.near.outer(4)}:{port}"
            assert port == LISTEN_PORT or LISTEN_PORT not in dropin.udp_ports(lab.near)
    assert _handshakes(lab.near) == before


@pytest.mark.dropin("13")
def test_port_0_is_some_port_and_both_families_have_it(subject: str, open_lab: OpenLab) -> None:
    lab = open_lab(subject, subject, connect=False)
    site = lab.near
    site.ip("link", "set", site.interface, "up")
    poll(lambda: "listen_port=" in get(site) and dropin.udp_ports(site) != [], "a port is shown")
    (port,) = dropin.udp_ports(site)
    assert f"listen_port={port}\n" in get(site)
    assert f":{port:04X} " in site.namespace.run("cat", "/proc/net/udp6")


@pytest.mark.dropin("13")
@pytest.mark.lacks("wireguard-go", "does not try again by itself")
def test_port_that_is_taken_at_up_is_had_once_it_is_free(subject: str, open_lab: OpenLab) -> None:
    """It was had before, and given up when the interface was set down."""
    lab = open_lab(subject, subject, connect=False)
    site = lab.near
    site.configure(lab.mtu)
    poll(lambda: LISTEN_PORT in dropin.udp_ports(site), "the port is bound")
    site.ip("link", "set", site.interface, "down")
    poll(lambda: LISTEN_PORT not in dropin.udp_ports(site), "the port is free", 5)
    with site.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", LISTEN_PORT))
        site.ip("link", "set", site.interface, "up")
        poll(lambda: str(LISTEN_PORT) in site.log_tail(), "the log says which port can't be had")
        assert site.alive()
    poll(lambda: LISTEN_PORT in dropin.udp_ports(site), "the port is bound once it is free", 5)
    lab.far.configure(lab.mtu)
    lab.far.add_peer(lab.near)
    site.add_peer(lab.far, endpoint=4)
    lab.establish()


@pytest.mark.dropin("7", "13")
def test_port_that_is_taken_is_refused_at_run_time(subject: str, open_lab: OpenLab) -> None:
    lab = dropin.tunnel(open_lab, subject)
    with lab.near.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", 4444))
        assert set_(lab.near, "listen_port=4444") == -98


@pytest.mark.dropin("13")
@pytest.mark.lacks("wireguard-go", "is left without sockets")
def test_refused_port_leaves_the_old_one_in_use(subject: str, open_lab: OpenLab) -> None:
    lab = dropin.tunnel(open_lab, subject)
    before = _handshakes(lab.near)
    with lab.near.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", 4444))
        assert set_(lab.near, "listen_port=4444") == -98
        assert f"listen_port={LISTEN_PORT}" in get(lab.near)
        assert dropin.answers_one(lab.near, lab.far.inner(4))
    assert _handshakes(lab.near) == before


@pytest.mark.dropin("12")
@pytest.mark.lacks("wireguard-go", "does not notice that the link went down")
def test_down_closes_the_sockets_and_wipes_the_sessions(subject: str, open_lab: OpenLab) -> None:
    lab = dropin.tunnel(open_lab, subject)
    lab.near.wg("set", lab.near.interface, "peer", lab.far.keys.public, "persistent-keepalive", "1")
    with Link(lab.near) as link:
        lab.near.ip("link", "set", lab.near.interface, "down")
        poll(lambda: dropin.udp_ports(lab.near) == [], "the sockets are closed", 4)
        silent_since = len(link.sent())
        dropin.kick(lab.far, lab.near.inner(4))  # under a session that near must not know any more
        time.sleep(1.2)
        assert link.sent()[silent_since:] == []
        lab.near.ip("link", "set", lab.near.interface, "up")
        poll(lambda: len(link.sent(INITIATION)) > 0, "a new handshake begins")
        dropin.resumes(lab.near, lab.far.inner(4))


@pytest.mark.dropin("12")
def test_interface_in_another_namespace(subject: str, open_lab: OpenLab) -> None:
    """The UDP sockets stay where the daemon was born: the known way to give a container nothing but a tunnel."""
    lab = open_lab(subject, subject, connect=False)
    site, far = lab.near, lab.far
    site.wg("set", site.interface, "private-key", site.secret_file("key", site.keys.private))
    site.wg("set", site.interface, "listen-port", str(LISTEN_PORT))
    site.add_peer(far, endpoint=4)
    far.configure(lab.mtu)
    far.add_peer(site)
    inner = Namespace(f"{site.namespace.name}-in")
    inner.create()
    try:
        site.ip("link", "set", site.interface, "netns", inner.name)
        inner.run("ip", "address", "add", f"{site.inner(4)}/24", "dev", site.interface)
        inner.run("ip", "link", "set", site.interface, "up")

        def answered() -> bool:
            return "1 received" in inner.run("sh", "-c", f"ping -c 1 -W 0.3 {far.inner(4)} || true")

        poll(answered, "the other namespace reaches far", 10)
        assert LISTEN_PORT in dropin.udp_ports(site)
        inner.run("ip", "link", "set", site.interface, "mtu", "1300")
        poll(answered, "it still does", 10)
        assert site.alive()
        site.ip("link", "set", LINK, "down")
        assert not answered()
        site.ip("link", "set", LINK, "up")
        poll(answered, "and does so again", 10)
    finally:
        inner.remove()


@pytest.mark.dropin("13")
@pytest.mark.known_bug("Port reported as 0")
@pytest.mark.lacks("wireguard-go-new", "shows no port")
def test_host_whose_kernel_has_no_ipv6(subject: str, open_lab: OpenLab) -> None:
    plain = find(subject)
    without = replace(plain, command=(sys.executable, str(NO_IPV6), *plain.command))
    lab = open_lab(without, without)
    lab.establish()
    assert f"listen_port={LISTEN_PORT}" in get(lab.near)
    lab.near.wg("set", lab.near.interface, "listen-port", "0")
    assert lab.near.wg("show", lab.near.interface, "listen-port").strip() == str(dropin.udp_ports(lab.near)[0])
    dropin.resumes(lab.near, lab.far.inner(4))


@pytest.mark.dropin("10", "17", "NAT")
def test_persistent_keepalive_holds_a_nat_mapping_open(subject: str, open_lab: OpenLab) -> None:
    """A NAT that forgets after 3 s, gives a new port each time, and drops what it doesn't know."""
    lab = open_lab(subject, subject)
    near, far = lab.near, lab.far
    timeouts = [f"net.netfilter.nf_conntrack_udp_timeout{stream}=3" for stream in ("", "_stream")]
    nft(
        near,
        "table ip nat {",
        "chain post { type nat hook postrouting priority 100;",
        f"udp sport {LISTEN_PORT} snat to {near.outer(4)}:40000-60000 random",
        "}",
        "chain in { type filter hook prerouting priority -150;",
        f'iifname "{LINK}" ip protocol udp ct state new drop',
        "}",
        "}",
    )
    near.namespace.run("sysctl", "-qw", *timeouts)
    lab.establish()
    assert _endpoint(far) != f"{near.outer(4)}:{LISTEN_PORT}", "there is a NAT"
    time.sleep(4)
    assert not dropin.answers(far, near.inner(4)), "without keepalives the mapping is gone"
    near.wg("set", near.interface, "peer", far.keys.public, "persistent-keepalive", "1")
    dropin.resumes(far, near.inner(4))
    time.sleep(4)
    assert dropin.answers_one(far, near.inner(4)), "with keepalives it stays, however long nobody speaks"


@pytest.mark.dropin("16")
@pytest.mark.known_bug("Roams only on handshakes")
@pytest.mark.known_bug("IPv6 source addresses")
def test_roaming_across_address_port_and_family(subject: str, open_lab: OpenLab) -> None:
    """Any authentic packet moves the endpoint, and the answers follow at once, in the session there is."""
    lab = dropin.tunnel(open_lab, subject)
    near, far = lab.near, lab.far
    before = _handshakes(far)

    def moved(to: str) -> None:
        dropin.resumes(near, far.inner(4), 5)
        assert _endpoint(far) == to
        with Wire(far, near) as back:
            back.check_alive()

    near.wg("set", near.interface, "listen-port", "4321")
    moved(f"{near.outer(4)}:4321")
    near.wg("set", near.interface, "peer", far.keys.public, "endpoint", f"[{far.outer(6)}]:{LISTEN_PORT}")
    moved(f"[{near.outer(6)}]:4321")
    near.wg("set", near.interface, "peer", far.keys.public, "endpoint", f"{far.outer(4)}:{LISTEN_PORT}")
    moved(f"{near.outer(4)}:4321")
    assert _handshakes(far) == before


@pytest.mark.dropin("16")
@pytest.mark.lacks("wireguard-go", "keeps sending from the address that is gone")
def test_address_that_appears_and_replaces_the_old_one(subject: str, open_lab: OpenLab) -> None:
    lab = dropin.tunnel(open_lab, subject)
    near = lab.near
    near.namespace.run("sysctl", "-qw", "net.ipv4.conf.all.promote_secondaries=1")
    near.ip("address", "add", "10.77.0.77/24", "dev", LINK)
    near.ip("address", "del", f"{near.outer(4)}/24", "dev", LINK)
    dropin.resumes(near, lab.far.inner(4), 5)
    assert _endpoint(lab.far) == f"10.77.0.77:{LISTEN_PORT}"


@pytest.mark.dropin("16")
@pytest.mark.known_bug("Roams only on handshakes")
def test_what_is_not_authentic_moves_nothing(subject: str, open_lab: OpenLab) -> None:
    lab = dropin.tunnel(open_lab, subject)
    with Link(lab.far) as link:
        assert dropin.answers_one(lab.near, lab.far.inner(4))
        messages = [one.message for one in link.received()]
    before = _endpoint(lab.far)
    fresh = hold_back(lab.far, TRANSPORT, lambda: dropin.kick(lab.near, lab.far.inner(4)))
    with Stranger(lab.near, lab.far) as stranger:
        for replayed in messages:
            stranger.send(replayed, source_port=40_000)
        for forged in (*messages, fresh):
            stranger.send(forged[:-1] + bytes([forged[-1] ^ 1]), source_port=40_000)
        with Wire(lab.far, lab.near) as back:
            back.check_alive()
        assert _endpoint(lab.far) == before
        stranger.send(fresh, source_port=40_000)
        poll(lambda: _endpoint(lab.far) == f"{lab.near.outer(4)}:40000", "what is authentic and new moves it")


@pytest.mark.dropin("17")
def test_retries_are_5_seconds_apart_and_never_the_same(subject: str, open_lab: OpenLab) -> None:
    lab = open_lab(subject, subject)
    nft(lab.far, "table inet f {", "chain in { type filter hook input priority 0; meta l4proto udp drop;", "}", "}")
    with Link(lab.near) as link:
        one, other = two_initiations(lab.near, link, lambda: dropin.kick(lab.near, lab.far.inner(4)))
    assert one[4:8] != other[4:8], "another index"
    assert one[8:40] != other[8:40], "another ephemeral key"
