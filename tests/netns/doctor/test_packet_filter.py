"""What doctor says of the packet filter of this host, each rule loaded for real."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.tunnel.lab import Lab
from bench.tunnel.site import LISTEN_PORT
from pywg.manage.doctor.finding import Severity
from tests.requirements import require_tool

from .. import dropin
from .looking import USER, Fault, behind, chain, findings, made, program, ruled
from .rows import row

UNKNOWN = "limit rate 1/hour accept"
"""A rule of which nobody can say what it does to a packet."""


@contextlib.contextmanager
def out_dropped(lab: Lab) -> Iterator[None]:
    with ruled(lab.near, chain("output", f"udp dport {LISTEN_PORT} counter drop")):
        yield


@contextlib.contextmanager
def out_perhaps_dropped(lab: Lab) -> Iterator[None]:
    with ruled(lab.near, chain("output", f"meta skuid 12345 accept\nudp dport {LISTEN_PORT} drop")):
        yield


@contextlib.contextmanager
def in_dropped(lab: Lab) -> Iterator[None]:
    with ruled(lab.near, chain("input", f"udp dport {{ 53, {LISTEN_PORT} }} counter drop")):
        yield


@contextlib.contextmanager
def in_perhaps_dropped(lab: Lab) -> Iterator[None]:
    with ruled(lab.near, chain("input", f"{UNKNOWN}\nudp dport {LISTEN_PORT} drop")):
        yield


@contextlib.contextmanager
def in_policy(lab: Lab) -> Iterator[None]:
    rules = "ct state established,related accept\ntcp dport 22 accept\nmeta l4proto ipv6-icmp accept"
    with ruled(lab.near, chain("input", rules, "drop")):
        yield


@contextlib.contextmanager
def in_policy_with_keepalive(lab: Lab) -> Iterator[None]:
    peer = ("peer", lab.far.keys.public, "persistent-keepalive")
    lab.near.wg("set", lab.near.interface, *peer, "25")
    try:
        with in_policy(lab):
            yield
    finally:
        lab.near.wg("set", lab.near.interface, *peer, "0")


@contextlib.contextmanager
def forward_dropped(lab: Lab) -> Iterator[None]:
    with behind(lab), ruled(lab.near, chain("forward", "ct state established accept", "drop")):
        yield


FAULTS = [
    made(out_dropped, "firewall-out error: the packet filter drops", "rule 2 of chain c in table inet f"),
    made(out_perhaps_dropped, "firewall-out warning: the packet filter drops", "can't be judged here"),
    made(in_dropped, "firewall-in error: the packet filter drops", f"drops what comes to UDP port {LISTEN_PORT}"),
    made(in_perhaps_dropped, "firewall-in warning: the packet filter drops", "can't be judged here"),
    made(in_policy, "firewall-in warning: the packet filter lets in answers alone", "the policy of chain c"),
    made(in_policy_with_keepalive, "firewall-in note: the packet filter lets in answers alone", "the policy of chain"),
    made(forward_dropped, "firewall-forward warning: the packet filter drops what is", "the policy of chain c"),
]


@pytest.mark.parametrize(("fault", "name", "text"), FAULTS)
def test_a_fault_is_found(fault: Fault, name: str, text: str, healthy: Lab) -> None:
    dropin.resumes(healthy.near, healthy.far.inner(4))
    with fault(healthy):
        found = [one for one in findings(healthy.near) if row(name).is_of(one)]
    assert len(found) == 1
    assert text in found[0].text
    assert found[0].mend


@pytest.mark.finds(
    "unseen note: the packet filter could not be looked at: that needs root",
    "unseen note: routes with a mark, and what a marked packet meets",
)
def test_a_user_sees_no_rules(pywg: str, healthy: Lab) -> None:
    status, _ = program(pywg, healthy.near, *USER)
    assert status in (3, 4)


@pytest.mark.finds("unseen note: the packet filter could not be looked at: {}")
def test_an_nft_that_fails(healthy: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One that lacks its library, or its kernel's part."""
    nft = tmp_path / "nft"
    nft.write_text("#!/bin/sh\necho 'Unable to initialize Netlink socket: Protocol not supported' >&2; exit 1\n")
    nft.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (unseen,) = [one.text for one in findings(healthy.near) if one.check == "unseen"]
    assert unseen.endswith(": Unable to initialize Netlink socket: Protocol not supported")


@pytest.mark.finds("unseen note: the packet filter is not looked at, as there is no `nft`")
def test_no_nft(pywg: str, healthy: Lab) -> None:
    hidden = require_tool("nft")
    script = f'mount --bind /etc/passwd {hidden} && exec "$@"'  # a file that nobody may execute
    _, found = program(pywg, healthy.near, "unshare", "--mount", "sh", "-c", script, "sh")
    assert found["unseen"].severity == Severity.NOTE


@pytest.mark.finds("unseen note: the rules of {}-legacy are not looked at")
def test_rules_of_the_older_iptables(healthy: Lab) -> None:
    """Are seen by their own programs alone."""
    near = healthy.near
    program = require_tool("iptables-legacy")
    assert [one for one in findings(near) if one.check == "unseen"] == []
    near.namespace.run(program, "-w", "-A", "INPUT", "-p", "udp", "-j", "DROP")
    try:
        (unseen,) = [one for one in findings(near) if one.check == "unseen"]
        assert "filter" in unseen.text
    finally:
        near.namespace.run(program, "-w", "-D", "INPUT", "-p", "udp", "-j", "DROP")


def test_rules_for_others_are_no_finding(healthy: Lab) -> None:
    with ruled(healthy.near, chain("input", "udp dport 53 drop")):
        found = findings(healthy.near)
    assert [one for one in found if one.check.startswith("firewall") and one.severity != Severity.OK] == []
