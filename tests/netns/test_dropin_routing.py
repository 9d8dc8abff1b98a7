"""The inner side: who may send what to whom, tunnels in tunnels, and loops."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.tunnel.command import run
from bench.tunnel.lab import Lab
from bench.tunnel.site import LINK, LISTEN_PORT, Site, poll
from bench.tunnel.transfer import exchange

from . import dropin
from .conftest import OpenLab
from .inner_udp import Wire, payload
from .outer_link import KEEPALIVE_LEN, Link

pytest_generate_tests = dropin.parametrize_subject

LOOP_S = 1.5
LOOP_DATAGRAMS_MAX = 2000
"""In so many seconds: a loop without end gives tens of thousands."""
CIRCLED_LEN, CIRCLE_MAY_TAKE = 20_000_000, 8 << 20


def _allow(site: Site, public_key: str, prefixes: str) -> None:
    site.wg("set", site.interface, "peer", public_key, "allowed-ips", prefixes)


@pytest.mark.dropin("16", "cryptokey routing")
@pytest.mark.parametrize("family", [4, 6], ids=["v4", "v6"])
def test_what_is_sent_goes_to_the_most_specific_owner(subject: str, family: int, open_lab: OpenLab) -> None:
    """far owns the wide prefix; in it, a peer that nobody can reach owns a narrow one, and in that far owns a host."""
    wide, narrow, host, outside, inside = {
        4: ("10.79.0.0/16", "10.79.1.0/24", "10.79.1.7", "10.79.2.5", "10.79.1.5"),
        6: ("fd00:79::/32", "fd00:79:1::/48", "fd00:79:1::7", "fd00:79:2::5", "fd00:79:1::5"),
    }[family]
    lab = dropin.tunnel(open_lab, subject)
    near, far = lab.near, lab.far
    bits = 32 if family == 4 else 128
    _allow(near, far.keys.public, f"{near_allowed(lab)},{wide},{host}/{bits}")
    _allow(near, dropin.UNKNOWN_KEY, narrow)
    near.ip("route", "add", wide, "dev", near.interface)
    for address in (host, outside, inside):
        far.ip("address", "add", f"{address}/{bits}", "dev", "lo", *(["nodad"] if ":" in address else []))
    assert dropin.answers_one(near, outside)
    assert dropin.answers_one(near, host)
    assert not dropin.answers(near, inside), "far has this address, and is not who owns it"


def near_allowed(lab: Lab) -> str:
    """What the near site lets the far one have."""
    return f"{lab.far.inner(4)}/32,{lab.far.inner(6)}/128"


@pytest.mark.dropin("16", "cryptokey routing")
@pytest.mark.known_bug("A peer may send from a subnet")
@pytest.mark.parametrize("family", [4, 6], ids=["v4", "v6"])
def test_what_is_received_is_from_the_most_specific_owner(subject: str, family: int, open_lab: OpenLab) -> None:
    wide, narrow, owned, stolen = {
        4: ("10.79.0.0/16", "10.79.1.0/24", "10.79.2.5", "10.79.1.5"),
        6: ("fd00:79::/32", "fd00:79:1::/48", "fd00:79:2::5", "fd00:79:1::5"),
    }[family]
    lab = dropin.tunnel(open_lab, subject)
    bits = 32 if family == 4 else 128
    for address in (owned, stolen):
        lab.near.ip(
            "address", "add", f"{address}/{bits}", "dev", lab.near.interface, *(["nodad"] if ":" in address else [])
        )
    _allow(lab.far, lab.near.keys.public, f"{lab.near.inner(4)},{lab.near.inner(6)},{wide}")
    _allow(lab.far, dropin.UNKNOWN_KEY, narrow)
    with Wire(lab.near, lab.far, family) as wire:
        wire.check_alive()
        for _ in range(3):
            wire.send_from(stolen, b"from another peer's subnet")
        wire.send_from(owned, b"from its own")
        assert wire.receive(1) == [b"from its own"]


@pytest.mark.dropin("10", "16", "prefix moves")
def test_prefix_moves_between_peers_under_traffic(subject: str, open_lab: OpenLab) -> None:
    """To a peer that nobody can reach and back, many times, while hashed bytes flow: none is lost for good."""
    lab = dropin.tunnel(open_lab, subject)
    near = lab.near
    # With an endpoint, where nobody listens: to a peer without one, a new connection is refused at once.
    near.wg("set", near.interface, "peer", dropin.UNKNOWN_KEY, "endpoint", "127.0.0.1:9")
    with dropin.repeated(lambda: exchange(near.namespace, lab.far.namespace, lab.far.inner(4), 3_000_000)):
        for _ in range(10):
            _allow(near, dropin.UNKNOWN_KEY, f"{lab.far.inner(4)}/32")
            _allow(near, lab.far.keys.public, near_allowed(lab))
            time.sleep(0.05)
    shown = dict(line.split("\t") for line in near.wg("show", near.interface, "allowed-ips").splitlines())
    assert shown[dropin.UNKNOWN_KEY] == "(none)"
    dropin.resumes(near, lab.far.inner(4))


@pytest.mark.dropin("nested tunnels")
def test_nested_tunnels(subject: str, open_lab: OpenLab) -> None:
    """A second interface at each end, whose endpoints are the inner addresses of the first; and a third in that."""
    lab = dropin.tunnel(open_lab, subject)
    with (
        dropin.second_daemon(lab.near, "n") as near2,
        dropin.second_daemon(lab.far, "n") as far2,
        dropin.second_daemon(lab.near, "o") as near3,
        dropin.second_daemon(lab.far, "o") as far3,
    ):
        _join(near2, far2, level=2, endpoint=lab.far.inner(4))
        _join(near3, far3, level=3, endpoint="10.78.2.2")
        for address in ("10.78.2.2", "10.78.3.2"):
            dropin.resumes(lab.near, address)
            exchange(lab.near.namespace, lab.far.namespace, address, 3_000_000)


def _join(near: Site, far: Site, *, level: int, endpoint: str) -> None:
    port = LISTEN_PORT + level
    for site, other, number in ((near, far, 1), (far, near, 2)):
        key = site.secret_file(f"key{level}", site.keys.private)
        site.wg("set", site.interface, "private-key", key, "listen-port", str(port))
        site.ip("link", "set", site.interface, "mtu", str(1500 - 80 * level))
        site.ip("address", "add", f"10.78.{level}.{number}/24", "dev", site.interface)
        site.ip("link", "set", site.interface, "up")
        _allow(site, other.keys.public, f"10.78.{level}.0/24")
    near.wg("set", near.interface, "peer", far.keys.public, "endpoint", f"{endpoint}:{port}")


@contextmanager
def _no_meltdown(site: Site) -> Iterator[None]:
    """What the body sends into a loop comes round a few times, and then the daemon rests."""
    cpu_s, sent = site.usage().cpu_s, site.transferred()[1]
    yield
    time.sleep(LOOP_S)
    assert site.transferred()[1] - sent < LOOP_DATAGRAMS_MAX * 200
    assert site.usage().cpu_s - cpu_s < 1.0, "it does not turn in circles"


def _works_again(near: Site, far: Site) -> None:
    assert near.alive()
    dropin.resumes(near, far.inner(4))
    with Wire(near, far) as wire:
        wire.check([payload(size) for size in range(50)])


@pytest.mark.dropin("routing loop")
@pytest.mark.lacks("wireguard-go", "encrypts its own messages over and over")
@pytest.mark.parametrize("outer", [4, 6], ids=["over-v4", "over-v6"])
def test_routing_loop_does_not_melt_down(subject: str, outer: int, open_lab: OpenLab) -> None:
    """The endpoint's own address is routed into the tunnel: what the daemon sends comes back to it as data."""
    lab = open_lab(subject, subject, outer=outer)
    lab.establish()
    near, far = lab.near, lab.far
    _allow(near, far.keys.public, "0.0.0.0/0,::/0")
    near.ip("route", "add", f"{far.outer(outer)}/{32 if outer == 4 else 128}", "dev", near.interface)
    with _no_meltdown(near):
        for _ in range(20):
            dropin.kick(near, far.inner(4))
    near.ip("route", "del", far.outer(outer), "dev", near.interface)
    _works_again(near, far)


