"""The configuration protocol as wireguard-go speaks it: errno by errno, and clients of every kind."""

import contextlib
import re
import socket
import subprocess

import pytest

from bench.tunnel import traffic
from bench.tunnel.change import PEERS, PREFIXES
from bench.tunnel.change import request as largest_request
from bench.tunnel.site import Site, poll

from . import dropin
from .conftest import OpenLab
from .dropin import Client, ask, get, set_
from .pings import told

pytest_generate_tests = dropin.parametrize_subject

KEY = "aa" * 32
OTHER = "bb" * 32
PEER = f"public_key={KEY}"
EINVAL, EPROTO = -22, -71
QUICK_S = 5.0  # a client that has to wait for another one would wait for ever

DEVICE_LINES = (
    "nonsense=1",
    "Listen_port=1",
    " listen_port=1",
    "listen_port=",
    "listen_port=65536",
    "listen_port=-1",
    "listen_port=1a",
    "listen_port=0x10",
    "listen_port= 1",
    "listen_port=1 ",
    "listen_port=+5",
    "listen_port=1_0",
    "listen_port=\N{ARABIC-INDIC DIGIT THREE}",
    "fwmark=4294967296",
    "fwmark=-1",
    "fwmark=off",
    "fwmark=+1",
    "fwmark=-0",
    "private_key=",
    "private_key=00",
    "private_key=" + "0" * 63,
    "private_key=" + "0" * 65,
    "private_key=" + "g" * 64,
    "private_key=" + "0" * 62 + "é",
    "replace_peers=false",
    "replace_peers=",
    "replace_peers=True",
    "replace_peers=true ",
    "update_only=true",
    "public_key=",
    "public_key=zz",
    "public_key=" + "0" * 66,
    "errno=0",
    "allowed_ip=10.0.0.0/8",
    "endpoint=10.0.0.1:1",
    "get=1",
    "set=1",
)
PEER_LINES = (
    "nonsense=1",
    "listen_port=1",
    "private_key=" + "0" * 64,
    "preshared_key=",
    "preshared_key=00",
    "preshared_key=" + "x" * 64,
    "update_only=false",
    "update_only=1",
    "remove=yes",
    "remove=",
    "replace_allowed_ips=false",
    "protocol_version=0",
    "protocol_version=2",
    "protocol_version=",
    "endpoint=",
    "endpoint=10.0.0.1",
    "endpoint=10.0.0.1:",
    "endpoint=10.0.0.1:65536",
    "endpoint=10.0.0.1:-1",
    "endpoint=10.0.0.256:1",
    "endpoint=::1:1",
    "endpoint=[::1]",
    "endpoint=[::1:1",
    "endpoint=[::g]:1",
    "endpoint=example.org:1",
    "endpoint=:51820",
    "endpoint=1.2.3.4:+1",
    "endpoint=1.2.3.4:http",
    "endpoint=1.2.3.4:1 ",
    "endpoint= 1.2.3.4:1",
    "endpoint=01.2.3.4:1",
    "endpoint=1.2.3:1",
    "endpoint=0x1.2.3.4:1",
    "endpoint=16909060:1",
    "endpoint=[1.2.3.4]:1",
    "endpoint=::1:1",
    "persistent_keepalive_interval=",
    "persistent_keepalive_interval=off",
    "persistent_keepalive_interval=65536",
    "persistent_keepalive_interval=-1",
    "persistent_keepalive_interval=+1",
    "persistent_keepalive_interval= 1",
    "allowed_ip=",
    "allowed_ip=10.0.0.0/33",
    "allowed_ip=10.0.0.0/-1",
    "allowed_ip=10.0.0.0/",
    "allowed_ip=10.0.0/8",
    "allowed_ip=10.0.0.0/8/8",
    "allowed_ip=::/129",
    "allowed_ip=:::/0",
    "allowed_ip=fe80::1%lo/64",
    "allowed_ip=/8",
    "allowed_ip=10.0.0.1",
    "allowed_ip=::1",
    "allowed_ip=10.0.0.1/8 ",
    "allowed_ip= 10.0.0.1/8",
    "allowed_ip=010.0.0.1/8",
    "allowed_ip=+10.0.0.0/8",
    "allowed_ip=--10.0.0.0/8",
    "allowed_ip=-",
    "allowed_ip=1.2.3.4/255.0.0.0",
    "allowed_ip=[::1]/128",
    "errno=0",
    "set=1",
    "get=1",
)
GOOD_DEVICE_LINES = {
    "listen_port=65535": "listen_port=65535",
    "listen_port=00080": "listen_port=80",
    "fwmark=4294967295": "fwmark=4294967295",
    "fwmark=007": "fwmark=7",
    "private_key=" + "aA" * 32: "private_key=a8" + "aa" * 30 + "6a",
}
GOOD_PEER_LINES = {
    "persistent_keepalive_interval=65535": "persistent_keepalive_interval=65535",
    "persistent_keepalive_interval=007": "persistent_keepalive_interval=7",
    "preshared_key=" + "aA" * 32: "preshared_key=" + "aa" * 32,
    "protocol_version=1": "protocol_version=1",
    "endpoint=1.2.3.4:0": "endpoint=1.2.3.4:0",
    "endpoint=1.2.3.4:007": "endpoint=1.2.3.4:7",
    "endpoint=255.255.255.255:65535": "endpoint=255.255.255.255:65535",
    "endpoint=[::]:1": "endpoint=[::]:1",
    "endpoint=[FD00:0:0:0::0A]:1": "endpoint=[fd00::a]:1",
    "allowed_ip=255.255.255.255/0": "allowed_ip=0.0.0.0/0",
    "allowed_ip=ffff::ffff/0": "allowed_ip=::/0",
    "allowed_ip=10.0.0.1/32": "allowed_ip=10.0.0.1/32",
    "allowed_ip=::/128": "allowed_ip=::/128",
    "allowed_ip=1:2:3:4:5:6:7:8/65": "allowed_ip=1:2:3:4::/65",
}
"""Each with the line that get has for it."""
NO_PAIR = ("nonsense", "listen_port", "private_key", "set", "=")
BEFORE = ("fwmark=77", "listen_port=7777", "replace_peers=true", f"public_key={OTHER}", "allowed_ip=10.5.0.0/16")
"""Lines that would do something, were they not in one operation with a wrong one."""


