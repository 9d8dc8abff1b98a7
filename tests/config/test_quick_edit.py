"""A file that is edited says what was wanted, and has lost nothing else."""

import re
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pywg.config import quick_edit, wg_quick
from pywg.config.quick_edit import edited
from pywg.config.wg_quick import InterfaceSection, PeerSection, WgQuickConfig
from tests.config.strategies import wg_quick_configs

KEYS = [bytes([number]) * 32 for number in range(4)]
TEXTS = ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="]
FILE = f"""\
# The office, set up by hand

[Interface] # HQ
address=10.0.0.1/24, fd00::1/64 # first
ListenPort = 51820   # the old one
# a remark
PostUp = nft -f /etc/wg.nft # rules

# Berlin
[Peer]
PublicKey = {TEXTS[0]}
AllowedIPs = 10.0.0.3/32, 10.0.0.2/32
Endpoint = berlin.example.org:51820

# Paris
[Peer]
# calls us
PublicKey = {TEXTS[1]}
PersistentKeepalive = off
# the end
"""


def comments(text: str) -> list[str]:
    return [comment.strip() for comment in re.findall(r"#.*", text)]


def test_what_is_said_already_changes_nothing() -> None:
    config = wg_quick.parse(FILE, "")
    assert edited(FILE, config) == FILE
    config.peers.reverse()
    for peer in config.peers:
        peer.allowed_ips.reverse()
        peer.persistent_keepalive = None
    assert edited(FILE, config) == FILE


def test_only_what_differs_is_another_line() -> None:
    config = wg_quick.parse(FILE, "")
    config.interface.listen_port = 7
    config.interface.fwmark = 1
    config.interface.addresses.pop(0)
    config.peers[0].allowed_ips.pop()
    config.peers[1].endpoint = ("192.0.2.1", 7)
    assert edited(FILE, config).splitlines() == FILE.replace(
        "address=10.0.0.1/24, fd00::1/64", "Address = fd00::1/64"
    ).replace("ListenPort = 51820", "ListenPort = 7").replace(
        "# rules\n", "# rules\nFwMark = 0x1\n"
    ).replace("10.0.0.3/32, 10.0.0.2/32", "10.0.0.3/32").replace(
        "= off\n", "= off\nEndpoint = 192.0.2.1:7\n"
    ).splitlines()  # fmt: skip


def test_peers_go_with_their_comments_and_come_at_the_end() -> None:
    config = wg_quick.parse(FILE, "")
    config.peers = [config.peers[1], PeerSection(KEYS[2], name="Rome"), PeerSection(KEYS[3])]
    text = edited(FILE, config)
    assert text.startswith(FILE.partition("\n# Berlin")[0])
    assert "Berlin" not in text
    assert [peer.name for peer in wg_quick.parse(text, "").peers] == ["Paris", "Rome", ""]
    assert comments(text) == [one for one in comments(FILE) if one != "# Berlin"] + ["# Name = Rome"]


def test_other_ends_of_lines_stay() -> None:
    config = wg_quick.parse(FILE, "")
    config.interface.mtu = 1400
    config.peers.append(PeerSection(KEYS[2]))
    text = edited("\ufeff" + FILE.replace("\n", "\r\n"), config)
    assert text.startswith("\ufeff#")
    assert text.count("\n") == text.count("\r\n")
    assert "MTU = 1400\r\n" in text


def test_a_file_without_an_interface() -> None:
    config = WgQuickConfig(InterfaceSection(listen_port=7), [PeerSection(KEYS[0])])
    for text in ("", f"[Peer]\nPublicKey = {TEXTS[0]}\n", "# nothing\n"):
        assert wg_quick.parse(edited(text, config), "").interface.listen_port == 7


@given(wg_quick_configs, wg_quick_configs, st.booleans())
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_wanted_is_said(old: WgQuickConfig, new: WgQuickConfig, shared: bool) -> None:
    if shared:  # peers in common
        new.peers += [replace(peer, endpoint=("x", 1)) for peer in old.peers[1:]]
    keys = {peer.public_key: peer for peer in new.peers}
    new.peers = list(keys.values())
    read = wg_quick.parse(edited(wg_quick.format(old), new), "")
    assert quick_edit._same(read, new)