@pytest.mark.dropin("routing loop")
@pytest.mark.lacks("wireguard-go", "encrypts its own messages over and over")
@pytest.mark.parametrize("outer", [4, 6], ids=["over-v4", "over-v6"])
def test_routing_loop_across_two_peers_does_not_melt_down(subject: str, outer: int, open_lab: OpenLab) -> None:
    """Each peer's endpoint is an allowed IP of the other, and both are routed into the tunnel."""
    lab = open_lab(subject, subject, outer=outer)
    lab.establish()
    near, far = lab.near, lab.far
    bits = 32 if outer == 4 else 128
    first, second = far.outer(outer), {4: "10.77.0.102", 6: "fd00:77::102"}[outer]
    far.ip("address", "add", f"{second}/{24 if outer == 4 else 64}", "dev", LINK, *(["nodad"] if outer == 6 else []))
    with dropin.second_daemon(far, "n") as other:
        private, public = dropin.key_pair()
        key = other.secret_file("key2", private)
        other.wg("set", other.interface, "private-key", key, "listen-port", str(LISTEN_PORT + 1))
        _allow(other, near.keys.public, "10.78.0.1/32")
        other.ip("address", "add", "10.78.2.2/32", "dev", other.interface)
        other.ip("link", "set", other.interface, "up")
        other.namespace.run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0")
        host = second if outer == 4 else f"[{second}]"
        near.wg("set", near.interface, "peer", public, "endpoint", f"{host}:{LISTEN_PORT + 1}")
        _allow(near, public, f"10.78.2.2/32,{first}/{bits}")
        _allow(near, far.keys.public, f"{near_allowed(lab)},{second}/{bits}")
        near.ip("route", "add", "10.78.2.2/32", "dev", near.interface)
        _has_sessions(near, 2)
        _shows_warnings(near)
        for address in (first, second):
            near.ip("route", "add", f"{address}/{bits}", "dev", near.interface)
        with _no_meltdown(near):
            for size in (10, 1390):
                for inner in (far.inner(4), "10.78.2.2"):
                    for _ in range(20):
                        dropin.kick(near, inner, size)
        _is_told(near)
        for address in (first, second):
            near.ip("route", "del", f"{address}/{bits}", "dev", near.interface)
        _works_again(near, far)


