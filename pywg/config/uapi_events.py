"""The text of the operation `events=1`: what happens to an interface, told while it happens.

The reply is a stream. An event is a line `event=NAME`, a line `time=SECONDS` of the wall clock, a line for each of its
facts, and a blank line. The reply ends as any other, with `errno=N`, when the interface does. No fact is a secret.
docs/json.md says what each event means.
"""

from collections.abc import Iterator, Mapping
from errno import EPROTO
from typing import Final, NamedTuple

from pywg.errors import UapiError

SUBSCRIBED: Final = "subscribed"
LOST: Final = "lost"
ENDING: Final = "ending"
HANDSHAKE: Final = "handshake"
PEER_UP: Final = "peer_up"
PEER_STALE: Final = "peer_stale"
UNANSWERED: Final = "unanswered"
ENDPOINT: Final = "endpoint"
PEER_ADDED: Final = "peer_added"
PEER_REMOVED: Final = "peer_removed"
CONFIGURATION: Final = "configuration"
INTERFACE_UP: Final = "interface_up"
INTERFACE_DOWN: Final = "interface_down"
DROPS: Final = "drops"
NAMES: Final = (
    *(SUBSCRIBED, LOST, ENDING, HANDSHAKE, PEER_UP, PEER_STALE, UNANSWERED, ENDPOINT),
    *(PEER_ADDED, PEER_REMOVED, CONFIGURATION, INTERFACE_UP, INTERFACE_DOWN, DROPS),
)
"""All that there are."""

MOST_EVENT: Final = 1 << 16
"""Bytes of one event: a reader refuses more."""

_TRAFFIC = """
    tx_packets tx_unreachable_sent tx_datagrams tx_sends tx_gso_refused tx_source_cleared tx_cookie_replies tx_shared
    tx_lent tx_returned rx_datagrams rx_receives rx_handshakes rx_keepalives rx_packets rx_tun_writes rx_shared
"""
TRAFFIC: Final = frozenset(_TRAFFIC.split())
"""Counters of what went well. The event `drops` tells of all others."""


class Event(NamedTuple):
    """One event as a client reads it."""

    name: str
    time: float
    """seconds since the epoch"""
    facts: dict[str, str]


def format_event(name: str, time_s: float, facts: Mapping[str, object]) -> bytes:
    """An event as text, with its blank line. A fact is on one line, whatever is in it."""
    lines = [f"event={name}", f"time={time_s:.3f}"]
    lines += [f"{key}={_line(str(value))}" for key, value in facts.items()]
    return ("\n".join(lines) + "\n\n").encode("ascii", "backslashreplace")


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
            text = value.decode("ascii", "backslashreplace")
            if not equals or not text.isprintable():
                raise UapiError("a line that is no fact of an event", errno=EPROTO)
            facts[key.decode("ascii", "backslashreplace")] = text
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


def _line(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)
