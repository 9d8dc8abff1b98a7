"""The order of sending, simulated: who sends a batch, the thread that sealed it or another, and what that gives.

    python -m bench.stages.turns [--stages FILE]

A model, and no measurement: the sending ring of `pywg/dataplane/reorder/`, with a processor for each thread, and the
stages' costs from bench.stages. It leaves out what bench.stages.model does, and wake-ups.
"""

import argparse
import heapq
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench import report
from bench.stages import costs
from bench.stages.model import FRAME_BITS, RESULTS, medians
from bench.stages.simulation import VARIATION

HELPERS = (2, 3, 4, 5, 6, 8)
FEW_HELPERS = 4
FRAMES_A_BATCH = 2
BATCHES = 6000
HAND_OVER_US = 0.15  # until another processor sees what one has written

Step = float | Callable[[], bool]
"""What a thread does next: work for so many microseconds, or wait until something is so."""


@dataclass
class Ring:
    """The ring and its threads. Times are microseconds a superframe."""

    read: float
    seal: float
    near: float  # to send what the thread itself has sealed
    far: float
    helpers: int
    turns: bool
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    submitted: int = 0
    taken: int = 0
    finished: int = 0
    finishing: bool = False
    kept: dict[int, bool] = field(default_factory=dict)  # of each slot that is worked on
    by: dict[int, int] = field(default_factory=dict)
    sent_by_own: int = 0

    def simulate(self) -> tuple[float, float]:
        """Superframes a second, and the share that was sent by the thread that had sealed it."""
        threads = [self._reader(), *(self._helper(number) for number in range(1, self.helpers + 1))]
        events = [(0.0, number, thread) for number, thread in enumerate(threads)]
        waiting: list[tuple[Callable[[], bool], Iterator[Step]]] = []
        now, count = 0.0, len(events)
        while self.finished < BATCHES:
            now, _, running = heapq.heappop(events)
            while True:
                step = next(running)
                if callable(step):
                    waiting.append((step, running))
                else:
                    count += 1
                    heapq.heappush(events, (now + step, count, running))
                at = next((at for at, (ready, _) in enumerate(waiting) if ready()), None)
                if at is None:
                    break
                _, running = waiting.pop(at)
        return FRAMES_A_BATCH * self.finished / now * 1e6, self.sent_by_own / self.finished

    def _us(self, us: float) -> float:
        return us * FRAMES_A_BATCH * self.chance.uniform(1 - VARIATION, 1 + VARIATION)

    def _reader(self) -> Iterator[Step]:
        slots = 8 if self.helpers <= FEW_HELPERS else 16
        while True:
            if self.submitted - self.finished < slots:
                yield self._us(self.read)
                self.submitted += 1
            elif self.taken < self.submitted:
                yield from self._work(0)
            else:
                yield lambda: self.submitted - self.finished <= slots // 2

    def _helper(self, number: int) -> Iterator[Step]:
        while True:
            if self.taken < self.submitted:
                yield from self._work(number)
            else:
                yield lambda: self.taken < self.submitted

    def _work(self, thread: int) -> Iterator[Step]:
        """reorder_work(), and take_turn() where there are turns; nobody loses its processor."""
        number = self.taken
        self.taken += 1
        self.by[number] = thread
        yield self._us(self.seal)
        waits = self.turns and all(
            before in self.kept or (before == self.finished and self.finishing)
            for before in range(self.finished, number)
        )
        self.kept[number] = waits and self.kept.get(number + 1, True)
        if waits:
            yield lambda: self.finished > number or (self.finished == number and not self.finishing)
            yield HAND_OVER_US
            if number in self.kept:
                self.kept[number] = False
        yield from self._finish(thread)

    def _finish(self, thread: int) -> Iterator[Step]:
        while not self.finishing and self.kept.get(self.finished) is False:
            self.finishing = True
            while self.kept.get(self.finished) is False:
                own = self.by.pop(self.finished) == thread
                self.sent_by_own += own
                yield self._us(self.near if own else self.far)
                del self.kept[self.finished]
                self.finished += 1
            self.finishing = False


def main() -> None:
    """Tells what the simulation says."""
    parser = argparse.ArgumentParser(prog="bench.stages.turns", description="The order of sending: a model.")
    parser.add_argument("--stages", type=Path, default=RESULTS / "stages.json", metavar="FILE")
    text = json.loads(parser.parse_args().stages.read_text())
    near, far = medians(text, "here"), medians(text, "apart")
    rows = []
    for helpers in HELPERS:
        cells = [str(helpers)]
        for turns in (False, True):
            read = costs.total(far, costs.SERIAL["out: reader"])
            ring = Ring(read, far["seal"], near["send"], far["send"], helpers, turns)
            frames_per_s, own = ring.simulate()
            cells += [report.gbit(frames_per_s * FRAME_BITS), f"{own:.0%}"]
        rows.append(cells)
    print("A MODEL, not measured: outwards, with a processor for each thread\n")
    print(report.table(["helpers", "any thread sends, Gb/s", "its own", "in turns, Gb/s", "its own"], rows))


if __name__ == "__main__":
    main()
