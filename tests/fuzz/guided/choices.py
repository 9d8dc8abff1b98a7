"""Bytes as a source of choices: what a case does is decided by its input, so that a small change of one is a small
change of the other."""

from collections.abc import Sequence
from typing import TypeVar

_T = TypeVar("_T")


class Choices:
    """Consumes `data` from its beginning. At its end every choice is the first, every number the least."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """Bytes that are not consumed yet."""
        return len(self._data) - self._at

    def take(self, length: int) -> bytes:
        """The next bytes, fewer at the end."""
        taken = self._data[self._at : self._at + length]
        self._at += len(taken)
        return taken

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(self.left)

    def byte(self) -> int:
        """0..255."""
        return self.take(1)[0] if self.left else 0

    def number(self, least: int, most: int) -> int:
        """One of least..most, by as few bytes as say it."""
        span = most - least
        length = (span.bit_length() + 7) // 8
        return least + int.from_bytes(self.take(length), "little") % (span + 1)

    def one_of(self, choices: Sequence[_T]) -> _T:
        """One of a sequence."""
        return choices[self.number(0, len(choices) - 1)]

    def text(self) -> bytes:
        """Bytes with their length before them: up to 255."""
        return self.take(self.byte())
