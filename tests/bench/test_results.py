"""Samples, what they add up to, and the file that an interrupted run leaves."""

import json
from pathlib import Path

import pytest

from bench.tunnel import results
from bench.tunnel.cipher import efficiency
from bench.tunnel.results import (
    CIPHER,
    FORWARDER,
    FORWARDER_CUTS,
    NO_CIPHER,
    OURS,
    Record,
    Sample,
    Spread,
    by_round,
    spread,
    summarize,
)

MACHINE: dict[str, str | int] = {"cpu": "a processor", "cpus": 2, "aead": "evp"}
SETTINGS = {"quick": False, "measures": ["stream"]}


def _record(path: Path) -> Record:
    return Record(path, dict(SETTINGS), dict(MACHINE))


def test_spread_of_many() -> None:
    assert spread([5.0, 1.0, 2.0, 4.0, 3.0]) == Spread(3.0, 1.0, 5.0, 2.0, 4.0, 5)


def test_spread_of_one() -> None:
    assert spread([7.0]) == Spread(7.0, 7.0, 7.0, 7.0, 7.0, 1)


def test_a_figure_that_some_rounds_lack() -> None:
    samples = [Sample(1, OURS, {"tcp_1": 1.0, "tcp_4": 5.0}), Sample(2, OURS, {"tcp_1": 3.0}, ["tcp_4: no"])]
    summary = summarize(samples)[OURS]
    assert (summary["tcp_1"].median, summary["tcp_1"].n) == (2.0, 2)
    assert (summary["tcp_4"].median, summary["tcp_4"].n) == (5.0, 1)


def test_efficiency_needs_all_three_in_one_round() -> None:
    samples = [
        Sample(1, OURS, {"tcp_1": 3e9}),
        Sample(1, NO_CIPHER, {"tcp_1": 6e9}),
        Sample(1, CIPHER, {"aead_bits": 6e9}),
        Sample(2, OURS, {"tcp_1": 3e9}),
        Sample(2, NO_CIPHER, {"tcp_1": 6e9}),
        Sample(3, CIPHER, {"aead_bits": 6e9}),
    ]
    rounds = by_round(samples)
    assert rounds[1][OURS]["efficiency"] == pytest.approx(1.0)
    assert "efficiency" not in rounds[2][OURS]
    assert "efficiency" not in samples[0].figures


def test_efficiency_is_one_when_nothing_is_added() -> None:
    assert efficiency(1 / (1 / 8e9 + 1 / 4e9), 8e9, 4e9) == pytest.approx(1.0)
    assert efficiency(2e9, 8e9, 4e9) == pytest.approx(0.75)


def test_growth_with_the_crowd() -> None:
    (figures,) = by_round([Sample(1, "x", {"crowd_1_us": 2.0, "crowd_10000_us": 2.5})])[1].values()
    assert figures["crowd_growth"] == 1.25


def test_efficiency_by_the_bare_forwarder() -> None:
    samples = [
        Sample(1, OURS, {"tcp_1": 3e9}),
        Sample(1, FORWARDER, {"tcp_1": 12e9}),
        Sample(1, CIPHER, {"aead_bits": 6e9}),
    ]
    figures = by_round(samples)[1][OURS]
    assert figures["efficiency_bare"] == pytest.approx(0.75)
    assert "efficiency" not in figures


def test_what_is_taken_beyond_cutting_and_the_cipher() -> None:
    samples = [
        Sample(1, OURS, {"tcp_1": 4e9, "cpu_s_per_gb": 1.8}),
        Sample(1, FORWARDER_CUTS, {"tcp_1": 12e9, "cpu_s_per_gb": 1.0}),
        Sample(1, CIPHER, {"aead_bits": 6e9, "aead_s_per_gb": 0.6}),
        Sample(2, OURS, {"tcp_1": 4e9, "cpu_s_per_gb": 1.8}),
    ]
    rounds = by_round(samples)
    assert rounds[1][OURS]["efficiency_cuts"] == pytest.approx(1.0)
    assert rounds[1][OURS]["cpu_over_bound"] == pytest.approx(1.125)
    assert not rounds[2][OURS].keys() & {"efficiency_cuts", "cpu_over_bound"}


