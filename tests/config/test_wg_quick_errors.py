"""What is wrong in a file of wg-quick(8): where, what was expected, and never a key. Any text is read or refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywg.config import wg_quick
from pywg.config.wg_quick import InterfaceSection, PeerSection, WgQuickConfig
from pywg.errors import WgQuickError
from tests.config.quick_text import BASE64, FILE, KEY, PEER, error_of


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


def test_a_public_key_that_is_wrong_is_not_missing_too() -> None:
    """The first error is what `pywg up` shows: that of the key's own line."""
    wrong, missing = "[Peer]\nPublicKey = x\n", "[Peer]\nAllowedIPs = 10.0.0.1\n"
    errors = wg_quick.read(f"[Interface]\n{wrong}{missing}", "wg0.conf").errors
    assert [(error.line, "needs a PublicKey" in str(error)) for error in errors] == [(3, False), (4, True)]
