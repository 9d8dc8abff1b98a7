"""The model of more processors: its arithmetic, on costs whose outcome is known."""

import pytest

from bench.stages import costs, model, turns
from bench.stages.simulation import Outcome, Station, simulate

US = dict.fromkeys(costs.STAGES, 1.0) | {"seal": 20.0, "open": 20.0, "tun_write": 8.0}


def _rate(*stations: Station, **processors: int) -> Outcome:
    return simulate(stations, processors)


def test_one_station_alone() -> None:
    outcome = _rate(Station("only", 10.0, "a"), a=1)
    assert outcome.frames_per_s == pytest.approx(100_000, rel=0.01)
    assert outcome.busy["only"] == pytest.approx(1.0, rel=0.01)


def test_one_processor_does_one_after_the_other() -> None:
    outcome = _rate(Station("first", 10.0, "a"), Station("second", 30.0, "a"), a=1)
    assert outcome.frames_per_s == pytest.approx(1e6 / 40, rel=0.01)


def test_with_processors_for_all_the_slowest_decides() -> None:
    outcome = _rate(Station("first", 10.0, "a"), Station("second", 30.0, "a"), a=2)
    assert outcome.frames_per_s == pytest.approx(1e6 / 30, rel=0.02)
    assert outcome.fullest == "second"
    assert outcome.busy["first"] == pytest.approx(1 / 3, rel=0.05)


def test_a_station_of_several_places() -> None:
    assert _rate(Station("wide", 30.0, "a", 3), a=8).frames_per_s == pytest.approx(1e5, rel=0.01)
    assert _rate(Station("wide", 30.0, "a", 3), a=2).frames_per_s == pytest.approx(2e6 / 30, rel=0.01)


def test_each_machine_has_its_processors() -> None:
    stations = Station("first", 10.0, "a"), Station("second", 10.0, "b")
    assert simulate(stations, {"a": 1, "b": 1}).frames_per_s == pytest.approx(1e5, rel=0.02)


def test_two_processors_share_all_the_work() -> None:
    outcome = model.predict(US, 2, application_us=29.0, streams=4)
    assert outcome.frames_per_s == pytest.approx(2e6 / (costs.total(US, costs.STAGES) + 58.0), rel=0.03)


def test_on_many_processors_what_is_serial_decides() -> None:
    slow = US | {"ordered": 12.0}
    outcome = model.predict(slow, 16, streams=4, apart=True)
    assert outcome.fullest == "in: delivery"
    assert outcome.frames_per_s * model.FRAME_BITS == pytest.approx(costs.caps(slow)["in: delivery"], rel=0.02)


def test_a_flow_has_one_lane() -> None:
    one, four = (model.predict(US, 16, streams=streams, apart=True) for streams in (1, 4))
    assert one.fullest == "in: a lane"
    assert one.frames_per_s * model.FRAME_BITS == pytest.approx(costs.caps(US)["in: a lane"], rel=0.02)
    assert four.frames_per_s > 2 * one.frames_per_s


def test_every_stage_is_in_the_way_once() -> None:
    stations = model.way(US, 8, 0.0, 1, apart=True)
    assert sum(one.us for one in stations) == pytest.approx(costs.total(US, costs.STAGES))
    assert {one.name for one in stations} >= set(costs.SERIAL)


def test_helpers_are_as_many_as_there_are_processors_for() -> None:
    (seal,) = [one for one in model.way(US, 4, 0.0, 1, apart=True) if "seal" in one.name]
    assert seal.places == 2


def test_the_costs_of_a_daemon_keep_the_stages_proportions() -> None:
    us = model.scaled(US, 100.0)
    assert costs.total(us, costs.STAGES) == pytest.approx(100.0)
    assert us["seal"] / us["plan"] == pytest.approx(20.0)
    without = model.scaled(US, 50.0, model.AEAD)
    assert (without["seal"], without["open"]) == (0.0, 0.0)
    assert costs.total(without, costs.STAGES) == pytest.approx(50.0)


def test_the_model_is_set_beside_what_was_measured() -> None:
    """Applications and daemons that together take 100 us a superframe, on two processors."""
    s_per_gb = 60.0 / costs.FRAME_LEN * 1e3
    figures = {"tcp_1": {"median": 2e4 * model.FRAME_BITS}, "cpu_s_per_gb": {"median": s_per_gb}}
    tunnel = {
        "machine": {"cpus": 2},
        "summary": {"pywg": figures, "veth": {"tcp_1": {"median": 5e4 * model.FRAME_BITS}}},
    }
    stages = {"us": {"here": {name: {"median": cost} for name, cost in US.items()}}}
    ((what, measured, says),) = model.checks(stages, tunnel)
    assert what == "pywg, 1 stream"
    assert says == pytest.approx(measured, rel=0.03)


def test_the_send_is_from_its_own_cache_where_there_are_turns() -> None:
    text = {"us": {"here": {"send": {"median": 1.0}}, "apart": {"send": {"median": 2.0}}}}
    assert [model.costs_on(text, processors)["send"] for processors in (2, 3, 4, 6, 7, 32)] == [1, 1, 2, 2, 1, 1]


def _sent(*, in_turns: bool, helpers: int = 6) -> tuple[float, float]:
    ring = turns.Ring(read=10.0, seal=30.0, near=10.0, far=20.0, helpers=helpers, turns=in_turns)
    return ring.simulate()


def test_turns_send_what_the_thread_itself_has_sealed() -> None:
    rate, own = _sent(in_turns=False)
    assert rate == pytest.approx(1e6 / 20, rel=0.02)  # all of it out of another's cache
    assert own < 0.1
    rate, own = _sent(in_turns=True)
    assert rate > 0.9 * 1e6 / 10
    assert own > 0.8


def test_a_ring_is_as_fast_as_its_sealing_at_most() -> None:
    rate, _ = _sent(in_turns=True, helpers=1)
    assert rate < 2e6 / 30
