"""`pywg check`: each thing that it names is found where it is, and a good file has none."""

import json
import os
import socket
from pathlib import Path

import pytest

from pywg.cli.main import main
from pywg.config.keys import format_key_base64
from pywg.config.wg_quick import parse
from pywg.manage import here
from pywg.manage.check import check
from pywg.manage.public_key import public_key_of
from pywg.manage.tunnel import names

OWN = bytes([8]) * 31 + bytes([72])
PRIVATE = format_key_base64(OWN)
PUBLIC = format_key_base64(public_key_of(OWN))
A, B = (format_key_base64(bytes([number]) * 32) for number in (1, 2))
GOOD = f"""\
[Interface]
PrivateKey = {PRIVATE}
Address = 10.0.0.1/24
ListenPort = 51820
[Peer]
PublicKey = {A}
AllowedIPs = 10.0.0.2/32, 192.168.2.0/24
Endpoint = 192.0.2.1:51820
[Peer] # Berlin
PublicKey = {B}
AllowedIPs = 10.0.0.3/32
"""


@pytest.fixture(autouse=True)
def _a_machine_with_all_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(here, "has_dns_tool", lambda: True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "wg0.conf"
    path.touch(mode=0o600)
    path.write_text(GOOD)
    return path


def found(file: Path, text: str) -> list[tuple[str, str, int]]:
    file.write_text(text)
    return [(one.severity, one.code, one.line) for one in check(str(file)).findings]


def test_a_name_that_gives_no_interface(file: Path) -> None:
    names_of = {"wg-to-the-office.conf": ["name"], "a b.conf": ["name"], "wg1.conf": [], "wg-to-the-office.txt": []}
    for name, codes in names_of.items():
        other = file.with_name(name)
        other.touch(mode=0o600)
        other.write_text(GOOD)
        findings = check(str(other)).findings
        assert [one.code for one in findings] == codes
        assert all("gives no interface" in one.message for one in findings)


def test_a_good_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(str(file)).findings == []
    assert main(["check", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: nothing to find fault with\n"
    assert found(file, GOOD.replace("192.168.2.0/24", "0.0.0.0/0")) == []


def warned(code: str, line: int) -> list[tuple[str, str, int]]:
    return [("warning", code, line)]


def wrong(code: str, line: int) -> list[tuple[str, str, int]]:
    return [("error", code, line)]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (f"PrivateKey = {PRIVATE}\n", "", warned("no-private-key", 1)),
        (f"PrivateKey = {PRIVATE}\n", "PostUp = wg set %i private-key /k\n", []),
        (B, PRIVATE, wrong("private-as-public", 10)),
        (B, PUBLIC, wrong("own-key", 10)),
        (B, A, warned("same-key", 10)),
        ("PrivateKey", "# pywg.Companion = no\nPrivateKey", wrong("syntax", 2)),
        ("PrivateKey", "# pywg.Companion = off\nPrivateKey", []),
        ("Endpoint", f"PresharedKey = {PRIVATE}\nEndpoint", wrong("private-as-psk", 8)),
        ("Endpoint", "Endpoint = 192.0.2.2:1\nEndpoint", warned("repeated", 9)),
        ("192.168.2.0/24", "192.168.2.1/24", warned("host-bits", 7)),
        ("AllowedIPs = 10.0.0.3/32\n", "", warned("no-allowed-ips", 9)),
        ("10.0.0.3/32", "10.0.0.2/32", warned("same-allowed-ip", 11)),
        ("10.0.0.3/32", "192.168.2.128/25", warned("overlap", 11)),
        ("10.0.0.3/32", "10.0.0.1/32", warned("own-address", 11)),
        ("10.0.0.1/24", "10.1.0.1/24", warned("unrouted-address", 3)),
        ("ListenPort = 51820", "MTU = 1200\nAddress = fd00::1/128", wrong("mtu", 4)),
        ("ListenPort = 51820", "MTU = 1200", []),
        ("ListenPort = 51820", "Table = nonsense", wrong("unknown-table", 4)),
        ("Endpoint = 192.0.2.1:51820\n", "", []),
        ("192.0.2.1:51820", "192.0.2.1:0", wrong("port-0", 8)),
        ("192.0.2.1:51820", "192.168.2.1:1", warned("loop", 8)),
        ("192.0.2.1:51820", "[::ffff:192.168.2.1]:1", warned("loop", 8)),
    ],
)
def test_each_finding(file: Path, old: str, new: str, expected: list[tuple[str, str, int]]) -> None:
    assert old in GOOD
    assert found(file, GOOD.replace(old, new, 1)) == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("FwMark = 254", wrong("fwmark-table", 4)),
        ("FwMark = 254\nTable = off", []),
        ("FwMark = 51820", []),
        ("Table = 77", warned("table-without-mark", 4)),
        ("Table = 77\nFwMark = 1", []),
        ("Table = main\nFwMark = 1", []),
    ],
)
def test_default_routes(file: Path, lines: str, expected: list[tuple[str, str, int]]) -> None:
    assert found(file, GOOD.replace("192.168.2.0/24", "0.0.0.0/0").replace("ListenPort = 51820", lines)) == expected


