"""The cookies of a responder under load, after the paper (5.4.7) and with `cryptography`; the data plane has them in C.

The model of it for simulated sites, and the other end for the plane and for the core's CookieJar.
"""

import hashlib
import struct
from collections.abc import Callable

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from pywg.core.events import Endpoint
from tests import paper

CONSTANTS = struct.unpack("<4I", b"expand 32-byte k")


def hchacha20(key: bytes, nonce: bytes) -> bytes:
    """The subkey of 32 bytes for a nonce of 16 (draft-irtf-cfrg-xchacha-03, section 2.2).

    It is the ChaCha20 block for that nonce before the initial state is added: so take a block and subtract what is
    known of its state, the constants (first row) and the nonce (last row). The key's rows are not part of the result.
    """
    block = Cipher(ChaCha20(key, nonce), mode=None).encryptor().update(bytes(64))
    words = struct.unpack("<16I", block)
    added = CONSTANTS + struct.unpack("<4I", nonce)
    rows = words[:4] + words[12:]
    return struct.pack("<8I", *((word - known) & 0xFFFFFFFF for word, known in zip(rows, added, strict=True)))


def xseal(key: bytes, nonce: bytes, plaintext: bytes, additional_data: bytes) -> bytes:
    """XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha) with a nonce of 24 bytes."""
    if len(nonce) != 24:
        raise ValueError(f"a nonce of {len(nonce)} bytes")
    subkey = ChaCha20Poly1305(hchacha20(key, nonce[:16]))
    return subkey.encrypt(bytes(4) + nonce[16:], plaintext, additional_data)


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
