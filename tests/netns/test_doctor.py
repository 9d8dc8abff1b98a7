"""`pywg doctor` on faults that are made for real, each beside the same tunnel without it."""

import contextlib
import json
import os
import socket
import stat
import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench.tunnel.implementations import find
from bench.tunnel.lab import Lab
from bench.tunnel.site import LINK, LISTEN_PORT, Keys, Site, poll
from pywg.manage.doctor.checks import judge
from pywg.manage.doctor.finding import Finding, Severity
from pywg.manage.doctor.gather import gather

from . import dropin
from .conftest import OpenLab
from .dropin import nft

pytestmark = pytest.mark.usefixtures("_nothing_of_the_host")
WITHIN_S = 20.0
CLOCK = Path(__file__).with_name("wall_clock.c")
Fault = Callable[[Lab], contextlib.AbstractContextManager[None]]


@pytest.fixture(scope="module")
def healthy(pywg: str) -> Iterator[Lab]:
    """A tunnel that each fault finds whole, and leaves so."""
    with Lab(pywg, pywg, psk=True) as lab:
        lab.establish()
        yield lab


@pytest.fixture
def _nothing_of_the_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No file of /etc/wireguard is the lab's."""
    monkeypatch.setattr("pywg.manage.doctor.gather.DIRECTORY", str(tmp_path))


def findings(site: Site, path: str = "") -> list[Finding]:
    """What doctor finds in the site's namespace."""
    with site.namespace.entered():
        return judge(gather(site.interface, path))


def wrong(found: list[Finding]) -> list[Finding]:
    return [one for one in found if one.severity >= Severity.WARNING]


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
def ruled(site: Site, *rules: str) -> Iterator[None]:
    """Rules of nftables in table inet f."""
    nft(site, "table inet f {", *rules, "}")
    try:
        yield
    finally:
        nft(site, "delete table inet f")


def chain(hook: str, rule: str, policy: str = "accept") -> str:
    return f"chain c {{ type filter hook {hook} priority 0; policy {policy}; {rule}\n}}"


@contextlib.contextmanager
def out_dropped(lab: Lab) -> Iterator[None]:
    with ruled(lab.near, chain("output", f"udp dport {LISTEN_PORT} counter drop")):
        yield


@contextlib.contextmanager
def in_dropped(lab: Lab) -> Iterator[None]:
    with ruled(lab.near, chain("input", f"udp dport {{ 53, {LISTEN_PORT} }} counter drop")):
        yield


@contextlib.contextmanager
def in_policy(lab: Lab) -> Iterator[None]:
    rules = "ct state established,related accept\ntcp dport 22 accept\nmeta l4proto ipv6-icmp accept"
    with ruled(lab.near, chain("input", rules, "drop")):
        yield


@contextlib.contextmanager
def down(lab: Lab) -> Iterator[None]:
    lab.near.ip("link", "set", lab.near.interface, "down")
    try:
        yield
    finally:
        lab.near.ip("link", "set", lab.near.interface, "up")
        lab.near.ip("address", "add", f"{lab.near.inner(6)}/64", "dev", lab.near.interface, "nodad")


@contextlib.contextmanager
def no_address(lab: Lab) -> Iterator[None]:
    lab.near.ip("address", "flush", "dev", lab.near.interface)
    try:
        yield
    finally:
        for family, length in ((4, 24), (6, 64)):
            lab.near.ip("address", "add", f"{lab.near.inner(family)}/{length}", "dev", lab.near.interface, "nodad")


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
    lab.near.wg("set", lab.near.interface, "peer", lab.far.keys.public, "allowed-ips", _allowed(lab, host))
    lab.near.ip("route", "add", host, "dev", lab.near.interface)
    try:
        yield
    finally:
        lab.near.ip("route", "delete", host, "dev", lab.near.interface)
        lab.near.wg("set", lab.near.interface, "peer", lab.far.keys.public, "allowed-ips", _allowed(lab))


def _allowed(lab: Lab, *more: str) -> str:
    return ",".join((f"{lab.far.inner(4)}/32", f"{lab.far.inner(6)}/128", *more))


