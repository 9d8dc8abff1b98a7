"""What floods do to a daemon: to strangers that want a handshake, a TCP stream beside it, its processor and memory.

    python -m bench.tunnel.floods [--quick] [--daemons A,B] [--only FLOOD,...] [--rates 20000,0] [--output FILE]

For each daemon in turn a lab, and in it every flood (FLOODS) at every rate; 0 is what the generator can send. README.md
says what the figures mean.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.report import table

from . import new_peers, traffic, usage
from .attacker import LINE_RATE, Attacker
from .builds import NotInstalledError
from .command import CommandError
from .implementations import Implementation, build, version
from .lab import Lab
from .new_peers import NewPeer
from .results import machine
from .site import Site

RESULTS = Path(__file__).resolve().parents[1] / "results" / "floods.json"
NEWEST, DISTRIBUTIONS = "wireguard-go-new", "wireguard-go"
RATES = (20_000, 100_000, LINE_RATE)
QUICK_RATES = (20_000, LINE_RATE)
STRANGERS = 50
MIB = 1 << 20

Messages = Callable[[Attacker], list[bytes]]


@dataclass(frozen=True, slots=True)
class Kind:
    """One flood. `real`: it comes from one real address, and not from forged ones."""

    name: str
    messages: Messages
    real: bool = False


FLOODS: Sequence[Kind] = (
    Kind("mac1", Attacker.initiations),
    Kind("bad-mac1", Attacker.bad_initiations),
    Kind("unknown-index", Attacker.unknown_index),
    Kind("junk", Attacker.junk),
    Kind("cookie-replies", Attacker.cookie_replies),
    Kind("mac2", Attacker.with_mac2, real=True),
    Kind("responses", Attacker.forged_responses),
    Kind("replayed", Attacker.replayed_initiation),
    Kind("bad-tag", Attacker.bad_transport),
)


@dataclass(frozen=True, slots=True)
class Effort:
    """How long each part takes, in seconds."""

    settle: float
    stream: float
    cpu: float
    spread: float


FULL = Effort(settle=0.4, stream=2.0, cpu=1.0, spread=1.0)
QUICK = Effort(settle=0.3, stream=1.0, cpu=0.5, spread=0.5)
ANSWER_WITHIN_S = 2.0


@dataclass(slots=True)
class Row:
    """What one flood at one rate did. Shares are 0..1; infinity (null in JSON): it did not come."""

    daemon: str
    flood: str
    rate: int
    sent_per_s: float = 0.0
    answered: float = 0.0
    """those of STRANGERS that got any answer"""
    handshake_s: float = math.inf
    """a whole one, from the first initiation to the response"""
    goodput: float = 0.0
    """of a TCP stream beside the flood, of what it was just before"""
    cpu_us: float = 0.0
    """processor microseconds a hostile datagram that the daemon received"""
    received: float = 0.0
    """the share of the datagrams that the daemon received; the others were lost before it"""
    growth_mib: float = 0.0
    """of the daemon's resident memory"""
    normal_s: float = math.inf
    """after the flood, until a stranger is answered without a cookie"""
    failed: str = ""


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table and writes the results; 1 when a row failed."""
    options = _options(argv)
    rows: list[Row] = []
    daemons = {name: _find(name) for name in options.daemons}
    about = {name: version(daemon) for name, daemon in daemons.items()}
    for name, daemon in daemons.items():
        for row in _measure(name, daemon, options):
            rows.append(row)
            print(_line(row), flush=True)
            if options.output is not None:
                found = {"machine": machine(), "versions": about, "rows": [_plain(one) for one in rows]}
                options.output.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")
    print()
    print(compare(rows, list(daemons)))
    return int(any(row.failed for row in rows))


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.tunnel.floods", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter rows, two rates; nothing to quote")
    parser.add_argument("--daemons", type=lambda text: text.split(","), default=["pywg", NEWEST])
    parser.add_argument("--only", type=lambda text: text.split(","), default=[kind.name for kind in FLOODS])
    parser.add_argument("--rates", type=lambda text: [int(rate) for rate in text.split(",")])
    parser.add_argument("--output", type=Path, help=f"default: {RESULTS}, unless --quick or a choice is given")
    options = parser.parse_args(argv)
    if options.output is None and argv is None and len(sys.argv) == 1:
        options.output = RESULTS
    options.rates = options.rates or (QUICK_RATES if options.quick else RATES)
    options.effort = QUICK if options.quick else FULL
    return options


def _find(name: str) -> Implementation:
    """The daemon; the distribution's wireguard-go where the newest can't be built."""
    try:
        return build(name)
    except NotInstalledError as error:
        if name != NEWEST:
            raise
        print(f"floods: {error}; the distribution's takes its place", file=sys.stderr)
        return build(DISTRIBUTIONS)


def _measure(name: str, daemon: Implementation, options: argparse.Namespace) -> Iterator[Row]:
    with Lab(daemon, daemon) as lab, Attacker(lab) as attacker:
        honest = new_peers.meet(attacker, STRANGERS + 1)
        if new_peers.share_answered(honest, 1.0, ANSWER_WITHIN_S) < 1:
            raise CommandError(f"{name} does not answer all strangers even without a flood")
        for kind in FLOODS:
            if kind.name not in options.only:
                continue
            for rate in options.rates:
                row = Row(name, kind.name, rate)
                try:
                    _flood(row, attacker, honest, kind, options.effort)
                except (CommandError, TimeoutError, OSError) as error:
                    row.failed = str(error).splitlines()[0]
                yield row
                if not all(site.alive() for site in lab.sites):
                    raise CommandError(f"a daemon died in {_line(row)}")


def _flood(row: Row, attacker: Attacker, honest: Sequence[NewPeer], kind: Kind, effort: Effort) -> None:
    """All figures of one row, in three parts: the stream beside the flood, the flood alone, and afterwards."""
    far = attacker.lab.far
    row.goodput, before = _goodput(attacker, kind.messages(attacker), kind, row.rate, effort)
    new_peers.time_to_normal(honest)
    messages = kind.messages(attacker)  # what they name may have changed
    with attacker.flooding(messages, row.rate, real=kind.real) as flood, ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        time.sleep(effort.settle)
        with _received(far) as received:
            cpu, then = usage.cpu_s(far.pid), time.monotonic()
            time.sleep(effort.cpu)
            cpu, took = usage.cpu_s(far.pid) - cpu, time.monotonic() - then
        whole = pool.submit(honest[-1].handshake)
        row.answered = new_peers.share_answered(honest[:-1], effort.spread, ANSWER_WITHIN_S)
        row.handshake_s = whole.result()
        ran = time.monotonic() - began
        flood.stop()
    row.sent_per_s = flood.sent / ran
    datagrams = max(received.datagrams(), 1)
    row.cpu_us = cpu / datagrams * 1e6
    row.received = min(datagrams / (row.sent_per_s * took), 1.0)
    row.normal_s = new_peers.time_to_normal(honest)
    row.growth_mib = max(far.usage().peak_rss_bytes - before, 0) / MIB


def _goodput(attacker: Attacker, messages: list[bytes], kind: Kind, rate: int, effort: Effort) -> tuple[float, int]:
    """The share of the stream's goodput that is left, and the bytes of memory that the daemon had before the flood."""
    near, far = attacker.lab.sites
    with traffic.background(near, far, far.inner(4)):
        time.sleep(effort.settle)
        calm = _inner_rate(far, effort.stream / 2)
        usage.reset_peak(far.pid)
        before = far.usage().peak_rss_bytes
        with attacker.flooding(messages, rate, real=kind.real):
            time.sleep(effort.settle)
            flooded = _inner_rate(far, effort.stream)
    return (flooded / calm if calm else 0.0), before


