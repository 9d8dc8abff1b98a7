"""Files of wg(8) and wg-quick(8): read as those two read them, written back the same, errors with file and line."""

import base64
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywg.config import wg_quick
from pywg.config.wg_quick import InterfaceSection, PeerSection, WgQuickConfig
from pywg.errors import ConfigError, WgQuickError
from tests.config.strategies import wg_quick_configs
from tests.requirements import require_tool

KEY = bytes(range(32))
BASE64 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
PEER = f"[Peer]\nPublicKey = {BASE64}\n"
FILE = "/etc/wireguard/wg0.conf"


def interface(lines: str) -> InterfaceSection:
    return wg_quick.parse(f"[Interface]\n{lines}\n", FILE).interface


def peer(lines: str) -> PeerSection:
    return wg_quick.parse(f"{PEER}{lines}\n", FILE).peers[0]


def error_of(text: str) -> WgQuickError:
    with pytest.raises(WgQuickError) as caught:
        wg_quick.parse(text, FILE)
    return caught.value


@given(wg_quick_configs)
def test_round_trip(config: WgQuickConfig) -> None:
    assert wg_quick.parse(wg_quick.format(config), FILE) == config


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


@pytest.mark.parametrize(
    "line",
    [
        "PrivateKey =",
        f"PrivateKey = {BASE64[:-1]}",
        f"PrivateKey = {KEY.hex()}",
        f"PublicKey = {BASE64}",
        "ListenPort =",
        "ListenPort = 65536",
        "ListenPort = off",
        "FwMark =",
        "FwMark = 0x",
        "FwMark = 0x1_0",
        "FwMark = 0x100000000",
        "FwMark = -1",
        "Address = 10.0.0.1/33",
        "Address = 10.0.0.1/",
        "Address = host",
        "Address = fe80::1/129",
        "MTU = 67",
        "MTU = 65536",
        "MTU = auto",
        "Table = a b",
        "Table = a,b",
        "Table = ,",
        "SaveConfig = yes",
        "SaveConfig =",
        "AllowedIPs = ::/0",
        "Nonsense = 1",
        "ListenPort",
        "[Interfaces]",
        "[Peer",
        "=",
    ],
)
def test_bad_interface_line(line: str) -> None:
    error = error_of(f"[Interface]\n# a comment\n\n{line}\nListenPort = 1\n")
    assert (error.file, error.line) == (FILE, 4)
    assert str(error).startswith(f"{FILE}:4:{error.column}: ")


@pytest.mark.parametrize(
    "line",
    [
        "PublicKey =",
        "PublicKey = x",
        f"PresharedKey = {BASE64}=",
        f"PrivateKey = {BASE64}",
        "Endpoint = ",
        "Endpoint = host",
        "Endpoint = host:",
        "Endpoint = :1",
        "Endpoint = []:1",
        "Endpoint = host:65536",
        "Endpoint = host:http",
        "Endpoint = [::1:1",
        "Endpoint = [::1]1",
        "AllowedIPs = 10.0.0.0/33",
        "AllowedIPs = 10.0.0.0/8 11.0.0.0/8",
        "AllowedIPs = 10.0.0.0/8,,11.0.0.0/8",
        "AllowedIPs = 10.0.0.0/8,",
        "AllowedIPs = +10.0.0.0/8",
        "AllowedIPs = -10.0.0.0/8",
        "AllowedIPs = 10.0.0.0/x",
        "AllowedIPs = host",
        "PersistentKeepalive =",
        "PersistentKeepalive = -1",
        "PersistentKeepalive = 65536",
        "Address = 10.0.0.1/8",
        "MTU = 1420",
        "PublicKey",
    ],
)
def test_bad_peer_line(line: str) -> None:
    error = error_of(f"[Interface]\n{PEER}{line}\n")
    assert (error.file, error.line) == (FILE, 4)


def test_a_setting_before_any_section() -> None:
    assert error_of("\nListenPort = 1\n[Interface]\n").line == 2


def test_a_peer_without_a_key_is_named_by_its_first_line() -> None:
    error = error_of(f"[Interface]\n{PEER}[Peer]\nAllowedIPs = ::/0\n{PEER}")
    assert error.line == 4
    assert "PublicKey" in str(error)


