"""The replay window: RFC 6479 with a ring of 8192 bits, 8128 usable; the counter's limit of paper section 6.1."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from tests.native.state import Window

USABLE = 8192 - 64
REJECT_AFTER_MESSAGES = 2**64 - 2**13 - 1
LARGEST = REJECT_AFTER_MESSAGES - 1


class Model:
    """What the window should do, said with a set."""

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self.greatest = 0

    def plausible(self, counter: int) -> bool:
        return counter < REJECT_AFTER_MESSAGES and counter + USABLE >= self.greatest and counter not in self.seen

    def accept(self, counter: int) -> bool:
        if not self.plausible(counter):
            return False
        self.seen.add(counter)
        self.greatest = max(self.greatest, counter)
        return True


class WindowAgainstModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.window = Window()
        self.model = Model()

    def check(self, counter: int) -> None:
        expected = self.model.plausible(counter)
        assert self.window.plausible(counter) is expected
        assert self.window.accept(counter) is expected
        self.model.accept(counter)
        assert not self.window.plausible(counter)

    @rule(step=st.one_of(st.integers(1, 200), st.integers(8000, 8400), st.integers(1, 2**63)))
    def ahead(self, step: int) -> None:
        self.check(min(self.model.greatest + step, 2**64 - 1))

    @rule(back=st.one_of(st.integers(0, 200), st.integers(8000, 8400), st.integers(0, 2**64 - 1)))
    def behind(self, back: int) -> None:
        self.check(max(self.model.greatest - back, 0))

    @rule(count=st.integers(1, 300), stride=st.integers(1, 130))
    def run_of(self, count: int, stride: int) -> None:
        start = self.model.greatest
        for i in range(count):
            self.check(min(start + i * stride, 2**64 - 1))

    @rule(counter=st.integers(REJECT_AFTER_MESSAGES - 9000, 2**64 - 1))
    def near_the_limit(self, counter: int) -> None:
        self.check(counter)

    @rule()
    def fresh_key(self) -> None:
        self.window.reset()
        self.model = Model()


WindowAgainstModel.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestWindowAgainstModel = WindowAgainstModel.TestCase


def test_every_counter_is_accepted_once() -> None:
    window = Window()
    assert window.accept(0)
    assert not window.accept(0)
    assert window.accept(1)
    assert window.accept(9)
    assert window.accept(8)
    assert not window.accept(8)
    assert not window.accept(1)


@pytest.mark.known_bug("Replay window of 32")
@pytest.mark.parametrize("greatest", [USABLE - 1, USABLE, USABLE + 1, 8191, 8192, 8193, 100_000, 2**40 + 17, LARGEST])
def test_a_counter_may_be_8128_behind(greatest: int) -> None:
    window = Window()
    assert window.accept(greatest)
    oldest = max(greatest - USABLE, 0)
    if oldest > 0:
        assert not window.plausible(oldest - 1)
        assert not window.accept(oldest - 1)
    assert window.plausible(oldest)
    assert window.accept(oldest)
    assert not window.accept(oldest)
    assert not window.accept(greatest)


@pytest.mark.parametrize("start", [0, 1, 62, 63, 64])
def test_the_whole_window_backwards(start: int) -> None:
    window = Window()
    greatest = start + USABLE
    assert all(window.accept(counter) for counter in range(greatest, start - 1, -1))
    assert not any(window.accept(counter) for counter in range(start, greatest + 1))


@pytest.mark.parametrize("jump", [1, 63, 64, 65, 8127, 8128, 8129, 8191, 8192, 8193, 2**32, 2**63])
def test_a_jump_forgets_nothing_that_is_still_in_the_window(jump: int) -> None:
    window = Window()
    for counter in range(0, 8192, 3):
        assert window.accept(counter)
    greatest = 8190 + jump
    assert window.accept(greatest)
    for counter in range(max(0, greatest - USABLE), greatest):
        assert window.plausible(counter) is (counter > 8190 or counter % 3 != 0)


def test_nothing_at_or_past_reject_after_messages() -> None:
    window = Window()
    for counter in (REJECT_AFTER_MESSAGES, REJECT_AFTER_MESSAGES + 1, 2**64 - 1):
        assert not window.plausible(counter)
        assert not window.accept(counter)
    assert window.accept(0), "a refused counter must not move the window"
    assert window.accept(LARGEST)
    assert not window.accept(LARGEST)


def test_a_refused_counter_changes_nothing() -> None:
    window = Window()
    greatest = 312 * 64 - 1  # the first place of a word of the ring, so that the rest of the word is still to come
    too_old = greatest - USABLE - 1
    assert window.accept(greatest)
    assert not window.accept(too_old)
    assert window.accept(too_old + 8192), "the ring's bit of a counter too old belongs to a newer one"


@pytest.mark.known_bug("Window moved")
@given(st.lists(st.integers(0, 20_000), max_size=60))
def test_plausible_changes_nothing(counters: list[int]) -> None:
    looked_at, untouched = Window(), Window()
    for counter in counters:
        for other in (counter, counter + 9000, counter // 2):
            looked_at.plausible(other)
        assert looked_at.accept(counter) is untouched.accept(counter)


@pytest.mark.known_bug("A 32-bit counter")
@pytest.mark.parametrize("counter", [-1, 2**64])
def test_counters_have_64_bits(counter: int) -> None:
    with pytest.raises(OverflowError):
        Window().accept(counter)
    with pytest.raises(OverflowError):
        Window().plausible(counter)
