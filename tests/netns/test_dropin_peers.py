"""What the configuration of keys and peers means on the wire: who is dropped, who may answer, what leaves at all."""

import contextlib
import re
import time

import pytest

from bench.tunnel.lab import Lab
from bench.tunnel.site import LISTEN_PORT, Site, poll

from . import dropin
from .conftest import OpenLab
from .dropin import get, hexkey, peers, set_
from .inner_udp import Wire
from .outer_link import INITIATION, KEEPALIVE_LEN, TRANSPORT, Link

pytest_generate_tests = dropin.parametrize_subject

# Curve25519's points of small order, and 2**255 - 19 + n for those which have two encodings (cr.yp.to/ecdh.html).
P = 2**255 - 19
LOW_ORDER = (
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    P - 1,
    P,
    P + 1,
)
HIGH_BIT = 1 << 255
"""Which X25519 leaves out of account (RFC 7748, section 5)."""


def _public_keys(site: Site) -> list[str]:
    return [peer["public_key"][0] for peer in peers(site)]


@pytest.mark.dropin("9")
def test_replace_peers_replaces_all_of_them(subject: str, open_lab: OpenLab) -> None:
    lab = open_lab(subject, subject, connect=False)
    keys = [hexkey(key) for key in dropin.public_keys(5)]
    assert set_(lab.near, *[f"public_key={key}" for key in keys[:4]]) == 0
    assert sorted(_public_keys(lab.near)) == sorted(keys[:4])
    assert set_(lab.near, "replace_peers=true", f"public_key={keys[1]}", f"public_key={keys[4]}") == 0
    assert sorted(_public_keys(lab.near)) == sorted([keys[1], keys[4]])
    assert set_(lab.near, "replace_peers=true") == 0
    assert _public_keys(lab.near) == []


@pytest.mark.dropin("9")
def test_replaced_peer_that_is_named_again_starts_anew(subject: str, open_lab: OpenLab) -> None:
    """Nothing of what it had is left: no session, no pre-shared key, no endpoint, no prefix, no count."""
    lab = dropin.tunnel(open_lab, subject, psk=True)
    key = hexkey(lab.far.keys.public)
    change = ["replace_peers=true", f"public_key={key}"]
    assert set_(lab.near, *change) == 0
    (peer,) = peers(lab.near)
    shown = {name: values for name, values in peer.items() if set("".join(values)) - {"0"}}
    assert shown == {"public_key": [key], "protocol_version": ["1"]}
    lab.near.add_peer(lab.far, preshared_key=lab.preshared_key, endpoint=4)
    dropin.resumes(lab.near, lab.far.inner(4))


@pytest.mark.dropin("8")
@pytest.mark.lacks("wireguard-go", "shows peers in the order of a hash table")
def test_peers_are_shown_in_the_order_they_were_added(subject: str, open_lab: OpenLab) -> None:
    lab = open_lab(subject, subject, connect=False)
    keys = [hexkey(key) for key in dropin.public_keys(20)]
    assert set_(lab.near, *[f"public_key={key}" for key in keys]) == 0
    assert _public_keys(lab.near) == keys
    assert set_(lab.near, f"public_key={keys[3]}", "persistent_keepalive_interval=9") == 0
    assert _public_keys(lab.near) == keys


@pytest.mark.dropin("9")
@pytest.mark.known_bug("Editing an existing peer")
def test_update_only_adds_nobody(subject: str, open_lab: OpenLab) -> None:
    site = open_lab(subject, subject, connect=False).near
    known, unknown = (hexkey(key) for key in dropin.public_keys(2))
    assert set_(site, f"public_key={known}") == 0
    change = ["update_only=true", "allowed_ip=10.0.0.0/8", "persistent_keepalive_interval=3", "endpoint=10.0.0.1:1"]
    assert set_(site, f"public_key={unknown}", *change) == 0
    assert _public_keys(site) == [known]
    assert set_(site, f"public_key={known}", *change) == 0
    assert peers(site)[0]["persistent_keepalive_interval"] == ["3"]
    assert peers(site)[0]["allowed_ip"] == ["10.0.0.0/8"]


