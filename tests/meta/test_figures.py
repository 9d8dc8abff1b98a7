"""README's tables of measurements, and what other pages repeat of them, against the files in bench/results."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz.guided import TARGETS as GUIDED
from tests.fuzz.native.builds import TARGETS as NATIVE

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
MIB = 1 << 20
ROWS: dict[str, tuple[str, float, int]] = {
    "TCP, 1 stream, Gb/s": ("tcp_1", 1e9, 2),
    "TCP, 4 streams, Gb/s": ("tcp_4", 1e9, 2),
    "TCP, both ways, Gb/s": ("tcp_bidir", 1e9, 2),
    "TCP, 1 stream, VXLAN inside, Gb/s": ("tcp_vxlan", 1e9, 2),
    "UDP 1390 B, < 1 % lost, Gb/s": ("udp_1390_bits", 1e9, 2),
    "UDP 64 B, < 1 % lost, kpps": ("udp_64_pps", 1e3, 0),
    "CPU s/GB, both daemons, s/GB": ("cpu_s_per_gb", 1, 2),
    "RTT idle, p50, ms": ("rtt_idle_p50", 1, 3),
    "RTT under TCP, p99, ms": ("rtt_load_p99", 1, 2),
    "peak RSS of a daemon, MiB": ("peak_rss", MIB, 0),
    "start to ready, ms": ("ready_s", 1e-3, 0),
}
"""By the words of a row: its measure, the unit, and digits behind the point."""
SOAKED = {
    "no byte was damaged": r"of ([\d.]+ GB)",
    "no outage over 1 s": r"([\d.]+ s)",
    "near: memory grows by at most 0.5 MiB an hour": r"([\d.]+) MiB/h",
    "far: memory grows by at most 0.5 MiB an hour": r"([\d.]+) MiB/h",
    "keys rotated": r"(\d+) handshakes",
}
"""What pages repeat of the soak's verdicts."""
TABLES = (("pywg", "wireguard-go-new", "tailscale"), ("pywg", "wireguard-go", "boringtun", "openvpn"))


def results(name: str, what: str = "summary") -> Any:
    return json.loads((ROOT / "bench" / "results" / f"{name}.json").read_text())[what]


def tables(text: str) -> list[list[list[str]]]:
    """The cells of each table whose first cell is empty, without its two head lines."""
    found = re.findall(r"^\| \| .+\n\|[-|]+\|\n((?:\| .+\n)+)", text, re.M)
    return [[[cell.strip() for cell in line.strip("|").split("|")] for line in rows.splitlines()] for rows in found]


def shown(figure: dict[str, float], unit: float, digits: int) -> str:
    median, low, high = (f"{figure[which] / unit:.{digits}f}" for which in ("median", "low", "high"))
    return f"{median} ({low}-{high})"


def wrong_rows(text: str) -> list[str]:
    """Rows of README's two tables that are not what was measured."""
    wrong, measured = [], results("tunnel")
    for daemons, rows in zip(TABLES, tables(text), strict=True):
        for words, *cells in rows:
            measure, unit, digits = ROWS[words]
            if cells != [shown(measured[daemon][measure], unit, digits) for daemon in daemons]:
                wrong.append(words)
    return wrong


def test_readme_shows_what_was_measured() -> None:
    assert [len(rows) for rows in tables(README)] == [11, 5]
    assert wrong_rows(README) == []


def test_readme_says_which_version_was_measured() -> None:
    assert f"measured with {results('tunnel', 'versions')['pywg']}. " in README


def test_a_wrong_figure_is_found() -> None:
    assert wrong_rows(README.replace("2.75 (2.42-3.05)", "2.85 (2.42-3.05)")) == ["TCP, 4 streams, Gb/s"]
    assert wrong_rows(README.replace("| 83 (75-93) |", "| 83 (75-94) |")) == ["peak RSS of a daemon, MiB"]


@pytest.mark.parametrize(
    ("page", "words", "measured"),
    [
        ("README.md", r"a TCP stream ([\d.]+) times as fast", lambda: ratio("tcp_1", "pywg", "wireguard-go-new")),
        ("README.md", r"tailscale's fork ([\d.]+) times", lambda: ratio("tcp_1", "pywg", "tailscale")),
        ("docs/kernel-or-pywg.md", r"reaches ([\d.]+) Gb/s where", lambda: gigabits("forwarder")),
        ("docs/kernel-or-pywg.md", r"where pywg\s+reaches ([\d.]+)", lambda: gigabits("pywg")),
        ("docs/kernel-or-pywg.md", r"and ([\d.]+) when it cuts", lambda: gigabits("forwarder-cuts")),
        ("docs/fast-links.md", r"one stream did ([\d.]+) Gb/s", lambda: gigabits("pywg")),
        (
            "docs/fast-links.md",
            r"one stream ([\d.]+) times as fast as 1420",
            lambda: results("tunnel")["pywg"]["jumbo_gain"]["median"],
        ),
        ("README.md", r"runs (\d+) coverage-guided fuzzers", lambda: len(GUIDED) + len(NATIVE)),
    ],
)
def test_other_words_are_as_measured(page: str, words: str, measured: Any) -> None:
    (found,) = re.findall(words, re.sub(r"\s+", " ", (ROOT / page).read_text()))
    assert f"{measured():.{len(found.partition('.')[2])}f}" == found


def ratio(measure: str, one: str, other: str) -> float:
    measured = results("tunnel")
    return float(measured[one][measure]["median"] / measured[other][measure]["median"])


def gigabits(daemon: str) -> float:
    return float(results("tunnel")[daemon]["tcp_1"]["median"] / 1e9)


def unsaid(text: str) -> list[str]:
    """Figures of the soak's report that a page does not have."""
    verdicts = json.loads((ROOT / "bench/results/soak.json").read_text())["verdicts"]
    assert not [verdict for verdict in verdicts if verdict["holds"] is False], "pages say that all of it held"
    found = {verdict["what"]: verdict["found"] for verdict in verdicts}
    text = re.sub(r"(\d),(\d{3})", r"\1\2", text)
    return [what for what, figure in SOAKED.items() if re.findall(figure, found[what])[0] not in text]


@pytest.mark.parametrize("page", ["bench/README.md", "docs/security.md"])
def test_pages_say_what_the_soak_found(page: str) -> None:
    text = (ROOT / page).read_text()
    assert unsaid(text) == []
    assert unsaid(text.replace("136.4 GB", "136.3 GB")) == ["no byte was damaged"]
