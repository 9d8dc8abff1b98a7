"""python -m tests.fuzz.native [--seconds S] [--seed N] [--case N] [DRIVER...]: the data plane under ASan and UBSan.

Without drivers all of them share the time. Status 1: something was found; what is printed has it again.
"""

import argparse
import random
import sys

from tests.fuzz.native.drivers import DRIVERS, built, run


def main(arguments: list[str]) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.native", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0, help="for all drivers together (default: 120)")
    parser.add_argument("--seed", type=int, help="default: another one each time")
    parser.add_argument("--case", type=int, help="just this one")
    parser.add_argument("drivers", nargs="*", metavar="DRIVER", help=", ".join(DRIVERS))
    given = parser.parse_args(arguments)
    unknown = set(given.drivers) - set(DRIVERS)
    if unknown:
        parser.error(f"no driver {', '.join(sorted(unknown))}: choose from {', '.join(DRIVERS)}")
    names = given.drivers or list(DRIVERS)
    seed = random.SystemRandom().getrandbits(32) if given.seed is None else given.seed
    failed = False
    with built() as directory:
        for name in names:
            first, cases = (0, None) if given.case is None else (given.case, 1)
            done = run(directory, name, seed, seconds=given.seconds / len(names), first=first, cases=cases)
            print(done, flush=True)
            failed = failed or done.failure is not None
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
