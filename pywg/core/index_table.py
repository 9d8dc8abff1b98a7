"""Our receiver indices: random, so that an attacker can't guess one, and unique over all handshakes and keypairs.

Paper, section 5.4: every handshake and every session is found by the index that its own end chose. With several shards
its low bits say whose peer it is, so that the kernel gives all sessions of a peer to the socket of one shard; nothing
but speed depends on them.
"""

from collections.abc import Callable

from pywg.errors import LocalProtocolError

_INDEX_LEN = 4


class IndexTable:
    """Maps each index in use to the number of the peer that it is for. `random` gives unpredictable bytes.

    `shards`: a power of two; a new index is the peer's number modulo that.
    """

    def __init__(self, random: Callable[[int], bytes], shards: int = 1) -> None:
        self._random = random
        self._low = shards - 1
        self._peers: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._peers)

    def insert(self, peer: int) -> int:
        """A new index that is not in use: 32 random bits, less those that say the shard."""
        while (index := self._draw() & ~self._low | peer & self._low) in self._peers:
            pass
        self._peers[index] = peer
        return index

    def take(self, index: int, peer: int) -> None:
        """An index that another table has drawn. Where that had another number of shards, the low bits may name another
        shard than the peer's later ones: that one does the work, until the session is over, as safely.

        Raises LocalProtocolError when it is in use.
        """
        if index in self._peers:
            raise LocalProtocolError("two keypairs of one index")
        self._peers[index] = peer

    def remove(self, index: int) -> None:
        """Gives the index back."""
        del self._peers[index]

    def find(self, index: int) -> int | None:
        """The peer of the index, None if it is not in use."""
        return self._peers.get(index)

    def _draw(self) -> int:
        return int.from_bytes(self._random(_INDEX_LEN), "little")
