"""`make bench`, first part: runs the micro benchmarks with pytest-benchmark and writes their JSON.

python -m bench.micro [--quick] [PYTEST ARGUMENTS]
"""

import json
import sys
from pathlib import Path

import pytest

from bench import report

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results"


def main(arguments: list[str]) -> int:
    """Runs all benchmarks of this directory; returns pytest's exit status."""
    quick = "--quick" in arguments
    results = RESULTS / ("local/micro-quick.json" if quick else "micro.json")
    results.parent.mkdir(parents=True, exist_ok=True)
    seconds = "0.05" if quick else "1"
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
    rest = [argument for argument in arguments if argument != "--quick"]
    status = int(pytest.main([*options, str(HERE), *rest]))
    if status == 0:
        print(f"\n{_aead_table(results)}\n")
    return status


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
