"""The figures that README shows, as small SVG files: one a subject, a panel a figure, a bar a contender."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .figures import BY_KEY, Figure
from .results import OURS, Spread, Summary

# Blue and grey differ in lightness too: they stay apart for every eye and in print.
OURS_COLOUR, OTHERS_COLOUR, RANGE_COLOUR = "#0072b2", "#a6a6a6", "#333333"
PANEL_INCHES = 2.5
BAR_INCHES = 0.24
MAX_COLUMNS = 3


@dataclass(frozen=True, slots=True)
class Plot:
    """One file, with a panel for each key."""

    name: str
    title: str
    keys: tuple[str, ...]


PLOTS = (
    Plot("throughput", "TCP through the tunnel", ("tcp_1", "tcp_4", "tcp_reverse", "tcp_bidir", "tcp_plain")),
    Plot("cpu", "Processor time", ("cpu_s_per_gb",)),
    Plot("latency", "Round trips, idle and under a full TCP stream", ("rtt_idle_p50", "rtt_load_p50", "rtt_load_p99")),
    Plot("packets", "UDP datagrams a second, losing less than 1 %", ("udp_1390_pps", "udp_64_pps")),
    Plot("memory", "Peak resident memory of a daemon", ("peak_rss", "crowd_rss")),
    Plot("peers", "Processor time a packet, by peers known", tuple(f"crowd_{n}_us" for n in (1, 100, 1000, 10_000))),
)


def draw(summary: Summary, names: Sequence[str], directory: Path) -> list[Path]:
    """Writes what the summary has figures for, pywg first; nothing where matplotlib is not installed."""
    try:
        importlib.import_module("matplotlib").use("svg")
    except ImportError:
        return []
    plt = importlib.import_module("matplotlib.pyplot")
    settings = {"svg.fonttype": "none", "svg.hashsalt": "pywg", "font.family": "sans-serif", "font.size": 9}
    written = []
    with plt.rc_context(settings):
        for plot in PLOTS:
            shown = [name for name in names if summary.get(name, {}).keys() & set(plot.keys)]
            keys = [key for key in plot.keys if any(key in summary[name] for name in shown)]
            if shown and keys:
                written.append(
                    _draw(plt, plot, keys, {name: summary[name] for name in shown}, directory / f"{plot.name}.svg")
                )
    return written


def _draw(plt: Any, plot: Plot, keys: list[str], bars: Summary, path: Path) -> Path:
    names = sorted(bars, key=lambda name: name != OURS)
    columns = min(len(keys), MAX_COLUMNS)
    rows = -(-len(keys) // columns)
    size = (1.2 + PANEL_INCHES * columns, 0.3 + rows * (0.6 + BAR_INCHES * len(names)))
    figure, panels = plt.subplots(rows, columns, figsize=size, sharey=True, squeeze=False, layout="constrained")
    figure.suptitle(plot.title, fontsize=10)
    for axes in panels.flat[len(keys) :]:
        axes.set_axis_off()
    for axes, key in zip(panels.flat, keys, strict=False):
        _panel(axes, BY_KEY[key], [bars[name].get(key) for name in names], names)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path


def _panel(axes: Any, figure: Figure, spreads: list[Spread | None], names: list[str]) -> None:
    """Medians as bars, their range as a line, the value behind it."""
    longest = max((one.high * figure.scale for one in spreads if one), default=1.0)
    axes.barh(
        names,
        [one.median * figure.scale if one else 0.0 for one in spreads],
        color=[OURS_COLOUR if name == OURS else OTHERS_COLOUR for name in names],
        height=0.7,
    )
    for place, one in enumerate(spreads):
        if one is None:
            axes.annotate("not measured", (0, place), (3, 0), textcoords="offset points", va="center", fontsize=7)
            continue
        axes.plot([one.low * figure.scale, one.high * figure.scale], [place, place], color=RANGE_COLOUR, linewidth=1)
        end = (one.high * figure.scale, place)
        axes.annotate(figure.show(one.median), end, (3, 0), textcoords="offset points", va="center", fontsize=8)
    better = "more" if figure.more_is_better else "less"
    axes.set_title(figure.title, fontsize=8)
    axes.set_xlabel(f"{figure.unit} ({better} is better)", fontsize=8)
    axes.set_xlim(0, longest * 1.25)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=7)
    axes.spines[["top", "right", "left"]].set_visible(False)