@contextlib.contextmanager
def allowing(lab: Lab, *prefixes: str) -> Iterator[None]:
    lab.near.wg("set", lab.near.interface, "peer", lab.far.keys.public, "allowed-ips", _allowed(lab, *prefixes))
    try:
        yield
    finally:
        lab.near.wg("set", lab.near.interface, "peer", lab.far.keys.public, "allowed-ips", _allowed(lab))


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
def site(lab: Lab) -> Iterator[None]:
    """A network behind each end, as far as routes are concerned."""
    with allowing(lab, "192.168.77.0/24"):
        lab.near.ip("link", "add", "lan", "type", "veth", "peer", "lan-far")
        lab.near.ip("address", "add", "192.168.66.1/24", "dev", "lan")
        lab.near.ip("link", "set", "lan", "up")
        lab.near.ip("route", "add", "192.168.77.0/24", "dev", lab.near.interface)
        try:
            yield
        finally:
            lab.near.ip("link", "delete", "lan")
            lab.near.ip("route", "delete", "192.168.77.0/24", "dev", lab.near.interface)


@contextlib.contextmanager
def forward_dropped(lab: Lab) -> Iterator[None]:
    with site(lab), ruled(lab.near, chain("forward", "ct state established accept", "drop")):
        yield


@contextlib.contextmanager
def same_network(lab: Lab) -> Iterator[None]:
    with site(lab), allowing(lab, "192.168.66.0/24"):
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
def own_address(lab: Lab) -> Iterator[None]:
    with allowing(lab, f"{lab.near.inner(4)}/32"):
        yield


@contextlib.contextmanager
def no_allowed_ips(lab: Lab) -> Iterator[None]:
    lab.near.wg("set", lab.near.interface, "peer", lab.far.keys.public, "allowed-ips", "")
    try:
        yield
    finally:
        lab.near.wg("set", lab.near.interface, "peer", lab.far.keys.public, "allowed-ips", _allowed(lab))


