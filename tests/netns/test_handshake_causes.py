"""Why there is no handshake, read by a person: both ends pywg, with the log that is there when nobody asks for more."""

from collections.abc import Callable

import pytest

from bench.tunnel.lab import Lab
from bench.tunnel.site import LINK, LISTEN_PORT, Keys, Site, poll

from . import dropin
from .conftest import OpenLab
from .dropin import nft

SAID_WITHIN_S = 20.0


def _drop_on_the_way_out(site: Site) -> None:
    rule = f"udp dport {LISTEN_PORT} drop"
    nft(site, "table inet filter {", "chain out { type filter hook output priority 0;", rule, "}", "}")


def _no_route(lab: Lab) -> None:
    lab.near.ip("address", "flush", "dev", LINK)


def _no_ipv6(lab: Lab) -> None:
    lab.near.wg("set", lab.near.interface, "peer", lab.far.keys.public, "endpoint", "[2001:db8::9]:9")


def _filtered(lab: Lab) -> None:
    _drop_on_the_way_out(lab.near)


def _refused(lab: Lab) -> None:
    lab.far.ip("link", "set", lab.far.interface, "down")
    poll(lambda: dropin.udp_ports(lab.far) == [], "nobody listens there")


def _rejected(lab: Lab) -> None:
    rule = f"udp dport {LISTEN_PORT} reject with icmpx type admin-prohibited"
    nft(lab.far, "table inet filter {", "chain in { type filter hook input priority 0;", rule, "}", "}")


def _another_preshared_key(lab: Lab) -> None:
    psk = lab.near.secret_file("psk", Keys.generate().private)
    lab.near.wg("set", lab.near.interface, "peer", lab.far.keys.public, "preshared-key", psk)


def _unknown_key(lab: Lab) -> None:
    lab.far.wg("set", lab.far.interface, "peer", lab.near.keys.public, "remove")


def _no_private_key(lab: Lab) -> None:
    lab.near.wg("set", lab.near.interface, "private-key", "/dev/null")


CAUSES: dict[str, tuple[Callable[[Lab], None], str, str]] = {
    "no route": (_no_route, "near", "fails: Network is unreachable"),
    "no IPv6 route": (_no_ipv6, "near", "[2001:db8::9]:9 fails: Network is unreachable"),
    "filtered": (_filtered, "near", "fails: Operation not permitted (a packet filter of this host drops it)"),
    "refused": (_refused, "near", "refuses what is sent there: Connection refused (no program listens on that port"),
    "rejected": (_rejected, "near", "refuses what is sent there: "),
    "other preshared key": (_another_preshared_key, "near", "has the other end another preshared key?"),
    "unknown key": (_unknown_key, "far", "under the unknown public key "),
    "no private key": (_no_private_key, "near", "no handshake without a private key, and none is set"),
}


@pytest.mark.parametrize("name", CAUSES)
def test_the_cause_is_in_the_log(name: str, pywg: str, open_lab: OpenLab) -> None:
    cause, end, expected = CAUSES[name]
    lab = open_lab(pywg, pywg, connect=False)
    for site in (lab.near, lab.far):
        site.configure(lab.mtu)
    lab.far.add_peer(lab.near)
    lab.near.add_peer(lab.far, endpoint=4)
    cause(lab)
    said = lab.near if end == "near" else lab.far
    with dropin.repeated(lambda: dropin.kick(lab.near, lab.far.inner(4))):
        poll(lambda: expected in said.log_tail(), expected, SAID_WITHIN_S)
    lines = [line for line in said.log_tail().splitlines() if line.startswith("ERROR: ")]
    assert len(lines) == 1, lines
    key = lab.near.keys.public if name == "unknown key" else lab.far.keys.public
    assert f"{key[:4]}…{key[39:43]}" in lines[0]


def test_the_end_of_a_trouble_is_in_the_log(pywg: str, open_lab: OpenLab) -> None:
    lab = open_lab(pywg, pywg, connect=False)
    for site in (lab.near, lab.far):
        site.configure(lab.mtu)
    lab.far.add_peer(lab.near)
    _drop_on_the_way_out(lab.near)
    lab.near.add_peer(lab.far, endpoint=4)
    with dropin.repeated(lambda: dropin.kick(lab.near, lab.far.inner(4))):
        poll(lambda: "fails: Operation not permitted" in lab.near.log_tail(), "the trouble is told", SAID_WITHIN_S)
        nft(lab.near, "delete table inet filter")
        poll(lambda: "works again" in lab.near.log_tail(), "its end is told", SAID_WITHIN_S)
    lab.establish()
