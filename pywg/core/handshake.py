"""The handshake: Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s.

    <- s
    ...
    -> e, es, s, ss, {t}
    <- e, ee, se, psk, {}

Paper, sections 5.4.2 to 5.4.5. Four verbs, two for each role, and `begin_session`, which turns a finished handshake
of either role into two transport keys. A consume verb that fails raises RemoteProtocolError and leaves the handshake
as it was: no message of a stranger keeps the peer's answer from being good.

What must survive between two messages (chaining key, our ephemeral) is kept in Secrets and wiped with `clear`; within
one verb the keys are bytes objects that are wiped before it returns.
"""

from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from pywg.constants import CONSTRUCTION, IDENTIFIER, INITIATIONS_PER_SECOND, KEY_LEN
from pywg.core import crypto, events, messages, tai64n
from pywg.dataplane.crypto.noise import PrivateKey
from pywg.dataplane.crypto.secret import Secret, wipe
from pywg.errors import RemoteProtocolError

INITIAL_CHAINING_KEY: Final = crypto.blake2s_hash(CONSTRUCTION)
INITIAL_HASH: Final = crypto.blake2s_hash(INITIAL_CHAINING_KEY + IDENTIFIER)
NO_PRESHARED_KEY: Final = bytes(KEY_LEN)

Random = Callable[[int], bytes]


class State(Enum):
    """How far one peer's handshake has come."""

    ZEROED = auto()
    CREATED_INITIATION = auto()
    CONSUMED_INITIATION = auto()
    CREATED_RESPONSE = auto()
    CONSUMED_RESPONSE = auto()


class Identity:
    """Our static key, whose Secret this takes over.

    The library's object for it holds a copy, which OpenSSL cleanses when it goes. It is made when it is needed and kept
    until `rest`: a burst of messages shares it.
    """

    __slots__ = ("_library_key", "initial_hash", "private_key", "public_key")

    def __init__(self, private_key: Secret) -> None:
        self.private_key = private_key
        self._library_key: PrivateKey | None = None
        self.public_key = crypto.public_key_of(crypto.private_key_from(private_key))
        self.initial_hash = crypto.blake2s_hash(INITIAL_HASH + self.public_key)

    def dh(self, public_key: bytes) -> bytes | None:
        """As crypto.dh() with our static key."""
        if self._library_key is None:
            self._library_key = crypto.private_key_from(self.private_key, self.public_key)
        return crypto.dh(self._library_key, public_key)

    def rest(self) -> None:
        """Drops the library's copy, once no message is at hand."""
        self._library_key = None

    def wipe(self) -> None:
        """Wipes the key: our identity is another now."""
        self.rest()
        self.private_key.wipe()


class Symmetric:
    """Noise's SymmetricState for one message: chaining key and hash, both bytes. `wipe` when done."""

    __slots__ = ("chaining_key", "hash")

    def __init__(self, initial_hash: bytes, chaining_key: Secret | bytes = INITIAL_CHAINING_KEY) -> None:
        # bytearray in between: a copy of its own, that may be wiped, also where the argument is a shared constant
        copy = bytearray(chaining_key)
        self.chaining_key = bytes(copy)
        wipe(copy)
        self.hash = initial_hash

    def mix_hash(self, data: bytes) -> None:
        self.hash = crypto.blake2s_hash(self.hash + data)

    def mix_ephemeral(self, public_key: bytes) -> None:
        """The token e: into the hash, and, as the pattern has a psk, into the chaining key."""
        self.mix_hash(public_key)
        self._advance(crypto.hkdf(self.chaining_key, public_key, 1))

    def mix_dh(self, shared: bytes | None) -> bytes:
        """One DH token: wipes the shared secret; returns the key for what is sealed next, the caller's to wipe."""
        if shared is None:
            raise RemoteProtocolError(events.BAD_PUBLIC_KEY)
        keys = crypto.hkdf(self.chaining_key, shared, 2)
        wipe(shared)
        self._advance(keys)
        return keys[1]

    def mix_static_dh(self, shared: Secret) -> bytes:
        """The token ss, whose secret is computed once for each peer and stays."""
        keys = crypto.hkdf(self.chaining_key, shared, 2)
        self._advance(keys)
        return keys[1]

    def mix_preshared_key(self, preshared_key: Secret | bytes) -> bytes:
        """The token psk; returns the key for what is sealed next, the caller's to wipe."""
        keys = crypto.hkdf(self.chaining_key, preshared_key, 3)
        self._advance(keys)
        self.mix_hash(keys[1])
        wipe(keys[1])
        return keys[2]

    def seal(self, key: bytes, plaintext: bytes) -> bytes:
        """Seals with `key`, which it wipes, and mixes what comes out into the hash."""
        ciphertext = crypto.seal(key, plaintext, self.hash)
        wipe(key)
        self.mix_hash(ciphertext)
        return ciphertext

    def open(self, key: bytes, ciphertext: bytes, reason: str, public_key: bytes | None = None) -> bytes:
        """The inverse of `seal`; raises RemoteProtocolError(reason, public_key) when the tag is wrong."""
        plaintext = crypto.open_sealed(key, ciphertext, self.hash)
        wipe(key)
        if plaintext is None:
            raise RemoteProtocolError(reason, public_key)
        self.mix_hash(ciphertext)
        return plaintext

    def split(self) -> tuple[Secret, Secret]:
        """The transport keys: the initiator's to send with, then the responder's."""
        first, second = crypto.hkdf(self.chaining_key, b"", 2)
        return Secret.take(first), Secret.take(second)

    def wipe(self) -> None:
        wipe(self.chaining_key)

    def _advance(self, keys: list[bytes]) -> None:
        wipe(self.chaining_key)
        self.chaining_key = keys[0]


