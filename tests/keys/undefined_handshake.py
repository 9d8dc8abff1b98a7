"""The handshake and its primitives under valgrind, which takes every key for undefined: a program of its own.

Output: a JSON object of {what: how often a branch or an address depended on a key}. What both ends put on the wire is
defined, and so is what a message holds once it is open. In a handshake neither exchanges nor openings count, which
have a row each: there what depends on a key is whether the result is of use.
"""

import json
import secrets
from collections.abc import Callable

from pywg.core import crypto
from pywg.core.handshake import (
    Handshake,
    Identity,
    begin_session,
    consume_initiation,
    consume_response,
    create_initiation,
    create_response,
)
from pywg.dataplane.crypto.noise import PrivateKey
from pywg.dataplane.crypto.secret import Secret
from tests.native import definedness

TEXT = b"what is sealed"
TIMESTAMP = bytes(range(12))
TABLE = bytes(range(256))[::-1]

apart: list[int] = []
"""How often it was, in each call that is counted apart."""


def undefined(length: int = 32) -> bytes:
    """So many secret bytes."""
    made = secrets.token_bytes(length)
    definedness.undefine(made)
    return made


def dependent(call: Callable[[], object]) -> int:
    """How often a branch or an address depended on what is undefined, while it was called."""
    before = definedness.errors()
    call()
    return definedness.errors() - before


def dh_apart(private_key: PrivateKey, public_key: bytes) -> bytes | None:
    before = definedness.errors()
    shared = dh(private_key, public_key)
    apart.append(definedness.errors() - before)
    return shared


def open_apart(key: bytes, ciphertext: bytes, additional_data: bytes, nonce: bytes = crypto.COUNTER_0) -> bytes | None:
    before = definedness.errors()
    plaintext = open_sealed(key, ciphertext, additional_data, nonce)
    apart.append(definedness.errors() - before)
    if plaintext:
        definedness.define(plaintext)
    return plaintext


def seal_in_public(key: bytes, plaintext: bytes, additional_data: bytes, nonce: bytes = crypto.COUNTER_0) -> bytes:
    ciphertext = seal(key, plaintext, additional_data, nonce)
    definedness.define(ciphertext)
    return ciphertext


def public_key_in_public(private_key: PrivateKey) -> bytes:
    public_key = public_key_of(private_key)
    definedness.define(public_key)
    return public_key


dh, open_sealed, seal, public_key_of = crypto.dh, crypto.open_sealed, crypto.seal, crypto.public_key_of
OF_A_HANDSHAKE = {
    "dh": dh_apart,
    "open_sealed": open_apart,
    "seal": seal_in_public,
    "public_key_of": public_key_in_public,
}


def identity() -> Identity:
    return Identity(Secret.take(undefined()))


def handshake(preshared_key: bytes | None) -> int:
    """From both static keys to the keys of the session. What depended on a key, but for exchanges and openings."""
    apart.clear()
    before = definedness.errors()
    near, far = identity(), identity()
    to_far, to_near = Handshake(1, far.public_key), Handshake(2, near.public_key)
    if preshared_key is not None:
        to_far.preshared_key, to_near.preshared_key = Secret(preshared_key), Secret(preshared_key)
    initiation = create_initiation(to_far, near, 7, TIMESTAMP, undefined)
    consume_initiation(initiation, far, lambda _key: to_near, 1.0)
    consume_response(create_response(to_near, 9, undefined), to_far, near)
    ours, theirs = begin_session(to_far, 1.0), begin_session(to_near, 1.0)
    found = definedness.errors() - before - sum(apart)
    for key in (ours.send_key, theirs.receive_key, ours.receive_key, theirs.send_key):
        definedness.define(key)
    assert ours.send_key == theirs.receive_key
    assert ours.receive_key == theirs.send_key
    return found


def counts() -> dict[str, int]:
    """Each twice: some happens once."""
    private_key, sealing = PrivateKey(undefined()), undefined()
    point = PrivateKey(secrets.token_bytes(32)).public_key()
    sealed = crypto.seal(sealing, TEXT, b"")
    primitives: dict[str, Callable[[], object]] = {
        "private key": lambda: PrivateKey(undefined()),
        "private key with its public one": lambda: PrivateKey(undefined(), point),
        "public key": private_key.public_key,
        "exchange": lambda: crypto.dh(private_key, point),
        "HKDF": lambda: crypto.hkdf(undefined(), undefined(), 3),
        "HKDF of a secret": lambda: crypto.hkdf(undefined(), Secret(undefined()), 3),
        "MAC": lambda: crypto.keyed_mac(undefined(), TEXT),
        "seal": lambda: crypto.seal(undefined(), TEXT, b""),
        "open": lambda: crypto.open_sealed(sealing, sealed, b""),
        "planted": lambda: undefined().translate(TABLE),
    }
    found = {name: min(dependent(call) for _ in range(2)) for name, call in primitives.items()}
    vars(crypto).update(OF_A_HANDSHAKE)
    found["handshake"] = min(handshake(None) for _ in range(2))
    found["handshake with a preshared key"] = min(handshake(undefined()) for _ in range(2))
    return found


if __name__ == "__main__":
    assert definedness.here(), "to be run under valgrind"
    print(json.dumps(counts()))
