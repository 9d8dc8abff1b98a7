"""The verdict on a peer, for each thing that a peer can be."""

from typing import Any

import pytest

from pywg.config.model import DeviceStatus, PeerStatus, PeerTrouble
from pywg.manage.sight import Sight
from pywg.manage.verdict import State, Verdict, place, tally, verdict
from tests.manage import made

KEY = bytes(32)
THERE = (bytes([192, 0, 2, 1]), 51820, 0)


def judged(
    *, age: float | None = None, unanswered: int = 0, waits: int = 0, text: str = "", up: str = "1", **peer: Any
) -> Verdict:
    last = 0 if age is None else int((made.NOW_S - age) * 10**9)
    status = PeerStatus(KEY, last_handshake_ns=last, **{"endpoint": THERE, **peer})
    sight = Sight("wg0", 0.0, made.NOW_S * 10**9, DeviceStatus(peers=[status]), stats={"up": up} if up else {})
    if unanswered or text:
        sight.troubles[KEY] = PeerTrouble(KEY, unanswered, waits, text)
    return verdict(sight, status)


@pytest.mark.parametrize(
    ("facts", "state", "words", "detail"),
    [
        ({"age": 12}, State.UP, "up, 12 s ago", ""),
        ({"age": 180}, State.UP, "up, 3 min ago", ""),
        ({"age": 0.2}, State.UP, "up, now", ""),
        ({"age": -30}, State.UP, "up, now", ""),
        ({"age": 181}, State.IDLE, "idle, 3 min ago", ""),
        (
            {"age": 7300, "persistent_keepalive": 25},
            State.STALE,
            "stale, 2 h ago",
            "no handshake for 2 h 1 min, although",
        ),
        ({}, State.NO_HANDSHAKE, "no handshake yet", ""),
        ({"endpoint": None}, State.WAITING, "waits for it", ""),
        ({"endpoint": None, "unanswered": 3, "waits": 60}, State.WAITING, "waits for it", ""),
        ({"unanswered": 1, "waits": 2}, State.CONNECTING, "connecting", ""),
        ({"unanswered": 7, "waits": 35}, State.NO_ANSWER, "no answer, 35 s", "7 initiations unanswered for 35 s"),
        (
            {"unanswered": 1, "waits": 1, "text": "no route leads there"},
            State.NO_ANSWER,
            "no answer, 1 s",
            "1 initiation unanswered for 1 s: no route leads there",
        ),
        ({"age": 4000, "unanswered": 9, "waits": 70}, State.NO_ANSWER, "no answer, 1 min", "9 initiations unanswered"),
        ({"age": 150, "unanswered": 4, "waits": 20}, State.UP, "up, 2 min ago", "4 initiations unanswered for 20 s"),
        ({"age": 121, "unanswered": 1, "waits": 0}, State.UP, "up, 2 min ago", ""),
        ({"age": 5, "text": "its clock"}, State.UP, "up, 5 s ago", "its clock"),
        ({"age": 5, "up": "0"}, State.DOWN, "down", ""),
        ({"age": 5, "up": ""}, State.UP, "up, 5 s ago", ""),
    ],
)
def test_verdicts(facts: dict[str, Any], state: State, words: str, detail: str) -> None:
    found = judged(**facts)
    assert (found.state, found.words) == (state, words)
    assert found.detail.startswith(detail)
    assert bool(found.detail) == bool(detail)
    assert len(found.words) <= 18


def test_a_cause_moves_no_cursor() -> None:
    assert judged(unanswered=3, waits=30, text="\x1b[2Jx").detail.isprintable()


def test_troubles_come_first_and_then_the_newest() -> None:
    found = [judged(age=50), judged(), judged(age=9), judged(unanswered=3, waits=20), judged(age=999)]
    found.sort(key=place)
    assert [one.words for one in found] == [
        *("no answer, 20 s", "no handshake yet", "up, 9 s ago", "up, 50 s ago", "idle, 16 min ago")
    ]
    assert tally(found) == "1 no answer, 1 no handshake yet, 2 up, 1 idle"
