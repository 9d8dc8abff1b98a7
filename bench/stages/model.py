"""What the costs of the stages give on more processors than there are: a model, and no measurement.

    python -m bench.stages.model [--stages FILE] [--tunnel FILE]

The stages' costs come from bench.stages; what daemons and applications cost besides, from rows of the tunnel bench.
First the model says what the tunnel bench has measured, on as many processors as that had; then what it has not. The
status is 1 where the first is off by more than a tenth.

What it leaves out: the memory's bandwidth, which is shared; the processors' clock, which falls when all are busy; where
the scheduler puts threads; and what a network card costs, or saves, in place of the veth.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import report
from bench.stages import costs
from bench.stages.simulation import Outcome, Station, simulate
from bench.tunnel.builds import ROOT
from bench.tunnel.results import NO_CIPHER, OURS, VETH
from pywg.runtime.base.processors import threads_for, turns_for

RESULTS = ROOT / "bench" / "results"
MOST_HELPERS = 8
ALONE_UP_TO = 3
"""Processors up to which a thread takes its packets all the way; from the next on there are helpers."""
PROCESSORS = (2, 4, 8, 16)
MANY = 32
WITHIN = 0.1
AEAD = ("seal", "open")
FRAME_BITS = costs.FRAME_LEN * 8


def way(
    us: Mapping[str, float],
    processors: int,
    application_us: float,
    streams: int,
    *,
    apart: bool,
    lanes: Mapping[str, int] = costs.LANES,
) -> list[Station]:
    """The stations of a stream's superframes, from one application to the other.

    `apart`: each end has a machine of so many processors, and the applications run elsewhere; else all share one.
    `lanes`: of how many at a time a serial part is done, each for streams of its own.
    """
    near, far = ("near", "far") if apart else ("all", "all")
    ends = [Station("sender", application_us, near, streams), Station("receiver", application_us, far, streams)]
    if processors <= ALONE_UP_TO:
        middle = [
            Station("out", costs.total(us, costs.OUT), near),
            Station("in", costs.total(us, costs.IN), far),
        ]
    else:
        helpers = min(MOST_HELPERS, processors - 2)
        middle = [
            Station(name, costs.total(us, stages), machine, _places(name, helpers, streams, lanes))
            for machine, stages_of_end in ((near, costs.OUT), (far, costs.IN))
            for name, stages in _parts(stages_of_end)
        ]
    return middle if apart else [ends[0], *middle, ends[1]]


def _parts(stages: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Neighbours that are done together: what is of one serial part, by its name, and what helpers do between two."""
    serial = {stage: name for name, of in costs.SERIAL.items() for stage in of}
    grouped = itertools.groupby(stages, key=lambda stage: serial.get(stage, ""))
    return [(name or " + ".join(of), of) for name, of in ((name, list(some)) for name, some in grouped)]


def _places(name: str, helpers: int, streams: int, lanes: Mapping[str, int]) -> int:
    if name not in costs.SERIAL:
        return helpers
    return min(lanes.get(name, 1), streams)


def predict(
    us: Mapping[str, float],
    processors: int,
    application_us: float = 0.0,
    streams: int = 1,
    *,
    apart: bool = False,
    lanes: Mapping[str, int] = costs.LANES,
) -> Outcome:
    """What the model says of a stream."""
    machines = dict.fromkeys(("near", "far") if apart else ("all",), processors)
    return simulate(way(us, processors, application_us, streams, apart=apart, lanes=lanes), machines)


def costs_on(text: Mapping[str, Any], processors: int) -> dict[str, float]:
    """The stages' medians on so many processors: with helpers, between them; with turns, sent where it was sealed."""
    here = medians(text, "here")
    if processors <= ALONE_UP_TO or "apart" not in text["us"]:
        return here
    apart = medians(text, "apart")
    return costs.in_turns(here, apart) if turns_for(threads_for(processors), processors) else apart


def variants(text: Mapping[str, Any]) -> dict[str, tuple[dict[str, float], Mapping[str, int]]]:
    """What there is on many processors, and other designs: (costs of the stages, lanes) of each, by what it is."""
    us, apart = costs_on(text, MANY), medians(text, "apart")
    return {
        "as it is": (us, costs.LANES),
        "without turns: sent by any thread": (apart, costs.LANES),
        "without turns, sent in four lanes, a peer in one": (apart, {**costs.LANES, "out: send": 4}),
        "the order of delivery by peer": (us, {**costs.LANES, "in: delivery": 4}),
        "shards: four readers each way, all in lanes": (us, dict.fromkeys(costs.SERIAL, 4)),
    }