@pytest.mark.dropin("9")
def test_remove_and_the_lines_after_it(subject: str, open_lab: OpenLab) -> None:
    site = open_lab(subject, subject, connect=False).near
    one, other = (hexkey(key) for key in dropin.public_keys(2))
    assert set_(site, f"public_key={one}", "allowed_ip=10.0.0.0/8", f"public_key={other}") == 0
    change = [f"public_key={one}", "remove=true", "allowed_ip=10.9.0.0/16", f"public_key={other}", "allowed_ip=::/0"]
    assert set_(site, *change) == 0
    assert _public_keys(site) == [other]
    assert peers(site)[0]["allowed_ip"] == ["::/0"]
    assert set_(site, f"public_key={one}", "remove=true") == 0, "one that isn't there"


@pytest.mark.dropin("9", "10")
def test_allowed_ips_are_added_moved_removed_and_replaced(subject: str, open_lab: OpenLab) -> None:
    site = open_lab(subject, subject, connect=False).near
    one, other = (hexkey(key) for key in dropin.public_keys(2))

    def shown() -> dict[str, set[str]]:
        return {peer["public_key"][0]: set(peer.get("allowed_ip", [])) for peer in peers(site)}

    assert set_(site, f"public_key={one}", "allowed_ip=10.1.2.3/8", "allowed_ip=fd00::/8", f"public_key={other}") == 0
    assert shown() == {one: {"10.0.0.0/8", "fd00::/8"}, other: set()}
    assert set_(site, f"public_key={other}", "allowed_ip=10.0.0.0/8") == 0
    assert shown() == {one: {"fd00::/8"}, other: {"10.0.0.0/8"}}
    assert set_(site, f"public_key={one}", "replace_allowed_ips=true", "allowed_ip=10.0.0.0/9") == 0
    assert shown() == {one: {"10.0.0.0/9"}, other: {"10.0.0.0/8"}}


@pytest.mark.dropin("9")
@pytest.mark.lacks("wireguard-go", "the Debian release knows no removal of one allowed IP")
def test_minus_removes_an_allowed_ip_of_this_peer_alone(subject: str, open_lab: OpenLab) -> None:
    site = open_lab(subject, subject, connect=False).near
    one, other = (hexkey(key) for key in dropin.public_keys(2))
    assert set_(site, f"public_key={one}", "allowed_ip=10.0.0.0/8", "allowed_ip=::/0", f"public_key={other}") == 0
    assert set_(site, f"public_key={other}", "allowed_ip=-10.0.0.0/8") == 0
    assert set(peers(site)[0]["allowed_ip"]) == {"10.0.0.0/8", "::/0"}
    assert set_(site, f"public_key={one}", "allowed_ip=-10.0.0.0/8") == 0
    assert set(peers(site)[0]["allowed_ip"]) == {"::/0"}


@pytest.mark.dropin("10")
@pytest.mark.known_bug("Self-peer")
def test_own_public_key_as_a_peer_is_ignored(subject: str, open_lab: OpenLab) -> None:
    lab = dropin.tunnel(open_lab, subject)
    before = _public_keys(lab.near)
    own = hexkey(lab.near.keys.public)
    change = ["allowed_ip=10.99.0.0/16", "persistent_keepalive_interval=1", f"endpoint=127.0.0.1:{LISTEN_PORT}"]
    assert set_(lab.near, f"public_key={own}", *change) == 0
    assert _public_keys(lab.near) == before
    assert set_(lab.near, f"public_key={hexkey(dropin.UNKNOWN_KEY)}", *change) == 0
    assert sorted(_public_keys(lab.near)) == sorted([*before, hexkey(dropin.UNKNOWN_KEY)]), "any other key is a peer"
    dropin.resumes(lab.near, lab.far.inner(4))


@pytest.mark.dropin("10")
@pytest.mark.known_bug("Self-peer")
def test_private_key_of_a_peer_removes_that_peer(subject: str, open_lab: OpenLab) -> None:
    """While it is in traffic: where this took the locks in the wrong order, it never returned."""
    lab = dropin.tunnel(open_lab, subject)
    with dropin.repeated(lambda: dropin.kick(lab.near, lab.far.inner(4))):
        assert set_(lab.near, f"private_key={hexkey(lab.far.keys.private)}") == 0
    assert _public_keys(lab.near) == []
    assert set_(lab.near, f"private_key={hexkey(lab.near.keys.private)}") == 0
    lab.near.add_peer(lab.far, endpoint=4)
    dropin.resumes(lab.near, lab.far.inner(4))


