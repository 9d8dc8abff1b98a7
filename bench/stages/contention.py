"""What two data planes, or two shards of one, cost each other on two processors, against each alone. Needs root.

    python -m bench.stages.contention [--rounds N]

Both carry a stream of their own, each in one thread on its own processor (tests/native/stages.pyx), with a TUN and
sockets of its own. Two planes share nothing but the machine, its kernel and this process; two shards share peers, keys
and tables, and take the peers' locks. The ratio of their processor time together to that alone, 1 where neither notices
the other, is what this machine can say of scaling: caches and memory that are shared, locks and lines that are. What
the locks cost where nobody waits is the other ratio: a shard alone to a plane alone.
Lock-prefixed instructions a packet are counted by single-stepping the stages. (`perf c2c` would name the lines; it
needs the processor's memory events, which virtual machines seldom have.)
"""

import argparse
import contextlib
import os
import statistics
import sys
import threading
from collections.abc import Sequence

from bench import report
from bench.stages import costs, place
from bench.stages.locks import locked_a_packet
from bench.stages.measured import WAYS
from bench.tunnel.builds import NotInstalledError
from bench.tunnel.command import CommandError, prioritised
from tests.native.stages import Stream

ROUND_LEN = 200 * costs.FRAME_LEN
NICE = -15


def main() -> int:
    """Measures and tells."""
    parser = argparse.ArgumentParser(prog="bench.stages.contention", description="Two planes at once, and each alone.")
    parser.add_argument("--rounds", type=int, default=60)
    given = parser.parse_args()
    if os.geteuid() != 0:
        print("bench.stages.contention: network namespaces and TUN interfaces need root", file=sys.stderr)
        return 2
    processors = sorted(os.sched_getaffinity(0))[:2]
    if len(processors) < 2:
        print("bench.stages.contention: this takes two processors", file=sys.stderr)
        return 2
    try:
        with prioritised(NICE), contextlib.ExitStack() as stack:
            planes = [stack.enter_context(place.place()).stream for _ in processors]
            shards = [stack.enter_context(place.place()).stream]
            shards.append(stack.enter_context(place.place(beside=shards[0])).stream)
            rounds = [both_ratios(planes, shards, processors) for _ in range(given.rounds)]
            locked = [locked_a_packet(one[0]) for one in (planes, shards)]
    except (CommandError, NotInstalledError, OSError) as error:
        print(f"bench.stages.contention: {error}", file=sys.stderr)
        return 1
    rows = [
        [name, *(f"{value:.2f}" for value in statistics.quantiles([one[name] for one in rounds], n=4))]
        for name in rounds[0]
    ]
    print(report.table(["processor time", "quarter", "median", "three quarters"], rows))
    for what, found in zip(("a plane", "a shard"), locked, strict=True):
        told = ", ".join(f"{way} {count:.2f}" for way, count in found.items()) or "not told here"
        print(f"\nlock-prefixed instructions a packet, {what}: {told}")
    return 0


def both_ratios(planes: Sequence[Stream], shards: Sequence[Stream], processors: Sequence[int]) -> dict[str, float]:
    """Two planes together by each alone, two shards likewise, and shards alone by planes alone; of each way."""
    of_planes, planes_alone = ratios(planes, processors)
    of_shards, shards_alone = ratios(shards, processors)
    return (
        {f"{way}, two planes together / alone": of_planes[way] for way in WAYS}
        | {f"{way}, two shards together / alone": of_shards[way] for way in WAYS}
        | {f"{way}, a shard / a plane, alone": shards_alone[way] / planes_alone[way] for way in WAYS}
    )


def ratios(streams: Sequence[Stream], processors: Sequence[int]) -> tuple[dict[str, float], dict[str, float]]:
    """The processor time of each way's stages with both streams at once, by that with one after the other; and that."""
    alone = [spent(stream, cpu) for stream, cpu in zip(streams, processors, strict=True)]
    together: list[dict[str, float]] = [{}, {}]

    def run(number: int) -> None:
        together[number] = spent(streams[number], processors[number])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    apart = {way: sum(one[way] for one in alone) for way in WAYS}
    return {way: sum(one[way] for one in together) / apart[way] for way in WAYS}, apart


def spent(stream: Stream, cpu: int) -> dict[str, float]:
    """Microseconds a superframe of each way, in a thread that is then on this processor."""
    before = os.sched_getaffinity(0)
    try:
        _, times = stream.carry(ROUND_LEN, cpu=cpu)
    finally:
        os.sched_setaffinity(0, before)
    one = costs.summarize([costs.frame_us(times)])
    return {way: costs.total({name: cost.median for name, cost in one.items()}, stages) for way, stages in WAYS.items()}


if __name__ == "__main__":
    sys.exit(main())
