"""The measuring: rounds of the stages, and real daemons to set beside them. As JSON, and as text for people."""

import os
import statistics
from typing import Any

from bench import report
from bench.stages import costs, place
from bench.stages.costs import Cost
from bench.stages.place import Place
from bench.tunnel import results, traffic, usage
from bench.tunnel.lab import Lab

ROUND_LEN = 60 * costs.FRAME_LEN
DAEMON_ROUNDS, DAEMON_S = 3, 2
WAYS = {"out": costs.OUT, "in": costs.IN}


def measure(count: int, aead: str, *, with_daemons: bool, steered: bool = False) -> dict[str, Any]:
    """`count` rounds. `steered`: the kernel receives what is written to the TUN on a processor that does not write it.

    Raises what place.place() and Lab raise.
    """
    with place.place(aead) as made:
        rounds = _rounds(made, count, sorted(os.sched_getaffinity(0)), steered)
        aead = made.stream.aead
    us = {where: costs.summarize(some) for where, some in rounds.items() if some}
    of_caps = {where: {name: one.median for name, one in some.items()} for where, some in us.items()}
    if "apart" in of_caps:
        of_caps["apart, in turns"] = costs.in_turns(of_caps["here"], of_caps["apart"])
    return {
        "machine": results.machine() | {"aead": aead},
        "frame_len": costs.FRAME_LEN,
        "rounds": count,
        "steered": steered,
        "us": {where: {name: one._asdict() for name, one in some.items()} for where, some in us.items()},
        "caps": {where: costs.caps(some) for where, some in of_caps.items()},
        "daemons": _daemons() if with_daemons else {},
    }


def _rounds(made: Place, count: int, processors: list[int], steered: bool) -> dict[str, list[dict[str, float]]]:
    """Rounds on one processor ("here") and between two ("apart"), in turns; the processors change places too."""
    found: dict[str, list[dict[str, float]]] = {"here": [], "apart": []}
    try:
        for number in range(count):
            one, other = processors[number // 2 % len(processors)], processors[(number // 2 + 1) % len(processors)]
            apart = number % 2 == 1
            if apart and one == other:
                continue
            if steered:
                made.steer(one if apart else other)
            _, times = made.stream.carry(ROUND_LEN, cpu=one, other_cpu=other if apart else -1)
            found["apart" if apart else "here"].append(costs.frame_us(times))
    finally:
        os.sched_setaffinity(0, processors)
    return found


def _daemons() -> dict[str, float]:
    """Microseconds a superframe of the whole daemon at each end, medians."""
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    with Lab("pywg", "pywg") as lab:
        lab.establish()
        for _ in range(DAEMON_ROUNDS):
            before = [usage.cpu_s(site.pid) for site in lab.sites]
            carried = traffic.tcp(lab.near, lab.far, lab.far.inner(4), DAEMON_S)
            spent = [usage.cpu_s(site.pid) - was for site, was in zip(lab.sites, before, strict=True)]
            for way, cpu_s in zip(found, spent, strict=True):
                found[way].append(cpu_s * 1e6 / (carried.received_bytes / costs.FRAME_LEN))
    return {way: statistics.median(values) for way, values in found.items()}


def told(text: dict[str, Any], before: dict[str, Any] | None = None) -> str:
    """What measure() returned, for people; `before`: the same of an earlier run, to set beside it."""
    us = {where: {name: Cost(**one) for name, one in some.items()} for where, some in text["us"].items()}
    earlier = before["us"] if before else {}
    machine, rows = text["machine"], []
    for name in costs.STAGES:
        cells = []
        for where, some in us.items():
            cells += [f"{some[name].least:.2f}", f"{some[name].median:.2f}"]
            if before:
                was = earlier.get(where, {}).get(name)
                cells.append(f"{some[name].median / was['median']:.2f}" if was and was["median"] else "-")
        rows.append([name, *cells])
    for way, stages in WAYS.items():
        cells = []
        for some in us.values():
            cells += [f"{sum(some[name].least for name in stages):.2f}", f"{_median(some, stages):.2f}"]
            cells += [""] if before else []
        rows.append([f"{way}, together", *cells])
    heads = [f"{where} {kind}" for where in us for kind in ("least", "median", *(["x before"] if before else []))]
    caps = [
        [name, *(report.gbit(some[name]) for some in text["caps"].values()), report.gbit(costs.TO_REACH)]
        for name in costs.SERIAL
    ]
    lines = [
        f"{machine['cpu']}, {machine['cpus']} processors, Linux {machine['kernel']}, AEAD {machine['aead']}",
        report.table([f"us a superframe of {text['frame_len']} B", *heads], rows),
        report.table(["cap of what is serial, Gb/s", *text["caps"], "to reach"], caps),
    ]
    lines += [
        f"{way}: the daemon takes {us_a_frame:.1f} us of processor time a superframe, the stages "
        + " and ".join(f"{_median(some, WAYS[way]):.1f} {where}" for where, some in us.items())
        for way, us_a_frame in text["daemons"].items()
    ]
    return "\n\n".join(lines)


def _median(some: dict[str, Cost], stages: tuple[str, ...]) -> float:
    return costs.total({name: one.median for name, one in some.items()}, stages)
