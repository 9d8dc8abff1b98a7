"""Files of wg(8) and wg-quick(8): read as those two read them, written back the same, errors with file and line."""

import subprocess
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
    assert wg_quick.parse(text, FILE).interface == InterfaceSection(listen_port=7, post_up=["echo a"])


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
    assert str(error).startswith(f"{FILE}:4: ")


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
    ],
)
def test_no_error_repeats_a_secret(place: str, secret: str) -> None:
    error = error_of("[Interface]\n" + place.format(secret))
    assert not any(secret[start : start + 8] in repr(error) for start in range(len(secret) - 7))


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
    assert bare.peers == config.peers
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
