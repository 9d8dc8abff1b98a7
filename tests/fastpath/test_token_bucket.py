"""The exact bounds of a rate limit, on a clock that the test turns: of one token bucket, and of each source's."""

from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import paper
from tests.native.admission import SourceLimits, take

pytestmark = pytest.mark.dropin("20")

SECOND = 10**9
EPOCH = 2**30
"""ns after which a source's bucket may be another, as full as that one is."""
RATE, BURST = paper.SOURCE_HANDSHAKES_PER_SECOND, paper.SOURCE_HANDSHAKES_BURST

limits = st.tuples(st.sampled_from([1, RATE, 1000, SECOND]), st.sampled_from([1, 2, BURST, 512]))
"""(tokens a second, burst). The rates divide a second, as those in use do: a token's time is whole ns."""


def gaps(rate: int) -> st.SearchStrategy[list[int]]:
    """ns between two takes: at once, around the time of one token, and long."""
    cost = SECOND // rate
    near = st.integers(0, 3 * cost) | st.sampled_from([0, 1, cost - 1, cost, cost + 1, cost // 2])
    return st.lists(near | st.integers(0, 2**50), min_size=1, max_size=60)


def check_never_more(taken: list[int], rate: int, burst: int) -> None:
    """From any token on: no more than burst + rate * elapsed. In whole numbers, both sides times a second."""
    for first, start in enumerate(taken):
        for last in range(first, len(taken)):
            assert (last - first + 1) * SECOND <= burst * SECOND + rate * (taken[last] - start)


def check_never_refused_for_ever(times: list[int], answers: list[bool], rate: int) -> None:
    """A token comes after the time of one, however often it was asked for meanwhile: asking costs nothing."""
    refused_since = None
    for at, granted in zip(times, answers, strict=True):
        if granted:
            refused_since = None
        else:
            refused_since = at if refused_since is None else refused_since
            assert (at - refused_since) * rate < SECOND


@given(st.data(), limits, st.integers(0, 2**50))
def test_bucket_gives_no_more_than_its_burst_and_rate(data: st.DataObject, limit: tuple[int, int], start: int) -> None:
    rate, burst = limit
    times = list(accumulate(data.draw(gaps(rate)), initial=start))
    answers = take(times, rate, burst)
    check_never_more([at for at, granted in zip(times, answers, strict=True) if granted], rate, burst)
    check_never_refused_for_ever(times, answers, rate)
    assert take([*times, times[-1] + SECOND // rate], rate, burst)[-1], "it has waited for the time of a token"


@given(limits, st.integers(0, 2**50))
def test_bucket_that_was_left_alone_gives_its_whole_burst(limit: tuple[int, int], start: int) -> None:
    """And then a token in the time of one: the bounds of the test above are reached."""
    rate, burst = limit
    full = start + burst * (SECOND // rate)
    times = [*[full] * (burst + 1), full + SECOND // rate - 1, full + SECOND // rate, full + SECOND // rate]
    assert take(times, rate, burst) == [True] * burst + [False, False, True, False]


def test_new_bucket_is_empty() -> None:
    assert take([0, SECOND // RATE - 1, SECOND // RATE], RATE, BURST) == [False, False, True]


@pytest.mark.parametrize("ip", [bytes([192, 0, 2, 1]), bytes.fromhex("20010db8000000010000000000000001")], ids=len)
@given(st.integers(0, 2**20))
@settings(max_examples=5)
def test_source_that_never_rests_gets_its_rate_and_in_each_epoch_a_burst(ip: bytes, epoch: int) -> None:
    sources = SourceLimits()
    times = list(range(epoch * EPOCH, (epoch + 4) * EPOCH, SECOND // 500))
    answers = [sources.take(ip, at) for at in times]
    check_never_refused_for_ever(times, answers, RATE)
    for start in range(epoch * EPOCH, (epoch + 4) * EPOCH, EPOCH):
        taken = [at for at, granted in zip(times, answers, strict=True) if granted and start <= at < start + EPOCH]
        check_never_more(taken, RATE, BURST)