class Handshake:
    """One peer's handshake, in either role: at most one is under way, and a newer one takes its place.

    `local_index` is the index under which an answer may come, None when none is waited for.
    """

    __slots__ = (
        "_static_shared",
        "chaining_key",
        "ephemeral_private",
        "ephemeral_public",
        "hash",
        "last_consumption",
        "last_sent_ns",
        "latest_timestamp",
        "local_index",
        "peer",
        "preshared_key",
        "remote_ephemeral",
        "remote_index",
        "remote_initial_hash",
        "remote_static",
        "state",
    )

    def __init__(self, peer: int, remote_static: bytes) -> None:
        self.peer = peer
        self.remote_static = remote_static
        self.remote_initial_hash = crypto.blake2s_hash(INITIAL_HASH + remote_static)
        self.preshared_key: Secret | None = None
        self.latest_timestamp = tai64n.OLDEST
        self.last_sent_ns = 0
        self.last_consumption = float("-inf")
        self._static_shared: Secret | None = None
        self.chaining_key: Secret | None = None
        self.ephemeral_private: Secret | None = None
        self.local_index: int | None = None
        self.clear()

    def clear(self) -> None:
        """Back to State.ZEROED, secrets wiped. Guards against replays stay; `local_index` is the peer's to free."""
        for secret in (self.chaining_key, self.ephemeral_private):
            if secret is not None:
                secret.wipe()
        self.chaining_key = None
        self.ephemeral_private = None
        self.ephemeral_public = b""
        self.hash = b""
        self.remote_ephemeral = b""
        self.remote_index = 0
        self.state = State.ZEROED

    def forget_identity(self) -> None:
        """Our static key has changed or the peer goes: nothing computed with the old key is of use."""
        self.clear()
        if self._static_shared is not None:
            self._static_shared.wipe()
            self._static_shared = None

    def static_shared(self, identity: Identity) -> Secret:
        """The secret of the token ss, computed on first use; raises RemoteProtocolError for a key of low order."""
        if self._static_shared is None:
            shared = identity.dh(self.remote_static)
            if shared is None:
                raise RemoteProtocolError(events.BAD_PUBLIC_KEY)
            self._static_shared = Secret.take(shared)
        return self._static_shared

    def next_timestamp(self, wall_ns: int) -> bytes:
        """The timestamp for an initiation now: greater than that of any before to this peer."""
        self.last_sent_ns = tai64n.next_timestamp(wall_ns, self.last_sent_ns)
        return tai64n.encode(self.last_sent_ns)

    def remember(self, symmetric: Symmetric, state: State) -> None:
        """Keeps what the next message of this handshake needs."""
        self.chaining_key = Secret(symmetric.chaining_key)
        self.hash = symmetric.hash
        self.state = state


def create_initiation(
    handshake: Handshake, identity: Identity, local_index: int, timestamp: bytes, random: Random
) -> messages.Initiation:
    """First message. Starts anew, whatever came before; raises RemoteProtocolError for a peer key of low order."""
    static_shared = handshake.static_shared(identity)
    handshake.clear()
    handshake.ephemeral_private, ephemeral_key, ephemeral = _new_ephemeral(random)
    handshake.ephemeral_public = ephemeral
    symmetric = Symmetric(handshake.remote_initial_hash)
    try:
        symmetric.mix_ephemeral(ephemeral)
        key = symmetric.mix_dh(crypto.dh(ephemeral_key, handshake.remote_static))
        encrypted_static = symmetric.seal(key, identity.public_key)
        key = symmetric.mix_static_dh(static_shared)
        encrypted_timestamp = symmetric.seal(key, timestamp)
        handshake.remember(symmetric, State.CREATED_INITIATION)
    finally:
        symmetric.wipe()
    handshake.local_index = local_index
    return messages.Initiation(local_index, ephemeral, encrypted_static, encrypted_timestamp)


