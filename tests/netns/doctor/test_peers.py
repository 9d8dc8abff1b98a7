"""What doctor says of handshakes and clocks, between daemons that really fail to meet."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.tunnel.implementations import find
from bench.tunnel.lab import Lab
from bench.tunnel.site import LISTEN_PORT, Keys, Site, poll
from pywg.manage.doctor.finding import Severity

from .. import dropin
from ..conftest import OpenLab
from .looking import WITHIN_S, Clock, chain, findings, one_of, program, ruled, unconnected, wrong


def grows(site: Site, counter: str) -> Callable[[], bool]:
    """A condition: the counter is no longer 0."""
    return lambda: int(site.stats().get(f"counter_{counter}", 0)) > 0


@pytest.mark.finds("handshake note: never connected: nothing was sent", "handshake error: {}initiations to {}")
def test_initiations_that_nobody_answers(pywg: str, open_lab: OpenLab) -> None:
    lab = unconnected(open_lab, pywg)
    lab.near.add_peer(lab.far, endpoint=4)
    assert one_of(findings(lab.near), "handshake").severity == Severity.NOTE
    with ruled(lab.far, chain("input", f"udp dport {LISTEN_PORT} drop")):
        dropin.kick(lab.near, lab.far.inner(4))
        poll(lambda: lab.near.transferred()[1] > 0, "an initiation is sent", WITHIN_S)
        found = one_of(findings(lab.near), "handshake")
    assert found.severity == Severity.ERROR
    assert "unanswered" in found.text


@pytest.mark.finds("handshake error: {}")
def test_what_the_daemon_tells(pywg: str, open_lab: OpenLab) -> None:
    """A peer with nothing between it and us: no route."""
    lab = unconnected(open_lab, pywg)
    lab.near.add_peer(lab.far)
    lab.near.wg("set", lab.near.interface, "peer", lab.far.keys.public, "endpoint", "203.0.113.9:51820")

    def told() -> bool:
        dropin.kick(lab.near, lab.far.inner(4))
        return "trouble=" in lab.near.uapi("peers=1")

    poll(told, "the daemon tells why", WITHIN_S)
    assert "unreachable" in one_of(findings(lab.near), "handshake").text


@pytest.mark.finds("handshake note: was connected, and nothing was sent lately")
def test_silence(pywg: str, healthy: Lab, tmp_path: Path) -> None:
    """Of a quarter of an hour, as the clock of doctor has it."""
    dropin.resumes(healthy.near, healthy.far.inner(4))
    _, found = program(pywg, healthy.near, env=Clock(tmp_path, 900).env)
    assert found["handshake"].mend.startswith("pywg ping ")


@pytest.mark.finds("peer-clock warning", "peer-clock error")
def test_a_peer_whose_clock_has_gone_back(pywg: str, open_lab: OpenLab, tmp_path: Path) -> None:
    clock = Clock(tmp_path, 3600)
    lab = open_lab(replace(find("pywg"), env=clock.env), "pywg")
    lab.establish()
    assert wrong(findings(lab.far)) == []
    clock.set(0)
    near = lab.near
    assert near.daemon is not None
    near.daemon.terminate()
    near.daemon.wait()
    near.start()  # a daemon's own timestamps never go back
    near.configure(lab.mtu)
    near.add_peer(lab.far, endpoint=4)
    with dropin.repeated(lambda: dropin.kick(lab.near, lab.far.inner(4))):
        poll(grows(lab.far, "handshake_replayed_initiation"), "an initiation of before", WITHIN_S)
        found = one_of(findings(lab.far), "peer-clock")
    assert "its clock has gone back" in found.text
    assert found.severity == Severity.WARNING, "the session lives"
    later = tmp_path / "later"
    later.mkdir()
    _, seen = program(pywg, lab.far, env=Clock(later, 900).env)
    assert seen["peer-clock"].severity == Severity.ERROR


@pytest.mark.finds("handshake warning: never connected, and no endpoint is known")
def test_a_peer_without_an_endpoint(pywg: str, open_lab: OpenLab) -> None:
    lab = unconnected(open_lab, pywg)
    lab.near.add_peer(lab.far)
    assert one_of(findings(lab.near), "handshake").severity == Severity.WARNING


@pytest.mark.finds("handshake error: answers, and its answers do not authenticate")
def test_another_preshared_key(pywg: str, open_lab: OpenLab) -> None:
    lab = unconnected(open_lab, pywg)
    lab.far.add_peer(lab.near)
    lab.near.add_peer(lab.far, endpoint=4, preshared_key=Keys.generate().private)
    with dropin.repeated(lambda: dropin.kick(lab.near, lab.far.inner(4))):
        poll(grows(lab.near, "handshake_bad_response"), "an answer", WITHIN_S)
    assert "do not authenticate" in one_of(findings(lab.near), "handshake").text


@pytest.mark.finds("handshake error: no handshake, and a peer that is unknown here")
def test_a_key_that_is_unknown_here(pywg: str, open_lab: OpenLab) -> None:
    """The far end begins, under a key that is no peer's here."""
    lab = unconnected(open_lab, pywg)
    lab.near.wg("set", lab.near.interface, "peer", Keys.generate().public, "allowed-ips", f"{lab.far.inner(4)}/32")
    lab.far.add_peer(lab.near, endpoint=4)
    with dropin.repeated(lambda: dropin.kick(lab.far, lab.near.inner(4))):
        poll(grows(lab.near, "handshake_unknown_peer"), "an initiation", WITHIN_S)
    assert "unknown here" in one_of(findings(lab.near), "handshake").text


@pytest.mark.finds("handshake error: no handshake, and handshakes come that are made for another public key")
def test_another_public_key_for_us(pywg: str, open_lab: OpenLab) -> None:
    lab = unconnected(open_lab, pywg)
    near, far = lab.sites
    near.add_peer(far)
    far.wg(
        *("set", far.interface, "peer", Keys.generate().public, "allowed-ips", f"{near.inner(4)}/32"),
        *("endpoint", f"{near.outer(4)}:{LISTEN_PORT}"),
    )
    with dropin.repeated(lambda: dropin.kick(far, near.inner(4))):
        poll(grows(near, "rx_bad_mac1"), "an initiation", WITHIN_S)
    assert "another public key than ours" in one_of(findings(near), "handshake").text
