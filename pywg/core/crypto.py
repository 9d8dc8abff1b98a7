"""The primitives the handshake is made of. Paper, section 5.4.

X25519 and ChaCha20-Poly1305 come from `cryptography`, BLAKE2s (RFC 7693) from hashlib; HMAC (RFC 2104), HKDF,
HChaCha20 and XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha) are put together here from those, since no library has them
in this form.

Key bytes in Python objects: what a function here makes on its way to its result is wiped before it returns; its
result is the caller's to wipe. What OpenSSL and hashlib hold inside their objects they cleanse themselves when the
object goes.
"""

from hashlib import blake2s
from hmac import compare_digest
from struct import Struct
from typing import Final, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from pywg.dataplane.crypto.secret import Secret, wipe

Key: TypeAlias = bytes | Secret

_BLOCK_LEN: Final = 64
_IPAD: Final = bytes(byte ^ 0x36 for byte in range(256))
_OPAD: Final = bytes(byte ^ 0x5C for byte in range(256))
_HKDF_STEPS: Final = (b"\x01", b"\x02", b"\x03")

COUNTER_0: Final = bytes(12)
_ZERO_BLOCK: Final = bytes(_BLOCK_LEN)
_CHACHA_BLOCK: Final = Struct("<16I")
_EIGHT_WORDS: Final = Struct("<8I")
_FOUR_WORDS: Final = Struct("<4I")
_CHACHA_CONSTANTS: Final = _FOUR_WORDS.unpack(b"expand 32-byte k")


def blake2s_hash(data: bytes) -> bytes:
    """HASH: BLAKE2s-256."""
    return blake2s(data).digest()


def same(one: bytes, other: bytes) -> bool:
    """Equality in constant time."""
    return compare_digest(one, other)


def keyed_mac(key: Key, data: bytes, length: int = 16) -> bytes:
    """MAC: BLAKE2s in its own keyed mode, of `length` bytes."""
    return blake2s(data, key=key, digest_size=length).digest()


def _hmac_halves(key: bytes) -> tuple[blake2s, blake2s]:
    """The inner and the outer hash of an HMAC under a key of KEY_LEN bytes, the padded key already in."""
    block = key.ljust(_BLOCK_LEN, b"\0")
    inner_pad, outer_pad = block.translate(_IPAD), block.translate(_OPAD)
    halves = blake2s(inner_pad), blake2s(outer_pad)
    wipe(block)
    wipe(inner_pad)
    wipe(outer_pad)
    return halves


def hmac(key: bytes, data: Key) -> bytes:
    """HMAC-BLAKE2s under a key of KEY_LEN bytes."""
    inner, outer = _hmac_halves(key)
    inner.update(data)
    digest = inner.digest()
    outer.update(digest)
    wipe(digest)
    return outer.digest()


def hkdf(chaining_key: bytes, material: Key, outputs: int) -> list[bytes]:
    """KDF_n: 1 to 3 keys of 32 bytes from the chaining key and new material."""
    extracted = hmac(chaining_key, material)
    keyed_inner, keyed_outer = _hmac_halves(extracted)
    wipe(extracted)
    keys: list[bytes] = []
    previous = b""
    for step in _HKDF_STEPS[:outputs]:
        inner, outer = keyed_inner.copy(), keyed_outer.copy()
        inner.update(previous)
        inner.update(step)
        digest = inner.digest()
        outer.update(digest)
        wipe(digest)
        previous = outer.digest()
        keys.append(previous)
    return keys


def dh(private_key: X25519PrivateKey, public_key: bytes) -> bytes | None:
    """X25519 (RFC 7748); None when the result is all zeros, because the public key is a point of low order."""
    try:
        return private_key.exchange(X25519PublicKey.from_public_bytes(public_key))
    except ValueError:
        return None


def seal(key: bytes, plaintext: bytes, additional_data: bytes, nonce: bytes = COUNTER_0) -> bytes:
    """AEAD: ChaCha20-Poly1305 (RFC 8439). A key of the handshake seals once, with counter 0."""
    return ChaCha20Poly1305(key).encrypt(nonce, plaintext, additional_data)


def open_sealed(key: bytes, ciphertext: bytes, additional_data: bytes, nonce: bytes = COUNTER_0) -> bytes | None:
    """The inverse of `seal`; None when the tag is wrong."""
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, ciphertext, additional_data)
    except InvalidTag:
        return None


def hchacha20(key: bytes, nonce: bytes) -> bytes:
    """The subkey of 32 bytes for a nonce of 16 (draft-irtf-cfrg-xchacha-03, section 2.2).

    It is the ChaCha20 block for that nonce before the initial state is added: so take a block and subtract what is
    known of its state, the constants (first row) and the nonce (last row). The key's rows are not part of the result.
    """
    block = Cipher(ChaCha20(key, nonce), mode=None).encryptor().update(_ZERO_BLOCK)
    words = _CHACHA_BLOCK.unpack(block)
    wipe(block)
    added = _CHACHA_CONSTANTS + _FOUR_WORDS.unpack(nonce)
    rows = words[:4] + words[12:]
    return _EIGHT_WORDS.pack(*((word - known) & 0xFFFFFFFF for word, known in zip(rows, added, strict=True)))


def xopen(key: bytes, nonce: bytes, ciphertext: bytes, additional_data: bytes) -> bytes | None:
    """Opens XChaCha20-Poly1305 with a nonce of 24 bytes; None when the tag is wrong."""
    subkey = hchacha20(key, nonce[:16])
    plaintext = open_sealed(subkey, ciphertext, additional_data, bytes(4) + nonce[16:])
    wipe(subkey)
    return plaintext


def public_key_of(private_key: X25519PrivateKey) -> bytes:
    """The 32 bytes of the public key."""
    return private_key.public_key().public_bytes_raw()


def private_key_from(secret: Secret) -> X25519PrivateKey:
    """A private key the library can use, from 32 bytes. It holds a copy: let go of it as soon as it was used."""
    return X25519PrivateKey.from_private_bytes(memoryview(secret))