def test_neither_end_finds_the_other(file: Path) -> None:
    text = GOOD.replace("Endpoint = 192.0.2.1:51820\n", "").replace("ListenPort = 51820\n", "")
    assert found(file, text) == warned("unreachable", 1)


def test_what_the_machine_lacks(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(here, "has_dns_tool", lambda: False)
    assert found(file, GOOD.replace("ListenPort", "DNS = 10.0.0.53\nListenPort")) == warned("dns-tool", 4)


def test_a_port_that_is_taken(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "DIRECTORY", str(file.parent))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("", 0))
        file.write_text(GOOD.replace("51820", str(taken.getsockname()[1]), 1))
        assert [one.code for one in check("wg0").findings] == ["port-taken"]
    assert check("wg0").findings == []


def test_who_may_read_and_write(file: Path) -> None:
    file.chmod(0o646)
    assert [one.code for one in check(str(file)).findings] == ["readable", "writable"]
    file.chmod(0o640)
    assert check(str(file)).findings == []


def test_every_error_and_no_secret(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(GOOD.replace("Address", "Adress").replace(B, B[:-1]).replace("51820", "x"))
    assert main(["check", str(file)]) == 1
    out = capsys.readouterr().out
    assert [line.partition(": ")[0].removeprefix(f"{file}:") for line in out.splitlines() if line.startswith("/")] == [
        "3:1", "4:14", "8:12", "10:13",
    ]  # fmt: skip
    assert "did you mean Address?" in out
    assert "    ListenPort = x\n                 ^\n" in out
    assert not any(key[:20] in out for key in (PRIVATE, B))


@pytest.mark.parametrize(
    "place",
    [
        "# pywg.{}",
        "# pywg.Hook = {} /x",
        "# pywg.Companion = {}",
        "# pywg.HookUser = {}",
        "Table = {}",
        "DNS = {}",
        "FwMark = 254\nTable = {}\nDNS = {}",
        "# {}",
        "[Peer] # {}",
    ],
)
def test_no_finding_repeats_a_secret_or_an_escape(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """A key in a place where another word is taken, and what would move a terminal's cursor."""
    monkeypatch.setattr(here, "has_dns_tool", lambda: False)
    text = GOOD.replace("192.168.2.0/24", "0.0.0.0/0").replace("10.0.0.3/32", "10.0.0.2/32")
    for secret in (PRIVATE, "\x1b[2Jx"):
        line = place.replace("{}", secret)
        file.write_text(text.replace("ListenPort", f"{line}\nPublicKey = {B}\n[Interface]\nListenPort"))
        if "[Peer]" not in place:
            file.write_text(text.replace("ListenPort", f"{line}\nListenPort"))
        main(["check", str(file)])
        out = capsys.readouterr().out
        assert out.count(str(file)) >= 1
        assert PRIVATE[:12] not in out
        assert "\x1b" not in out


def test_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(GOOD.replace(B, PRIVATE))
    assert main(["check", "--json", str(file), str(file)]) == 1
    first, second = json.loads(capsys.readouterr().out)
    assert first == second
    assert (first["file"], first["errors"], first["warnings"]) == (str(file), 1, 0)
    assert first["findings"][0].keys() == {"severity", "code", "line", "column", "message"}
    assert PRIVATE not in str(first)


def test_a_large_file(file: Path) -> None:
    """131,072 prefixes, each one of two peers."""
    prefixes = ", ".join(f"10.{n >> 8}.{n & 255}.0/24" for n in range(65536))
    file.write_text(f"{GOOD}AllowedIPs = {prefixes}\n[Peer]\nPublicKey = {PUBLIC[:-3]}AA=\nAllowedIPs = {prefixes}\n")
    assert len(parse(file.read_text(), "").peers) == 3
    assert sum(one.code == "same-allowed-ip" for one in check(str(file)).findings) == 65536


def test_what_can_not_be_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for what in (tmp_path / "nothing.conf", tmp_path):
        assert main(["check", str(what)]) == 1
        assert capsys.readouterr().err.count("\n") == 1
    assert main(["check"]) == 2


def test_a_pipe_can_be_checked() -> None:
    reading, writing = os.pipe()
    os.write(writing, GOOD.encode())
    os.close(writing)
    try:
        assert check(f"/dev/fd/{reading}").findings == []
    finally:
        os.close(reading)
