"""Our receiver indices: random, so that nobody can guess one, and unique over all handshakes and keypairs.

Paper, section 5.4: every handshake and every session is found by the index its owner chose.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

Owner = TypeVar("Owner")

_INDEX_LEN = 4


class IndexTable(Generic[Owner]):
    """Maps each index in use to who owns it. `random` gives unpredictable bytes."""

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._random = random
        self._owners: dict[int, Owner] = {}

    def __len__(self) -> int:
        return len(self._owners)

    def insert(self, owner: Owner) -> int:
        """A new index, 32 random bits that no one else has."""
        while True:
            index = int.from_bytes(self._random(_INDEX_LEN), "little")
            if index not in self._owners:
                self._owners[index] = owner
                return index

    def remove(self, index: int) -> None:
        """Gives the index back."""
        del self._owners[index]

    def find(self, index: int) -> Owner | None:
        """Who owns the index, None if it is nobody's."""
        return self._owners.get(index)
