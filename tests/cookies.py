"""The cookies of a responder under load, after the paper (5.4.7) and with `cryptography`; the data plane has them in C.

The model of it for simulated sites, and the other end for the plane and for the core's CookieJar.
"""

import hashlib
import struct
from collections.abc import Callable

from pywg.core import crypto
from pywg.core.events import Endpoint
from tests import paper


def xseal(key: bytes, nonce: bytes, plaintext: bytes, additional_data: bytes) -> bytes:
    """XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha) with a nonce of 24 bytes."""
    return crypto.seal(crypto.hchacha20(key, nonce[:16]), plaintext, additional_data, bytes(4) + nonce[16:])


def mac(key: bytes, data: bytes) -> bytes:
    """The paper's MAC: 16 bytes of keyed BLAKE2s."""
    return hashlib.blake2s(data, key=key, digest_size=16).digest()


class Responder:
    """Gives out cookies under one secret for as long as it lives. `public_key` is its static key."""

    def __init__(self, public_key: bytes, random: Callable[[int], bytes]) -> None:
        self._key = hashlib.blake2s(paper.LABEL_COOKIE.encode() + public_key).digest()
        self._random = random
        self._secret = random(32)

    def cookie(self, source: Endpoint) -> bytes:
        return mac(self._secret, source.ip + source.port.to_bytes(2, "big"))

    def holds_mac2(self, message: bytes, source: Endpoint) -> bool:
        return message[-16:] == mac(self.cookie(source), message[:-16])

    def make_reply(self, message: bytes, source: Endpoint) -> bytes:
        """The cookie reply to an initiation or a response that came from `source`."""
        nonce = self._random(24)
        head = struct.pack("<I", paper.COOKIE_REPLY[0]) + message[4:8]
        return head + nonce + xseal(self._key, nonce, self.cookie(source), message[-32:-16])
