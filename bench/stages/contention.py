"""What two data planes cost each other: two on two processors at once, against each of them alone. Needs root.

    python -m bench.stages.contention [--rounds N]

Both carry a stream of their own, each in one thread on its own processor (tests/native/stages.pyx), and share nothing
but the machine, its kernel and this process. The ratio of their processor time together to that alone, 1 where neither
notices the other, is what this machine can say of scaling: caches and memory that are shared, locks and lines that are.
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
            streams = [stack.enter_context(place.place()).stream for _ in processors]
            rounds = [ratios(streams, processors) for _ in range(given.rounds)]
            locked = locked_a_packet(streams[0])
    except (CommandError, NotInstalledError, OSError) as error:
        print(f"bench.stages.contention: {error}", file=sys.stderr)
        return 1
    rows = [
        [name, *(f"{value:.2f}" for value in statistics.quantiles([one[name] for one in rounds], n=4))]
        for name in rounds[0]
    ]
    print(report.table(["together / alone", "quarter", "median", "three quarters"], rows))
    print(
        "\nlock-prefixed instructions a packet: "
        + (", ".join(f"{k} {v:.2f}" for k, v in locked.items()) or "not told here")
    )
    return 0


def ratios(streams: Sequence[Stream], processors: Sequence[int]) -> dict[str, float]:
    """The processor time of each way's stages with both streams at once, by that with one after the other."""
    alone = [spent(stream, cpu) for stream, cpu in zip(streams, processors, strict=True)]
    together: list[dict[str, float]] = [{}, {}]

    def run(number: int) -> None:
        together[number] = spent(streams[number], processors[number])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {way: sum(one[way] for one in together) / sum(one[way] for one in alone) for way in WAYS}


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
