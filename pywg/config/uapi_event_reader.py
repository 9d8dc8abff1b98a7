"""Events read from the text of the operation `events=1`, which another program may have written: a client's part.

No daemon loads this.
"""

from collections.abc import Iterator
from errno import EPROTO
from typing import Final, NamedTuple

from pywg.constants import KEY_LEN
from pywg.errors import UapiError

MOST_EVENT: Final = 1 << 16
"""Bytes of one event: a reader refuses more."""


class Event(NamedTuple):
    """One event as a client reads it."""

    name: str
    time: float
    """seconds since the epoch"""
    facts: dict[str, str]

    @property
    def public_key(self) -> bytes | None:
        """Of the peer that it is about; None for none."""
        try:
            key = bytes.fromhex(self.facts.get("public_key", ""))
        except ValueError:
            return None
        return key if len(key) == KEY_LEN else None


class EventReader:
    """Makes events of the bytes of a reply, however they come."""

    def __init__(self) -> None:
        self._rest = b""
        self.errno: int | None = None
        """of the reply's end; None before that"""

    def take(self, data: bytes) -> Iterator[Event]:
        """The events that `data` completes. Raises UapiError for what is no such reply."""
        self._rest += data
        while self.errno is None:
            block, blank, rest = self._rest.partition(b"\n\n")
            if not blank:
                break
            self._rest = rest
            if (event := self._read(block)) is not None:
                yield event
        if len(self._rest) > MOST_EVENT:
            raise UapiError("an event without end", errno=EPROTO)

    def _read(self, block: bytes) -> Event | None:
        """None for the reply's end."""
        facts: dict[str, str] = {}
        for line in block.split(b"\n"):
            key, equals, value = line.partition(b"=")
            name, text = key.decode("ascii", "backslashreplace"), value.decode("ascii", "backslashreplace")
            if not equals or not name.isidentifier() or not text.isprintable():
                raise UapiError("a line that is no fact of an event", errno=EPROTO)
            facts[name] = text
        if "errno" in facts:
            number = facts["errno"].removeprefix("-")
            if not (number.isascii() and number.isdigit() and len(number) < 10):
                raise UapiError("an errno that is no number", errno=EPROTO)
            self.errno = int(number)
            return None
        name, at = facts.pop("event", ""), facts.pop("time", "")
        try:
            seconds = float(at)
        except ValueError:
            raise UapiError("an event without its time", errno=EPROTO) from None
        if not name or not 0 <= seconds < 1e12:
            raise UapiError("an event without its name", errno=EPROTO)
        return Event(name, seconds, facts)