def test_the_error_says_which_setting_and_what_was_expected() -> None:
    assert "ListenPort: not a number in 0..65535" in str(error_of("[Interface]\nlistenport = x\n"))
    assert "AllowedIPs" in str(error_of(f"{PEER}AllowedIP = ::/0\n"))


@pytest.mark.parametrize("secret", [BASE64, BASE64[:-1], KEY.hex()])
@pytest.mark.parametrize(
    "place",
    [
        "{}",
        "{} = 1",
        "[{}]",
        "ListenPort = {}",
        "FwMark = {}",
        "FwMark = 0x{}",
        "Address = {}",
        "Address = 10.0.0.1/{}",
        "MTU = {}",
        "SaveConfig = {}",
        "PrivateKey = {}x",
        "PrivatKey = {}",
        PEER + "{}",
        PEER + "PresharedKey = x{}",
        PEER + "PrivateKey = {}",
        PEER + "AllowedIPs = {}",
        PEER + "Endpoint = {}",
        PEER + "Endpoint = [{}",
        PEER + "Endpoint = host:{}",
        PEER + "PersistentKeepalive = {}",
        "PrivateKey {}",
        "PrivateKey {} = 1",
        "PrivateKey: {}",
        "PrivateKey =\n{}",
        "PostUp = wg set %i private-key {}\0",
        "Address = host\t{}",
        "DNS\t{}",
        PEER + "PublicKey = {}\u2028",
        PEER + "PreshardKey = {}",
        PEER + "psk = {}",
        PEER + "Address = {}",
    ],
)
def test_no_error_repeats_a_secret(place: str, secret: str) -> None:
    error = error_of("[Interface]\n" + place.format(secret))
    shown = repr(error) + error.excerpt
    assert not any(secret[start : start + 8] in shown for start in range(len(secret) - 7))


@pytest.mark.parametrize("gap", [" ", "\t", "  "])
def test_no_excerpt_shows_a_key_with_space_in_it(gap: str) -> None:
    """wg reads such a key."""
    parts = [BASE64[start : start + 6] for start in range(0, 44, 6)]
    for place in ("ListenPort = {}", "PrivateKey = x{}", "{}", "Address = {}"):
        excerpt = error_of("[Interface]\n" + place.format(gap.join(parts))).excerpt
        assert not any(part in excerpt for part in parts)


@pytest.mark.parametrize(
    ("line", "column", "shown", "message"),
    [
        ("ListenPort = x", 14, "ListenPort = x", "ListenPort: not a number in 0..65535"),
        ("\tlistenport=\tx # 8", 14, "\tlistenport=\tx", "ListenPort: not a number in 0..65535"),
        ("Address = 10.0.0.1/24, 10.0.0.2/33", 24, "Address = 10.0.0.1/24, 10.0.0.2/33", "Address: the prefix length"),
        ("Adress = 10.0.0.1/24", 1, "Adress = 10.0.0.1/24", "unknown name; did you mean Address?"),
        ("  [Interfase]", 3, "  [Interfase]", "did you mean [Interface]?"),
        ("ListenPort 51820", 11, "ListenPort 51820", "expected '=' after ListenPort"),
        ("AllowedIPs = ::/0", 1, "AllowedIPs = ::/0", "AllowedIPs belongs in [Peer]"),
        ("MTU = 1420\rTable = off", 7, "MTU = 1420?Table = off", "MTU: not a number"),
        ("MTU\r= 1420\rTable = off", 7, "MTU?= 1420?Table = off", "MTU: not a number"),
        ("Nothing\rMTU = 1", 8, "*******?*** * *", "carriage return"),
        ("ListenPort = 51820\xa0", 19, "ListenPort = 51820?", "U+00A0 is no ASCII character"),
        ("FwMark = \u201c1\u201d", 10, "FwMark = \u201c1\u201d", "U+201C is no ASCII character"),
        ("MTU = 1420\udcff", 11, "MTU = 1420?", "byte 0xff is no ASCII character"),
        ("PostUp = echo\0", 14, "PostUp = *****", "a NUL byte"),
        ("M\0T\0U\0=\0", 2, "********", "is it UTF-16?"),
        (f"PrivateKey = {BASE64[:-2]}", 14, f"PrivateKey = {'*' * 42}", "PrivateKey: the value must be a key"),
        ("Endpoint = server.example.org:1", 1, "Endpoint = server.example.org:1", "Endpoint belongs in [Peer]"),
        ("Table = " + "a b " * 40, 9, ("Table = " + "a b " * 40)[:72], 'Table: expected "off"'),
    ],
)
def test_the_error_shows_the_place(line: str, column: int, shown: str, message: str) -> None:
    error = error_of(f"[Interface]\n{line}")
    assert (error.line, error.column) == (2, column)
    assert message in str(error)
    text, caret = error.excerpt.split("\n")
    assert text == f"    {shown.rstrip()}" or len(shown) == 72
    assert caret.expandtabs() == " " * len(f"    {line[: column - 1]}".expandtabs()) + "^"