@pytest.mark.dropin("10")
def test_private_keys_are_clamped(subject: str, open_lab: OpenLab) -> None:
    """A key with the five bits wrong is the same key: it is shown clamped, and the tunnel works with it."""
    lab = open_lab(subject, subject)
    key = bytearray.fromhex(hexkey(lab.near.keys.private))
    key[0] |= 7
    key[31] = key[31] & 63 | 128
    assert set_(lab.near, f"private_key={key.hex()}") == 0
    assert f"private_key={hexkey(lab.near.keys.private)}" in get(lab.near)
    lab.establish()


@pytest.mark.dropin("10")
def test_new_private_key_expires_the_sessions(subject: str, open_lab: OpenLab) -> None:
    lab = dropin.tunnel(open_lab, subject)
    private, public = dropin.key_pair()
    lab.near.wg("set", lab.near.interface, "private-key", lab.near.secret_file("new", private))
    with Wire(lab.near, lab.far) as there:
        there.send(b"sealed for a session of the old key?")
        assert there.receive(1, within_s=0.5) == []
    lab.far.wg("set", lab.far.interface, "peer", lab.near.keys.public, "remove")
    allowed = f"{lab.near.inner(4)}/32,{lab.near.inner(6)}/128"
    lab.far.wg("set", lab.far.interface, "peer", public, "allowed-ips", allowed)
    dropin.resumes(lab.near, lab.far.inner(4))


@pytest.mark.dropin("10")
@pytest.mark.known_bug("Self-peer")
def test_key_changes_mid_traffic(subject: str, open_lab: OpenLab) -> None:
    lab = dropin.tunnel(open_lab, subject)
    old = lab.near.keys.public
    with dropin.repeated(lambda: dropin.kick(lab.near, lab.far.inner(4))):
        for _ in range(5):
            private, public = dropin.key_pair()
            allowed = f"{lab.near.inner(4)}/32,{lab.near.inner(6)}/128"
            lab.far.wg("set", lab.far.interface, "peer", old, "remove", "peer", public, "allowed-ips", allowed)
            lab.near.wg("set", lab.near.interface, "private-key", lab.near.secret_file("new", private))
            dropin.resumes(lab.near, lab.far.inner(4))
            old = public


@pytest.mark.dropin("17", "low-order public keys")
def test_low_order_public_keys_send_nothing(subject: str, open_lab: OpenLab) -> None:
    lab = open_lab(subject, subject, connect=False)
    lab.near.configure(lab.mtu)
    with Link(lab.near) as link:
        where = f"endpoint={lab.far.outer(4)}:{LISTEN_PORT}"
        points = [point | high for point in LOW_ORDER for high in (0, HIGH_BIT)]
        for number, point in enumerate(points):
            key = point.to_bytes(32, "little").hex()
            allowed = f"allowed_ip=10.90.{number}.0/24"
            assert set_(lab.near, f"public_key={key}", where, allowed, "persistent_keepalive_interval=1") == 0
            lab.near.ip("route", "add", f"10.90.{number}.0/24", "dev", lab.near.interface)
            dropin.kick(lab.near, f"10.90.{number}.1")
        time.sleep(1.5)  # what must not happen would happen by then: a keepalive is due each second
        assert link.sent() == []
        assert len(_public_keys(lab.near)) == len(points)
        (honest,) = dropin.public_keys(1)
        assert set_(lab.near, f"public_key={hexkey(honest)}", where, "persistent_keepalive_interval=1") == 0
        poll(lambda: len(link.sent(INITIATION)) == 1, "to any other peer there is a handshake")
    assert lab.near.alive()


def _bounce(lab: Lab) -> None:
    """Ends the sessions of the near site, so that the next packet needs a handshake."""
    lab.near.ip("link", "set", lab.near.interface, "down")
    poll(lambda: LISTEN_PORT not in dropin.udp_ports(lab.near), "the sockets are closed", 4)
    lab.near.ip("link", "set", lab.near.interface, "up")
    poll(lambda: LISTEN_PORT in dropin.udp_ports(lab.near), "the sockets are open")


