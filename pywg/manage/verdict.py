"""A verdict on each peer: whether its tunnel works, in words for a table, and in a sentence where it doesn't."""

import enum
from typing import Final, NamedTuple

from pywg.config.model import PeerStatus
from pywg.constants import REJECT_AFTER_TIME
from pywg.manage.sight import Sight
from pywg.manage.units import age, plural, printable, span

_NS: Final = 1_000_000_000
_PATIENCE_S: Final = 10
"""Seconds in which an initiation may well be answered yet: the second one leaves after five."""


class State(enum.StrEnum):
    """What a peer's tunnel is. Those that are troubles come first."""

    NO_ANSWER = "no answer"
    STALE = "stale"
    NO_HANDSHAKE = "no handshake yet"
    WAITING = "waits for it"
    CONNECTING = "connecting"
    UP = "up"
    IDLE = "idle"
    DOWN = "down"


TROUBLES: Final = (State.NO_ANSWER, State.STALE)
_ORDER: Final = {state: place for place, state in enumerate(State)}


class Verdict(NamedTuple):
    """On one peer."""

    state: State
    words: str
    """for a table: "up, 12 s ago"; at most 18 columns"""
    detail: str
    """one sentence about what is wrong; "" where nothing is"""
    handshake_age: float | None
    """seconds since the last handshake; None for never"""


def verdict(sight: Sight, peer: PeerStatus) -> Verdict:
    """On a peer of an interface as it was seen."""
    since = (sight.wall_ns - peer.last_handshake_ns) / _NS if peer.last_handshake_ns else None
    trouble = sight.troubles.get(peer.public_key)
    unanswered = trouble.initiations_unanswered if trouble else 0
    waits = trouble.unanswered_seconds if trouble else 0
    detail = printable(trouble.trouble) if trouble else ""
    if unanswered and (waits >= _PATIENCE_S or detail):
        detail = f"{plural(unanswered, 'initiation')} unanswered for {span(waits)}{': ' if detail else ''}{detail}"
    if sight.stats and not sight.number("up"):
        return Verdict(State.DOWN, State.DOWN, "", since)
    if since is not None and since <= REJECT_AFTER_TIME:
        return Verdict(State.UP, _aged(State.UP, since), detail, since)
    if since is None and peer.endpoint is None:
        return Verdict(State.WAITING, State.WAITING, "", since)
    if unanswered and (waits >= _PATIENCE_S or detail):
        return Verdict(State.NO_ANSWER, f"no answer, {age(waits)}", detail, since)
    if unanswered:
        return Verdict(State.CONNECTING, State.CONNECTING, "", since)
    if since is None:
        return Verdict(State.NO_HANDSHAKE, State.NO_HANDSHAKE, detail, since)
    if peer.persistent_keepalive:
        text = f"no handshake for {span(since)}, although a keepalive is sent every {span(peer.persistent_keepalive)}"
        return Verdict(State.STALE, _aged(State.STALE, since), detail or text, since)
    return Verdict(State.IDLE, _aged(State.IDLE, since), detail, since)


def place(found: Verdict) -> tuple[int, float]:
    """By which peers are sorted: troubles first, then those whose handshake is newest."""
    return _ORDER[found.state], float("inf") if found.handshake_age is None else found.handshake_age


def tally(found: list[Verdict]) -> str:
    """How many peers are what: "48 up, 1 no answer"."""
    counts = {state: sum(one.state is state for one in found) for state in State}
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count)


def _aged(state: State, seconds: float) -> str:
    ago = age(seconds)
    return f"{state}, {ago}{' ago' if ago != 'now' else ''}"
