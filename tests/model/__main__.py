"""python -m tests.model [SCENARIO...]: explores the data plane's concurrency; without names, everything.

A name's beginning is enough. Status 1: a fault was found, or not every state was reached; the path to the fault is
printed. Minutes, and up to some GiB of memory.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.model.build import DRIVERS, build
from tests.model.scenarios import LONG, SHORT


def main(arguments: list[str]) -> int:
    """The exit status."""
    every = {**SHORT, **LONG}
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="; ".join(every))
    given = parser.parse_args(arguments).scenarios
    names = [name for name in every if not given or name.startswith(tuple(given))]
    if not names:
        parser.error("no such scenario")
    failed = False
    with tempfile.TemporaryDirectory() as name:
        built = {driver: (Path(name) / driver, build(Path(name) / driver, driver)) for driver in DRIVERS}
        for scenario in names:
            explored = every[scenario].run(*built[every[scenario].driver])
            print(f"{scenario}: {explored}", flush=True)
            failed = failed or bool(explored.fault) or not explored.complete
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
