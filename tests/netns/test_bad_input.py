"""What pywg says when it can't start or do what it is told: one line that names the thing, and nothing half done."""

import secrets
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.tunnel.command import CommandError
from bench.tunnel.lab import Lab
from bench.tunnel.namespace import Namespace
from bench.tunnel.site import UAPI_DIR, Site, poll

from .conftest import OpenLab

ENDS_WITHIN_S = 30.0
BOTH_WAYS = pytest.mark.parametrize("options", [["-f"], []], ids=["foreground", "background"])


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    namespace = Namespace(f"pywg-bad-{secrets.token_hex(3)}")
    namespace.create()
    try:
        yield namespace
    finally:
        namespace.remove()


@pytest.fixture
def interface() -> str:
    return f"pw{secrets.token_hex(4)}"


def _refused(namespace: Namespace, *argv: str, status: int = 1) -> str:
    """Runs a command that has to fail with one line on stderr and nothing on stdout, and returns that line."""
    child = namespace.start(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    stdout, stderr = child.communicate(timeout=ENDS_WITHIN_S)
    assert child.returncode == status, stderr
    assert stdout == b""
    assert stderr.endswith(b"\n")
    assert stderr.count(b"\n") == 1, stderr
    return stderr.decode()


def _left_behind(namespace: Namespace, interface: str) -> bool:
    return (UAPI_DIR / f"{interface}.sock").exists() or interface in namespace.run("ip", "-o", "link")


@pytest.mark.dropin("4")
@BOTH_WAYS
def test_no_tun_device(pywg: str, namespace: Namespace, interface: str, options: list[str]) -> None:
    hide = 'mount -t tmpfs none /dev/net && exec "$@"'
    said = _refused(namespace, "unshare", "--mount", "sh", "-c", hide, "sh", pywg, *options, interface)
    assert "/dev/net/tun is missing" in said
    assert "modprobe tun" in said
    assert not _left_behind(namespace, interface)


@pytest.mark.dropin("4")
@BOTH_WAYS
def test_no_privilege(pywg: str, namespace: Namespace, interface: str, options: list[str]) -> None:
    without = ("setpriv", "--bounding-set=-all,+setuid,+setgid", "--inh-caps=-all")  # these are for PYWG_USER
    said = _refused(namespace, *without, pywg, *options, interface)
    assert interface in said
    assert "CAP_NET_ADMIN" in said
    assert not _left_behind(namespace, interface)


@pytest.mark.dropin("4")
@BOTH_WAYS
def test_name_of_another_interface(pywg: str, namespace: Namespace, interface: str, options: list[str]) -> None:
    namespace.run("ip", "link", "add", interface, "type", "veth", "peer", "name", "other")
    assert f"the name {interface} is taken" in _refused(namespace, pywg, *options, interface)
    assert interface in namespace.run("ip", "-o", "link"), "it was there before, and stays"


@pytest.mark.parametrize("word", ["start", "ups", "stat", "wg0.conf"])
def test_a_word_for_a_tool_makes_no_interface(pywg: str, namespace: Namespace, word: str) -> None:
    before = namespace.run("ip", "-o", "link")
    assert f"'{word}'" in _refused(namespace, pywg, word, status=2)
    assert namespace.run("ip", "-o", "link") == before
    assert namespace.pids() == []


@pytest.mark.dropin("1")
@pytest.mark.parametrize("name", ["bench", "log", "stats", "run", "help", "status"])
@pytest.mark.parametrize("linked", [True, False], ids=["wireguard-go", "run"])
def test_any_name_can_be_made(pywg: str, namespace: Namespace, tmp_path: Path, name: str, linked: bool) -> None:
    """By `run`; and by a link of another name, which is how wg-quick makes interfaces that are called like commands."""
    link = tmp_path / "wireguard-go"
    link.symlink_to(pywg)
    hide = (
        'mkdir -p /run/wireguard && mount -t tmpfs none /run/wireguard && exec "$@"'  # the name is not this test's own
    )
    private = ("unshare", "--mount", "sh", "-c", hide, "sh")
    namespace.run(*private, *([str(link)] if linked else [pywg, "run"]), name)
    assert f" {name}: " in namespace.run("ip", "-o", "link")
    namespace.run("ip", "link", "del", "dev", name)
    poll(lambda: namespace.pids() == [], "the daemon has ended")


@pytest.mark.dropin("6")
@BOTH_WAYS
def test_name_served_by_a_live_daemon(pywg: str, namespace: Namespace, open_lab: OpenLab, options: list[str]) -> None:
    site = open_lab(pywg, pywg, connect=False).near
    said = _refused(namespace, pywg, *options, site.interface)  # another namespace, but the socket's directory is one
    assert f"{site.interface} is in use" in said
    assert f"PID {site.pid}, serves it" in said
    assert f"`pywg down {site.interface}`" in said
    assert site.wg("show", site.interface, "peers") == ""


@BOTH_WAYS
def test_name_that_runs_here(pywg: str, open_lab: OpenLab, options: list[str]) -> None:
    """It is told which process runs there and how to end it, and nothing is advised that would break the tunnel."""
    site = open_lab(pywg, pywg, connect=False).near
    said = _refused(site.namespace, pywg, *options, site.interface)
    assert f"{site.interface} is in use: {Path(pywg).name}, PID {site.pid}, serves it" in said
    assert "ip link del" not in said
    assert site.alive()
    assert site.wg("show", site.interface, "peers") == ""


@pytest.mark.dropin("1")
@pytest.mark.parametrize("arguments", [[], ["-f"], ["--nonsense"], ["a/b"], ["sixteen-bytes-xx"], ["wg0", "wg1"]])
def test_bad_usage(pywg: str, arguments: list[str]) -> None:
    done = subprocess.run([pywg, *arguments], capture_output=True, text=True, timeout=ENDS_WITHIN_S, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    *usage, said = done.stderr.splitlines()
    assert said.startswith("pywg: ")
    assert bool(usage) == (not arguments), "without an argument the commands are named first"


@pytest.fixture
def lab(pywg: str) -> Iterator[Lab]:
    with Lab(pywg, pywg) as lab:
        lab.establish()
        yield lab


@pytest.mark.dropin("13")
def test_port_taken_while_up_changes_nothing(lab: Lab) -> None:
    site = lab.near
    with site.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", 0))
        port = taken.getsockname()[1]
        with pytest.raises(CommandError, match="Address already in use"):
            site.wg("set", site.interface, "listen-port", str(port))
    assert site.wg("show", site.interface, "listen-port").strip() == "51820"
    lab.establish()


@pytest.mark.dropin("13")
def test_port_taken_while_down_changes_nothing(pywg: str, open_lab: OpenLab) -> None:
    site = open_lab(pywg, pywg, connect=False).near
    with site.namespace.socket(socket.AF_INET6, socket.SOCK_DGRAM) as taken:
        taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        taken.bind(("::", 0))
        port = taken.getsockname()[1]
        with pytest.raises(CommandError, match="Address already in use"):
            site.wg("set", site.interface, "listen-port", str(port), "fwmark", "1")
        assert f"UDP port {port} (IPv6) can't be opened" in site.log_tail()
    assert site.wg("show", site.interface, "listen-port").strip() == "0"
    assert site.wg("show", site.interface, "fwmark").strip() == "off"


@pytest.mark.dropin("13")
def test_port_taken_at_link_up_is_said_and_tried_again(pywg: str, open_lab: OpenLab) -> None:
    site = open_lab(pywg, pywg, connect=False).near
    site.wg("set", site.interface, "listen-port", "4001")
    site.ip("link", "set", site.interface, "up")
    site.await_link(up=True)  # a port is bound before, when it is set
    poll(lambda: 4001 in _udp_ports(site), "the port is bound")
    site.ip("link", "set", site.interface, "down")
    poll(lambda: 4001 not in _udp_ports(site), "the port is free again")
    with site.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", 4001))
        port = taken.getsockname()[1]
        site.ip("link", "set", site.interface, "up")
        poll(lambda: str(port) in site.log_tail(), "the log names the port")
        assert site.alive()
    site.ip("link", "set", site.interface, "down")
    site.ip("link", "set", site.interface, "up")
    poll(lambda: port in _udp_ports(site), "the port is bound once it is free")


def _udp_ports(site: Site) -> list[int]:
    rows = [line.split() for line in Path(f"/proc/{site.pid}/net/udp").read_text().splitlines()[1:]]
    return [int(row[1].rpartition(":")[2], 16) for row in rows]


def test_no_ipv6(lab: Lab) -> None:
    for site in lab.sites:
        site.namespace.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
        site.ip("link", "set", site.interface, "down")
        site.ip("link", "set", site.interface, "up")
    lab.establish()
    assert [site.wg("show", site.interface, "listen-port").strip() for site in lab.sites] == ["51820", "51820"]


@pytest.mark.dropin("9", "Bad input")
@pytest.mark.parametrize(
    ("request_lines", "errno"),
    [
        (["nonsense=1"], -22),
        (["listen_port=65536"], -22),
        (["private_key=00"], -22),
        (["fwmark=1", "public_key=" + "11" * 32, "endpoint=192.0.2.1"], -22),
        (["fwmark=1", "public_key=" + "11" * 32, "allowed_ip=10.0.0.0/33"], -22),
        (["fwmark=1", "public_key=" + "11" * 32, "persistent_keepalive_interval=65536"], -22),
        (["fwmark=1", "public_key=" + "11" * 32, "protocol_version=2"], -22),
    ],
)
def test_a_set_with_a_wrong_line_changes_nothing(lab: Lab, request_lines: list[str], errno: int) -> None:
    def show() -> str:
        shown = lab.near.wg("show", lab.near.interface, "dump").splitlines()
        return "\n".join("\t".join(line.split("\t")[:4]) for line in shown)  # without the counters, which move

    before = show()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(ENDS_WITHIN_S)
        client.connect(str(lab.near.uapi_socket))
        client.sendall("\n".join(["set=1", *request_lines, "", ""]).encode())
        assert client.recv(4096) == f"errno={errno}\n\n".encode()
    assert show() == before
