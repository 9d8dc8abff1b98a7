"""`make bench`, second part: pywg beside the bare veth and its peers, in interleaved rounds.

    python -m bench.tunnel.bench [--quick] [--rounds N] [--only NAME,...]

Every round opens a fresh lab for every implementation in turn, so that what else the machine does hits all alike.
"""

import argparse
import os
import sys
import time
from pathlib import Path

from . import results, signals
from .builds import ROOT, NotInstalledError
from .command import CommandError
from .implementations import Implementation, build, version
from .lab import Lab
from .measure import FULL, QUICK, measure
from .signals import Stopped

VETH = "veth"
NAMES = (VETH, "pywg", "wireguard-go", "wireguard-go-new")
RESULTS = ROOT / "bench" / "results"


def main() -> int:
    """Runs the bench; 0 when every implementation that is installed went through all rounds."""
    arguments = _arguments()
    if os.geteuid() != 0:
        print("bench: network namespaces and TUN interfaces need root: sudo make bench", file=sys.stderr)
        return 2
    try:
        with signals.raised():
            return _bench(
                arguments.only.split(","), arguments.rounds or (1 if arguments.quick else 5), quick=arguments.quick
            )
    except Stopped as stopped:
        print(f"bench: {stopped}", file=sys.stderr)
        return 128 + stopped.signum


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="pywg and its peers through the same namespaces.")
    parser.add_argument("--quick", action="store_true", help="one short round; no figure to quote")
    parser.add_argument("--rounds", type=int, default=0, help="default: 5, or 1 with --quick")
    parser.add_argument("--only", default=",".join(NAMES), help="which ones (default: %(default)s)")
    return parser.parse_args()


def _bench(names: list[str], count: int, *, quick: bool) -> int:
    contenders, missing = _find(names)
    for line in missing:
        print(f"bench: {line}", flush=True)
    effort = QUICK if quick else FULL
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    failures: list[str] = []
    for number in range(1, count + 1):
        for name, end in contenders.items():
            began = time.monotonic()
            try:
                with Lab(end, end) as lab:
                    rounds[name].append(measure(lab, effort))
            except (CommandError, TimeoutError) as error:
                failures.append(f"{name}, round {number}: {error}")
                print(f"bench: FAILED: {failures[-1]}", file=sys.stderr, flush=True)
            else:
                print(f"round {number}/{count}: {name} done in {time.monotonic() - began:.0f} s", flush=True)
    versions = {name: version(end) for name, end in contenders.items() if end is not None}
    path = RESULTS / ("local/quick.json" if quick else "tunnel.json")
    results.write_json(path, versions=versions, missing=missing + failures, rounds=rounds, quick=quick)
    summary = results.summarize(rounds)
    print(f"\n{results.table(summary)}\n")
    for name, text in versions.items():
        print(f"{name}: {text}")
    plots = [] if quick else results.plot(summary, RESULTS)
    print(f"written: {_shown(path)}" + (f" and {len(plots)} plots" if plots else ""))
    return 1 if failures or not any(rounds.values()) else 0


def _find(names: list[str]) -> tuple[dict[str, Implementation | None], list[str]]:
    """The implementations that are there (None stands for the bare veth), and a line for each that is not."""
    there: dict[str, Implementation | None] = {}
    missing: list[str] = []
    for name in names:
        try:
            if name == VETH:
                there[name] = None
            else:
                there[name] = build(name)
        except NotInstalledError as error:
            missing.append(str(error))
    return there, missing


def _shown(path: Path) -> Path:
    return path.relative_to(ROOT)


if __name__ == "__main__":
    sys.exit(main())
