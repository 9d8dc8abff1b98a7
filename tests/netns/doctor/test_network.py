"""What doctor says of the network outside the tunnel, and of the routes into it; each fault is made for real."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.tunnel.lab import Lab
from bench.tunnel.site import LINK, LISTEN_PORT, Site
from pywg.manage.doctor.finding import Severity

from .. import dropin
from ..conftest import OpenLab
from .looking import Fault, allowed, allowing, behind, chain, file_of, findings, made, ruled, wrong
from .rows import row


def sysctl(site: Site, **values: int | str) -> dict[str, str]:
    """Sets values in the site's namespace; underscores are dots. Returns those before."""
    before = {}
    with site.namespace.entered():
        for name, value in values.items():
            path = Path("/proc/sys/net", *name.split("__"))
            before[name] = path.read_text().strip()
            path.write_text(str(value))
    return before


@contextlib.contextmanager
def path_too_small(lab: Lab) -> Iterator[None]:
    for site in lab.sites:
        site.ip("link", "set", LINK, "mtu", "1400")
    try:
        yield
    finally:
        for site in lab.sites:
            site.ip("link", "set", LINK, "mtu", "1500")


@contextlib.contextmanager
def black_hole(lab: Lab) -> Iterator[None]:
    """Large packets are lost on the way, and nothing says so."""
    with ruled(lab.far, chain("prerouting", f"iifname {LINK} ip length > 1400 drop")):
        yield


@contextlib.contextmanager
def mtu_below_ipv6(lab: Lab) -> Iterator[None]:
    lab.near.ip("link", "set", lab.near.interface, "mtu", "1200")
    try:
        yield
    finally:
        lab.near.ip("link", "set", lab.near.interface, "mtu", str(lab.mtu))
        lab.near.ip("address", "add", f"{lab.near.inner(6)}/64", "dev", lab.near.interface, "nodad")


@contextlib.contextmanager
def loop(lab: Lab) -> Iterator[None]:
    host = f"{lab.far.outer(4)}/32"
    lab.near.wg("set", lab.near.interface, "peer", lab.far.keys.public, "allowed-ips", allowed(lab, host))
    lab.near.ip("route", "add", host, "dev", lab.near.interface)
    try:
        yield
    finally:
        lab.near.ip("route", "delete", host, "dev", lab.near.interface)
        lab.near.wg("set", lab.near.interface, "peer", lab.far.keys.public, "allowed-ips", allowed(lab))


@contextlib.contextmanager
def no_route_to_allowed(lab: Lab) -> Iterator[None]:
    with allowing(lab, "192.168.77.0/24"):
        yield


@contextlib.contextmanager
def route_elsewhere(lab: Lab) -> Iterator[None]:
    with allowing(lab, "192.168.77.0/24"):
        lab.near.ip("route", "add", "192.168.77.0/24", "via", lab.far.outer(4))
        try:
            yield
        finally:
            lab.near.ip("route", "delete", "192.168.77.0/24")


@contextlib.contextmanager
def same_network(lab: Lab) -> Iterator[None]:
    with behind(lab), allowing(lab, "192.168.66.0/24"):
        yield


@contextlib.contextmanager
def strict_reverse_path(lab: Lab) -> Iterator[None]:
    with route_elsewhere(lab):
        name = f"ipv4__conf__{lab.near.interface}__rp_filter"
        before = sysctl(lab.near, **{name: 1})
        try:
            yield
        finally:
            sysctl(lab.near, **before)


@contextlib.contextmanager
def strict_with_mark(lab: Lab) -> Iterator[None]:
    near = lab.near
    before = sysctl(near, **{f"ipv4__conf__{LINK}__rp_filter": 1, "ipv4__conf__all__src_valid_mark": 0})
    near.wg("set", near.interface, "fwmark", "0xca6c")
    try:
        with allowing(lab, "0.0.0.0/0"):
            yield
    finally:
        near.wg("set", near.interface, "fwmark", "0")
        sysctl(near, **before)


@contextlib.contextmanager
def no_route(lab: Lab) -> Iterator[None]:
    with elsewhere(lab, "203.0.113.9:51820"):
        yield


@contextlib.contextmanager
def elsewhere(lab: Lab, endpoint: str) -> Iterator[None]:
    lab.near.wg("set", lab.near.interface, "peer", lab.far.keys.public, "endpoint", endpoint)
    try:
        yield
    finally:
        there = f"{lab.far.outer(4)}:{LISTEN_PORT}"
        lab.near.wg("set", lab.near.interface, "peer", lab.far.keys.public, "endpoint", there)


@contextlib.contextmanager
def refused(lab: Lab) -> Iterator[None]:
    with elsewhere(lab, f"{lab.far.outer(4)}:9"):
        yield


@contextlib.contextmanager
def rejected(lab: Lab) -> Iterator[None]:
    rule = f"udp dport {LISTEN_PORT} reject with icmpx type admin-prohibited"
    with ruled(lab.far, chain("input", rule)):
        yield


