"""Private keys whose results are computed once a process: the ends of the tunnel target draw the same in each input.

Half of its time went into X25519, which is libcrypto's and not what an adversary of the core decides.
"""

from functools import lru_cache

from pywg.dataplane.crypto.noise import PrivateKey

MOST_KEYS, MOST_RESULTS = 1 << 12, 1 << 6


class KnownKey:
    """As a PrivateKey. Each answer is bytes of its own: who has it wipes it."""

    def __init__(self, secret: bytes) -> None:
        self._key = PrivateKey(secret)
        self._public = self._key.public_key()
        self._shared: dict[bytes, bytes | None] = {}

    def public_key(self) -> bytes:
        return bytes(bytearray(self._public))

    def exchange(self, public_key: bytes) -> bytes | None:
        if len(self._shared) == MOST_RESULTS:
            self._shared.clear()
        if public_key not in self._shared:
            # Of its own, too: what the core gets from a message may be wiped later.
            self._shared[bytes(bytearray(public_key))] = self._key.exchange(public_key)
        shared = self._shared[public_key]
        return None if shared is None else bytes(bytearray(shared))


_known = lru_cache(MOST_KEYS)(KnownKey)


def private_key_from(secret: "bytes | bytearray | memoryview", _public_key: bytes | None = None) -> KnownKey:
    """In the place of pywg.core.crypto's; what a key's public one is, it knows."""
    return _known(bytes(memoryview(secret)))