def _malformed() -> list[tuple[str, list[str], int]]:
    cases = [(line, [*BEFORE[:3], line], EINVAL) for line in DEVICE_LINES]
    cases += [(line, [*BEFORE, PEER, "endpoint=10.0.0.9:9", line], EINVAL) for line in PEER_LINES]
    cases += [(line, [*BEFORE[:2], line], EPROTO if line != "=" else EINVAL) for line in NO_PAIR]
    return cases


def _configured(open_lab: OpenLab, subject: str) -> Site:
    site = open_lab(subject, subject, connect=False).near
    change = ["private_key=" + "18" * 31 + "58", "listen_port=1234", "fwmark=5", PEER, "preshared_key=" + "07" * 32]
    change += ["endpoint=10.0.0.1:1", "persistent_keepalive_interval=9", "allowed_ip=10.0.0.0/8", "allowed_ip=fd00::/8"]
    assert set_(site, *change) == 0
    return site


@pytest.mark.dropin("7", "9", "Bad input")
@pytest.mark.known_bug("UAPI errors with positive errno")
def test_errno_of_every_malformed_line(subject: str, open_lab: OpenLab) -> None:
    site = _configured(open_lab, subject)
    wrong = {}
    for line, request, expected in _malformed():
        with contextlib.suppress(OSError):
            if (found := set_(site, *request)) != expected:
                wrong[line] = found
    assert wrong == {}
    assert site.alive()


@pytest.mark.dropin("8", "9")
def test_edges_of_what_set_takes(subject: str, open_lab: OpenLab) -> None:
    site = open_lab(subject, subject, connect=False).near
    for line, shown in GOOD_DEVICE_LINES.items():
        assert set_(site, line) == 0, line
        assert shown in get(site).splitlines(), line
    for line, shown in GOOD_PEER_LINES.items():
        assert set_(site, "replace_peers=true", PEER, line) == 0, line
        assert shown in get(site).splitlines(), line


