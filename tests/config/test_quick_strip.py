"""`pywg strip` prints what the real `wg-quick strip` prints, whatever is in the file."""

import random
import subprocess
from pathlib import Path

import pytest

from pywg.config.quick_strip import strip
from pywg.config.wg_quick import as_text
from pywg.errors import WgQuickError
from tests.requirements import require_tool

PIECES = (
    *(b"[Interface]", b"[interface] # x", b"[Peer]", b"[peer]x", b"[", b" [Interface]\t"),
    *(b"Address", b"MTU", b"DNS", b"Table", b"PostUp", b"predown", b"SaveConfig = true", b"saveconfig=FALSE"),
    *(b"PrivateKey", b"ListenPort", b"AllowedIPs = ::/0,", b"Endpoint", b"Address2", b"xMTU"),
    *(
        b"=",
        b"=",
        b" = ",
        b"==",
        b"#",
        b"\n",
        b"\n",
        b"\n",
        b"\r\n",
        b" ",
        b"\t",
        b"\v",
        b"\f",
        b"\r",
        b"\\",
        b"\\n",
        b"$x",
    ),
    *(
        b"`true`",
        b"*",
        b"'",
        b'"',
        b"\0",
        b"\x01",
        b"\x7f",
        b"\xff",
        b"\xc2\xa0",
        b"\xef\xbb\xbf",
        b"-n",
        b"%s",
        b"a b",
    ),
)


@pytest.fixture
def wg_quick(tmp_path: Path) -> Path:
    """A file for wg-quick."""
    require_tool("wg-quick")
    file = tmp_path / "wg0.conf"
    file.touch(mode=0o600)
    return file


def theirs(file: Path, data: bytes) -> bytes | None:
    """What wg-quick prints; None when it refuses the file."""
    file.write_bytes(data)
    result = subprocess.run(["wg-quick", "strip", file], capture_output=True, check=False)
    return result.stdout if result.returncode == 0 else None


def ours(data: bytes) -> bytes | None:
    try:
        return strip(as_text(data), "wg0.conf").encode("utf-8", "surrogateescape")
    except WgQuickError:
        return None


@pytest.mark.netns  # wg-quick wants root even for `strip`
@pytest.mark.parametrize("seed", range(4))
def test_any_file(wg_quick: Path, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(25):
        data = b"[Interface]\n" + b"".join(chance.choices(PIECES, k=chance.randrange(1, 40)))
        assert ours(data) == theirs(wg_quick, data), data


@pytest.mark.netns
@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"\n", b"x", b"x\n\n", b"  ", b"\0", b"-n", b"-e\\n"),
        b"Address = 1\n[Interface]\nAddress = 1\n[Peer]\nAddress = 1",
        b"[Interface]\r\nAddress = 1\r\nListenPort = 1\r\n",
        b"[Interface]\nSaveConfig = true # x",
        b"[Interface]\nSaveConfig = on",
        b"[Interface] = 1\nMTU = 1\n[Interface]x\nMTU = 2\n",
        b"[Interface]\nMTU\nmtu=\n\tDNS\t= 1\nAddress",
        b"[Interface]\n#MTU = 1\nM#TU = 1\n",
    ],
)
def test_files(wg_quick: Path, data: bytes) -> None:
    assert ours(data) == theirs(wg_quick, data)


def test_where_wg_would_refuse_what_wg_quick_prints() -> None:
    assert strip("\ufeff[Interface]\nMTU = 1\nListenPort = 1\n", "") == "[Interface]\nListenPort = 1\n\n"
    assert strip("[ Interface ]\nM TU = 1\nListen Port = 1\n", "") == "[ Interface ]\nListen Port = 1\n\n"


def test_no_secret_is_in_the_error() -> None:
    with pytest.raises(WgQuickError, match=r'wg0\.conf:2:1: SaveConfig: expected "true" or "false"'):
        strip("[Interface]\nSaveConfig = nothing", "wg0.conf")
