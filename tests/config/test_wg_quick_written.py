"""Files of wg-quick(8) as they are written: pywg, wg-quick and wg read them back the same."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given

from pywg.config import wg_quick
from pywg.config.wg_quick import InterfaceSection, PeerSection, WgQuickConfig
from pywg.errors import ConfigError
from tests.config.quick_text import BASE64, FILE, KEY
from tests.config.strategies import wg_quick_configs
from tests.requirements import require_tool


@given(wg_quick_configs)
def test_round_trip(config: WgQuickConfig) -> None:
    assert wg_quick.parse(wg_quick.format(config), FILE) == config


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
