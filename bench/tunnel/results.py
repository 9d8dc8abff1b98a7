"""What the rounds of the tunnel bench add up to: medians with spread, as JSON, as a table and as plots."""

import importlib
import json
import os
import platform
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from bench import report


class Spread(NamedTuple):
    """A median between the smallest and the largest value."""

    median: float
    low: float
    high: float


Rounds = Mapping[str, list[dict[str, float]]]
Summary = dict[str, dict[str, Spread]]

# Key of measure(), title, and how a value is shown.
ROWS: list[tuple[str, str, Callable[[float], str]]] = [
    ("tcp_1", "TCP 1 stream, Gb/s", report.gbit),
    ("tcp_4", "TCP 4 streams, Gb/s", report.gbit),
    ("tcp_reverse", "TCP reverse, Gb/s", report.gbit),
    ("tcp_bidir", "TCP both ways, Gb/s", report.gbit),
    ("udp_1390_bits", "UDP 1390 B, < 1 % lost, Gb/s", report.gbit),
    ("udp_64_pps", "UDP 64 B, < 1 % lost, kpps", lambda value: f"{value / 1e3:.0f}"),
    ("rtt_idle_p50", "RTT idle p50, ms", "{:.3f}".format),
    ("rtt_idle_p99", "RTT idle p99, ms", "{:.3f}".format),
    ("rtt_load_p50", "RTT under TCP p50, ms", "{:.2f}".format),
    ("rtt_load_p99", "RTT under TCP p99, ms", "{:.2f}".format),
    ("cpu_s_per_gb", "CPU s/GB, both daemons", "{:.2f}".format),
    ("peak_rss", "peak RSS of a daemon, MiB", report.mebibytes),
]


def summarize(rounds: Rounds) -> Summary:
    """Median, minimum and maximum of every measure of every implementation."""
    return {
        name: {
            key: Spread(statistics.median(values), min(values), max(values))
            for key in done[0]
            for values in [[one[key] for one in done]]
        }
        for name, done in rounds.items()
        if done
    }


def machine() -> dict[str, str | int]:
    """What a figure depends on and can be said: processor, its count, kernel, Python."""
    model = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    return {
        "cpu": model[0] if model else platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def write_json(path: Path, *, versions: Mapping[str, str], missing: list[str], rounds: Rounds, quick: bool) -> None:
    """Writes the summary and every single round, so that a figure can be traced."""
    summary = {name: {key: one._asdict() for key, one in rows.items()} for name, rows in summarize(rounds).items()}
    text = {
        "machine": machine(),
        "quick": quick,
        "versions": versions,
        "missing": missing,
        "summary": summary,
        "rounds": rounds,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(text, indent=1) + "\n")


def table(summary: Summary) -> str:
    """Medians, with the range in brackets."""

    def cell(name: str, key: str, show: Callable[[float], str]) -> str:
        one = summary[name].get(key)
        return "-" if one is None else f"{show(one.median)} ({show(one.low)}-{show(one.high)})"

    names = list(summary)
    return report.table(
        ["median (range)", *names], [[title, *(cell(name, key, show) for name in names)] for key, title, show in ROWS]
    )


def plot(summary: Summary, directory: Path) -> list[Path]:
    """One bar chart a row, as SVG. Returns nothing where matplotlib is not installed."""
    try:
        importlib.import_module("matplotlib").use("svg")
    except ImportError:
        return []
    plt = importlib.import_module("matplotlib.pyplot")
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for key, title, show in ROWS:
        names = [name for name in summary if key in summary[name] and not (name == "veth" and key.startswith("tcp"))]
        bars = [summary[name][key] for name in names]
        figure, axes = plt.subplots(figsize=(6, 0.5 + 0.5 * len(names)), layout="constrained")
        errors = [[one.median - one.low for one in bars], [one.high - one.median for one in bars]]
        drawn = axes.barh(
            names, [one.median for one in bars], xerr=errors, color="#4477aa", ecolor="#222222", capsize=3
        )
        axes.bar_label(drawn, [show(one.median) for one in bars], label_type="center", color="white")
        axes.set_title(title)
        axes.invert_yaxis()
        axes.set_xticks([])
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        path = directory / f"{key}.svg"
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
        written.append(path)
    return written