@pytest.mark.dropin("routing loop")
@pytest.mark.lacks("wireguard-go", "carries no data for seconds after the routes are right again")
def test_circle_of_two_devices_is_survived(subject: str, open_lab: OpenLab) -> None:
    """Each device's endpoint is routed into the other: to each, the other's messages are those of a tunnel in a tunnel.

    So they turn, as fast as the processors allow; docs/drop-in.md says so. What holds: it takes next to no memory, both
    answer their configuration sockets meanwhile, and traffic flows once the routes are right again.
    """
    lab = dropin.tunnel(open_lab, subject)
    near, far = lab.near, lab.far
    first, second, inner = far.outer(4), "10.77.0.102", "10.78.2.2"
    far.ip("address", "add", f"{second}/24", "dev", LINK)
    with dropin.second_daemon(near, "n") as near2, dropin.second_daemon(far, "n") as far2:
        _join(near2, far2, level=2, endpoint=second)
        dropin.resumes(near, inner)
        _allow(near, far.keys.public, f"{near_allowed(lab)},{second}/32")
        _allow(near2, far2.keys.public, f"{inner}/32,{first}/32")
        before = [(site.transferred()[1], site.usage().peak_rss_bytes) for site in (near, near2)]
        near.ip("route", "add", f"{second}/32", "dev", near.interface)
        near.ip("route", "add", f"{first}/32", "dev", near2.interface)
        for size in range(1, 1400, 70):
            dropin.kick(near, far.inner(4), size)
            dropin.kick(near, inner, size)
        for site, (sent, _) in zip((near, near2), before, strict=True):

            def turns(site: Site = site, sent: int = sent) -> bool:
                return site.transferred()[1] - sent > CIRCLED_LEN

            poll(turns, "it turns")
        near.ip("route", "del", f"{second}/32", "dev", near.interface)
        near.ip("route", "del", f"{first}/32", "dev", near2.interface)
        for address in (far.inner(4), inner):
            dropin.resumes(near, address, 6)
        for site, (_, rss) in zip((near, near2), before, strict=True):
            assert site.usage().peak_rss_bytes - rss < CIRCLE_MAY_TAKE


