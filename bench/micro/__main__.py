"""`make bench`, first part: runs the micro benchmarks with pytest-benchmark and writes their JSON.

python -m bench.micro [--quick | --compare | --save-baseline] [PYTEST ARGUMENTS]

--compare: status 1 when something is slower than in results/micro-baseline.json, in units of EVP, and stays so when it
is measured again. --save-baseline: writes that file.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from bench import report
from bench.micro.compare import YARDSTICK, changes, text, trim

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results"
BASELINE = RESULTS / "micro-baseline.json"
ROOT = HERE.parents[1]
MODES = ("--quick", "--compare", "--save-baseline")
AGAIN = 3
"""How often what looks slower is measured again."""


def main(arguments: list[str]) -> int:
    """Runs all benchmarks of this directory; returns pytest's exit status, or that of the comparison."""
    rest = [argument for argument in arguments if argument not in MODES]
    if "--compare" in arguments:
        return _compare(rest)
    if "--save-baseline" in arguments:
        return _save_baseline(rest)
    quick = "--quick" in arguments
    results = RESULTS / ("local/micro-quick.json" if quick else "micro.json")
    results.parent.mkdir(parents=True, exist_ok=True)
    status = _run(results, "0.05" if quick else "1", [str(HERE), *rest])
    if status == 0:
        print(f"\n{_aead_table(results)}\n")
    return status


def _run(results: Path, seconds: str, rest: list[str]) -> int:
    options = [
        "--quiet",
        "--override-ini=python_files=bench_*.py",
        "--override-ini=python_functions=bench_*",
        "--override-ini=addopts=",
        "--benchmark-columns=median,min,iqr,rounds",
        "--benchmark-sort=fullname",
        "--benchmark-warmup=on",
        f"--benchmark-max-time={seconds}",
        f"--benchmark-json={results}",
    ]
    return int(pytest.main([*options, *rest]))


def _measure(names: list[str], rest: list[str]) -> dict[str, Any]:
    """One run of these benchmarks (all, without names). SystemExit: it failed."""
    with tempfile.TemporaryDirectory() as directory:
        results = Path(directory) / "run.json"
        status = _run(results, "0.2", [*(names or [str(HERE)]), *rest])
        if status != 0:
            raise SystemExit(status)
        run: dict[str, Any] = json.loads(results.read_text())
        return run


def _save_baseline(rest: list[str]) -> int:
    BASELINE.write_text(json.dumps(trim(_measure([], rest)), indent=1) + "\n")
    print(f"wrote {BASELINE.relative_to(ROOT)}")
    return 0


def _compare(rest: list[str]) -> int:
    baseline = json.loads(BASELINE.read_text())
    runs = [_measure([], rest)]
    places = {one["name"]: str(ROOT / one["fullname"]) for one in runs[0]["benchmarks"]}
    for _ in range(AGAIN):
        slower = [one.name for one in changes(baseline, runs) if one.regressed]
        if not slower:
            break
        runs.append(_measure([places[name] for name in [YARDSTICK, *slower]], rest))
    found = changes(baseline, runs)
    print(f"\n{text(baseline, runs[0], found)}\n")
    return int(any(one.regressed for one in found))


def _aead_table(path: Path) -> str:
    """Nanoseconds a packet by size, and as multiples of libcrypto's EVP, from the JSON of a run."""
    ns: dict[str, dict[str, float]] = {}
    for one in json.loads(path.read_text())["benchmarks"]:
        if "packets" in one["extra_info"]:
            name, size = one["name"].removeprefix("bench_").rstrip("]").split("[")
            ns.setdefault(name, {})[size] = one["stats"]["median"] * 1e9 / one["extra_info"]["packets"]
    evp = ns.get("evp_loop", {})
    rows = [[name, *(f"{of[size]:.0f} ({of[size] / evp[size]:.2f})" for size in evp)] for name, of in ns.items()]
    return report.table(["ns a packet (x EVP)", *(f"{size} B" for size in evp)], rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
