"""`make bench`, second part: pywg beside the bare veth and its peers, in interleaved rounds.

    python -m bench.tunnel.bench [--quick] [--rounds N] [--only NAME,...] [--measures NAME,...] [--budget MINUTES]
                                 [--resume [--retry-failed]] [--out FILE]

Every round opens a fresh lab for every contender in turn, so that what else the machine does hits all alike. Whatever
fails is reported and left out, and the run goes on; the file is written after each contender, and --resume goes on with
it. What failed stays so: the machine may do other things now than when its rivals were measured. --retry-failed has it
measured again. The budget is looked at between contenders: what is begun is finished.
"""

import argparse
import os
import random
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from . import change, cipher, inside, many_flows, many_peers, plots, results, signals, stop, targets
from .builds import ROOT, NotInstalledError
from .command import CommandError
from .implementations import Implementation, build, version
from .lab import Lab
from .measure import FAILURES, FULL, MEASURES, QUICK, Effort, Figures, measure
from .results import CIPHER, FORWARDERS, NO_CIPHER, OURS, VETH, Record, Sample
from .signals import Stopped

IN_A_LAB_OF_THEIR_OWN = {
    "jumbo": inside.jumbo,
    "vxlan": inside.vxlan,
    "flows": many_flows.measure,
    "crowd": many_peers.measure,
    "change": change.measure,
    "stop": stop.measure,
}
_LABS: dict[str, dict[str, Any]] = {"jumbo": inside.JUMBO}  # other than the usual one
ALL_MEASURES = (*MEASURES, *IN_A_LAB_OF_THEIR_OWN)
QUICK_MEASURES = ("start", "idle", "stream", "streams", "load", "udp", "memory")
WIREGUARD = ("wireguard-go-new", "tailscale", "wireguard-go", "boringtun", "gotatun")
CONTENDERS = (VETH, OURS, NO_CIPHER, *FORWARDERS, CIPHER, *WIREGUARD, "openvpn")
QUICK_CONTENDERS = (VETH, OURS, CIPHER, "wireguard-go-new", "tailscale")
# What these can't be asked for, or need not be.
_APPLIES = {
    VETH: {"idle", "stream", "streams", "plain", "udp"},
    NO_CIPHER: {"idle", "stream", "streams", "load", "jumbo", "vxlan"},
    # Not those that need messages cut on the wire, peers, or superframes in UDP tunnels.
    **{name: {"idle", "stream", "streams", "load", "jumbo"} for name in FORWARDERS},
    CIPHER: set[str](),
}
_NOT_DRAWN = (VETH, NO_CIPHER, *FORWARDERS, CIPHER)
_ONE_PEER = ("openvpn", "openvpn-tuned", "openvpn-chacha")  # one peer on a point-to-point link
RESULTS = ROOT / "bench" / "results"