@contextlib.contextmanager
def behind_nat(lab: Lab) -> Iterator[None]:
    """The endpoint has a public address; ours stays a private one."""
    lab.far.ip("address", "add", "203.0.113.9/32", "dev", LINK)
    lab.near.ip("route", "add", "203.0.113.9/32", "dev", LINK)
    try:
        with elsewhere(lab, f"203.0.113.9:{LISTEN_PORT}"):
            yield
    finally:
        lab.near.ip("route", "delete", "203.0.113.9/32", "dev", LINK)
        lab.far.ip("address", "delete", "203.0.113.9/32", "dev", LINK)


@contextlib.contextmanager
def many_without_a_route(lab: Lab) -> Iterator[None]:
    with allowing(lab, *(f"192.168.{number}.0/24" for number in range(7))):
        yield


@contextlib.contextmanager
def a_part_is_here(lab: Lab) -> Iterator[None]:
    with behind(lab), allowing(lab, "192.168.77.0/24", "192.168.64.0/20"):
        lab.near.ip("route", "add", "192.168.64.0/20", "dev", lab.near.interface)
        try:
            yield
        finally:
            lab.near.ip("route", "delete", "192.168.64.0/20", "dev", lab.near.interface)


@contextlib.contextmanager
def filtered(lab: Lab) -> Iterator[None]:
    with ruled(lab.near, chain("output", f"udp dport {LISTEN_PORT} counter drop")):
        yield


FAULTS = [
    made(filtered, "endpoint error: nothing can be sent to", "a packet filter of this host drops it"),
    made(path_too_small, "mtu warning", "which takes 1400 bytes"),
    made(black_hole, "mtu warning", "1400 bytes (larger pings are lost, and no router says so)"),
    made(mtu_below_ipv6, "mtu-ipv6 error", "1200 is below 1280"),
    made(loop, "routing-loop error: the route to its endpoint", "leads into"),
    made(no_route_to_allowed, "route error", "192.168.77.0/24 is an allowed IP, and has no route"),
    made(many_without_a_route, "route warning: {} more allowed IPs", "2 more"),
    made(route_elsewhere, "route warning: {} is an allowed IP", f"goes to {LINK}"),
    made(behind, "forwarding warning", "net.ipv4.ip_forward is 0"),
    made(same_network, "same-network error", "is also the network of lan"),
    made(a_part_is_here, "same-network note", "lan has 192.168.66.0/24, a part of its allowed IP 192.168.64.0/20"),
    made(strict_reverse_path, "rp-filter warning", "192.168.77.0/24 is routed elsewhere"),
    made(strict_with_mark, "rp-filter error", "that way is into the tunnel"),
    made(no_route, "endpoint error: there is no route", "to its endpoint 203.0.113.9:51820"),
    made(refused, "endpoint error: {} refuses", "no program listens on that port there"),
    made(rejected, "endpoint error: {} refuses", "refuses what is sent there"),
    made(behind_nat, "keepalive warning", "behind NAT"),
]


@pytest.mark.parametrize(("fault", "name", "text"), FAULTS)
def test_a_fault_is_found(fault: Fault, name: str, text: str, healthy: Lab) -> None:
    dropin.resumes(healthy.near, healthy.far.inner(4))
    with fault(healthy):
        found = [one for one in findings(healthy.near) if row(name).is_of(one)]
    assert found
    assert text in found[0].text
    assert found[0].mend or found[0].severity == Severity.NOTE


def test_a_healthy_tunnel_has_no_finding(healthy: Lab) -> None:
    """The control of all faults, and after them: what each left is as it was."""
    dropin.resumes(healthy.near, healthy.far.inner(4))
    found = findings(healthy.near)
    assert wrong(found) == []
    fine = {one.check for one in found if one.severity == Severity.OK}
    assert {"tun", "daemon", "interface", "port", "handshake", "endpoint", "mtu", "route", "sandbox"} <= fine


@pytest.mark.finds("route note: {} (Table = off")
def test_routes_of_another_program(healthy: Lab, tmp_path: Path) -> None:
    near = healthy.near
    peer = (f"PublicKey = {healthy.far.keys.public}", f"AllowedIPs = {allowed(healthy, '192.168.77.0/24')}")
    path = file_of(near, tmp_path, "Table = off", f"ListenPort = {LISTEN_PORT}", "[Peer]", *peer)
    with no_route_to_allowed(healthy):
        assert wrong(findings(near, path)) == []


@pytest.mark.finds("unseen note: of {} endpoints, the first {} were tried")
def test_many_endpoints(pywg: str, open_lab: OpenLab) -> None:
    lab = open_lab(pywg, pywg, connect=False)
    for number, key in enumerate(dropin.public_keys(17)):
        place = f"{lab.far.outer(4)}:{1000 + number}"
        lab.near.wg("set", lab.near.interface, "peer", key, "endpoint", place)
    unseen = [one.text for one in findings(lab.near) if one.check == "unseen"]
    assert unseen == ["of 17 endpoints, the first 16 were tried"]
