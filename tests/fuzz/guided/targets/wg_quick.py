"""wg-quick's files: any text is read, or refused with its line; what was read is written so that it reads the same."""

import difflib
from functools import lru_cache

from pywg.config import wg_quick
from pywg.config.quick_edit import edited
from pywg.config.quick_strip import strip
from pywg.errors import ConfigError, WgQuickError
from tests.fuzz.guided.replaced import replaced

FILE = "wg0.conf"
BASE64 = "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI="
TOKENS = (
    *(b"[Interface]\n", b"[Peer]\n", b"PrivateKey=", b"PublicKey=", b"PresharedKey=", b"ListenPort=", b"FwMark="),
    *(b"Address=", b"DNS=", b"MTU=", b"Table=", b"PreUp=", b"PostUp=", b"PreDown=", b"PostDown=", b"SaveConfig="),
    *(b"AllowedIPs=", b"Endpoint=", b"PersistentKeepalive=", b"off", b"auto", b"true", b"false", b"0x", b"/", b","),
    *(b"10.0.0.1", b"fd00::1", b"::/0", b"[fe80::1%1]:1", b"example.org:51820", b"65536", b"4294967295", b"\n#", b"="),
    *(b"\r\n", b"\t", b"\xc2\xa0", b"\xe2\x80\xa8", b"\xd9\xa3", b"\x1c", b"\xff", BASE64.encode()),
    b"\n[Peer]\nPublicKey=",
)


close_matches = lru_cache(1 << 12)(difflib.get_close_matches)
"""Every word of an input is looked up some times, which takes half of the target's time."""


def run(data: bytes) -> None:
    with replaced(difflib, get_close_matches=close_matches):
        run_text(data.decode("utf-8", "surrogateescape"))


def run_text(text: str) -> None:
    try:
        config = wg_quick.parse(text, FILE)
    except WgQuickError as error:
        check_error(text, error)
        return
    try:
        written = wg_quick.format(config)
    except ConfigError as error:
        raise AssertionError("what was read can't be written") from error
    assert wg_quick.parse(written, FILE) == config
    if len({peer.public_key for peer in config.peers}) == len(config.peers):
        assert edited(text, config).removesuffix("\n") == text.removesuffix("\n"), "it says all that already"
    stripped = strip(text, FILE)
    assert strip(stripped, FILE) == stripped + "\n", "nothing is left to strip, but an empty line comes to an end"
    assert wg_quick.format(wg_quick.parse(written, FILE)) == written


def check_error(text: str, error: WgQuickError) -> None:
    """It names the file and a line, and says nothing of a key. The lines before that one can be read without it."""
    assert error.file == FILE
    lines = text.split("\n")
    assert 1 <= error.line <= len(lines)
    assert 1 <= error.column <= len(lines[error.line - 1]) + 1
    assert str(error).startswith(f"{FILE}:{error.line}:{error.column}: ")
    assert BASE64 not in str(error) + error.excerpt
    assert all(line.replace("\t", "").isprintable() for line in error.excerpt.split("\n"))
    missing = "needs a PublicKey" in str(error)
    if missing:
        # It is the first such peer's line. With a key, and what follows left out, all is well.
        until = "\n".join([*lines[: error.line], f"PublicKey = {BASE64}"])
        assert wg_quick.parse(until, FILE).peers[-1].public_key == b"B" * 32
        return
    before = "\n".join(lines[: error.line - 1])
    fault = fault_of("\n".join(lines[: error.line]))
    assert fault is not None
    assert fault.line == error.line
    fault = fault_of(before)
    assert fault is None or "needs a PublicKey" in str(fault)


def fault_of(text: str) -> WgQuickError | None:
    try:
        wg_quick.parse(text, FILE)
    except WgQuickError as error:
        return error
    return None