FAULTS: dict[str, tuple[Fault, str, Severity, str]] = {
    "out dropped": (out_dropped, "firewall-out", Severity.ERROR, "rule 2 of chain c in table inet f"),
    "out dropped, tried": (out_dropped, "endpoint", Severity.ERROR, "a packet filter of this host drops it"),
    "in dropped": (in_dropped, "firewall-in", Severity.ERROR, f"drops what comes to UDP port {LISTEN_PORT}"),
    "in by policy": (in_policy, "firewall-in", Severity.WARNING, "lets in answers alone"),
    "down": (down, "interface", Severity.ERROR, "is down"),
    "no address": (no_address, "address", Severity.ERROR, "has no address"),
    "path": (path_too_small, "mtu", Severity.WARNING, "which takes 1400 bytes"),
    "black hole": (black_hole, "mtu", Severity.WARNING, "1400 bytes (larger pings are lost, and no router says so)"),
    "MTU of IPv6": (mtu_below_ipv6, "mtu-ipv6", Severity.ERROR, "1200 is below 1280"),
    "loop": (loop, "routing-loop", Severity.ERROR, "leads into"),
    "no route to allowed IPs": (no_route_to_allowed, "route", Severity.ERROR, "192.168.77.0/24 is an allowed IP"),
    "routed elsewhere": (route_elsewhere, "route", Severity.WARNING, f"goes to {LINK}"),
    "no forwarding": (site, "forwarding", Severity.WARNING, "net.ipv4.ip_forward is 0"),
    "forwarding dropped": (forward_dropped, "firewall-forward", Severity.WARNING, "the policy of chain c"),
    "same network": (same_network, "same-network", Severity.ERROR, "is also the network of lan"),
    "strict": (strict_reverse_path, "rp-filter", Severity.WARNING, "192.168.77.0/24 is routed elsewhere"),
    "strict, marked": (strict_with_mark, "rp-filter", Severity.ERROR, "that way is into the tunnel"),
    "no route": (no_route, "endpoint", Severity.ERROR, "there is no route to its endpoint 203.0.113.9:51820"),
    "refused": (refused, "endpoint", Severity.ERROR, "no program listens on that port there"),
    "rejected": (rejected, "endpoint", Severity.ERROR, "refuses what is sent there"),
    "NAT": (behind_nat, "keepalive", Severity.WARNING, "behind NAT"),
    "own address": (own_address, "own-address", Severity.ERROR, "this host's own address"),
    "no allowed IPs": (no_allowed_ips, "allowed-ips", Severity.WARNING, "has no allowed IPs"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found(name: str, healthy: Lab) -> None:
    fault, check, severity, text = FAULTS[name]
    dropin.resumes(healthy.near, healthy.far.inner(4))
    with fault(healthy):
        found = [one for one in findings(healthy.near) if one.check == check and one.severity >= Severity.WARNING]
    assert [one.severity for one in found] == [severity], found
    assert text in found[0].text
    assert found[0].mend


def test_a_healthy_tunnel_has_no_finding(healthy: Lab) -> None:
    """The control of all faults, and after them: what each left is as it was."""
    dropin.resumes(healthy.near, healthy.far.inner(4))
    found = findings(healthy.near)
    assert wrong(found) == []
    fine = {one.check for one in found if one.severity == Severity.OK}
    assert {"tun", "daemon", "interface", "port", "handshake", "endpoint", "mtu", "route", "sandbox"} <= fine


def _handshake_finding(lab: Lab) -> Finding:
    return next(one for one in findings(lab.near) if one.check == "handshake")


def _unconnected(open_lab: OpenLab, pywg: str) -> Lab:
    lab = open_lab(pywg, pywg, connect=False)
    for one in lab.sites:
        one.configure(lab.mtu)
    return lab


def test_initiations_that_nobody_answers(pywg: str, open_lab: OpenLab) -> None:
    lab = _unconnected(open_lab, pywg)
    lab.near.add_peer(lab.far, endpoint=4)
    assert (_handshake_finding(lab).severity, "nothing was sent" in _handshake_finding(lab).text) == (
        Severity.NOTE,
        True,
    )
    with ruled(lab.far, chain("input", f"udp dport {LISTEN_PORT} drop")):
        dropin.kick(lab.near, lab.far.inner(4))
        poll(lambda: lab.near.transferred()[1] > 0, "an initiation is sent", WITHIN_S)
        found = _handshake_finding(lab)
    assert found.severity == Severity.ERROR
    assert "unanswered" in found.text


def test_a_peer_whose_clock_has_gone_back(pywg: str, open_lab: OpenLab, tmp_path: Path) -> None:
    offset = tmp_path / "offset"
    offset.write_bytes(struct.pack("q", 3600))
    env = {"LD_PRELOAD": str(_clock(tmp_path)), "PYWG_WALL_CLOCK": str(offset)}
    lab = open_lab(replace(find("pywg"), env=env), "pywg")
    lab.establish()
    assert wrong(findings(lab.far)) == []
    with offset.open("r+b") as file:
        file.write(bytes(8))
    near = lab.near
    assert near.daemon is not None
    near.daemon.terminate()
    near.daemon.wait()
    near.start()  # a daemon's own timestamps never go back
    near.configure(lab.mtu)
    near.add_peer(lab.far, endpoint=4)
    with dropin.repeated(lambda: dropin.kick(lab.near, lab.far.inner(4))):
        replays = "counter_handshake_replayed_initiation"
        poll(lambda: int(lab.far.stats().get(replays, 0)) > 0, "an initiation of before", WITHIN_S)
        found = next(one for one in findings(lab.far) if one.check == "peer-clock")
    assert "its clock has gone back" in found.text


def test_a_peer_without_an_endpoint(pywg: str, open_lab: OpenLab) -> None:
    lab = _unconnected(open_lab, pywg)
    lab.near.add_peer(lab.far)
    found = _handshake_finding(lab)
    assert (found.severity, "no endpoint is known" in found.text) == (Severity.WARNING, True)


def test_no_private_key_and_no_peer(pywg: str, open_lab: OpenLab) -> None:
    lab = _unconnected(open_lab, pywg)
    lab.near.wg("set", lab.near.interface, "private-key", "/dev/null")
    assert {one.check for one in wrong(findings(lab.near))} >= {"key", "peers"}


def test_another_preshared_key(pywg: str, open_lab: OpenLab) -> None:
    lab = _unconnected(open_lab, pywg)
    lab.far.add_peer(lab.near)
    lab.near.add_peer(lab.far, endpoint=4, preshared_key=Keys.generate().private)
    with dropin.repeated(lambda: dropin.kick(lab.near, lab.far.inner(4))):
        poll(lambda: int(lab.near.stats().get("counter_handshake_bad_response", 0)) > 0, "an answer", WITHIN_S)
    assert "do not authenticate" in _handshake_finding(lab).text


def test_a_key_that_is_unknown_here(pywg: str, open_lab: OpenLab) -> None:
    """The far end begins, under a key that is no peer's here; and with another public key for us."""
    lab = _unconnected(open_lab, pywg)
    lab.near.wg("set", lab.near.interface, "peer", Keys.generate().public, "allowed-ips", f"{lab.far.inner(4)}/32")
    lab.far.add_peer(lab.near, endpoint=4)
    with dropin.repeated(lambda: dropin.kick(lab.far, lab.near.inner(4))):
        poll(lambda: int(lab.near.stats().get("counter_handshake_unknown_peer", 0)) > 0, "an initiation", WITHIN_S)
        assert "unknown here" in _handshake_finding(lab).text
        lab.near.secret_file("key", Keys.generate().private)
        lab.near.wg("set", lab.near.interface, "private-key", str(lab.near.directory / "near.key"))
    other = _unconnected(open_lab, pywg)
    other.near.add_peer(other.far)
    other.far.wg("set", other.far.interface, "peer", Keys.generate().public, "allowed-ips", "0.0.0.0/0")
    other.far.wg(
        *("set", other.far.interface, "peer", Keys.generate().public, "allowed-ips", f"{other.near.inner(4)}/32"),
        *("endpoint", f"{other.near.outer(4)}:{LISTEN_PORT}"),
    )
    with dropin.repeated(lambda: dropin.kick(other.far, other.near.inner(4))):
        poll(lambda: int(other.near.stats()["counter_rx_bad_mac1"]) > 0, "an initiation", WITHIN_S)
    assert "another public key than ours" in _handshake_finding(other).text


def test_ports(pywg: str, open_lab: OpenLab, tmp_path: Path) -> None:
    """Taken while the interface is up; another than the file's; and wanted by a file whose tunnel does not run."""
    lab = open_lab(pywg, pywg)
    lab.establish()
    near = lab.near
    path = tmp_path / f"{near.interface}.conf"
    path.write_text(f"[Interface]\nPrivateKey = {near.keys.private}\nListenPort = 7\n")
    near.ip("link", "set", near.interface, "down")
    near.wg("set", near.interface, "listen-port", "0")
    with near.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", 0))
        number = taken.getsockname()[1]
        idle = tmp_path / "idle0.conf"
        idle.write_text(f"[Interface]\nPrivateKey = {near.keys.private}\nListenPort = {number}\n")
        near.ip("link", "set", near.interface, "up")
        found = findings(near, str(path))
        assert "the file says 7" in next(one for one in found if one.check == "port").text
        with near.namespace.entered():
            found = judge(gather("idle0", str(idle)))
        port = next(one for one in found if one.check == "port")
        assert f"UDP port {number}, which the file wants, is taken: " in port.text
        assert f"(PID {os.getpid()})" in port.text
        assert "idle0 does not run" in next(one for one in found if one.check == "daemon").text
    with near.namespace.entered():
        assert [one for one in judge(gather("idle0", str(idle))) if one.check == "port"] == []


def test_an_interface_of_the_kernels_and_one_without_a_daemon(pywg: str, open_lab: OpenLab) -> None:
    lab = open_lab(pywg, pywg, connect=False)
    lab.near.ip("link", "add", "idle1", "type", "veth", "peer", "idle1-far")
    with lab.near.namespace.entered():
        found = next(one for one in judge(gather("idle1")) if one.check == "daemon")
        assert (found.severity, "no daemon answers" in found.text) == (Severity.ERROR, True)
    with contextlib.suppress(Exception):
        lab.near.ip("link", "add", "kernel1", "type", "wireguard")
        with lab.near.namespace.entered():
            assert (
                "kernel's own WireGuard" in next(one for one in judge(gather("kernel1")) if one.check == "daemon").text
            )


def test_a_daemon_that_is_not_pywg(open_lab: OpenLab, pytestconfig: pytest.Config) -> None:
    if "wireguard-go" not in pytestconfig.getoption("pairs"):
        pytest.skip("wireguard-go is not among the --pairs")
    lab = open_lab("wireguard-go", "wireguard-go")
    lab.establish()
    found = findings(lab.near)
    assert "which is not pywg" in next(one for one in found if one.check == "daemon").text
    assert wrong(found) == []


def test_no_sandbox(pywg: str, open_lab: OpenLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYWG_SANDBOX", "0")
    lab = open_lab(pywg, pywg)
    assert "the sandbox is off" in next(one for one in findings(lab.near) if one.check == "sandbox").text


def test_a_file(pywg: str, open_lab: OpenLab, tmp_path: Path) -> None:
    """Without a daemon: names that have no address, DNS servers that are deaf, keys and prefixes given twice."""
    lab = open_lab(pywg, pywg, connect=False)
    key = lab.far.keys.public
    path = tmp_path / "idle2.conf"
    path.write_text(
        f"[Interface]\nPrivateKey = {lab.near.keys.private}\nDNS = {lab.far.outer(4)}, example.org\nMTU = 1200\n"
        f"Address = fd00:99::1/64\n"
        f"[Peer]\n# Name = one\nPublicKey = {key}\nEndpoint = nowhere.invalid:1\nAllowedIPs = 10.9.0.0/16\n"
        f"[Peer]\n# Name = two\nPublicKey = {key}\nAllowedIPs = 10.9.0.0/16, 10.77.0.2/32\nEndpoint = 10.77.0.2:1\n"
        f"[Peer]\n# Name = me\nPublicKey = {lab.near.keys.public}\nAllowedIPs = 10.10.0.0/16\n"
    )
    with lab.near.namespace.entered():
        found = wrong(judge(gather("idle2", str(path))))
    texts = {one.check: one.text for one in found}
    assert "nowhere.invalid can't be resolved" in texts["resolve"]
    assert f"the DNS server {lab.far.outer(4)} of the file does not answer" in texts["dns"]
    assert "one and two have the same public key" in texts["same-key"]
    assert "10.9.0.0/16 is an allowed IP of one and two" in texts["same-allowed-ip"]
    assert "this host's own public key" in texts["own-key"]
    assert "below 1280" in texts["mtu-ipv6"]
    assert "10.77.0.2/32 of the allowed IPs contains its endpoint" in texts["routing-loop"]
    path.write_text(f"[Interface]\nPrivateKey = {lab.near.keys.private}\nMTU = 1400\nMTU = 1300\n")
    path.chmod(0o600)
    with lab.near.namespace.entered():
        said = [one for one in judge(gather("idle2", str(path))) if one.check == "file"]
    assert [one.severity for one in said] == [Severity.WARNING]
    assert "MTU is in line 3 too" in said[0].text
    path.write_text("[Interface]\nAdress = 10.0.0.1/24\n")
    with lab.near.namespace.entered():
        assert "file" in {one.check for one in wrong(judge(gather("idle2", str(path))))}


def test_a_dns_server_that_answers(pywg: str, open_lab: OpenLab, tmp_path: Path) -> None:
    lab = open_lab(pywg, pywg, connect=False)
    path = tmp_path / "idle3.conf"
    path.write_text(f"[Interface]\nPrivateKey = {lab.near.keys.private}\nDNS = {lab.near.outer(4)}\n")
    with lab.near.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((lab.near.outer(4), 53))

        def echo() -> None:
            with contextlib.suppress(TimeoutError):
                server.settimeout(0.2)
                server.sendto(*server.recvfrom(512))

        with dropin.repeated(echo), lab.near.namespace.entered():
            found = judge(gather("idle3", str(path)))
    assert [one.severity for one in found if one.check == "dns"] == [Severity.OK]


def _clock(directory: Path) -> Path:
    library = directory / "wall_clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, CLOCK], check=True)
    return library


def _program(pywg: str, site: Site, *argv: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = ["ip", "netns", "exec", site.namespace.name, *argv, pywg, "doctor", site.interface, "--json"]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **(env or {})})


def _checks(done: subprocess.CompletedProcess[str]) -> dict[str, tuple[str, str]]:
    assert done.stderr == ""
    (report,) = json.loads(done.stdout)
    assert report["status"] == done.returncode
    return {one["check"]: (one["severity"], one["text"]) for one in report["findings"]}


def test_the_program(pywg: str, healthy: Lab, tmp_path: Path) -> None:
    """Its exit status, a clock that has gone back, a user, and no /dev/net/tun."""
    near = healthy.near
    dropin.resumes(near, healthy.far.inner(4))
    assert _program(pywg, near).returncode == 0
    offset = tmp_path / "offset"
    offset.write_bytes(struct.pack("q", -3600))
    env = {"LD_PRELOAD": str(_clock(tmp_path)), "PYWG_WALL_CLOCK": str(offset)}
    back = _program(pywg, near, env=env)
    assert back.returncode == 4
    assert "behind the newest handshake" in _checks(back)["clock"][1]
    offset.write_bytes(struct.pack("q", -40 * 365 * 86400))
    assert "the clock says 19" in _checks(_program(pywg, near, env=env))["clock"][1]

    user = _program(pywg, near, "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    seen = _checks(user)
    assert user.returncode in (3, 4)
    assert seen["privileges"][0] == "warning"
    assert seen["daemon"] == ("warning", f"the daemon of {near.interface} can't be asked: permission denied")
    assert seen["unseen"][0] == "note"

    no_tun = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /dev/net && exec "$@"', "sh")
    assert _checks(_program(pywg, near, *no_tun))["tun"] == (
        "error",
        "no interface can be made: /dev/net/tun is missing",
    )
    assert stat.S_ISCHR(os.stat("/dev/net/tun").st_mode)
    refused = (
        "unshare",
        "--mount",
        "sh",
        "-c",
        'mount -t tmpfs none /dev/net && touch /dev/net/tun && chmod 0 /dev/net/tun && exec "$@"',
        "sh",
        "setpriv",
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
    )
    assert "can't be opened" in _checks(_program(pywg, near, *refused))["tun"][1]