def _has_sessions(site: Site, count: int) -> None:
    """Polls until the site has had a handshake with so many peers, sending to them until then."""

    def established() -> bool:
        dropin.kick(site, "10.78.2.2")
        rows = site.wg("show", site.interface, "latest-handshakes").splitlines()
        return sum(row.split("\t")[1] != "0" for row in rows) == count

    poll(established, f"{count} sessions", 10)


def _shows_warnings(site: Site) -> None:
    """In its log, if it can be told to."""
    if site.stats() and site.implementation is not None:
        site.namespace.run(site.implementation.command[0], "log", site.interface, "warning")


def _is_told(site: Site) -> None:
    """Counted, and in the log a few times; for daemons with statistics."""
    if stats := site.stats():
        assert int(stats["counter_tx_routing_loop"]) > 0
        assert 1 <= site.log.read_text().count("routing loop: what is sent") <= 10


@pytest.mark.dropin("12", "19")
@pytest.mark.parametrize(("mtu", "outer"), [(1420, 6), (1419, 4), (1305, 4), (1280, 6)])
def test_padding_never_goes_past_the_mtu(subject: str, mtu: int, outer: int, open_lab: OpenLab) -> None:
    """Each message is its packet, padded to 16 bytes or to the MTU if that is less, and 32 bytes more."""
    lab = open_lab(subject, subject, mtu=mtu, outer=outer)
    lab.establish()
    sizes = [1, 17, 500, *range(mtu - 28 - 34, mtu - 28 + 1)]
    with Link(lab.near) as link, Wire(lab.near, lab.far) as wire:
        before = len(link.sent())
        wire.check([payload(size) for size in sizes])
        sent = [len(one.message) for one in link.sent()[before:]]
        expected = [min(-(-(size + 28) // 16) * 16, mtu) + 32 for size in sizes]
        assert [length for length in sent if length != KEEPALIVE_LEN] == expected
        exchange(lab.near.namespace, lab.far.namespace, lab.far.inner(4), 2_000_000)
        assert max(len(one.message) for one in link.sent()) == mtu + 32


@pytest.mark.dropin("12")
def test_mtu_changes_are_followed(subject: str, open_lab: OpenLab) -> None:
    """The padding tells: it never goes past the MTU of the moment."""
    lab = dropin.tunnel(open_lab, subject)
    with Link(lab.near) as link, Wire(lab.near, lab.far) as wire:
        for mtu in (1400, 1337, 1281, 1419):
            for site in lab.sites:
                site.ip("link", "set", site.interface, "mtu", str(mtu))

            def follows(mtu: int = mtu) -> bool:
                before = len(link.sent())
                wire.check([payload(mtu - 28)])
                return max(len(one.message) for one in link.sent()[before:]) == mtu + 32

            poll(follows, f"a full packet of {mtu} bytes is not padded", 5)


@pytest.mark.dropin("path MTU")
@pytest.mark.known_bug("GSO over a broken path")
@pytest.mark.lacks("wireguard-go-new", "its segmented sends are refused, and nothing gets through")
def test_path_with_a_smaller_mtu_than_the_messages(subject: str, open_lab: OpenLab) -> None:
    """Outer fragments then, and no black hole: GSO must not make the kernel refuse what it could have sent."""
    lab = dropin.tunnel(open_lab, subject)
    for site in lab.sites:
        site.ip("link", "set", LINK, "mtu", "1300")
    exchange(lab.near.namespace, lab.far.namespace, lab.far.inner(4), 3_000_000)
    with Wire(lab.near, lab.far) as wire:
        wire.check([payload(size) for size in (1392, 1300, 1200, 1)])


@pytest.mark.dropin("6")
def test_interface_names_are_not_mixed_up(subject: str, open_lab: OpenLab) -> None:
    """Two daemons in one namespace: wg shows both, each with its own key."""
    lab = open_lab(subject, subject, connect=False)
    with dropin.second_daemon(lab.near) as other:
        for site in (lab.near, other):
            site.wg("set", site.interface, "private-key", site.secret_file("key", site.keys.private))
        shown = run("ip", "netns", "exec", lab.near.namespace.name, "wg", "show", "all", "public-key")
        found = dict(line.split("\t") for line in shown.splitlines())
        assert (found[lab.near.interface], found[other.interface]) == (lab.near.keys.public, other.keys.public)
