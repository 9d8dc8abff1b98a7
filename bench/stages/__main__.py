"""What each stage of the data plane costs by itself, and what the serial ones allow. Needs root.

    python -m bench.stages [--rounds N] [--aead NAME] [--steered] [--no-daemon] [--against FILE] [--out FILE]

A TCP stream goes through the stages (tests/native/stages.pyx) in many short rounds. In every other round all is on one
processor ("here"); in the rest each stage finds its bytes in another processor's cache ("apart"), as it does where
threads have processors of their own. Where each thread sends what it has sealed ("in turns": `turns` in `pywg stats`),
the send alone finds its bytes in its own cache. The machine may do other things meanwhile: what is told is processor
time of one thread, the least and the median of all rounds. Then real daemons carry a stream: theirs stands beside it.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from bench.stages import measured
from bench.tunnel.builds import ROOT, NotInstalledError
from bench.tunnel.command import CommandError, prioritised

NICE = -15
RESULTS = ROOT / "bench" / "results" / "stages.json"


def main() -> int:
    """Measures, writes the file, and tells."""
    parser = argparse.ArgumentParser(prog="bench.stages", description="The stages of the data plane, one by one.")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--aead", default="auto", help="a backend of the AEAD; default: the fastest")
    parser.add_argument("--steered", action="store_true", help="with receive packet steering of the TUN")
    parser.add_argument("--no-daemon", action="store_true", help="leave out the real daemons")
    parser.add_argument("--against", type=Path, metavar="FILE", help="an earlier run's file, to set beside this one")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FILE", help="default: bench/results/stages.json")
    given = parser.parse_args()
    if os.geteuid() != 0:
        print("bench.stages: network namespaces and TUN interfaces need root", file=sys.stderr)
        return 2
    before = json.loads(given.against.read_text()) if given.against else None
    try:
        with prioritised(NICE):
            text = measured.measure(given.rounds, given.aead, with_daemons=not given.no_daemon, steered=given.steered)
    except (CommandError, NotInstalledError, OSError, ValueError) as error:
        print(f"bench.stages: {error}", file=sys.stderr)
        return 1
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(text, indent=1) + "\n")
    print(measured.told(text, before))
    return 0


if __name__ == "__main__":
    sys.exit(main())
