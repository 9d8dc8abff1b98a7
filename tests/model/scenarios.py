"""What is explored: a driver with its numbers, and how."""

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class How:
    """How the states of a scenario are explored (struct options in engine.h)."""

    stale: int = 0
    races: int = 1
    preemptions: int = -1
    spurious: int = 0
    states_max: int = 300_000_000


@dataclass(frozen=True)
class Scenario:
    driver: str
    plan: dict[str, int]
    how: How

    def run(self, directory: Path, engine: Path, *, timeout: float | None = None) -> "Explored":
        """Explores it with what was built into `directory`."""
        command = (
            *("env", f"LD_PRELOAD={engine}", f"PYTHONPATH={directory}", sys.executable, "-P"),
            *("-m", "tests.model.inside", self.driver, json.dumps(self.plan), json.dumps(asdict(self.how))),
        )
        done = subprocess.run(
            command,
            check=False,
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"status {done.returncode}\n{done.stderr[-2000:]}"
        return Explored(**json.loads(done.stdout))


@dataclass(frozen=True)
class Explored:
    """`states` are distinct; `ends` are those in which no thread can go on. `complete`: there are no others."""

    states: int
    transitions: int
    ends: int
    depth: int
    complete: bool
    fault: str
    trail: str
    reached: list[str]  # counters of the data plane that an end had
    cpu_seconds: float

    def __str__(self) -> str:
        if self.fault:
            return f"{self.fault}, after {self.states} states:\n{self.trail}"
        return (
            f"{self.states} states, {self.transitions} steps, {self.ends} ends, longest path {self.depth}"
            f"{'' if self.complete else ', NOT COMPLETE'}; {self.cpu_seconds:.1f} s"
        )


_REST = ("pool", "refusals", "holds", "lanes", "together", "looks", "lost")


def ring(how: How, slots: int, count: int, helpers: int, **given: int) -> Scenario:
    """The numbers of Plan in ring.pyx."""
    assert set(given) <= set(_REST)
    plan = {"slots": slots, "count": count, "helpers": helpers, **dict.fromkeys(_REST, 0), **given}
    return Scenario("ring", plan, how)


_TRAFFIC = ("helpers", "packets", "messages", "sessions", "full", "heavy", "looks")
_NUMBERS = (*_TRAFFIC, "remove", "retire", "install", "detach", "stop")


def tunnel(how: How, **given: int) -> Scenario:
    """The numbers of Plan in tunnel.pyx; both peers have sessions unless `sessions` says otherwise."""
    assert set(given) <= set(_NUMBERS)
    return Scenario("tunnel", {**dict.fromkeys(_NUMBERS, 0), "sessions": 3, **given}, how)


_OF_SHARDS = ("packets", "messages", "same", "session", "full", "watch", "install", "retire", "remove", "detach")


def shards(how: How, **given: int) -> Scenario:
    """The numbers of Plan in shards.pyx."""
    assert set(given) <= set(_OF_SHARDS)
    return Scenario("shards", {**dict.fromkeys(_OF_SHARDS, 0), **given}, how)


SC, OLD = How(), How(stale=1)
USE = How(races=0)
SOME = How(preemptions=3)
FEW = How(races=0, preemptions=2)
FEW_MORE = How(preemptions=2)
"""Use after free, order and wake-ups, in worlds with too many variables to follow each."""
SHORT = {
    "ring of one slot": ring(OLD, 1, 2, 1),
    "ring of two slots": ring(OLD, 2, 3, 1),
    "two helpers": ring(SC, 2, 2, 2),
    "the socket is full": ring(SC, 2, 3, 1, refusals=1),
    "held by the control plane": ring(OLD, 2, 2, 1, holds=1),
    "held while the socket is full": ring(SC, 1, 2, 1, refusals=1, holds=1),
    "a lane": ring(SC, 2, 2, 2, lanes=1),
    "a lane, older values": ring(OLD, 1, 2, 1, lanes=1),
    "two lanes": ring(SOME, 2, 2, 2, lanes=2),
    "a slot goes together": ring(SOME, 2, 2, 2, lanes=2, together=2),
    "lanes held by the control plane": ring(SOME, 2, 2, 1, lanes=2, holds=1),
    "in turns": ring(SC, 2, 2, 2, looks=1),
    "in turns, older values": ring(OLD, 2, 2, 1, looks=1),
    "in turns, and the socket is full": ring(SC, 2, 2, 1, looks=1, refusals=1),
    "in turns, held by the control plane": ring(SC, 2, 2, 1, looks=1, holds=1),
    "a thread that waits for its turn loses its processor": ring(FEW_MORE, 3, 3, 2, looks=1, lost=1),
    "a helper that sleeps": ring(OLD, 2, 2, 1, pool=1),
    "handed off and taken back": tunnel(USE, packets=2, messages=1, heavy=1),
    "handed off, and the socket is full": tunnel(USE, packets=2, full=1),
    "a peer goes, with packets and messages": tunnel(USE, packets=2, messages=1, remove=1),
    "a peer goes while a full socket holds its packets": tunnel(USE, packets=2, full=1, remove=1),
    "a session comes to staged packets": tunnel(USE, packets=2, sessions=2, install=1),
    "a session comes and goes, and its peer": tunnel(USE, packets=2, sessions=2, install=1, retire=1, remove=1),
    "a session goes while it opens": tunnel(USE, messages=2, retire=1),
    "the threads end": tunnel(USE, packets=1, messages=1, stop=1),
    "a helper at hand": tunnel(USE, packets=1, helpers=1),
    "a helper that seals": tunnel(FEW, packets=1, heavy=2, helpers=1),
    "helpers that seal and send in turns": tunnel(FEW, packets=2, heavy=4, helpers=1, looks=1),
    "a helper that opens": tunnel(FEW, messages=1, heavy=2, helpers=1),
    "two shards send for a peer": shards(USE, packets=2, session=1),
    "two shards get the same messages": shards(SC, messages=3, same=1, session=1, watch=1),
    "a session comes to what two shards have staged": shards(USE, packets=2, install=1),
    "a message to either shard confirms a session": shards(FEW, packets=1, messages=1, session=2),
    "a peer goes while two shards send": shards(USE, packets=1, full=1, session=1, remove=1),
    "a peer goes while two shards deliver": shards(USE, messages=1, session=1, remove=1),
    "a session goes while two shards use it": shards(USE, packets=1, messages=1, session=1, retire=1),
    "the sockets of two shards go": shards(USE, messages=1, session=1, detach=1),
}
"""Explored by test_model.py, in some seconds."""
LONG = {
    "ring of one slot, older values": ring(How(stale=3), 1, 3, 1, refusals=1),
    "ring of two slots, older values": ring(How(stale=3), 2, 4, 1),
    "ring of three slots": ring(OLD, 3, 4, 1),
    "one slot, full, held": ring(OLD, 1, 2, 1, refusals=1, holds=1),
    "two slots, full": ring(OLD, 2, 3, 1, refusals=1),
    "two slots, full, held": ring(OLD, 2, 2, 1, refusals=1, holds=1),
    "two helpers, one slot": ring(OLD, 1, 2, 2),
    "two helpers, three of two slots": ring(SC, 2, 3, 2),
    "two helpers, held": ring(SC, 2, 2, 2, holds=1),
    "a lane, two helpers, older values": ring(OLD, 2, 2, 2, lanes=1),
    "two lanes, two helpers": ring(SC, 2, 2, 2, lanes=2),
    "two lanes, older values": ring(OLD, 1, 2, 1, lanes=2),
    "two lanes, held": ring(SC, 1, 2, 1, lanes=2, holds=1),
    "slots go together": ring(SC, 2, 3, 1, lanes=2, together=2),
    "slots go together, two helpers": ring(SC, 2, 2, 2, lanes=2, together=3),
    "three lanes, a slot goes together": ring(SC, 1, 2, 1, lanes=3, together=1),
    "in turns, three slots": ring(SC, 2, 3, 1, looks=1),
    "in turns, three helpers": ring(SOME, 3, 3, 3, looks=1),
    "in turns, two looks": ring(SC, 2, 2, 2, looks=2),
    "in turns, full, held": ring(SC, 2, 2, 1, looks=1, refusals=1, holds=1),
    "in turns, older values, held": ring(OLD, 2, 2, 1, looks=1, holds=1),
    "a thread loses its processor, in more orders": ring(SOME, 3, 3, 2, looks=1, lost=1),
    "a thread loses its processor, three helpers": ring(FEW_MORE, 3, 3, 3, looks=1, lost=1),
    "a thread loses its processor beside three": ring(FEW_MORE, 4, 4, 3, looks=1, lost=1),
    "a helper that sleeps, three slots": ring(SC, 2, 3, 1, pool=1),
    "two helpers that sleep": ring(SC, 2, 2, 2, pool=1),
    "woken without a cause": ring(How(spurious=2), 2, 2, 1, pool=1, holds=1),
    "the socket goes": tunnel(USE, packets=1, messages=1, detach=1),
    "a peer goes beside a helper": tunnel(USE, packets=1, helpers=1, remove=1),
    "a peer goes while a helper opens": tunnel(How(races=0, preemptions=3), messages=1, heavy=2, helpers=1, remove=1),
    "a peer goes while a helper seals": tunnel(How(races=0, preemptions=3), packets=2, heavy=2, helpers=1, remove=1),
    "a peer goes while helpers send in turns": tunnel(
        How(races=0, preemptions=3), packets=2, heavy=4, helpers=1, looks=1, remove=1
    ),
    "the threads and a helper end": tunnel(USE, packets=1, helpers=1, stop=1),
    "two shards get the same messages, older values": shards(OLD, messages=1, same=1, session=1, watch=1),
    "two shards send, watched": shards(SC, packets=2, session=1, watch=1),
    "messages to either shard confirm a session": shards(FEW, packets=2, messages=2, session=2),
    "a peer goes while two shards do everything": shards(FEW, packets=2, messages=2, full=1, session=1, remove=1),
}
"""Explored by python -m tests.model, in minutes."""
