"""Files of wg(8) and wg-quick(8): read as those two read them."""

import base64
import os

import pytest

from pywg.config import wg_quick
from pywg.config.wg_quick import InterfaceSection, PeerSection, WgQuickConfig
from tests.config.quick_text import BASE64, FILE, KEY, PEER, error_of, interface, peer


def test_the_file_of_the_manual() -> None:
    text = """\
# A VPN gateway
[Interface]
Address = 10.200.100.8/24
DNS = 10.200.100.1
PrivateKey = oK56DE9Ue9zK76rAc8pBl6opph+1v36lm7cXXsQKrQM=

[Peer]
PublicKey = GtL7fZc/bLnqZldpVofMCD6hDjrK28SsdLxevJ+qtKU=
PresharedKey = /UwcSPg38hW/D9Y3tcS1FOV0K1wuURMbS0sesJEP5ak=
AllowedIPs = 0.0.0.0/0
Endpoint = demo.wireguard.com:51820
"""
    config = wg_quick.parse(text, FILE)
    assert config.interface.addresses == [(bytes([10, 200, 100, 8]), 24)]
    assert config.interface.dns == ["10.200.100.1"]
    assert config.interface.private_key is not None
    assert config.interface.private_key.hex().startswith("a0ae7a0c4f54")
    (only,) = config.peers
    assert only.public_key.hex().startswith("1ad2fb7d97")
    assert only.preshared_key is not None
    assert (only.allowed_ips, only.endpoint) == ([(bytes(4), 0)], ("demo.wireguard.com", 51820))
    assert only.persistent_keepalive is None


def test_names_in_any_case_with_any_space() -> None:
    text = "[INTERFACE]\r\n\tlistenport=\t7 \r\n[ peer ]\nPUBLICKEY  =" + BASE64 + "\nallowedIPS = 10.0.0.0 / 8,\t::1\n"
    config = wg_quick.parse(text, FILE)
    assert config.interface.listen_port == 7
    assert config.peers == [PeerSection(KEY, allowed_ips=[(bytes([10, 0, 0, 0]), 8), (bytes(15) + b"\1", 128)])]


def test_comments() -> None:
    text = "# first\n[Interface] # second\nListenPort = 7 # third\n#FwMark = 1\n  # fourth\nPostUp = echo a#b\n"
    assert wg_quick.parse(text, FILE).interface == InterfaceSection(listen_port=7, post_up=["echo a"], name="second")


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "[Interface]", "[Interface]\n[Interface]\n"])
def test_nothing_is_a_configuration(text: str) -> None:
    assert wg_quick.parse(text, FILE) == WgQuickConfig()


def test_sections_may_come_in_any_order_and_again() -> None:
    text = f"{PEER}[Interface]\nListenPort = 1\n{PEER}[Interface]\nFwMark = 2\n"
    config = wg_quick.parse(text, FILE)
    assert (config.interface.listen_port, config.interface.fwmark, len(config.peers)) == (1, 2, 2)


@pytest.mark.parametrize(
    ("text", "mark"),
    [("off", 0), ("OFF", 0), ("0", 0), ("51820", 51820), ("0xca6c", 0xCA6C), ("0xFFFFFFFF", 2**32 - 1)],
)
def test_fwmark(text: str, mark: int) -> None:
    assert interface(f"FwMark = {text}").fwmark == mark


def test_allowed_ips_without_a_comma() -> None:
    error = error_of("[Interface]\n[Peer]\nAllowedIPs = ::/0, 10.0.0.0/8 10.1.0.0/16\n")
    said = "AllowedIPs: the prefix length is not a number in 0..32; is a comma missing?"
    assert (error.column, error.message) == (20, said)
    assert "comma" not in error_of("[Interface]\n[Peer]\nAllowedIPs = ::/0, 10.0.0.0/33, ::/1\n").message