@pytest.mark.dropin("9", "Bad input")
@pytest.mark.lacks("wireguard-go", "applies the lines before the wrong one")
def test_malformed_line_changes_nothing(subject: str, open_lab: OpenLab) -> None:
    site = _configured(open_lab, subject)
    before = get(site)
    for line, request, _ in _malformed():
        assert set_(site, *request) < 0, line
        assert get(site) == before, line


@pytest.mark.dropin("Bad input")
@pytest.mark.lacks("wireguard-go", "says what, and not which line")
def test_log_says_which_line_is_wrong_and_no_secret(subject: str, open_lab: OpenLab) -> None:
    site = _configured(open_lab, subject)
    for line, request, _ in _malformed():
        at = site.log.stat().st_size
        assert set_(site, *request) < 0
        said = site.log.read_text(errors="replace").encode(errors="replace")[at:].decode()
        number = len(request)
        assert re.search(rf"line {number}: \w[^\n]{{10,}}", said), (line, said)
        value = line.partition("=")[2]
        assert len(value) < 16 or value not in said, "keys are not for the log"


@pytest.mark.dropin("7")
def test_operations_on_one_connection(subject: str, open_lab: OpenLab) -> None:
    site = _configured(open_lab, subject)
    with Client(site) as client:
        assert client.ask("get=1\n\n") == get(site)
        assert client.ask("set=1\nfwmark=6\n\n") == "errno=0\n\n"
        assert "fwmark=6\n" in client.ask("get=1\n\n")
        assert client.ask("set=1\nlisten_port=99999\n\n") == f"errno={EINVAL}\n\n"
        assert client.ask("set=1\n\n") == "errno=0\n\n"
    assert "fwmark=6\n" in get(site)


@pytest.mark.dropin("7")
@pytest.mark.lacks("wireguard-go", "loses what came in one packet with a set operation")
def test_operations_in_one_packet(subject: str, open_lab: OpenLab) -> None:
    site = _configured(open_lab, subject)
    with Client(site) as client:
        client.socket.settimeout(QUICK_S)
        client.socket.sendall(b"set=1\nfwmark=7\n\nget=1\n\nset=1\nfwmark=8\n\n")  # all at once
        replies = client.reply()
        while replies.count("errno=") < 3:
            replies += client.reply()
        assert "fwmark=7\n" in replies
    assert "fwmark=8\n" in get(site)


@pytest.mark.dropin("7")
def test_end_of_the_stream_in_place_of_the_blank_line(subject: str, open_lab: OpenLab) -> None:
    site = _configured(open_lab, subject)
    with Client(site) as client:
        client.socket.sendall(b"set=1\nfwmark=9\n")
        client.socket.shutdown(socket.SHUT_WR)
        assert client.reply() == "errno=0\n\n"
    assert "fwmark=9\n" in get(site)


@pytest.mark.dropin("7")
def test_what_is_no_operation_is_hung_up_on(subject: str, open_lab: OpenLab) -> None:
    site = _configured(open_lab, subject)
    before = get(site)
    for operation in ("nonsense\n\n", "set=2\n\n", "get=0\n\n", "\n", "GET / HTTP/1.1\r\n\r\n", "\0" * 64 + "\n\n"):
        with contextlib.suppress(ConnectionError):
            assert ask(site, operation) == "", operation
    assert ask(site, "get=1\nlisten_port=1\n\n").startswith(f"errno={EINVAL}\n")
    assert get(site) == before