def consume_initiation(
    message: messages.Initiation, identity: Identity, find: Callable[[bytes], Handshake | None], now: float
) -> Handshake:
    """First message, at the responder: the handshake of the peer it is from, ready for `create_response`.

    `find` maps a static public key to that peer's handshake. Raises RemoteProtocolError for a message that does not
    open, an unknown peer, a timestamp that is not greater than the last, or one more initiation within 1 /
    INITIATIONS_PER_SECOND.
    """
    symmetric = Symmetric(identity.initial_hash)
    try:
        symmetric.mix_ephemeral(message.ephemeral)
        key = symmetric.mix_dh(identity.dh(message.ephemeral))
        remote_static = symmetric.open(key, message.encrypted_static, events.BAD_INITIATION)
        handshake = find(remote_static)
        if handshake is None:
            raise RemoteProtocolError(events.UNKNOWN_PEER, remote_static)
        key = symmetric.mix_static_dh(handshake.static_shared(identity))
        timestamp = symmetric.open(key, message.encrypted_timestamp, events.BAD_INITIATION)
        if timestamp <= handshake.latest_timestamp:
            raise RemoteProtocolError(events.REPLAYED_INITIATION, remote_static)
        if now < handshake.last_consumption + 1 / INITIATIONS_PER_SECOND:
            raise RemoteProtocolError(events.INITIATION_FLOOD)
        handshake.clear()
        handshake.remember(symmetric, State.CONSUMED_INITIATION)
    finally:
        symmetric.wipe()
    handshake.latest_timestamp = timestamp
    handshake.last_consumption = now
    handshake.remote_ephemeral = message.ephemeral
    handshake.remote_index = message.sender_index
    return handshake


def create_response(handshake: Handshake, local_index: int, random: Random) -> messages.Response:
    """Second message, after `consume_initiation`. Our ephemeral is gone when it returns."""
    assert handshake.state is State.CONSUMED_INITIATION
    assert handshake.chaining_key is not None
    ephemeral_private, ephemeral_key, ephemeral = _new_ephemeral(random)
    ephemeral_private.wipe()
    symmetric = Symmetric(handshake.hash, handshake.chaining_key)
    try:
        symmetric.mix_ephemeral(ephemeral)
        # Neither key can be of low order here: consume_initiation has done DH with both.
        wipe(symmetric.mix_dh(crypto.dh(ephemeral_key, handshake.remote_ephemeral)))
        wipe(symmetric.mix_dh(crypto.dh(ephemeral_key, handshake.remote_static)))
        key = symmetric.mix_preshared_key(handshake.preshared_key or NO_PRESHARED_KEY)
        encrypted_nothing = symmetric.seal(key, b"")
        handshake.chaining_key.wipe()
        handshake.remember(symmetric, State.CREATED_RESPONSE)
    finally:
        symmetric.wipe()
    handshake.local_index = local_index
    return messages.Response(local_index, handshake.remote_index, ephemeral, encrypted_nothing)


def consume_response(message: messages.Response, handshake: Handshake, identity: Identity) -> None:
    """Second message, at the initiator; `handshake` is the one its receiver_index names.

    Raises RemoteProtocolError when no response is waited for or it does not open; the handshake then goes on waiting.
    """
    if handshake.state is not State.CREATED_INITIATION:
        raise RemoteProtocolError(events.UNKNOWN_INDEX)
    assert handshake.chaining_key is not None
    assert handshake.ephemeral_private is not None
    ephemeral_key = crypto.private_key_from(handshake.ephemeral_private, handshake.ephemeral_public)
    symmetric = Symmetric(handshake.hash, handshake.chaining_key)
    try:
        symmetric.mix_ephemeral(message.ephemeral)
        wipe(symmetric.mix_dh(crypto.dh(ephemeral_key, message.ephemeral)))
        wipe(symmetric.mix_dh(identity.dh(message.ephemeral)))
        key = symmetric.mix_preshared_key(handshake.preshared_key or NO_PRESHARED_KEY)
        symmetric.open(key, message.encrypted_nothing, events.BAD_RESPONSE, handshake.remote_static)
        handshake.clear()
        handshake.remember(symmetric, State.CONSUMED_RESPONSE)
    finally:
        symmetric.wipe()
    handshake.remote_index = message.sender_index


def begin_session(handshake: Handshake, now: float) -> events.KeypairDerived:
    """Ends a handshake that has sent or consumed its response: derives the keys, zeroes it (paper, section 5.4.5)."""
    assert handshake.state in (State.CREATED_RESPONSE, State.CONSUMED_RESPONSE)
    assert handshake.chaining_key is not None
    assert handshake.local_index is not None
    initiator = handshake.state is State.CONSUMED_RESPONSE
    symmetric = Symmetric(handshake.hash, handshake.chaining_key)
    initiator_key, responder_key = symmetric.split()
    symmetric.wipe()
    keys = (initiator_key, responder_key) if initiator else (responder_key, initiator_key)
    indices = handshake.local_index, handshake.remote_index
    handshake.clear()
    handshake.local_index = None
    return events.KeypairDerived(handshake.peer, *indices, *keys, initiator, now)


def _new_ephemeral(random: Random) -> tuple[Secret, PrivateKey, bytes]:
    """A fresh ephemeral key: its bytes, the library's object, the public key."""
    private = Secret.take(random(KEY_LEN))
    key = crypto.private_key_from(private)
    return private, key, crypto.public_key_of(key)
