"""What doctor says of a file, whose tunnel does not run; each fault is made for real."""

import contextlib
import os
import socket
from pathlib import Path

import pytest

from pywg.manage.doctor.finding import Severity

from .. import dropin
from ..conftest import OpenLab
from .looking import USER, file_of, findings, one_of, program, wrong


@pytest.mark.finds(
    *(
        "resolve error",
        "dns warning",
        "same-key error",
        "same-allowed-ip error",
        "own-key error",
        "daemon error: {} does",
    ),
    *("mtu-ipv6 error", "routing-loop error: {} of the allowed IPs"),
)
def test_names_keys_and_prefixes(pywg: str, open_lab: OpenLab, tmp_path: Path) -> None:
    """Names that have no address, DNS servers that are deaf, keys and prefixes given twice."""
    lab = open_lab(pywg, pywg, connect=False)
    key = lab.far.keys.public
    path = file_of(
        lab.near,
        tmp_path,
        *(f"DNS = {lab.far.outer(4)}, example.org", "MTU = 1200", "Address = fd00:99::1/64"),
        *("[Peer]", "# Name = one", f"PublicKey = {key}", "Endpoint = nowhere.invalid:1", "AllowedIPs = 10.9.0.0/16"),
        *("[Peer]", "# Name = two", f"PublicKey = {key}", "AllowedIPs = 10.9.0.0/16, 10.77.0.2/32"),
        *("Endpoint = 10.77.0.2:1", "[Peer]", "# Name = me", f"PublicKey = {lab.near.keys.public}"),
        "AllowedIPs = 10.10.0.0/16",
        name="idle2",
    )
    texts = {one.check: one.text for one in wrong(findings(lab.near, path, "idle2"))}
    assert "nowhere.invalid can't be resolved" in texts["resolve"]
    assert f"the DNS server {lab.far.outer(4)} of the file does not answer" in texts["dns"]
    assert "one and two have the same public key" in texts["same-key"]
    assert "10.9.0.0/16 is an allowed IP of one and two" in texts["same-allowed-ip"]
    assert "this host's own public key" in texts["own-key"]
    assert "below 1280" in texts["mtu-ipv6"]
    assert "10.77.0.2/32 of the allowed IPs contains its endpoint" in texts["routing-loop"]


@pytest.mark.finds("file warning", "file error", "key error: the file has no PrivateKey")
def test_what_is_written(pywg: str, open_lab: OpenLab, tmp_path: Path) -> None:
    near = open_lab(pywg, pywg, connect=False).near
    path = file_of(near, tmp_path, "MTU = 1400", "MTU = 1300", name="idle2")
    said = one_of(findings(near, path, "idle2"), "file")
    assert said.severity == Severity.WARNING
    assert "MTU is in line 3 too" in said.text
    path.write_text("[Interface]\nAdress = 10.0.0.1/24\n")
    assert one_of(findings(near, path, "idle2"), "file").severity == Severity.ERROR
    path.write_text("[Interface]\nAddress = 10.0.0.1/24\n")
    assert "PrivateKey" in one_of(findings(near, path, "idle2"), "key").text


@pytest.mark.finds("port error: UDP port {}, which the file wants, is taken")
def test_a_port_that_is_taken(pywg: str, open_lab: OpenLab, tmp_path: Path) -> None:
    near = open_lab(pywg, pywg, connect=False).near
    with near.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", 0))
        number = taken.getsockname()[1]
        path = file_of(near, tmp_path, f"ListenPort = {number}", name="idle0")
        port = one_of(findings(near, path, "idle0"), "port")
        assert f"UDP port {number}, which the file wants, is taken: " in port.text
        assert f"(PID {os.getpid()})" in port.text
    assert [one for one in findings(near, path, "idle0") if one.check == "port"] == []


@pytest.mark.finds("unseen note: {} can't be read")
def test_a_file_that_root_alone_may_read(pywg: str, open_lab: OpenLab, tmp_path: Path) -> None:
    """The usual one of the interface, in a folder that is closed to others."""
    near = open_lab(pywg, pywg, connect=False).near
    folder = "mkdir -p /etc/wireguard && mount -t tmpfs -o mode=700 none /etc/wireguard"
    file = f"echo > /etc/wireguard/{near.interface}.conf"
    program(pywg, near, "unshare", "--mount", "sh", "-c", f'{folder} && {file} && exec "$@"', "sh", *USER)


def test_a_dns_server_that_answers(pywg: str, open_lab: OpenLab, tmp_path: Path) -> None:
    near = open_lab(pywg, pywg, connect=False).near
    path = file_of(near, tmp_path, f"DNS = {near.outer(4)}", name="idle3")
    with near.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((near.outer(4), 53))

        def echo() -> None:
            with contextlib.suppress(TimeoutError):
                server.settimeout(0.2)
                server.sendto(*server.recvfrom(512))

        with dropin.repeated(echo):
            found = findings(near, path, "idle3")
    assert [one.severity for one in found if one.check == "dns"] == [Severity.OK]
