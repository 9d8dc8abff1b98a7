"""A discrete-event simulation of superframes that pass stations, which share the processors of machines.

A station does one superframe at a time in each of its places, and holds a processor of its machine while it does. A
closed loop: a fixed number of superframes is on the way, and the first station begins the next as soon as one has left.
Where several stations could go on, the one farthest down the way does, as threads that run to completion would. Times
vary a little, by a generator with a fixed seed: in step, stations would never wait for each other.
"""

import heapq
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ON_THE_WAY = 64
FRAMES = 4000
VARIATION = 0.2
"""Each time is drawn evenly from this much below its mean to as much above."""


@dataclass(frozen=True, slots=True)
class Station:
    """`us` of processor time a superframe, in `places` at once, on the processors of `machine`."""

    name: str
    us: float
    machine: str
    places: int = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """Superframes a second, and each station's share of the time that it was busy in all its places."""

    frames_per_s: float
    busy: Mapping[str, float]

    @property
    def fullest(self) -> str:
        """The station that was busy most."""
        return max(self.busy, key=lambda name: self.busy[name])


def simulate(way: Sequence[Station], processors: Mapping[str, int], frames: int = FRAMES) -> Outcome:
    """Lets so many superframes go all the way. `processors`: of each machine."""
    chance = random.Random(1)
    waiting = [0] * len(way)
    waiting[0] = ON_THE_WAY
    working = [0] * len(way)
    free = dict(processors)
    busy_us = [0.0] * len(way)
    events: list[tuple[float, int, int]] = []
    now, done, number = 0.0, 0, 0
    while done < frames:
        for at in range(len(way) - 1, -1, -1):
            one = way[at]
            while waiting[at] and working[at] < one.places and free[one.machine]:
                took_us = one.us * chance.uniform(1 - VARIATION, 1 + VARIATION)
                waiting[at] -= 1
                working[at] += 1
                free[one.machine] -= 1
                busy_us[at] += took_us
                number += 1
                heapq.heappush(events, (now + took_us, number, at))
        now, _, at = heapq.heappop(events)
        working[at] -= 1
        free[way[at].machine] += 1
        following = (at + 1) % len(way)
        waiting[following] += 1
        done += following == 0
    shares = {one.name: spent / now / one.places for one, spent in zip(way, busy_us, strict=True)}
    return Outcome(done / now * 1e6, shares)
