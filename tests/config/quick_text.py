"""Sections of a file of wg-quick(8), read, for the tests of that."""

import pytest

from pywg.config import wg_quick
from pywg.config.wg_quick import InterfaceSection, PeerSection
from pywg.errors import WgQuickError

KEY = bytes(range(32))
BASE64 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
PEER = f"[Peer]\nPublicKey = {BASE64}\n"
FILE = "/etc/wireguard/wg0.conf"


def interface(lines: str) -> InterfaceSection:
    """Of an [Interface] with these lines."""
    return wg_quick.parse(f"[Interface]\n{lines}\n", FILE).interface


def peer(lines: str) -> PeerSection:
    """Of a [Peer] with a key and these lines."""
    return wg_quick.parse(f"{PEER}{lines}\n", FILE).peers[0]


def error_of(text: str) -> WgQuickError:
    """What is wrong in the text of a file."""
    with pytest.raises(WgQuickError) as caught:
        wg_quick.parse(text, FILE)
    return caught.value