@pytest.mark.dropin("17")
@pytest.mark.known_bug("A PSK change is ignored")
@pytest.mark.lacks("wireguard-go", "does not notice that the link went down")
def test_changed_preshared_key_counts_at_the_next_handshake(subject: str, open_lab: OpenLab) -> None:
    lab = dropin.tunnel(open_lab, subject, psk=True)
    (other,) = dropin.public_keys(1)
    key = lab.near.secret_file("psk2", other)
    lab.near.wg("set", lab.near.interface, "peer", lab.far.keys.public, "preshared-key", key)
    assert dropin.answers_one(lab.near, lab.far.inner(4)), "the session of the old key goes on"
    _bounce(lab)
    handshakes = lab.near.wg("show", lab.near.interface, "latest-handshakes")
    assert not dropin.answers(lab.near, lab.far.inner(4)), "the keys differ"
    assert lab.near.wg("show", lab.near.interface, "latest-handshakes") == handshakes
    lab.far.wg("set", lab.far.interface, "peer", lab.near.keys.public, "preshared-key", key)
    dropin.resumes(lab.near, lab.far.inner(4))


@pytest.mark.dropin("10", "12")
@pytest.mark.parametrize("session", [True, False], ids=["with-session", "without"])
def test_keepalive_from_0_to_n_sends_one_at_once(subject: str, session: bool, open_lab: OpenLab) -> None:
    lab = open_lab(subject, subject)
    if session:
        lab.establish()
    with Link(lab.near) as link:
        before = len(link.sent())
        lab.near.wg("set", lab.near.interface, "peer", lab.far.keys.public, "persistent-keepalive", "60")
        poll(lambda: len(link.sent()) > before, "something leaves")
        first = link.sent()[before]
        expected = (TRANSPORT, KEEPALIVE_LEN) if session else (INITIATION, 148)
        assert (first.message[0], len(first.message)) == expected
        sent = len(link.sent())
        for interval in ("60", "30"):
            lab.near.wg("set", lab.near.interface, "peer", lab.far.keys.public, "persistent-keepalive", interval)
        assert len(link.sent()) - sent <= (0 if session else 2), "from N to M sends none"


@pytest.mark.dropin("10", "12")
@pytest.mark.lacks("wireguard-go", "does not notice that the link went down")
def test_keepalives_that_are_due_leave_when_the_link_comes_up(subject: str, open_lab: OpenLab) -> None:
    lab = dropin.tunnel(open_lab, subject)
    lab.near.wg("set", lab.near.interface, "peer", lab.far.keys.public, "persistent-keepalive", "60")
    with Link(lab.near) as link:
        _bounce(lab)
        poll(lambda: link.sent(INITIATION) != [], "a handshake begins, and no data asked for one")
        poll(lambda: link.sent(TRANSPORT) != [], "the keepalive follows")


@pytest.mark.dropin("10")
@pytest.mark.parametrize("reason", ["keepalive", "data"])
def test_private_key_that_is_set_last_begins_what_waits(subject: str, reason: str, open_lab: OpenLab) -> None:
    lab = open_lab(subject, subject)
    private, public = dropin.key_pair()
    lab.far.wg("set", lab.far.interface, "peer", public, "allowed-ips", "10.79.0.1/32")
    with dropin.second_daemon(lab.near) as keyless, Link(lab.near) as link:
        keyless.ip("address", "add", "10.79.0.1/24", "dev", keyless.interface)
        keyless.ip("link", "set", keyless.interface, "up")
        peer = (lab.far.keys.public, "endpoint", f"{lab.far.outer(4)}:{LISTEN_PORT}", "allowed-ips", "10.79.0.0/24")
        keepalive = ("persistent-keepalive", "60") if reason == "keepalive" else ()
        keyless.wg("set", keyless.interface, "peer", *peer, *keepalive)
        if reason == "data":
            dropin.kick(keyless, "10.79.0.2")
        get(keyless)
        assert link.sent(TRANSPORT) == [], "there is no session without a key"
        assert set_(keyless, f"private_key={hexkey(private)}") == 0
        poll(lambda: link.sent(TRANSPORT) != [], "a session, and what waited for it")


