"""What the rounds of the tunnel bench add up to, and their JSON file, which is written anew after every step.

The file holds every sample, so that a figure can be traced and an interrupted run can be taken up again.
"""

import json
import os
import platform
import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from bench import report

from .cipher import efficiency
from .figures import FIGURES

VETH = "veth"
OURS = "pywg"
NO_CIPHER = "no-cipher"
CIPHER = "cipher"
FORWARDER = "forwarder"
FORWARDER_CUTS = "forwarder-cuts"
FORWARDER_SEALS = "forwarder-seals"
FORWARDERS = (FORWARDER, FORWARDER_CUTS, FORWARDER_SEALS)


class Spread(NamedTuple):
    """A median between the smallest and the largest value; q1 and q3 are the quartiles, n the number of values."""

    median: float
    low: float
    high: float
    q1: float
    q3: float
    n: int


@dataclass(slots=True)
class Sample:
    """What one round brought for one contender: figures by key, and a line for each measure that failed."""

    round: int
    name: str
    figures: dict[str, float]
    failed: list[str] = field(default_factory=list)
    took_s: float = 0.0


Summary = dict[str, dict[str, Spread]]


def spread(values: Iterable[float]) -> Spread:
    """The median and the rest of at least one value."""
    ordered = sorted(values)
    q1, _, q3 = statistics.quantiles(ordered, n=4, method="inclusive") if len(ordered) > 1 else ordered * 3
    return Spread(statistics.median(ordered), ordered[0], ordered[-1], q1, q3, len(ordered))


def by_round(samples: Iterable[Sample]) -> dict[int, dict[str, dict[str, float]]]:
    """round -> contender -> figures, with those that follow from others of the same round.

    Of one contender: crowd_growth, jumbo_gain and vxlan_share. Of ours beside others: efficiency, the same by either
    forwarder; aead_in_place, which is what the cipher adds to the processor time, by what it takes alone; and
    cpu_over_bound, the processor time by what the forwarder that cuts and the cipher alone take together.
    """
    rounds: dict[int, dict[str, dict[str, float]]] = {}
    for sample in samples:
        rounds.setdefault(sample.round, {})[sample.name] = dict(sample.figures)
    for done in rounds.values():
        for figures in done.values():
            for key, above, below in _RATIOS:
                if figures.get(below) and above in figures:
                    figures[key] = figures[above] / figures[below]
        for key, path in _EFFICIENCIES:
            if values := _all(done, (OURS, "tcp_1"), (path, "tcp_1"), (CIPHER, "aead_bits")):
                done[OURS][key] = efficiency(*values)
        if values := _all(done, (OURS, "cpu_s_per_gb"), (NO_CIPHER, "cpu_s_per_gb"), (CIPHER, "aead_s_per_gb")):
            whole, without, alone = values
            done[OURS]["aead_in_place"] = (whole - without) / alone
        if values := _all(done, (OURS, "cpu_s_per_gb"), (FORWARDER_CUTS, "cpu_s_per_gb"), (CIPHER, "aead_s_per_gb")):
            whole, cutting, alone = values
            done[OURS]["cpu_over_bound"] = whole / (cutting + alone)
    return rounds


_RATIOS = (
    ("crowd_growth", "crowd_10000_us", "crowd_1_us"),
    ("jumbo_gain", "tcp_jumbo", "tcp_1"),
    ("vxlan_share", "tcp_vxlan", "tcp_1"),
)


_EFFICIENCIES = (("efficiency", NO_CIPHER), ("efficiency_bare", FORWARDER), ("efficiency_cuts", FORWARDER_CUTS))


def _all(done: dict[str, dict[str, float]], *parts: tuple[str, str]) -> list[float]:
    """These figures of these contenders; none where one is missing, or nothing."""
    values = [done.get(name, {}).get(key) for name, key in parts]
    return [value for value in values if value] if all(values) else []


def summarize(samples: Iterable[Sample]) -> Summary:
    """The spread of every figure of every contender, over the rounds that have it."""
    values: dict[str, dict[str, list[float]]] = {}
    for done in by_round(samples).values():
        for name, figures in done.items():
            for key, value in figures.items():
                values.setdefault(name, {}).setdefault(key, []).append(value)
    return {name: {key: spread(of) for key, of in figures.items()} for name, figures in values.items()}


def machine() -> dict[str, str | int]:
    """What a figure depends on and can be said: processor, its count, kernel, Python, and the AEAD that is fastest."""
    from pywg._fastpath import choose_aead
    from pywg.runtime.selfbench.offloads import cpu_model

    return {
        "cpu": cpu_model(),
        "cpus": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "aead": choose_aead("auto"),
    }


@dataclass(slots=True)
class Record:
    """A run and its file. `settings` say how it is measured: samples of other settings are not mixed in."""

    path: Path
    settings: dict[str, Any]
    machine: dict[str, str | int]
    versions: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

    def resume(self, *, retry_failed: bool = False) -> None:
        """Takes the samples that an earlier run left in the file; those with a failure unless they are to be measured
        again. ValueError when they can't be added to."""
        if not self.path.exists():
            return
        text = json.loads(self.path.read_text())
        for what, mine in (("settings", self.settings), ("machine", self.machine)):
            for key, value in mine.items():
                # The AEAD is chosen anew by every process, by a short calibration.
                if key != "aead" and text[what].get(key) != value:
                    raise ValueError(f"{self.path.name} is of other {what}: {key} was {text[what].get(key)}")
        self.samples = [Sample(**one) for one in text["samples"] if not (retry_failed and one["failed"])]

    def has(self, number: int, name: str) -> bool:
        """Whether this contender went through this round, whole or not."""
        return any((one.round, one.name) == (number, name) for one in self.samples)

    def add(self, sample: Sample) -> None:
        """Adds a sample, and writes the file."""
        self.samples.append(sample)
        self.write()

    def failures(self) -> list[str]:
        """A line for each measure that failed."""
        return [f"{one.name}, round {one.round}: {line}" for one in self.samples for line in one.failed]

    def write(self, **more: Any) -> None:
        """Writes the file, never half of it; `more` are further entries."""
        summary = {
            name: {key: one._asdict() for key, one in figures.items()}
            for name, figures in summarize(self.samples).items()
        }
        text = {
            "machine": self.machine,
            "settings": self.settings,
            "versions": self.versions,
            "missing": self.missing,
            "failures": self.failures(),
            "summary": summary,
            **more,
            "samples": [asdict(sample) for sample in self.samples],
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        whole = self.path.with_suffix(".new")
        whole.write_text(json.dumps(text, indent=1) + "\n")
        whole.replace(self.path)


def tables(summary: Summary, names: Iterable[str]) -> Iterator[str]:
    """The medians with their range, a few contenders a table so that a line stays readable."""
    shown = [name for name in names if name in summary]
    for start in range(0, len(shown), 4):
        part = shown[start : start + 4]
        rows = [
            [f"{figure.title}, {figure.unit}", *(_cell(summary[name].get(figure.key), figure.show) for name in part)]
            for figure in FIGURES
            if any(figure.key in summary[name] for name in part)
        ]
        yield report.table(["median (range)", *part], rows)


def _cell(one: Spread | None, show: Any) -> str:
    return "-" if one is None else f"{show(one.median)} ({show(one.low)}-{show(one.high)})"


def versions_text(versions: Mapping[str, str]) -> str:
    """A line for each daemon."""
    return "\n".join(f"{name}: {text}" for name, text in versions.items())