def scaled(us: Mapping[str, float], daemons_us: float, left_out: tuple[str, ...] = ()) -> dict[str, float]:
    """The stages in the proportions that they have, with a sum that is what both daemons took.

    That has in it what the stages have not, wake-ups and acknowledgements, and the machine as it was then. `left_out`
    cost nothing.
    """
    kept = {name: 0.0 if name in left_out else cost for name, cost in us.items()}
    factor = daemons_us / costs.total(kept, costs.STAGES)
    return {name: cost * factor for name, cost in kept.items()}


def frame_us_of(s_per_gb: float) -> float:
    """Microseconds a superframe from processor seconds a gigabyte."""
    return s_per_gb * costs.FRAME_LEN / 1e3


def application_us(veth_bits: float) -> float:
    """What each application costs for a superframe: the bare veth is as fast as the slower of two, each of which has a
    processor."""
    return FRAME_BITS / veth_bits * 1e6


def medians(text: Mapping[str, Any], where: str) -> dict[str, float]:
    """The stages' medians out of the file of bench.stages."""
    return {name: one["median"] for name, one in text["us"][where].items()}


def checks(stages: Mapping[str, Any], tunnel: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """(what, measured, by the model) in bits a second, for what the tunnel bench has measured."""
    summary, processors = tunnel["summary"], tunnel["machine"]["cpus"]
    found = []
    for name, left_out in ((OURS, ()), (NO_CIPHER, AEAD)):
        for key, streams in (("tcp_1", 1), ("tcp_4", 4)):
            parts = [summary.get(who, {}).get(what) for who, what in ((name, key), (name, "cpu_s_per_gb"), (VETH, key))]
            if None in parts:
                continue
            measured, cpu, veth = (part["median"] for part in parts)
            us = scaled(medians(stages, "here"), frame_us_of(cpu), left_out)
            outcome = predict(us, processors, application_us(veth), streams)
            found.append(
                (f"{name}, {streams} stream{'s' * (streams > 1)}", measured, outcome.frames_per_s * FRAME_BITS)
            )
    return found


def main() -> int:
    """Checks the model, and tells what it says."""
    parser = argparse.ArgumentParser(prog="bench.stages.model", description="The tunnel on more processors: a model.")
    parser.add_argument("--stages", type=Path, default=RESULTS / "stages.json", metavar="FILE")
    parser.add_argument("--tunnel", type=Path, default=RESULTS / "tunnel.json", metavar="FILE")
    given = parser.parse_args()
    stages, tunnel = json.loads(given.stages.read_text()), json.loads(given.tunnel.read_text())
    if missing := set(costs.STAGES) - stages["us"]["here"].keys():
        print(
            f"bench.stages.model: {given.stages} lacks {', '.join(sorted(missing))}: run bench.stages", file=sys.stderr
        )
        return 2
    found = checks(stages, tunnel)
    rows = [[what, report.gbit(was), report.gbit(says), f"{says / was:.2f}"] for what, was, says in found]
    print(f"A MODEL, checked on {tunnel['machine']['cpus']} processors\n")
    print(report.table(["Gb/s", "measured", "model", "ratio"], rows))
    where = "apart" if "apart" in stages["us"] else "here"
    print(f"\nA MODEL, not measured: with each stage's cost {where} from {given.stages.name}\n")
    rows = []
    for streams, processors in itertools.product((1, 4), PROCESSORS):
        us = costs_on(stages, processors)
        veth = tunnel["summary"][VETH][f"tcp_{streams}"]["median"]
        row = [f"{processors}, streams: {streams}"]
        for apart in (False, True):
            outcome = predict(us, processors, application_us(veth), streams, apart=apart)
            row += [report.gbit(outcome.frames_per_s * FRAME_BITS), outcome.fullest]
        rows.append(row)
    print(
        report.table(
            ["processors", "all on one machine, Gb/s", "fullest", "so many at each end, Gb/s", "fullest"], rows
        )
    )
    if "apart" in stages["us"]:
        print("\nA MODEL of other designs: 4 streams, each of another peer, so many processors at each end\n")
        rows = []
        for name, (us, lanes) in variants(stages).items():
            row = [name]
            for processors in (8, 16, MANY):
                outcome = predict(us, processors, streams=4, apart=True, lanes=lanes)
                row += [report.gbit(outcome.frames_per_s * FRAME_BITS), outcome.fullest]
            rows.append(row)
        heads = [word for processors in (8, 16, MANY) for word in (f"{processors}, Gb/s", "fullest")]
        print(report.table(["", *heads], rows))
    return int(not found or any(abs(says / was - 1) > WITHIN for _, was, says in found))


if __name__ == "__main__":
    sys.exit(main())