@pytest.mark.parametrize(("value", "column"), [("::/0,", 19), (",::/0", 14), ("::/1, , 8000::/1", 20)])
def test_allowed_ips_with_a_comma_too_many(value: str, column: int) -> None:
    error = error_of(f"[Interface]\n[Peer]\nAllowedIPs = {value}\n")
    assert error.message == "AllowedIPs: not an IP address; is there a comma too many?"
    assert error.column == column


@pytest.mark.parametrize(("text", "seconds"), [("off", 0), ("Off", 0), ("0", 0), ("25", 25), ("65535", 65535)])
def test_persistent_keepalive(text: str, seconds: int) -> None:
    assert peer(f"PersistentKeepalive = {text}").persistent_keepalive == seconds


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("192.0.2.1:51820", ("192.0.2.1", 51820)),
        ("[2001:db8::1]:51820", ("2001:db8::1", 51820)),
        ("2001:db8::1:51820", ("2001:db8::1", 51820)),
        ("[fe80::1%eth0]:1", ("fe80::1%eth0", 1)),
        ("a-name.example:1", ("a-name.example", 1)),
    ],
)
def test_endpoint(text: str, endpoint: tuple[str, int]) -> None:
    assert peer(f"Endpoint = {text}").endpoint == endpoint


@pytest.mark.parametrize(
    ("text", "allowed_ips"),
    [
        ("", []),
        ("10.1.2.3", [(bytes([10, 1, 2, 3]), 32)]),
        ("10.1.2.3/8", [(bytes([10, 0, 0, 0]), 8)]),
        ("10.1.2.3/08", [(bytes([10, 0, 0, 0]), 8)]),
        ("::ff/0, 0.0.0.0/0", [(bytes(16), 0), (bytes(4), 0)]),
        ("::1\nAllowedIPs = 1.1.1.1", [(bytes(15) + b"\1", 128), (bytes([1, 1, 1, 1]), 32)]),
    ],
)
def test_allowed_ips(text: str, allowed_ips: list[tuple[bytes, int]]) -> None:
    assert peer(f"AllowedIPs = {text}").allowed_ips == allowed_ips


def test_addresses_keep_their_host_bits() -> None:
    section = interface("Address = 10.0.0.1/24, fd00::1\nAddress = 10.0.0.2/24 10.0.0.3")
    assert section.addresses == [
        (bytes([10, 0, 0, 1]), 24),
        (b"\xfd" + bytes(14) + b"\1", 128),
        (bytes([10, 0, 0, 2]), 24),
        (bytes([10, 0, 0, 3]), 32),
    ]


def test_what_only_wg_quick_knows() -> None:
    section = interface(
        "DNS = 1.1.1.1, ::1 example.com\nDNS = example.net\nMTU = 1420\nTable = off\nPreUp = a b\nPreUp = c = d\n"
        "PostUp = e\nPreDown = f\nPostDown = g\nSaveConfig = TRUE\nSaveConfig = true"
    )
    assert section == InterfaceSection(
        dns=["1.1.1.1", "::1", "example.com", "example.net"],
        mtu=1420,
        table="off",
        pre_up=["a b", "c = d"],
        post_up=["e"],
        pre_down=["f"],
        post_down=["g"],
        save_config=True,
    )


def test_what_wg_quick_takes_as_not_given() -> None:
    assert interface("Address =\nDNS =\nMTU =\nTable =\nPostUp =") == InterfaceSection()


def test_other_ends_and_beginnings_of_text() -> None:
    text = f"[Interface]\nListenPort = 7\nPostUp = echo a\n{PEER}"
    wanted = wg_quick.parse(text, FILE)
    for other in (
        "\ufeff" + text,
        text.replace("\n", "\r\n"),
        text.rstrip(),
        text + "\n\n",
        text.replace(" = ", "\t=\v"),
    ):
        assert wg_quick.parse(other, FILE) == wanted
    for utf_16 in ("utf-16", "utf-16-le", "utf-16-be"):
        assert "UTF-16" in str(error_of(wg_quick.as_text(text.encode(utf_16))))


