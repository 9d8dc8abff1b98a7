"""python -m tests.fuzz [--seconds S] [--seed N] [--case N] [TARGET...]: random inputs until the time is up.

Without targets all of them share the time. Status 1: something failed; what is printed has it again.
"""

import argparse
import random
import sys

from tests.fuzz.engine import one_case, run_apart
from tests.fuzz.targets import TARGETS


def main(arguments: list[str]) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for all targets together (default: 60)")
    parser.add_argument("--seed", type=int, help="default: another one each time")
    parser.add_argument("--case", type=int, help="just this one, in this process")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    given = parser.parse_args(arguments)
    unknown = set(given.targets) - TARGETS.keys()
    if unknown:
        parser.error(f"no target {', '.join(sorted(unknown))}: choose from {', '.join(TARGETS)}")
    names = given.targets or list(TARGETS)
    seed = random.SystemRandom().getrandbits(32) if given.seed is None else given.seed
    failed = False
    for name in names:
        if given.case is not None:
            failure = one_case(name, TARGETS[name], seed, given.case)
            print(failure or f"{name}: case {given.case} of seed {seed} is fine")
        else:
            count, failure = run_apart(name, TARGETS[name], seed, seconds=given.seconds / len(names))
            print(failure or f"{name}: {count} cases of seed {seed}, none failed", flush=True)
        failed = failed or failure is not None
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
