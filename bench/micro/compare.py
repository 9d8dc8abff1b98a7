"""A run of the micro benchmarks beside the one that was saved: what became slower, by how much.

Nanoseconds are another machine's, or another hour's. So every result is divided by what libcrypto's EVP took for a full
packet in the same run, and these ratios are compared. The least time of each benchmark counts: what else a machine does
only ever adds. With another backend of the AEAD (another processor, that is) its benchmarks say nothing, and are left
out.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bench import report

YARDSTICK = "bench_evp_loop[1420]"
TOLERANCE = 1.3
"""How many times as slow is still taken for chance: on a shared machine equal code differs by up to a fifth."""
AEAD = ("bench_seal_batch", "bench_open_batch", "bench_data_plane_seal")
KEPT_STATS = ("min", "max", "mean", "stddev", "rounds", "median", "iqr", "q1", "q3", "ops", "total", "iterations")

Run = dict[str, Any]
"""What pytest-benchmark writes with --benchmark-json."""


@dataclass(frozen=True, slots=True)
class Change:
    """One benchmark, then and now, in units of the yardstick."""

    name: str
    then: float
    now: float

    @property
    def factor(self) -> float:
        """How many times as long it takes now."""
        return self.now / self.then

    @property
    def regressed(self) -> bool:
        """Past what chance does."""
        return self.factor > TOLERANCE


def trim(run: Run) -> Run:
    """What of a run is worth keeping: no single measurement, and nothing about whose machine it was."""
    machine = run["machine_info"]
    kept = {
        "cpu": {"brand_raw": machine.get("cpu", {}).get("brand_raw", "")},
        "python_version": machine.get("python_version", ""),
        "aead": machine.get("aead", ""),
    }
    benchmarks = [
        {
            **{key: one[key] for key in ("group", "name", "fullname", "params", "param", "extra_info", "options")},
            "stats": {key: one["stats"][key] for key in KEPT_STATS if key in one["stats"]},
        }
        for one in run["benchmarks"]
    ]
    return {
        "machine_info": kept,
        "commit_info": {"id": run.get("commit_info", {}).get("id", "")},
        "benchmarks": benchmarks,
        "datetime": run.get("datetime", ""),
        "version": run.get("version", ""),
    }


def best_of(runs: Iterable[Run]) -> dict[str, float]:
    """Each benchmark's least time in units of the same run's yardstick; of several runs the best counts."""
    best: dict[str, float] = {}
    for run in runs:
        least = {one["name"]: one["stats"]["min"] / one["extra_info"].get("packets", 1) for one in run["benchmarks"]}
        for name, seconds in least.items():
            relative = seconds / least[YARDSTICK]
            best[name] = min(relative, best.get(name, relative))
    del best[YARDSTICK]
    return best


def changes(baseline: Run, runs: list[Run]) -> list[Change]:
    """Of the benchmarks that both have, in the baseline's order."""
    then, now = best_of([baseline]), best_of(runs)
    comparable = baseline["machine_info"].get("aead") == runs[0]["machine_info"].get("aead")
    return [
        Change(name, then[name], now[name])
        for name in then
        if name in now and (comparable or not name.startswith(AEAD))
    ]


def text(baseline: Run, run: Run, found: list[Change]) -> str:
    """A table, and what is to be known about the two machines."""
    rows = [
        [one.name.removeprefix("bench_"), f"{one.then:.2f}", f"{one.now:.2f}", f"{one.factor:.2f}", _word(one)]
        for one in found
    ]
    table = report.table(["in units of EVP, 1420 B", "then", "now", "factor", ""], rows)
    notes = [f"{what}: then {old}, now {new}" for what, old, new in _machines(baseline, run) if old != new]
    return "\n".join([table, "", *notes])


def _machines(baseline: Run, run: Run) -> list[tuple[str, str, str]]:
    then, now = baseline["machine_info"], run["machine_info"]
    return [
        ("processor", then["cpu"].get("brand_raw", ""), now["cpu"].get("brand_raw", "")),
        ("Python", then["python_version"], now["python_version"]),
        ("AEAD", then.get("aead", ""), now.get("aead", "")),
    ]


def _word(one: Change) -> str:
    return "SLOWER" if one.regressed else "faster" if one.factor < 1 / TOLERANCE else ""
