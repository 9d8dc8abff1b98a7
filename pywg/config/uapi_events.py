"""The text of the operation `events=1`: what happens to an interface, told while it happens.

The reply is a stream. An event is a line `event=NAME`, a line `time=SECONDS` of the wall clock, a line for each of its
facts, and a blank line. The reply ends as any other, with `errno=N`, when the interface does. No fact is a secret.
docs/json.md says what each event means.
"""

from collections.abc import Mapping
from typing import Final

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
FACTS: Final = frozenset(
    ("public_key", "endpoint", "before", "initiations", "seconds", "trouble", "handshake_age", "events", "changed")
)
"""Of all events but `drops`, whose facts are counters."""

_TRAFFIC = """
    tx_packets tx_unreachable_sent tx_datagrams tx_sends tx_gso_refused tx_source_cleared tx_cookie_replies tx_shared
    tx_turns tx_turns_late tx_lent tx_returned rx_datagrams rx_receives rx_handshakes rx_keepalives rx_packets
    rx_tun_writes rx_shared
"""
TRAFFIC: Final = frozenset(_TRAFFIC.split())
"""Counters of what went well. The event `drops` tells of all others."""


def format_event(name: str, time_s: float, facts: Mapping[str, object]) -> bytes:
    """An event as text, with its blank line. A fact is on one line, whatever is in it."""
    lines = [f"event={name}", f"time={time_s:.3f}"]
    lines += [f"{key}={_line(str(value))}" for key, value in facts.items()]
    return ("\n".join(lines) + "\n\n").encode("ascii", "backslashreplace")


def _line(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)