def test_the_excerpt_of_a_long_line_is_around_the_place() -> None:
    addresses = ", ".join(f"10.0.{number}.1/24" for number in range(200))
    error = error_of(f"[Interface]\nAddress = {addresses}, 10.1.1.1/99, {addresses}")
    text, caret = error.excerpt.split("\n")
    assert text[caret.index("^") :].startswith("10.1.1.1/99")
    assert len(text) <= 76


@pytest.mark.parametrize(
    ("section", "written", "meant"),
    [
        ("Interface", "Adress", "Address"),
        ("Interface", "Addresses", "Address"),
        ("Interface", "PrivatKey", "PrivateKey"),
        ("Interface", "Private-Key", "PrivateKey"),
        ("Interface", "Listen_Port", "ListenPort"),
        ("Interface", "Port", "ListenPort"),
        ("Interface", "Post-Up", "PostUp"),
        ("Interface", "nameserver", "DNS"),
        ("Interface", "SaveConf", "SaveConfig"),
        ("Peer", "AllowedIP", "AllowedIPs"),
        ("Peer", "Allowed-IPs", "AllowedIPs"),
        ("Peer", "EndPoints", "Endpoint"),
        ("Peer", "Keepalive", "PersistentKeepalive"),
        ("Peer", "PersistantKeepAlive", "PersistentKeepalive"),
        ("Peer", "PSK", "PresharedKey"),
        ("Peer", "PubKey", "PublicKey"),
    ],
)
def test_near_misses_of_a_name(section: str, written: str, meant: str) -> None:
    assert f"did you mean {meant}?" in str(error_of(f"[{section}]\n{written} = 1\n"))


@pytest.mark.parametrize("name", ["Nonsense", "x", "", "A" * 100, "\u212a" * 3])
def test_what_is_like_no_name(name: str) -> None:
    assert "did you mean" not in str(error_of(f"[Interface]\n{name} = 1\n"))


def test_every_error_of_a_file() -> None:
    text = f"[Interface]\nMTU = 1\nAdress = ::1\nListenPort = 7\n[Peer]\nEndpoint = x\n{PEER}[Peer]\nFwMark = 1\n"
    reading = wg_quick.read(text, FILE)
    assert [(error.line, error.column) for error in reading.errors] == [
        (2, 7),
        (3, 1),
        (5, 1),
        (6, 12),
        (9, 1),
        (10, 1),
    ]
    assert reading.config.interface.listen_port == 7
    assert reading.peer_lines == [5, 7, 9]
    assert [setting[:4] for setting in reading.settings] == [(4, 14, -1, "ListenPort"), (8, 13, 1, "PublicKey")]
    assert error_of(text).line == 2


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


def test_no_repr_shows_a_secret() -> None:
    secret = bytes([0xC5]) * 32
    config = WgQuickConfig(InterfaceSection(private_key=secret), [PeerSection(KEY, preshared_key=secret)])
    assert "xc5" not in repr(config)


@given(st.text(max_size=200))
def test_anything_raises_nothing_else(text: str) -> None:
    for start in ("", "[Interface]\n", PEER):
        try:
            wg_quick.parse(start + text, FILE)
        except WgQuickError as error:
            number = error.line
        else:
            number = 1
        assert 1 <= number <= (start + text).count("\n") + 1


