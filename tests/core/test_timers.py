"""The timers by themselves: what the simulation can't tell apart, and the queue of deadlines."""

import math
import random

from hypothesis import given
from hypothesis import strategies as st

from pywg.core.events import Activity
from pywg.core.timers import DeadlineQueue, Timer, Timers
from tests import paper

IDLE = Activity()


def timers_with_session(now: float) -> Timers:
    timers = Timers(random.Random(1).randbytes)
    timers.session_derived(now)
    return timers


def test_nothing_is_due_before_anything_happened() -> None:
    timers = Timers(random.Random(1).randbytes)
    assert timers.next_deadline(1.0, IDLE) == math.inf
    assert timers.expire(1e9, IDLE) == []


def test_the_jitter_fills_its_range() -> None:
    timers = Timers(random.Random(1).randbytes)
    drawn = [timers.jitter() for _ in range(2000)]
    assert 0 <= min(drawn) < 0.02
    assert paper.REKEY_TIMEOUT_JITTER - 0.02 < max(drawn) < paper.REKEY_TIMEOUT_JITTER


def test_a_keepalive_that_could_not_be_sent_is_due_again_10_s_later() -> None:
    timers = timers_with_session(100.0)
    owed = Activity(keepalive_owed_since=101.0)
    assert timers.next_deadline(101.0, owed) == 101.0 + paper.KEEPALIVE_TIMEOUT
    assert timers.expire(111.0, owed) == [Timer.PASSIVE_KEEPALIVE]
    assert timers.expire(111.0, owed) == []
    assert timers.next_deadline(111.0, owed) == 111.0 + paper.KEEPALIVE_TIMEOUT


def test_handshake_messages_put_off_the_persistent_keepalive() -> None:
    timers = Timers(random.Random(1).randbytes)
    timers.persistent_keepalive = 25
    activity = Activity(last_traversal=100.0)
    assert timers.next_deadline(101.0, activity) == 125.0
    timers.sent(110.0)
    assert timers.next_deadline(111.0, activity) == 135.0
    timers.handshake_received(112.0)
    assert timers.next_deadline(113.0, activity) == 137.0
    assert timers.next_deadline(113.0, activity._replace(last_traversal=120.0)) == 145.0


def test_a_dead_session_asks_for_nothing_but_wiping() -> None:
    """What the data plane remembers of a session that is too old to send with must not wake the core for ever."""
    timers = timers_with_session(100.0)
    stuck = Activity(unanswered_since=150.0, keepalive_owed_since=150.0, last_traversal=150.0, last_data_sent=400.0)
    after = 100.0 + paper.REJECT_AFTER_TIME + 20
    fired = timers.expire(after - 30, stuck)
    assert fired == [Timer.NEW_HANDSHAKE, Timer.PASSIVE_KEEPALIVE]
    timers.expire(after - 5, stuck)
    assert timers.next_deadline(after, stuck) == 100.0 + paper.KEY_ZEROING_TIME
    assert timers.expire(after + 100, stuck) == []


def test_a_handshake_message_is_a_sign_of_life() -> None:
    timers = timers_with_session(100.0)
    activity = Activity(unanswered_since=101.0, last_data_sent=101.0)
    unanswered = 101.0 + paper.NEW_HANDSHAKE_TIMEOUT + 1
    assert timers_with_session(100.0).expire(unanswered, activity) == [Timer.NEW_HANDSHAKE], "without one"
    timers.handshake_received(110.0)
    assert timers.expire(unanswered, activity) == []
    # nothing was sent since, so there is nothing that could have been answered
    assert timers.expire(110.0 + paper.NEW_HANDSHAKE_TIMEOUT + 1, activity) == []


def test_the_queue_gives_each_peer_once_at_its_latest_deadline() -> None:
    queue = DeadlineQueue()
    queue.schedule(1, 10.0)
    queue.schedule(2, 20.0)
    queue.schedule(1, 30.0)
    queue.schedule(3, 5.0)
    queue.schedule(3, math.inf)
    assert queue.next_deadline() == 20.0
    assert queue.pop_due(19.0) is None
    assert queue.pop_due(30.0) == 2
    assert queue.pop_due(30.0) == 1
    assert queue.pop_due(1e9) is None
    assert queue.next_deadline() is None


def test_replaced_deadlines_take_no_memory() -> None:
    queue = DeadlineQueue()
    for moment in range(100_000):
        queue.schedule(moment % 3, 1e9 + moment)
    assert len(queue) == 3
    assert len(queue._heap) < 100


@given(st.lists(st.tuples(st.integers(0, 5), st.one_of(st.integers(1, 50).map(float), st.just(math.inf)))))
def test_the_queue_against_a_dictionary(schedule: list[tuple[int, float]]) -> None:
    queue, model = DeadlineQueue(), dict[int, float]()
    for peer, deadline in schedule:
        queue.schedule(peer, deadline)
        model[peer] = deadline
    due = {peer for peer, deadline in model.items() if deadline <= 25.0}
    popped = []
    while (it := queue.pop_due(25.0)) is not None:
        popped.append(it)
    assert sorted(popped) == sorted(due)
    assert queue.next_deadline() == min((it for it in model.values() if 25.0 < it < math.inf), default=None)
