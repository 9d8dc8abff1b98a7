"""The model of `pywg top`: what was seen of the interfaces over time, as rows that can be sorted. It draws nothing."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pywg.config.addresses import format_sock_addr
from pywg.manage import process
from pywg.manage.names import names_of
from pywg.manage.reasons import Drop, drops
from pywg.manage.sight import Rates, Sight, rates
from pywg.manage.verdict import Verdict, place, verdict

HISTORY: Final = 120
"""Rates that are kept of a peer, and of the whole."""


class Row(NamedTuple):
    """One peer at the latest look."""

    interface: str
    name: str
    key: bytes
    verdict: Verdict
    endpoint: str
    rx_rate: float
    """bytes a second, as all rates here"""
    tx_rate: float
    rx_bytes: int
    tx_bytes: int
    history: tuple[float, ...]
    """both directions together, oldest first"""


class Batches(NamedTuple):
    """Datagrams or packets a system call in the last interval, 0 for none: full batches are what makes speed."""

    sent: float
    received: float
    written: float
    """packets a frame for the TUN"""


class Thread(NamedTuple):
    """A thread of a daemon."""

    interface: str
    name: str
    share: float
    """of one processor, 0..1"""


COLUMNS: Final[dict[str, Callable[[Row], object]]] = {
    "peer": lambda row: (row.name.casefold(), row.interface),
    "handshake": lambda row: place(row.verdict),
    "rx/s": lambda row: -row.rx_rate,
    "tx/s": lambda row: -row.tx_rate,
    "rx": lambda row: -row.rx_bytes,
    "tx": lambda row: -row.tx_bytes,
}
"""What rows can be sorted by: each with a key that sorts as one wants to see it first."""
DEFAULT_COLUMN: Final = "rx/s"


@dataclass(slots=True)
class Model:
    """All interfaces that are watched, by name. `names` and `threads` are asked anew with each look."""

    names: Callable[[str], dict[bytes, str]] = names_of
    threads_of: Callable[[int], dict[int, tuple[str, float]]] = process.threads
    sights: dict[str, Sight] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    """one line of each that the caller may not see"""
    rx: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))
    """rates of all peers together"""
    tx: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))
    batches: Batches = field(default_factory=lambda: Batches(0, 0, 0))
    threads: list[Thread] = field(default_factory=list)
    dropping: list[tuple[Drop, float]] = field(default_factory=list)
    """drops, with how many came a second in the last interval"""
    _rates: dict[str, Rates] = field(default_factory=dict)
    _histories: dict[tuple[str, bytes], deque[float]] = field(default_factory=dict)
    _seconds: dict[tuple[str, int], float] = field(default_factory=dict)
    """processor time by interface and thread, at the last look"""
    _looked_at: float = 0.0

    def take(self, sights: dict[str, Sight], refused: dict[str, str]) -> None:
        """Takes a new look at everything: what is not in it any more is gone."""
        before, self.sights, self.refused = self.sights, sights, refused
        self._rates = {name: rates(before[name], sight) for name, sight in sights.items() if name in before}
        for name, sight in sights.items():
            sight.names = self.names(name)
        if self._rates:
            self.rx.append(sum(one.rx for one in self._rates.values()))
            self.tx.append(sum(one.tx for one in self._rates.values()))
        self._remember()
        at = max((sight.at for sight in sights.values()), default=self._looked_at)
        seconds, self._looked_at = at - self._looked_at, at
        self._measure(before, seconds)

    def rows(self, column: str = DEFAULT_COLUMN, *, backwards: bool = False) -> list[Row]:
        """All peers, sorted by one of COLUMNS. Equal ones stay in the daemon's order."""
        rows = [self._row(sight, number) for sight in self.sights.values() for number in range(len(sight.status.peers))]
        rows.sort(key=COLUMNS[column], reverse=backwards)  # type: ignore[arg-type]
        return rows

    def _row(self, sight: Sight, number: int) -> Row:
        peer = sight.status.peers[number]
        speed = self._rates.get(sight.interface, Rates()).peers.get(peer.public_key, (0.0, 0.0))
        return Row(
            sight.interface,
            sight.name_of(peer),
            peer.public_key,
            verdict(sight, peer),
            "-" if peer.endpoint is None else format_sock_addr(peer.endpoint),
            *speed,
            peer.rx_bytes,
            peer.tx_bytes,
            tuple(self._histories.get((sight.interface, peer.public_key), ())),
        )

    def _remember(self) -> None:
        present = set()
        for name, sight in self.sights.items():
            speeds = self._rates.get(name, Rates()).peers
            for peer in sight.status.peers:
                present.add((name, peer.public_key))
                if peer.public_key in speeds:
                    history = self._histories.setdefault((name, peer.public_key), deque(maxlen=HISTORY))
                    history.append(sum(speeds[peer.public_key]))
        for gone in self._histories.keys() - present:
            del self._histories[gone]

    def _measure(self, before: dict[str, Sight], seconds: float) -> None:
        grown = {name: _grown(before[name], sight) for name, sight in self.sights.items() if name in before}

        def total(counter: str) -> int:
            return sum(one.get(f"counter_{counter}", 0) for one in grown.values())

        self.batches = Batches(
            _ratio(total("tx_datagrams"), total("tx_sends")),
            _ratio(total("rx_datagrams"), total("rx_receives")),
            _ratio(total("rx_packets"), total("rx_tun_writes")),
        )
        counts: dict[str, str] = {}
        for sight in self.sights.values():
            for drop in drops(sight.stats):
                key = f"counter_{drop.name}"
                counts[key] = str(int(counts.get(key, "0")) + drop.times)
        self.dropping = [(drop, total(drop.name) / seconds if seconds > 0 else 0.0) for drop in drops(counts)]
        self.dropping.sort(key=lambda one: -one[1])
        self._measure_threads(seconds)

    def _measure_threads(self, seconds: float) -> None:
        last, self._seconds, self.threads = self._seconds, {}, []
        for name, sight in self.sights.items():
            for number, (thread, used) in sorted(self.threads_of(sight.daemon.pid).items()) if sight.daemon.pid else ():
                self._seconds[name, number] = used
                share = max(used - last.get((name, number), used), 0.0) / seconds if seconds > 0 else 0.0
                self.threads.append(Thread(name, thread, min(share, 1.0)))


def _grown(before: Sight, after: Sight) -> dict[str, int]:
    return {
        name: max(after.number(name) - before.number(name), 0) for name in after.stats if name.startswith("counter_")
    }


def _ratio(count: int, calls: int) -> float:
    return count / calls if calls else 0.0