NAMES = [
    "[Interface]", "[Peer]", "PrivateKey", "ListenPort", "FwMark", "Address", "DNS", "MTU", "Table", "PreUp",
    "SaveConfig", "PublicKey", "PresharedKey", "AllowedIPs", "Endpoint", "PersistentKeepalive",
]  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.text(max_size=20) | st.just(BASE64)).map("=".join), max_size=8))
def test_wrong_values_raise_nothing_else(lines: list[str]) -> None:
    for start in ("[Interface]\n", PEER):
        try:
            config = wg_quick.parse(start + "\n".join(lines), FILE)
        except WgQuickError:
            continue
        assert len(config.peers) >= (start == PEER)


@pytest.mark.parametrize(
    "config",
    [
        WgQuickConfig(InterfaceSection(pre_up=["a#b"])),
        WgQuickConfig(InterfaceSection(pre_up=["a\nb"])),
        WgQuickConfig(InterfaceSection(post_down=[" a"])),
        WgQuickConfig(InterfaceSection(post_up=[""])),
        WgQuickConfig(InterfaceSection(post_up=["a\0"])),
        WgQuickConfig(InterfaceSection(dns=["a\0"])),
        WgQuickConfig(InterfaceSection(name="a\nPostUp = b")),
        WgQuickConfig(InterfaceSection(name=" a")),
        WgQuickConfig(peers=[PeerSection(KEY, name="a\x1b[2J")]),
        WgQuickConfig(peers=[PeerSection(KEY, name="a" * 65)]),
        WgQuickConfig(peers=[PeerSection(KEY, name=BASE64)]),
        WgQuickConfig(InterfaceSection(dns=["a,b"])),
        WgQuickConfig(InterfaceSection(table="a b")),
        WgQuickConfig(InterfaceSection(table="")),
        WgQuickConfig(peers=[PeerSection(KEY, endpoint=("", 1))]),
        WgQuickConfig(peers=[PeerSection(KEY, endpoint=("a]:1\n", 1))]),
        WgQuickConfig(peers=[PeerSection(KEY[:-1])]),
    ],
)
def test_what_could_not_be_read_back_is_not_written(config: WgQuickConfig) -> None:
    with pytest.raises(ConfigError):
        wg_quick.format(config)


@given(wg_quick_configs)
def test_wg_quick_strip_reads_what_is_written(config: WgQuickConfig) -> None:
    """Not the tool itself, but what it does to a file before wg sees it: only wg's own settings are left."""
    own = {
        "privatekey",
        "listenport",
        "fwmark",
        "publickey",
        "presharedkey",
        "allowedips",
        "endpoint",
        "persistentkeepalive",
    }
    stripped = [
        line
        for line in wg_quick.format(config).split("\n")
        if line.startswith("[") or line.partition("=")[0].strip().lower() in own
    ]
    bare = wg_quick.parse("\n".join(stripped), FILE)
    assert bare.peers == [replace(peer, name="") for peer in config.peers]
    assert bare.interface == InterfaceSection(
        config.interface.private_key, config.interface.listen_port, config.interface.fwmark
    )


@pytest.mark.netns  # wg-quick wants root even for `strip`
def test_the_real_wg_quick_takes_what_is_written(tmp_path: Path) -> None:
    wg_quick_tool = require_tool("wg-quick")
    config = WgQuickConfig(
        InterfaceSection(KEY, 51820, 0xCA6C, [(bytes([10, 0, 0, 1]), 24)], ["1.1.1.1"], 1420, "off", post_up=["true"]),
        [PeerSection(KEY, KEY, [(bytes(16), 0)], ("::1", 7), 25), PeerSection(KEY, persistent_keepalive=0)],
    )
    file = tmp_path / "wg0.conf"
    file.touch(mode=0o600)
    file.write_text(wg_quick.format(config))
    result = subprocess.run([wg_quick_tool, "strip", file], capture_output=True, text=True, check=True)
    bare = wg_quick.parse(result.stdout, FILE)
    assert bare.peers == config.peers
    assert bare.interface == InterfaceSection(KEY, 51820, 0xCA6C)


def test_a_public_key_that_is_wrong_is_not_missing_too() -> None:
    """The first error is what `pywg up` shows: that of the key's own line."""
    wrong, missing = "[Peer]\nPublicKey = x\n", "[Peer]\nAllowedIPs = 10.0.0.1\n"
    errors = wg_quick.read(f"[Interface]\n{wrong}{missing}", "wg0.conf").errors
    assert [(error.line, "needs a PublicKey" in str(error)) for error in errors] == [(3, False), (4, True)]
