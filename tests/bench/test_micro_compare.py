"""What counts as a regression: a ratio to EVP that grew, on the same backend, and stayed so."""

import ast
import json
from typing import Any

import pytest

from bench.micro import __main__ as micro
from bench.micro.__main__ import BASELINE, HERE
from bench.micro.compare import TOLERANCE, YARDSTICK, Change, best_of, changes, text, trim

US = 1e-6


def run(aead: str = "ifma", cpu: str = "some", **seconds: float) -> dict[str, Any]:
    """A run in which EVP takes 1 us a packet, unless said otherwise; `segment=2e-6` is that benchmark's least time."""
    times = {YARDSTICK: 1 * US} | {f"bench_{name}": value for name, value in seconds.items()}
    return {
        "machine_info": {"aead": aead, "cpu": {"brand_raw": cpu}, "python_version": "3", "node": "mine"},
        "commit_info": {"id": "1234", "author_time": "late"},
        "benchmarks": [
            {
                "name": name,
                "fullname": f"bench/micro/bench_some.py::{name}",
                "extra_info": {},
                "group": None,
                "params": None,
                "param": None,
                "options": {},
                "stats": {"min": value, "median": 2 * value, "data": [value] * 1000},
            }
            for name, value in times.items()
        ],
    }


def slower(baseline: dict[str, Any], *runs: dict[str, Any]) -> list[str]:
    return [one.name for one in changes(baseline, list(runs)) if one.regressed]


def test_a_slower_machine_is_no_regression() -> None:
    here, there = run(segment=5 * US), run(segment=50 * US)
    there["benchmarks"][0]["stats"]["min"] = 10 * US
    assert slower(here, there) == []


def test_slower_than_evp_became_is_one() -> None:
    assert slower(run(segment=5 * US, coalesce=5 * US), run(segment=5 * US, coalesce=8 * US)) == ["bench_coalesce"]
    assert slower(run(segment=5 * US), run(segment=5 * US * TOLERANCE * 0.99)) == []


def test_what_was_chance_is_forgotten_once_it_is_measured_again() -> None:
    then, disturbed = run(segment=5 * US, coalesce=5 * US), run(segment=9 * US, coalesce=9 * US)
    assert slower(then, disturbed, run(segment=5 * US)) == ["bench_coalesce"]


def test_packets_of_a_call_are_counted() -> None:
    one = run(seal_batch=64 * US)
    one["benchmarks"][1]["extra_info"]["packets"] = 64
    assert best_of([one]) == {"bench_seal_batch": pytest.approx(1.0)}


def test_another_backend_is_not_compared_but_the_rest_is() -> None:
    then = run("ifma", seal_batch=US, data_plane_seal=US, segment=US)
    now = run("avx2", seal_batch=9 * US, data_plane_seal=9 * US, segment=9 * US)
    assert slower(then, now) == ["bench_segment"]


def test_benchmarks_that_only_one_has_are_left_out() -> None:
    assert [one.name for one in changes(run(a=US, b=US), [run(b=US, c=US)])] == ["bench_b"]


def test_table_names_what_is_slower_and_what_differs_about_the_machines() -> None:
    then, now = run(cpu="old", segment=US), run(cpu="new", segment=2 * US)
    shown = text(then, now, changes(then, [now]))
    assert "segment" in shown
    assert "2.00  SLOWER" in shown
    assert "processor: then old, now new" in shown
    assert "Python:" not in shown


def test_what_is_saved_is_small_and_nobodys() -> None:
    saved = trim(run(segment=US))
    assert "mine" not in json.dumps(saved)
    assert "late" not in json.dumps(saved)
    assert "data" not in saved["benchmarks"][0]["stats"]
    assert changes(saved, [run(segment=US)]) == [Change("bench_segment", 1.0, 1.0)]


@pytest.mark.parametrize(("again", "status", "runs"), [(5 * US, 0, 2), (50 * US, 1, 1 + micro.AGAIN)])
def test_only_what_looks_slower_is_measured_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, again: float, status: int, runs: int
) -> None:
    saved = tmp_path / "baseline.json"
    saved.write_text(json.dumps(trim(run(segment=5 * US, coalesce=5 * US))))
    asked: list[list[str]] = []

    def measure(names: list[str], _rest: list[str]) -> dict[str, Any]:
        asked.append([name.rpartition("::")[2] for name in names])
        return run(segment=again) if names else run(segment=50 * US, coalesce=5 * US)

    monkeypatch.setattr(micro, "BASELINE", saved)
    monkeypatch.setattr(micro, "_measure", measure)
    assert micro.main(["--compare"]) == status
    assert asked == [[], *[[YARDSTICK, "bench_segment"]] * (runs - 1)]


def test_saved_baseline_is_of_benchmarks_that_are_there() -> None:
    trees = [ast.parse(path.read_text()) for path in HERE.glob("bench_*.py")]
    there = {node.name for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)}
    saved = json.loads(BASELINE.read_text())
    assert {one["name"].partition("[")[0] for one in saved["benchmarks"]} <= there
    assert not slower(saved, saved)