def test_bytes_that_are_no_text_stay_what_they_are() -> None:
    config = wg_quick.parse(wg_quick.as_text(b"# f\xfcr alle\n[Interface]\nPostUp = echo \xfc"), FILE)
    assert config.interface.name == "f r alle"
    assert os.fsencode(config.interface.post_up[0]) == b"echo \xfc"


@pytest.mark.parametrize("space", ["\xa0", "\u2003", "\x1c", "\x85"])
def test_only_the_space_that_wg_knows_is_space(space: str) -> None:
    assert error_of(f"[Interface]\nListenPort{space}= 1").line == 2
    assert interface(f"PostUp = {space}a{space}").post_up == [f"{space}a{space}"]


@pytest.mark.parametrize(
    ("above", "inside", "name"),
    [
        ("# Berlin", "", "Berlin"),
        ("### Client bob", "", "bob"),
        ("### begin bob ###", "", "bob"),
        ("# BEGIN_PEER bob", "", "bob"),
        ("# the office\n# Berlin", "", "Berlin"),
        ("# Name = Berlin\n# the office", "", "Berlin"),
        ("# Berlin\n", "", ""),
        ("", "# Berlin", "Berlin"),
        ("", "#friendly_name=Berlin, HQ", "Berlin, HQ"),
        ("# x", "# Name = Berlin # 2", "Berlin # 2"),
        ("# x", "PersistentKeepalive = 25 # Name = Berlin", "Berlin"),
        ("# x", "# name=", "x"),
        ("", "AllowedIPs = ::/0 # all", ""),
        ("", "AllowedIPs = ::/0\n# Berlin", ""),
        ("", "AllowedIPs = ::/0\n# Name = Berlin", "Berlin"),
        ("# Endpoint = 192.0.2.1:1", "", ""),
        ("# [Peer]", "", ""),
        (f"# PresharedKey = {BASE64}", f"# {BASE64}", ""),
        ("#" * 50, "", ""),
        ("# gateway-of-the-headquarters-in-frankfurt-2", "", "gateway-of-the-headquarters-in-frankfurt-2"),
        ("", "# Name = Gateway_Of_The-HQ-In-Frankfurt-Am-Main", "Gateway_Of_The-HQ-In-Frankfurt-Am-Main"),
        (f"# Name = old-{BASE64}", "", ""),
        (f"# {BASE64.rstrip('=').replace('/', '_').replace('+', '-')}", "", ""),
        (f"# {base64.b64decode(BASE64).hex()}", "", ""),
        ("# a\x1b[2J\u202eb\tc", "", "a [2J b c"),
        ("# " + "1234567890 " * 9, "", "1234567890 1234567890 1234567890 1234567890 1234567890 123456789"),
    ],
)
def test_names_of_peers(above: str, inside: str, name: str) -> None:
    text = f"[Interface]\n\n{above}\n[Peer]\n{inside}\nPublicKey = {BASE64}\n"
    config = wg_quick.parse(text, FILE)
    assert config.peers[0].name == name
    assert wg_quick.parse(wg_quick.format(config), FILE) == config
    assert BASE64 not in repr(config)


def test_names_belong_to_their_section() -> None:
    text = f"""\
# Managed by hand
[Interface] # HQ
# Name = HQ 2
ListenPort = 1
# Berlin
{PEER}# Name = Paris
[Peer]
PublicKey = {BASE64} # Lyon
[Peer] # Rome
PublicKey = {BASE64}
# the end
"""
    config = wg_quick.parse(text, FILE)
    assert config.interface.name == "HQ 2"
    assert [peer.name for peer in config.peers] == ["Berlin", "Paris", "Rome"]
    assert wg_quick.format(config).count("# Name = ") == 4
