"""Timestamps: TAI64N's encoding, whitening, and order."""

from hypothesis import given
from hypothesis import strategies as st

from pywg.core import tai64n
from tests import paper

wall_times = st.integers(0, 2**63)


def test_the_encoding() -> None:
    assert tai64n.encode(0).hex() == "400000000000000a00000000"
    assert tai64n.encode(0x5B527B0B * 10**9 + 0x15405610).hex() == "400000005b527b1515405610"


@given(wall_times, wall_times)
def test_bytes_compare_as_times(one: int, other: int) -> None:
    assert (tai64n.encode(one) < tai64n.encode(other)) == (one < other)


@given(wall_times)
def test_whitening(wall_ns: int) -> None:
    white = tai64n.whiten(wall_ns)
    assert 0 <= wall_ns - white < paper.TAI64N_WHITENING_NS
    assert white % 10**9 % paper.TAI64N_WHITENING_NS == 0
    assert white // 10**9 == wall_ns // 10**9


@given(st.lists(wall_times, min_size=2, max_size=20))
def test_timestamps_grow_whatever_the_clock_does(clock: list[int]) -> None:
    last = 0
    for wall_ns in clock:
        following = tai64n.next_timestamp(wall_ns, last)
        assert following > last
        assert following % 10**9 % paper.TAI64N_WHITENING_NS == 0
        assert following >= tai64n.whiten(wall_ns)
        last = following


@given(wall_times)
def test_a_stopped_clock_is_left_behind_by_little(wall_ns: int) -> None:
    first = tai64n.next_timestamp(wall_ns, 0)
    assert tai64n.next_timestamp(wall_ns, first) - first <= paper.TAI64N_WHITENING_NS