def _inner_rate(site: Site, seconds: float) -> float:
    """Bytes a second that come out of the tunnel."""

    def so_far() -> int:
        rows = Path(f"/proc/{site.pid}/net/dev").read_text().splitlines()
        return next(int(row.split()[1]) for row in rows if row.split(":")[0].strip() == site.interface)

    before, began = so_far(), time.monotonic()
    time.sleep(seconds)
    return (so_far() - before) / (time.monotonic() - began)


class _Received:
    """UDP datagrams that the daemon's namespace took in, less those that were lost for want of room in its socket."""

    def __init__(self, site: Site) -> None:
        self._pid = site.pid
        self._before = self._now()
        self._after = self._before

    def stop(self) -> None:
        self._after = self._now()

    def datagrams(self) -> int:
        return self._after - self._before

    def _now(self) -> int:
        names, values = (
            line.split() for line in Path(f"/proc/{self._pid}/net/snmp").read_text().splitlines() if line[:4] == "Udp:"
        )
        counts = dict(zip(names[1:], map(int, values[1:]), strict=True))
        return counts["InDatagrams"]


@contextmanager
def _received(site: Site) -> Iterator[_Received]:
    received = _Received(site)
    yield received
    received.stop()


def _plain(row: Row) -> dict[str, str | float | None]:
    """For JSON, which has no infinity: null."""
    return {name: None if value == math.inf else value for name, value in asdict(row).items()}