@pytest.mark.dropin("17")
@pytest.mark.known_bug("Keepalives answer keepalives")
def test_keepalives_are_not_answered(subject: str, open_lab: OpenLab) -> None:
    lab = dropin.tunnel(open_lab, subject)
    lab.near.wg("set", lab.near.interface, "peer", lab.far.keys.public, "persistent-keepalive", "1")
    with Link(lab.near) as link:
        poll(lambda: len(link.sent(TRANSPORT)) >= 3, "keepalives leave each second")
        assert [one for one in link.received() if len(one.message) != KEEPALIVE_LEN] == []
        received = len(link.received())
        assert received <= 1, "one at most, and that for the pings before"
        assert dropin.answers_one(lab.near, lab.far.inner(4))
        assert len(link.received()) > received, "data is answered, and the link shows it"


@pytest.mark.dropin("18")
@pytest.mark.parametrize("outer", [4, 6], ids=["over-v4", "over-v6"])
def test_byte_counters_are_those_of_the_wire(subject: str, outer: int, open_lab: OpenLab) -> None:
    """Handshakes, data with its padding, and keepalives: what the capture saw, to the byte, at both ends and ways."""
    lab = open_lab(subject, subject, outer=outer)
    with Link(lab.near) as link:
        lab.establish()
        for size in (0, 1, 15, 16, 17, 100, 555, 1372):
            with contextlib.suppress(Exception):
                lab.near.namespace.run("ping", "-n", "-c", "2", "-i", "0.01", "-s", str(size), lab.far.inner(4))
        lab.near.wg("set", lab.near.interface, "peer", lab.far.keys.public, "persistent-keepalive", "60")

        def captured() -> tuple[int, int]:
            sent, received = link.sent(), link.received()
            return sum(len(one.message) for one in sent), sum(len(one.message) for one in received)

        def agree() -> bool:
            (near_rx, near_tx), (far_rx, far_tx) = lab.near.transferred(), lab.far.transferred()
            return (near_tx, near_rx) == captured() and (far_rx, far_tx) == captured()

        with contextlib.suppress(TimeoutError):
            poll(agree, "the counters are those of the wire", 10)
        (near_rx, near_tx), (far_rx, far_tx) = lab.near.transferred(), lab.far.transferred()
        assert {"near": (near_tx, near_rx), "far": (far_rx, far_tx)} == {"near": captured(), "far": captured()}


@pytest.mark.dropin("8", "18")
def test_what_get_shows(subject: str, open_lab: OpenLab) -> None:
    lab = dropin.tunnel(open_lab, subject, psk=True)
    lab.near.wg("set", lab.near.interface, "fwmark", "51820")
    device, _, rest = get(lab.near).partition("public_key=")
    assert sorted(device.split()) == sorted(
        [f"private_key={hexkey(lab.near.keys.private)}", f"listen_port={LISTEN_PORT}", "fwmark=51820"]
    )
    lines = rest.split()
    assert lines[0] == hexkey(lab.far.keys.public)
    assert lines[-1] == "errno=0"
    expected = {
        "preshared_key": hexkey(lab.preshared_key or ""),
        "protocol_version": "1",
        "endpoint": re.escape(f"{lab.far.outer(4)}:{LISTEN_PORT}"),
        "last_handshake_time_sec": r"1[7-9]\d{8}|[2-9]\d{9}",
        "last_handshake_time_nsec": r"\d{1,9}",
        "tx_bytes": r"[1-9]\d*",
        "rx_bytes": r"[1-9]\d*",
        "persistent_keepalive_interval": "0",
    }
    shown = [line.partition("=")[::2] for line in lines[1:-1]]
    assert sorted(value for name, value in shown if name == "allowed_ip") == ["10.78.0.2/32", "fd00:78::2/128"]
    assert sorted(name for name, _ in shown if name != "allowed_ip") == sorted(expected)
    assert [name for name, value in shown if name in expected and not re.fullmatch(expected[name], value)] == []


@pytest.mark.dropin("8")
@pytest.mark.known_bug("Nil dereference")
def test_what_get_shows_of_a_device_with_nothing_set(subject: str, open_lab: OpenLab) -> None:
    site = open_lab(subject, subject, connect=False).near
    assert [line for line in get(site).splitlines() if not line.startswith("listen_port=")] == ["errno=0", ""]
    key = "11" * 32
    assert set_(site, f"public_key={key}") == 0
    (peer,) = peers(site)
    assert peer["preshared_key"] == ["00" * 32], "always shown"
    assert "endpoint" not in peer
    assert peer["last_handshake_time_sec"] == ["0"]