def test_what_the_cipher_adds_by_what_it_takes_alone() -> None:
    samples = [
        Sample(1, OURS, {"cpu_s_per_gb": 1.8}),
        Sample(1, NO_CIPHER, {"cpu_s_per_gb": 0.93}),
        Sample(1, CIPHER, {"aead_s_per_gb": 0.7}),
    ]
    assert by_round(samples)[1][OURS]["aead_in_place"] == pytest.approx(0.87 / 0.7)


def test_other_streams_by_the_plain_one_of_the_same_contender() -> None:
    samples = [Sample(1, "x", {"tcp_1": 2.0, "tcp_jumbo": 3.0, "tcp_vxlan": 1.0}), Sample(1, "y", {"tcp_jumbo": 9.0})]
    figures = by_round(samples)[1]
    assert (figures["x"]["jumbo_gain"], figures["x"]["vxlan_share"]) == (1.5, 0.5)
    assert "jumbo_gain" not in figures["y"]


def test_a_run_is_taken_up_where_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "run.json"
    first = _record(path)
    first.add(Sample(1, OURS, {"tcp_1": 1.0}))
    first.add(Sample(1, "other", {}, ["stream: no"]))
    again = _record(path)
    again.resume()
    assert again.has(1, OURS)
    assert again.has(1, "other"), "under another load it would be another measure"
    assert not again.has(2, OURS)
    again.add(Sample(2, OURS, {"tcp_1": 2.0}))
    assert json.loads(path.read_text())["failures"] == ["other, round 1: stream: no"]
    assert list(path.parent.iterdir()) == [path]


def test_what_failed_is_measured_again_when_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    first = _record(path)
    first.add(Sample(1, OURS, {"tcp_1": 1.0}))
    first.add(Sample(1, "other", {}, ["stream: no"]))
    again = _record(path)
    again.resume(retry_failed=True)
    assert again.has(1, OURS)
    assert not again.has(1, "other")
    again.add(Sample(1, "other", {"tcp_1": 2.0}))
    assert [one.name for one in again.samples] == [OURS, "other"]
    assert json.loads(path.read_text())["failures"] == []


def test_other_settings_or_machines_are_not_mixed_in(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    _record(path).add(Sample(1, OURS, {"tcp_1": 1.0}))
    with pytest.raises(ValueError, match="settings"):
        Record(path, {**SETTINGS, "quick": True}, dict(MACHINE)).resume()
    with pytest.raises(ValueError, match="machine"):
        Record(path, dict(SETTINGS), {**MACHINE, "cpus": 8}).resume()


def test_another_aead_is_the_same_machine(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    _record(path).add(Sample(1, OURS, {"tcp_1": 1.0}))
    again = Record(path, dict(SETTINGS), {**MACHINE, "aead": "ifma"})
    again.resume()
    assert again.has(1, OURS)


def test_the_file_says_what_is_missing_and_every_sample(tmp_path: Path) -> None:
    record = _record(tmp_path / "run.json")
    record.missing.append("gotatun is missing from this run: cargo is not installed")
    record.add(Sample(1, OURS, {"tcp_1": 1.0}, ["udp: no end"], 3.0))
    record.write(targets=[])
    text = json.loads(record.path.read_text())
    assert text["missing"] == record.missing
    assert text["failures"] == ["pywg, round 1: udp: no end"]
    assert text["samples"][0]["figures"] == {"tcp_1": 1.0}
    assert text["summary"][OURS]["tcp_1"]["n"] == 1


def test_tables_say_what_was_not_measured() -> None:
    summary = summarize([Sample(1, OURS, {"tcp_1": 2e9, "peak_rss": 2**20}), Sample(1, "openvpn", {"tcp_1": 1e9})])
    (table,) = results.tables(summary, [OURS, "openvpn", "absent"])
    assert "2.00 (2.00-2.00)" in table
    assert table.splitlines()[-1].split()[-1] == "-"
    assert "absent" not in table