def _rate(rate: int) -> str:
    return f"{rate / 1000:g} k/s" if rate else "line rate"


def _cells(row: Row) -> list[str]:
    if row.failed:
        return [f"failed: {row.failed}", *[""] * 7]
    return [
        f"{row.sent_per_s / 1000:.0f} k/s",
        f"{row.received:.0%}",
        f"{row.answered:.0%}",
        f"{row.handshake_s:.1f} s",
        f"{row.goodput:.0%}",
        f"{row.cpu_us:.1f} us",
        f"+{row.growth_mib:.1f} MiB",
        f"{row.normal_s:.1f} s",
    ]


def _line(row: Row) -> str:
    return "  ".join([f"{row.daemon}: {row.flood}, {_rate(row.rate)}:", *_cells(row)])


HEADER = (
    "flood",
    "rate",
    "daemon",
    "sent",
    "received",
    "answered",
    "handshake",
    "goodput",
    "CPU each",
    "memory",
    "normal",
)


def compare(rows: Sequence[Row], daemons: Sequence[str]) -> str:
    """The rows as a table, with the daemons below each other for each flood and rate, and what is not as it should."""
    found = {(row.flood, row.rate, row.daemon): row for row in rows}
    order = dict.fromkeys((row.flood, row.rate) for row in rows)
    lines = [
        [flood, _rate(rate), name, *_cells(found[flood, rate, name])]
        for flood, rate in order
        for name in daemons
        if (flood, rate, name) in found
    ]
    said = [table(HEADER, lines)]
    if len(daemons) > 1:
        for flood, rate in order:
            ours, other = (found.get((flood, rate, name)) for name in daemons[:2])
            if ours is not None and other is not None:
                said += [f"missed: {flood}, {_rate(rate)}: {what}" for what in missed(ours, other)]
    return "\n".join(said)


SLOW_RATE = 20_000


def missed(ours: Row, other: Row) -> list[str]:
    """The targets that our row does not reach, beside the other daemon's."""
    slow = ours.rate == SLOW_RATE
    targets = {
        f"{ours.answered:.0%} of the strangers answered, the other {other.answered:.0%}": (
            ours.answered >= other.answered and (not slow or ours.answered >= 0.9)
        ),
        f"a handshake in {ours.handshake_s:.1f} s": ours.handshake_s <= 11,
        f"goodput {ours.goodput:.0%}, the other {other.goodput:.0%}": (
            ours.goodput >= (0.7 if slow else 0) and (ours.goodput >= other.goodput or ours.goodput >= 0.97)
        ),
        f"{ours.cpu_us:.1f} us a datagram, the other {other.cpu_us:.1f}": ours.cpu_us < other.cpu_us,
        f"+{ours.growth_mib:.1f} MiB": ours.growth_mib <= 4,
        f"normal after {ours.normal_s:.1f} s": ours.normal_s <= 2,
    }
    return [what for what, reached in targets.items() if not reached]


if __name__ == "__main__":
    sys.exit(main())
