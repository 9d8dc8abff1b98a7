"""What is to be reached, and the verdicts."""

import pytest

from bench.tunnel import targets
from bench.tunnel.bench import ALL_MEASURES, CONTENDERS
from bench.tunnel.figures import BY_KEY, FIGURES
from bench.tunnel.plots import PLOTS
from bench.tunnel.results import CIPHER, FORWARDER, NO_CIPHER, OURS, Sample

NEWEST = targets.NEWEST


def _outcome(samples: list[Sample], key: str, against: str = "") -> targets.Outcome:
    (found,) = [
        one for one in targets.outcomes(samples, "ifma") if one.target.key == key and one.target.against == against
    ]
    return found


def test_a_ratio_of_medians_with_the_range_over_the_rounds() -> None:
    ours, theirs = [2.0e9, 6.0e9, 4.0e9], [1.0e9, 1.0e9, 2.0e9]
    samples = [
        sample
        for number, (mine, other) in enumerate(zip(ours, theirs, strict=True))
        for sample in (Sample(number, OURS, {"tcp_1": mine}), Sample(number, NEWEST, {"tcp_1": other}))
    ]
    one = _outcome(samples, "tcp_1", NEWEST)
    assert (one.measured, one.met) == (4.0, True)
    assert one.rounds is not None
    assert (one.rounds.low, one.rounds.high) == (2.0, 6.0)


@pytest.mark.parametrize(("value", "met"), [(0.3, True), (0.31, True), (0.32, False)])
def test_less_is_better(value: float, met: bool) -> None:
    samples = [Sample(1, OURS, {"cpu_s_per_gb": value}), Sample(1, NEWEST, {"cpu_s_per_gb": 1.0})]
    assert _outcome(samples, "cpu_s_per_gb", NEWEST).met is met


@pytest.mark.parametrize(("mib", "met"), [(34, True), (35, False)])
def test_an_absolute_bound(mib: float, met: bool) -> None:
    assert _outcome([Sample(1, OURS, {"peak_rss": mib * 2**20})], "peak_rss").met is met


def test_without_a_peer_there_is_no_verdict() -> None:
    one = _outcome([Sample(1, OURS, {"tcp_1": 1.0})], "tcp_1", NEWEST)
    assert (one.measured, one.rounds, one.met) == (None, None, None)
    assert targets.table([one]) == f"targets without a figure in this run: TCP, 1 stream / {NEWEST}"


def test_a_peer_that_carried_nothing_is_no_triumph() -> None:
    samples = [Sample(1, OURS, {"udp_64_pps": 1e5}), Sample(1, NEWEST, {"udp_64_pps": 0.0})]
    assert _outcome(samples, "udp_64_pps", NEWEST).met is None


def test_a_target_between_two_others() -> None:
    samples = [Sample(1, NO_CIPHER, {"tcp_1": 0.97e9}), Sample(1, FORWARDER, {"tcp_1": 1e9})]
    one = _outcome(samples, "tcp_1", FORWARDER)
    assert one.measured == pytest.approx(0.97)
    assert one.met is True
    assert targets.table([one]).splitlines()[2].startswith("TCP, 1 stream, no-cipher / forwarder ")


def test_the_aeads_bounds_follow_the_processor() -> None:
    def bounds(aead: str) -> list[float]:
        return [target.bound for target in targets.targets(aead) if target.of == CIPHER]

    assert (bounds("ifma"), bounds("avx2"), bounds("evp")) == ([2.0, 6.0], [1.2, 3.0], [])


def test_all_that_is_named_exists() -> None:
    named = {target.key for target in targets.targets("ifma")} | {key for plot in PLOTS for key in plot.keys}
    assert named <= BY_KEY.keys()
    assert len(BY_KEY) == len(FIGURES)
    assert {target.against for target in targets.targets("ifma")} - {""} <= set(CONTENDERS)
    assert len(set(ALL_MEASURES)) == len(ALL_MEASURES)


def test_the_table_shows_units_and_verdicts() -> None:
    samples = [Sample(1, OURS, {"ready_s": 0.125}), Sample(1, CIPHER, {"aead_x_64": 5.0})]
    lines = targets.table(targets.outcomes(samples, "ifma")).splitlines()
    (ready,) = [line for line in lines if line.startswith("start to ready")]
    assert ready.split()[3:] == ["125", "ms", "125", "ms", "to", "125", "ms", "<=", "150", "ms", "yes"]
    (small,) = [line for line in lines if line.startswith("AEAD / EVP at 64 B")]
    assert small.endswith("NO")