@pytest.mark.dropin("7", "9", "Bad input")
@pytest.mark.lacks("wireguard-go", "applies the lines that were whole")
def test_half_written_requests_change_nothing(subject: str, open_lab: OpenLab) -> None:
    """Cut within a line, whether the client hangs up or only says no more."""
    site = _configured(open_lab, subject)
    before = get(site)
    request = f"set=1\n{PEER}\nendpoint=[fd00::9]:9\n"
    whole_lines = {index + 1 for index, character in enumerate(request) if character == "\n"}
    for cut in range(len(request)):
        if cut in whole_lines:
            continue
        with Client(site) as client:
            client.socket.sendall(request[:cut].encode())
            if cut % 2:
                client.socket.shutdown(socket.SHUT_WR)
                client.socket.settimeout(QUICK_S)
                with contextlib.suppress(OSError):
                    client.reply()
    poll(lambda: get(site) == before, "nothing has changed", 5)


@pytest.mark.dropin("UAPI clients")
@pytest.mark.lacks("wireguard-go", "holds the device's lock until the client has sent its whole request")
def test_silent_and_slow_clients_block_nobody(subject: str, open_lab: OpenLab) -> None:
    site = _configured(open_lab, subject)
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(Client(site)) for _ in range(10)]
        half = [stack.enter_context(Client(site)) for _ in range(10)]
        for client in half:
            client.socket.sendall(b"set=1\nfwmark=")
        slow = stack.enter_context(Client(site))
        slow.socket.settimeout(QUICK_S)
        for character in "set=1\nfwmark=11\n\n":
            slow.socket.sendall(character.encode())
            get(site, within_s=QUICK_S)
        assert slow.reply() == "errno=0\n\n"
        for client in half[:5]:
            assert client.ask("12\n\n") == "errno=0\n\n"
        assert "fwmark=12\n" in silent[0].ask("get=1\n\n")


@pytest.mark.dropin("UAPI clients")
@pytest.mark.lacks("wireguard-go", "holds the device's lock until the client has taken the whole reply")
def test_client_that_reads_no_reply_blocks_nobody(subject: str, open_lab: OpenLab) -> None:
    site = _configured(open_lab, subject)
    change = [line for number in range(3000) for line in (f"public_key={number:064x}", "allowed_ip=::/0")]
    assert set_(site, *change) == 0
    with Client(site) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.socket.sendall(b"get=1\n\n")
        assert get(site, within_s=QUICK_S).count("public_key=") == 3001
        with Client(site) as other:
            other.socket.settimeout(QUICK_S)
            assert other.ask("set=1\nfwmark=13\n\n") == "errno=0\n\n"


@pytest.mark.dropin("UAPI clients")
def test_hostile_clients(subject: str, open_lab: OpenLab) -> None:
    """Noise, lines without end, and clients that vanish in the middle of it."""
    site = _configured(open_lab, subject)
    before = get(site)
    for data in (bytes(range(256)) * 64, b"\n" * 10_000, b"set=1\n" + b"a" * 3_000_000, b"=" * 100_000, b"\xff" * 100):
        with Client(site) as client, contextlib.suppress(OSError):
            client.socket.settimeout(QUICK_S)
            client.socket.sendall(data)
    for _ in range(200):
        with Client(site) as client, contextlib.suppress(OSError):
            client.socket.sendall(b"get=1\n\n" * 20)  # and it is gone before the first reply
    assert site.alive()
    poll(lambda: get(site) == before, "it answers as before")


@pytest.mark.dropin("11")
def test_10000_peers_and_131072_allowed_ips_under_load(subject: str, open_lab: OpenLab) -> None:
    """How long it takes, and how long a ping takes meanwhile, is the bench's to say: `--measures change`."""
    lab = dropin.tunnel(open_lab, subject)
    near, far = lab.near, lab.far
    with traffic.background(near, far, far.inner(4)):
        command = ["ping", "-n", "-i", "0.02", "-c", "100", "-w", "30", far.inner(4)]
        ping = near.namespace.start(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert ask(near, largest_request() + "\n\n") == "errno=0\n\n"
        shown = get(near)
        said, _ = ping.communicate(timeout=60)
    assert shown.count("\npublic_key=") == PEERS + 1
    assert shown.count("\nallowed_ip=") == PREFIXES + 2
    found = told(said.decode())
    assert found.answered == 100
    assert found.lost <= 10, "under full load a queue may overflow now and then"
    assert set_(near, "replace_peers=true") == 0
    assert "public_key" not in get(near)
