"""The costs of the stages: their arithmetic, and that all of them are measured."""

import os

import pytest

from bench.stages import contention, costs, measured, place
from bench.stages.costs import FRAME_LEN, Cost
from tests.native.stages import TIMED, Stream
from tests.requirements import require_root, require_tool

SITE = (-1, 0, -1, (bytes(4), 0, 0, bytes(4), 0))


def test_microseconds_a_superframe() -> None:
    us = costs.frame_us({"seal": (30_000, 2 * FRAME_LEN), "send": (5_000, FRAME_LEN), "merge": (7, 0)})
    assert us == {"seal": pytest.approx(15.0), "send": pytest.approx(5.0)}


def test_the_write_is_what_passing_takes_besides_merging() -> None:
    rounds = [{"pass": 6.0, "merge": 4.0}, {"pass": 5.0, "merge": 4.5}, {"pass": 9.0, "merge": 8.0}]
    summary = costs.summarize(rounds)
    assert summary["tun_write"] == Cost(least=1.0, median=1.5)
    assert "pass" not in summary


def test_the_least_and_the_median() -> None:
    assert costs.summarize([{"seal": 9.0}, {"seal": 2.0}, {"seal": 3.0}]) == {"seal": Cost(2.0, 3.0)}


def test_a_cap_is_bits_by_time() -> None:
    assert costs.cap(FRAME_LEN * 8 / 1e3) == pytest.approx(1e9)  # a bit a nanosecond


def test_the_cap_of_a_serial_part_is_of_its_stages_together() -> None:
    us = dict.fromkeys(costs.STAGES, 1.0) | {"tun_read": 8.0, "plan": 3.0}
    assert costs.caps(us)["out: reader"] == pytest.approx(costs.cap(11.0))


def test_in_turns_a_thread_sends_from_its_own_cache() -> None:
    here, apart = dict.fromkeys(costs.STAGES, 1.0), dict.fromkeys(costs.STAGES, 3.0)
    assert costs.in_turns(here, apart) == {**apart, "send": 1.0}


def test_serial_parts_are_of_stages_and_share_none() -> None:
    named = [stage for stages in costs.SERIAL.values() for stage in stages]
    assert set(named) <= set(costs.STAGES)
    assert len(named) == len(set(named))
    assert set(costs.STAGES) == {*TIMED, "tun_write"} - {"pass"}


@pytest.mark.netns
def test_every_stage_is_measured() -> None:
    require_root()
    require_tool("wg")
    text = measured.measure(4, "auto", with_daemons=False)
    assert all(text["us"]["here"][name]["median"] > 0 for name in costs.STAGES if name != "tun_write"), text["us"]
    assert all(cap > 1e9 for cap in text["caps"]["here"].values()), text["caps"]
    assert text["machine"]["aead"] in measured.told(text, before=text)


@pytest.mark.netns
def test_two_shards_of_one_plane_carry_a_stream_each() -> None:
    require_root()
    cpu = min(os.sched_getaffinity(0))
    with place.place() as first, place.place(beside=first.stream) as second:
        with pytest.raises(ValueError, match="4 bytes, this one 3"):
            Stream("auto", SITE, SITE, first.stream, b"abc")
        for stream in (first.stream, second.stream):
            carried, times = stream.carry(8 * FRAME_LEN)
            assert carried >= 8 * FRAME_LEN
            assert all(times[name][1] > 0 for name in TIMED), times
        both, apart = contention.ratios([first.stream, second.stream], [cpu, cpu])
        assert both.keys() == apart.keys() == measured.WAYS.keys()
