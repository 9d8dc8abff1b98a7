"""Sockets bound to a device or an address: of two uplinks the tunnel uses the one it was told to."""

import errno
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest

from bench.tunnel.command import CommandError
from bench.tunnel.implementations import find
from bench.tunnel.lab import Lab
from bench.tunnel.site import LINK, LISTEN_PORT, poll

from . import dropin
from .conftest import OpenLab
from .dropin import set_
from .inner_udp import Wire
from .test_sticky_source import BITS, ON_SECOND_LINK, SECOND_LINK, Arrivals
from .test_sticky_source import _add_second_link as add_second_link

pytestmark = [pytest.mark.usefixtures("pywg"), pytest.mark.dropin("binding")]
BACK_WITHIN_S = 10.0


@pytest.fixture(params=[4, 6], ids=["v4", "v6"])
def family(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def _start(lab: Lab, family: int, *options: str) -> None:
    """Near, with these options and two uplinks, speaks to far's address on the first."""
    add_second_link(lab)
    assert lab.near.daemon is not None
    lab.near.daemon.terminate()
    lab.near.daemon.wait()
    plain = find("pywg")
    lab.near.implementation = replace(plain, command=(*plain.command, *options))
    lab.near.start()
    for site, other, endpoint in ((lab.near, lab.far, family), (lab.far, lab.near, None)):
        site.configure(lab.mtu)
        site.add_peer(other, endpoint=endpoint)


@pytest.fixture
def lab(open_lab: OpenLab) -> Lab:
    return open_lab("pywg", "pywg", connect=False)


@pytest.fixture
def second(lab: Lab, family: int) -> Iterator[Arrivals]:
    """Near is bound to the second uplink. Routes prefer the first: its subnet is there, and has the lower metric."""
    via = ON_SECOND_LINK[family][1]
    with Arrivals(lab.far) as arrivals:
        _start(lab, family, "--bind-device", SECOND_LINK)
        target = f"{lab.far.outer(family)}/{32 if family == 4 else 128}"
        lab.near.ip("route", "add", target, "via", via, "dev", SECOND_LINK, "metric", "9000")
        lab.near.ip("route", "add", target, "dev", LINK, "metric", "10")
        yield arrivals


def _from_second(family: int) -> set[tuple[str, str]]:
    return {(SECOND_LINK, ON_SECOND_LINK[family][0])}


def test_bound_device_is_the_one_that_is_used(lab: Lab, family: int, second: Arrivals) -> None:
    lab.establish()
    with Wire(lab.near, lab.far) as there, Wire(lab.far, lab.near) as back:
        for number in range(10):
            there.check([b"%d" % number])
            back.check([b"%d" % number])
    assert second.new() == _from_second(family)
    assert lab.near.stats()["bound_device"] == SECOND_LINK


def test_port_and_mark_change_on_the_bound_device(lab: Lab, family: int, second: Arrivals) -> None:
    """In the sandbox, without the capability that binding once needed."""
    lab.establish()
    handshakes = lab.near.wg("show", lab.near.interface, "latest-handshakes")
    for words in (("listen-port", "51999"), ("fwmark", "0x77"), ("listen-port", str(LISTEN_PORT)), ("fwmark", "off")):
        lab.near.wg("set", lab.near.interface, *words)
        second.new()
        assert dropin.answers_one(lab.near, lab.far.inner(4)), words
        assert second.new() <= _from_second(family)
    assert lab.near.wg("show", lab.near.interface, "latest-handshakes") == handshakes


def test_route_of_the_other_uplink_does_not_matter(lab: Lab, family: int, second: Arrivals) -> None:
    """The sticky source holds: what the routing table says is asked for the bound device."""
    lab.establish()
    with Wire(lab.far, lab.near) as back:
        for number in range(10):
            lab.near.ip("route", "add", "10.99.0.0/24" if family == 4 else "fd00:99::/64", "dev", LINK)
            lab.near.ip("route", "del", "10.99.0.0/24" if family == 4 else "fd00:99::/64", "dev", LINK)
            back.check([b"%d" % number])
        with Wire(lab.near, lab.far) as there:
            there.check_alive()
    assert second.new() == _from_second(family)


def test_device_vanishes_and_comes_back(lab: Lab, family: int, second: Arrivals) -> None:
    lab.establish()
    handshakes = lab.near.wg("show", lab.near.interface, "latest-handshakes")
    lab.near.ip("link", "del", SECOND_LINK)
    assert not dropin.answers(lab.near, lab.far.inner(4))
    # While it is gone there is nothing to bind to, and a change that needs that is refused.
    assert set_(lab.near, "listen_port=51999") == -errno.ENODEV
    add_second_link(lab)
    target = f"{lab.far.outer(family)}/{32 if family == 4 else 128}"
    lab.near.ip("route", "add", target, "via", ON_SECOND_LINK[family][1], "dev", SECOND_LINK, "metric", "9000")
    second.new()
    dropin.resumes(lab.near, lab.far.inner(4), BACK_WITHIN_S)
    assert second.new() <= _from_second(family)
    assert lab.near.wg("show", lab.near.interface, "latest-handshakes") == handshakes
    assert lab.near.alive()


def test_bound_address_is_the_source(lab: Lab, family: int) -> None:
    """The second address of the link; and the other family has no socket."""
    source = {4: "10.77.0.77", 6: "fd00:77::77"}[family]
    lab.near.ip("address", "add", f"{source}/{BITS[family]}", "dev", LINK, *(["nodad"] if family == 6 else []))
    with Arrivals(lab.far) as arrivals:
        _start(lab, family, f"--listen-address={source}")
        lab.establish()
        assert arrivals.new() == {(LINK, source)}
    listening = lab.near.namespace.run("cat", f"/proc/net/udp{'' if family == 6 else '6'}")
    assert f":{LISTEN_PORT:04X} " not in listening
    assert dropin.answers_one(lab.far, lab.near.inner(4))


def test_bound_address_that_goes(lab: Lab, family: int) -> None:
    source = {4: "10.77.0.77", 6: "fd00:77::77"}[family]
    address = [f"{source}/{BITS[family]}", "dev", LINK, *(["nodad"] if family == 6 else [])]
    lab.near.ip("address", "add", *address)
    _start(lab, family, "--listen-address", source)
    lab.establish()
    handshakes = lab.near.wg("show", lab.near.interface, "latest-handshakes")
    lab.near.ip("address", "del", *address[:3])
    assert set_(lab.near, "listen_port=51999") == -errno.EADDRNOTAVAIL
    assert not dropin.answers(lab.near, lab.far.inner(4))
    lab.near.ip("address", "add", *address)
    dropin.resumes(lab.near, lab.far.inner(4), BACK_WITHIN_S)
    assert lab.near.wg("show", lab.near.interface, "latest-handshakes") == handshakes


def test_link_local_address(lab: Lab) -> None:
    """On both links there is the same one: the zone says which is meant."""
    lab.near.ip("address", "add", "fe80::1/64", "dev", LINK, "nodad")
    lab.far.ip("address", "add", "fe80::2/64", "dev", LINK, "nodad")
    with Arrivals(lab.far) as arrivals:
        _start(lab, 4, "--listen-address", f"fe80::1%{LINK}")
        peer = ("peer", lab.far.keys.public)
        lab.near.wg("set", lab.near.interface, *peer, "endpoint", f"[fe80::2%{LINK}]:{LISTEN_PORT}")
        lab.establish()
        assert arrivals.new() == {(LINK, "fe80::1")}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--listen-address", "192.0.2.7"), "192.0.2.7"),
        (("--listen-address=2001:db8::7",), "2001:db8::7"),
        (("--bind-device", "no-such-device"), "no-such-device"),
        (("--listen-address", "fe80::1"), "link-local"),
    ],
)
def test_what_is_not_there_is_said_at_the_start(lab: Lab, pywg: str, options: tuple[str, ...], said: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        subprocess.run(
            ["ip", "netns", "exec", lab.near.namespace.name, pywg, *options, f"{lab.near.interface}x"],
            check=True,
            capture_output=True,
            text=True,
            timeout=20,
        )
    assert caught.value.returncode == 1
    assert caught.value.stderr.count("\n") == 1
    assert said in caught.value.stderr
    assert f"{lab.near.interface}x" not in lab.near.ip("link")


def test_vrf(lab: Lab, family: int) -> None:
    """Both uplinks have the same route; the tunnel takes that of its VRF."""
    try:
        lab.near.ip("link", "add", "blue", "type", "vrf", "table", "77")
    except CommandError:
        pytest.xfail("this kernel has no VRF")
    lab.near.ip("link", "set", "blue", "up")
    with Arrivals(lab.far) as arrivals:
        _start(lab, family, "--bind-device", "blue")
        lab.near.ip("link", "set", SECOND_LINK, "master", "blue")
        if family == 6:  # moving it has taken its addresses
            lab.near.ip("address", "replace", f"{ON_SECOND_LINK[6][0]}/64", "dev", SECOND_LINK, "nodad")
        target = f"{lab.far.outer(family)}/{32 if family == 4 else 128}"
        lab.near.ip("route", "add", target, "via", ON_SECOND_LINK[family][1], "dev", SECOND_LINK, "table", "77")
        lab.establish()
        poll(lambda: dropin.answers(lab.far, lab.near.inner(4)), "far reaches near")
        assert arrivals.new() == _from_second(family)
