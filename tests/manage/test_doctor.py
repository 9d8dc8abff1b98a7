"""What doctor judges, from facts alone: each finding beside facts that are as they should be."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from pywg.config.addresses import parse_ip, parse_prefix
from pywg.manage.doctor.checks import judge
from pywg.manage.doctor.facts import Facts, FileFacts, Link, Machine, Network, Path, PeerFacts, Route, Running
from pywg.manage.doctor.finding import Finding, Severity, exit_status
from pywg.manage.doctor.gather_network import host_in
from pywg.manage.doctor.report import as_objects, lines

NOW = 1800000000.0
THERE = (parse_ip("203.0.113.9"), 51820, 0)
STATS = {
    "aead": "avx2",
    "up": "1",
    "sockets_open": "1",
    "secrets_locked": "1",
    "sandbox_seccomp": "1",
    "sandbox_seccomp_threads": "1",
    "sandbox_no_new_privs": "1",
    "sandbox_refused": "0",
    "sandbox_net_admin_dropped": "0",
    "counter_tx_packets": "1000",
}


def healthy() -> Facts:
    """A tunnel of which nothing is wrong."""
    offloads = dict.fromkeys(("tun_vnet_hdr", "tun_tso", "tun_uso", "udp_segment", "udp_gro"), "yes")
    machine = Machine(kernel="6.1", offloads=offloads, wall=NOW, clock_synchronized=True, fast_ciphers=["avx2"])
    peer = PeerFacts("berlin", bytes(31) + b"\x09", [parse_prefix("10.9.0.2/32")], endpoint=THERE, handshake_at=NOW - 9)
    link = Link(7, "tun", up=True, mtu=1420, addresses=[(parse_ip("10.9.0.1"), 24)])
    network = Network(
        paths={THERE: Path(Route("", "eth0", 2, 1500, parse_ip("198.51.100.7"), 0), mtu=1500, mtu_from="a ping")},
        routes={parse_prefix("10.9.0.2/32"): Route("", "wg0", 7, 1420)},
        others=[("eth0", parse_prefix("198.51.100.0/24"))],
    )
    running = Running("pywg", 12, dict(STATS), 51820, 0, True, peers=[peer])
    return Facts(machine, "wg0", link=link, running=running, network=network)


def _peer(facts: Facts) -> PeerFacts:
    assert facts.running is not None
    return facts.running.peers[0]


def _stats(facts: Facts, **values: str) -> None:
    assert facts.running is not None
    facts.running.stats |= values


def _stale(facts: Facts) -> None:
    _peer(facts).handshake_at, _peer(facts).tx_bytes, _peer(facts).unanswered = 0, 148, -1


def _no_tun(facts: Facts) -> None:
    facts.machine.tun_fault, facts.machine.tun_mend = "it is gone", "modprobe tun"


def _no_companion(facts: Facts) -> None:
    assert facts.running is not None
    facts.file = FileFacts("/etc/wireguard/wg0.conf", private_key_set=True, wants_companion=True)
    facts.running.companion = False


def both(*changes: Callable[[Facts], object]) -> Callable[[Facts], None]:
    def change(facts: Facts) -> None:
        for one in changes:
            one(facts)

    return change


def _hub(facts: Facts) -> None:
    assert facts.running is not None
    facts.machine.ip_forward = {4: False}
    facts.running.peers.append(
        replace(_peer(facts), name="paris", public_key=b"p" * 32, allowed_ips=[parse_prefix("10.9.0.3/32")])
    )


CASES: dict[str, tuple[Callable[[Facts], object], str, Severity, str]] = {
    "no TUN": (_no_tun, "tun", Severity.ERROR, "it is gone"),
    "old kernel": (lambda f: f.machine.offloads.update(tun_uso="no"), "offloads", Severity.NOTE, "(USO)"),
    "switched off": (lambda f: _stats(f, offload_udp_gro="0"), "offloads", Severity.NOTE, "does not use: udp_gro"),
    "no clock service": (lambda f: setattr(f.machine, "clock_synchronized", False), "clock", Severity.NOTE, "no time"),
    "clock of 1970": (lambda f: setattr(f.machine, "wall", 5.0), "clock", Severity.ERROR, "says 1970"),
    "clock of no year": (lambda f: setattr(f.machine, "wall", -1e30), "clock", Severity.ERROR, "no year"),
    "clock back": (lambda f: setattr(f.machine, "wall", NOW - 9000), "clock", Severity.ERROR, "2 hours behind"),
    "slow cipher": (lambda f: _stats(f, aead="evp"), "cipher", Severity.WARNING, "could do avx2"),
    "no vectors": (lambda f: setattr(f.machine, "fast_ciphers", []), "cipher", Severity.NOTE, "no vector unit"),
    "small buffers": (
        lambda f: _stats(f, receive_buffer="212992", send_buffer=str(7 << 20)),
        *("buffers", Severity.WARNING, "wg0 receives into 208 KiB of socket buffer, and wants 7168"),
    ),
    "no net_admin": (lambda f: setattr(f.machine, "net_admin", False), "privileges", Severity.WARNING, "CAP_NET_ADMIN"),
    "port": (lambda f: _stats(f, sockets_open="0"), "port", Severity.ERROR, "can't be had"),
    "sandbox": (lambda f: _stats(f, sandbox_seccomp="0"), "sandbox", Severity.WARNING, "without seccomp"),
    "in a program": (
        both(lambda f: _stats(f, sandbox_seccomp="0"), lambda f: setattr(f.running, "in_program", True)),
        *("sandbox", Severity.NOTE, "pywg (PID 12) serves wg0 itself"),
    ),
    "no companion": (_no_companion, "companion", Severity.WARNING, "and none runs"),
    "refused call": (lambda f: _stats(f, sandbox_refused="3"), "sandbox", Severity.WARNING, "refused 3"),
    "swap": (lambda f: _stats(f, secrets_locked="0"), "secrets", Severity.WARNING, "swap"),
    "drops": (
        lambda f: _stats(f, counter_tx_no_peer="100"),
        "drops",
        Severity.WARNING,
        "100, beside 1000 that passed: packets to",
    ),
    "unanswered": (_stale, "handshake", Severity.ERROR, "to 203.0.113.9:51820 are unanswered"),
    "counted": (
        both(_stale, lambda f: setattr(_peer(f), "unanswered", 7)),
        *("handshake", Severity.ERROR, "7 initiations"),
    ),
    "told by the daemon": (
        both(_stale, lambda f: setattr(_peer(f), "trouble", "sending fails")),
        *("handshake", Severity.ERROR, "sending fails"),
    ),
    "silence": (
        lambda f: setattr(_peer(f), "handshake_at", NOW - 900),
        *("handshake", Severity.NOTE, "nothing was sent lately"),
    ),
    "hub": (_hub, "forwarding", Severity.WARNING, "net.ipv4.ip_forward is 0"),
    "unseen": (lambda f: f.unseen.append("the moon"), "unseen", Severity.NOTE, "the moon"),
    "denied": (
        both(lambda f: setattr(f, "running", None), lambda f: setattr(f, "answer_fault", "permission denied")),
        *("daemon", Severity.WARNING, "can't be asked"),
    ),
    "the kernel's": (
        both(lambda f: setattr(f, "running", None), lambda f: setattr(f, "kernels", True)),
        *("daemon", Severity.NOTE, "the kernel's own WireGuard"),
    ),
    "another namespace": (lambda f: setattr(f, "link", None), "interface", Severity.NOTE, "another network namespace"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_finding(name: str) -> None:
    change, check, severity, text = CASES[name]
    facts = healthy()
    assert all(one.severity == Severity.OK for one in judge(facts) if one.check == check)
    change(facts)
    found = [one for one in judge(facts) if one.check == check and one.severity != Severity.OK]
    assert [one.severity for one in found] == [severity]
    assert text in found[0].text
    assert "\n" not in found[0].text + found[0].mend
    assert found[0].mend or severity == Severity.NOTE


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert [one for one in judge(healthy()) if one.severity != Severity.OK] == []
    assert exit_status(judge(healthy())) == 0


def test_few_drops_are_nothing() -> None:
    facts = healthy()
    _stats(facts, counter_tx_no_peer="99", counter_rx_forged="150", counter_rx_datagrams="1000000")
    assert [one for one in judge(facts) if one.check == "drops"] == []


def test_the_machine_alone() -> None:
    facts = Facts(healthy().machine)
    assert {one.check for one in judge(facts)} == {"tun", "privileges", "clock", "offloads", "cipher"}


def test_a_file_alone() -> None:
    facts = healthy()
    facts.file = FileFacts("/etc/wireguard/wg0.conf", private_key_set=False, peers=[_peer(facts)])
    facts.running = facts.link = None
    found = {one.check: one for one in judge(facts)}
    assert found["daemon"].mend == "pywg up /etc/wireguard/wg0.conf"
    assert "no PrivateKey" in found["key"].text


@pytest.mark.parametrize(
    ("severities", "status"),
    [
        ((), 0),
        ((Severity.OK, Severity.NOTE), 0),
        ((Severity.NOTE, Severity.WARNING), 3),
        ((Severity.ERROR, Severity.OK), 4),
    ],
)
def test_exit_status(severities: tuple[Severity, ...], status: int) -> None:
    assert exit_status(Finding(severity, "x", "y") for severity in severities) == status


def test_report() -> None:
    found = [
        Finding(Severity.ERROR, "port", "it is \x1b[2Jtaken", "mend it", peer="evil\x1b"),
        Finding(Severity.OK, "tun", "fine", "never shown"),
    ]
    plain = lines("wg0", found, width=80, color=False)
    assert plain[-1] == "1 error; 1 looked at and fine"
    assert plain[2:5] == ["ok       fine", "error    evil?: it is ?[2Jtaken", "         -> mend it"]
    assert "\x1b" not in "".join(plain)
    assert "\x1b[1;31merror" in "".join(lines("wg0", found, width=80, color=True))
    assert max(map(len, lines("wg0", [found[0]._replace(text="word " * 99)], width=60, color=False))) <= 60
    assert as_objects("wg0", found, 4)["findings"][1] == {
        "severity": "ok",
        "check": "tun",
        "peer": None,
        "text": "fine",
        "mend": "never shown",
    }


def test_peers_with_the_same_finding_are_named_together() -> None:
    """Of a thousand sites one says what all have; one that has something else is seen beside them."""
    waiting = [
        Finding(
            Severity.ERROR,
            "handshake",
            f"{n + 2} initiations to 192.0.2.{n % 99}:1 are unanswered",
            "look there",
            f"s{n}",
        )
        for n in range(1000)
    ]
    other = Finding(Severity.ERROR, "handshake", "answers, and its answers do not authenticate", "same keys", "odd")
    found = [*waiting[:500], other, *waiting[500:]]
    assert lines("wg0", found, width=100, color=False) == [
        "wg0",
        "",
        "error    s0: 2 initiations to 192.0.2.0:1 are unanswered",
        "         -> look there",
        "         the same of 999 more: s1, s2, s3, s4, s5, s6 and 993 others (--each shows them)",
        "error    odd: answers, and its answers do not authenticate",
        "         -> same keys",
        "",
        "1001 errors; 0 looked at and fine",
    ]
    each = lines("wg0", found, width=100, color=False, each=True)
    assert len([line for line in each if line.startswith("error")]) == 1001
    few = lines("wg0", waiting[:4], width=100, color=False)
    assert len([line for line in few if line.startswith("error")]) == 4
    five = lines("wg0", waiting[:5], width=100, color=False)
    assert five[4].strip() == "the same of 4 more: s1, s2, s3, s4 (--each shows them)"


@pytest.mark.parametrize(
    ("prefix", "host"),
    [
        *(("10.0.0.0/8", "10.0.0.1"), ("0.0.0.0/0", "192.0.2.1"), ("0.0.0.0/1", "64.0.0.1")),
        *(("128.0.0.0/1", "128.0.0.1"), ("10.1.2.3/32", "10.1.2.3"), ("10.1.2.2/31", "10.1.2.2")),
        *(("::/0", "2001:db8::1"), ("fd00::/64", "fd00::1")),
    ],
)
def test_a_host_in_a_prefix(prefix: str, host: str) -> None:
    assert host_in(parse_prefix(prefix)) == parse_ip(host)