def main() -> int:
    """Runs the bench; 0 when pywg went through at least one round without a failure."""
    arguments = _arguments()
    if os.geteuid() != 0:
        print("bench: network namespaces and TUN interfaces need root: sudo make bench", file=sys.stderr)
        return 2
    try:
        with signals.raised():
            return _bench(arguments)
    except Stopped as stopped:
        print(f"bench: {stopped}; --resume goes on with what {arguments.out} holds", file=sys.stderr)
        return 128 + stopped.signum
    except ValueError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="pywg and its peers through the same namespaces.")
    parser.add_argument("--quick", action="store_true", help="one short round of the main figures; none to quote")
    parser.add_argument("--rounds", type=int, default=0, help="default: 5, or 1 with --quick")
    parser.add_argument("--only", metavar="NAMES", help=f"contenders, of {','.join(CONTENDERS)}, or a daemon's path")
    parser.add_argument("--measures", metavar="NAMES", help=f"of {','.join(ALL_MEASURES)}")
    parser.add_argument("--budget", type=float, metavar="MINUTES", help="start nothing that would not end by then")
    parser.add_argument("--resume", action="store_true", help="keep what the file has, and do the rest")
    parser.add_argument(
        "--retry-failed", action="store_true", help="with --resume: what failed too, under another load"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: bench/results/tunnel.json")
    given = parser.parse_args()
    given.rounds = given.rounds or (1 if given.quick else 5)
    given.out = (given.out or RESULTS / ("local/quick.json" if given.quick else "tunnel.json")).resolve()
    given.only = given.only.split(",") if given.only else list(QUICK_CONTENDERS if given.quick else CONTENDERS)
    given.measures = (
        given.measures.split(",") if given.measures else list(QUICK_MEASURES if given.quick else ALL_MEASURES)
    )
    if unknown := set(given.measures) - set(ALL_MEASURES):
        parser.error(f"no such measure: {', '.join(sorted(unknown))}")
    if given.retry_failed and not given.resume:
        parser.error("--retry-failed is of use with --resume alone")
    return given


def _bench(arguments: argparse.Namespace) -> int:
    effort = QUICK if arguments.quick else FULL
    chosen = [name for name in ALL_MEASURES if name in arguments.measures]
    settings = {"quick": arguments.quick, "measures": chosen, "effort": str(effort)}
    record = Record(arguments.out, settings, results.machine())
    if arguments.resume:
        record.resume(retry_failed=arguments.retry_failed)
    contenders = _find(arguments.only, record)
    _say_what_is_left_out(arguments.only, chosen)
    clock = _Clock(arguments.budget)
    for number in range(1, arguments.rounds + 1):
        order = _order(contenders, number)
        for place, name in enumerate(order, 1):
            if record.has(number, name):
                continue
            if not clock.allows(name):
                print(f"bench: the budget of {arguments.budget:g} minutes ends the run in round {number}", flush=True)
                return _finish(record, contenders)
            began = time.monotonic()
            figures, failed = _one(name, contenders[name], chosen, effort)
            took_s = time.monotonic() - began
            clock.took(name, took_s)
            record.add(Sample(number, name, figures, failed, round(took_s, 1)))
            for line in failed:
                print(f"bench: FAILED: {name}: {line}", file=sys.stderr, flush=True)
            left = clock.left(order[place:], order, arguments.rounds - number)
            print(f"round {number}/{arguments.rounds}: {name} done in {took_s:.0f} s{left}", flush=True)
    return _finish(record, contenders)


class _Clock:
    """How long each contender takes, and whether the budget has room for another."""

    def __init__(self, budget_min: float | None) -> None:
        self._until = time.monotonic() + budget_min * 60 if budget_min else None
        self._longest: dict[str, float] = {}

    def took(self, name: str, seconds: float) -> None:
        self._longest[name] = max(self._longest.get(name, 0.0), seconds)

    def allows(self, name: str) -> bool:
        """Whether there is time for what `name` took at most; the unknown is tried."""
        return self._until is None or time.monotonic() + self._longest.get(name, 0.0) <= self._until

    def left(self, rest: list[str], names: list[str], rounds: int) -> str:
        """In words, for the rest of a round and more rounds of all names, once each of them was seen."""
        if not self._longest.keys() >= set(names):
            return ""
        seconds = sum(self._longest[one] for one in rest) + rounds * sum(self._longest[one] for one in names)
        return f", about {seconds / 60:.0f} min left"


def _order(names: Iterable[str], number: int) -> list[str]:
    """The contenders in this round's own order: what slows the machine now and then does not always meet the same."""
    order = list(names)
    random.Random(number).shuffle(order)
    return order


def _one(name: str, end: Implementation | None, chosen: list[str], effort: Effort) -> tuple[Figures, list[str]]:
    """One contender's round: its figures and what failed. Never raises but for a signal."""
    figures: Figures = {}
    failed: list[str] = []
    applicable = [one for one in chosen if one in _APPLIES.get(name, ALL_MEASURES)]
    try:
        if name == CIPHER:
            return dict(cipher.measure(quick=effort is QUICK)), []
        if together := [one for one in applicable if one in MEASURES]:
            with Lab(end, end) as lab:
                figures, failed = measure(lab, effort, together)
    except FAILURES as error:
        failed.append(str(error))
    for one, alone in IN_A_LAB_OF_THEIR_OWN.items():
        if one not in applicable or name in _ONE_PEER:
            continue
        try:
            with Lab(end, end, **_LABS.get(one, {})) as lab:
                figures |= alone(lab, effort)
        except FAILURES as error:
            failed.append(f"{one}: {error}")
    return figures, failed


def _find(names: list[str], record: Record) -> dict[str, Implementation | None]:
    """The contenders that are there (None: no daemon); the record gets a line for each that is not."""
    there: dict[str, Implementation | None] = {}
    for name in names:
        try:
            if name in (VETH, CIPHER):
                there[name] = None
                continue
            there[name] = end = build(name)
            record.versions[name] = _version(end)
        except NotInstalledError as error:
            record.missing.append(str(error))
            print(f"bench: MISSING: {error}", flush=True)
    return there


def _version(end: Implementation) -> str:
    try:
        return version(end)
    except CommandError:
        return "does not tell its version"


def _say_what_is_left_out(names: list[str], chosen: list[str]) -> None:
    for what, every, some in (("contenders", CONTENDERS, names), ("measures", ALL_MEASURES, chosen)):
        if out := [name for name in every if name not in some]:
            print(f"bench: {what} left out of this run: {', '.join(out)}", flush=True)


def _finish(record: Record, contenders: dict[str, Implementation | None]) -> int:
    summary = results.summarize(record.samples)
    found = targets.outcomes(record.samples, str(record.machine["aead"]))
    record.write(targets=targets.as_json(found))
    print("\n" + "\n\n".join(results.tables(summary, contenders)) + "\n")
    print(targets.table(found) + "\n")
    print(results.versions_text(record.versions))
    for line in (*record.missing, *record.failures()):
        print(f"not measured: {line}")
    drawn = plots.draw(summary, [name for name in contenders if name not in _NOT_DRAWN], record.path.parent)
    print(f"written: {record.path}" + (f" and {len(drawn)} plots beside it" if drawn else ""))
    ours = [one for one in record.samples if one.name == OURS]
    return 0 if not ours or any(not one.failed for one in ours) else 1


if __name__ == "__main__":
    sys.exit(main())
