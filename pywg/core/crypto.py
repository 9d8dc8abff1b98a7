"""The primitives the handshake is made of. Paper, section 5.4.

X25519 and ChaCha20-Poly1305 come from libcrypto (pywg/dataplane/crypto/noise.pyx), BLAKE2s (RFC 7693) from hashlib;
HMAC (RFC 2104) and HKDF are put together here from the latter.

Key bytes in Python objects: what a function here makes on its way to its result is wiped before it returns; its
result is the caller's to wipe. What OpenSSL and hashlib hold inside their objects they cleanse themselves when the
object goes.
"""

from hashlib import blake2s
from hmac import compare_digest
from typing import Final, TypeAlias

from pywg.dataplane.crypto import noise
from pywg.dataplane.crypto.noise import PrivateKey
from pywg.dataplane.crypto.secret import Secret, wipe

Key: TypeAlias = bytes | Secret

_HKDF_STEPS: Final = (b"\x01", b"\x02", b"\x03")

COUNTER_0: Final = bytes(12)


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
    inner_block, outer_block = noise.hmac_blocks(key)
    halves = blake2s(inner_block), blake2s(outer_block)
    wipe(inner_block)
    wipe(outer_block)
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


def dh(private_key: PrivateKey, public_key: bytes) -> bytes | None:
    """X25519 (RFC 7748); None when the result is all zeros, because the public key is a point of low order."""
    return private_key.exchange(public_key)


def seal(key: bytes, plaintext: bytes, additional_data: bytes, nonce: bytes = COUNTER_0) -> bytes:
    """AEAD: ChaCha20-Poly1305 (RFC 8439). A key of the handshake seals once, with counter 0."""
    return noise.seal(key, plaintext, additional_data, nonce)


def open_sealed(key: bytes, ciphertext: bytes, additional_data: bytes, nonce: bytes = COUNTER_0) -> bytes | None:
    """The inverse of `seal`; None when the tag is wrong."""
    return noise.open_sealed(key, ciphertext, additional_data, nonce)


def xopen(key: bytes, nonce: bytes, ciphertext: bytes, additional_data: bytes) -> bytes | None:
    """Opens XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha), nonce of 24 bytes; None when the tag is wrong."""
    return noise.open_extended(key, ciphertext, additional_data, nonce)


def public_key_of(private_key: PrivateKey) -> bytes:
    """The 32 bytes of the public key."""
    return private_key.public_key()


def private_key_from(secret: Secret, public_key: bytes | None = None) -> PrivateKey:
    """A private key the library can use, from 32 bytes. It holds a copy: let go of it as soon as it was used.

    Where its public key is known, it need not be computed, which takes as long as dh().
    """
    return PrivateKey(secret, public_key)
