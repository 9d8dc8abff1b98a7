"""python -m tests.fuzz.native [--seconds S] [--jobs N] [--fast] [TARGET...]: the data plane under libFuzzer.

Without targets all of them share the time. Status 1: something was found; what is printed has it again.
"""

import argparse
import sys
from pathlib import Path

from tests.fuzz import ledger
from tests.fuzz.native import coverage
from tests.fuzz.native.builds import CHECKED, FAST, TARGETS, Build
from tests.fuzz.native.runner import Done, again, fuzz, merge, pick, pick_length


def main(arguments: list[str]) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.native", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=120.0, help="of CPU, for a job, all targets together (default: 120)"
    )
    parser.add_argument("--record", action="store_true", help="add what is run to tests/fuzz/ledger.json")
    parser.add_argument(
        "--until", type=float, metavar="N", help="run and record each until it has N executions, SECONDS at a time"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time (default: 1)")
    parser.add_argument("--fast", action="store_true", help="with assertions, and without ASan and UBSan")
    parser.add_argument("--again", type=Path, metavar="FILE", help="this input alone, with every cipher")
    parser.add_argument(
        "--coverage",
        action="store_true",
        help="which lines the kept inputs of all targets reach; status 1: a reason is missing",
    )
    parser.add_argument("--build", action="store_true", help="build, and run nothing")
    parser.add_argument("--merge", action="store_true", help="keep of all inputs the fewest that reach as much")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    given = parser.parse_args(arguments)
    unknown = set(given.targets) - set(TARGETS)
    if unknown:
        parser.error(f"no target {', '.join(sorted(unknown))}: choose from {', '.join(TARGETS)}")
    names = given.targets or TARGETS
    build = FAST if given.fast else CHECKED
    if given.again is not None:
        return run_again(parser, given.again.resolve(), given.targets, fast=given.fast)
    if given.coverage:
        covered = coverage.measure(names)
        print(coverage.report(covered))
        return int(bool(coverage.unexplained(covered)))
    build.build()
    if given.build:
        return 0
    failed = False
    for name in names:
        if given.merge:
            count, size = merge(build, name)
            print(f"{name}: {count} inputs, {size} bytes", flush=True)
            continue
        if given.until is not None:
            failed = not run_until(build, name, int(given.until), seconds=given.seconds, jobs=given.jobs) or failed
            continue
        done = some(build, name, seconds=given.seconds / len(names), jobs=given.jobs, record=given.record)
        failed = failed or done.failure is not None
    return int(failed)


def some(build: Build, name: str, *, seconds: float, jobs: int, record: bool, most: int = -1) -> Done:
    """One run of a target, with any of the ciphers, and of either length."""
    backends, longest = [pick(name) for _ in range(jobs)], pick_length(name)
    done = fuzz(build, name, seconds=seconds, jobs=jobs, backends=backends, most=most, longest=longest)
    print(done, flush=True)
    if record:
        found = done.failure is not None
        ledger.add(name, build.kind, executions=done.executions, cpu_seconds=done.cpu_seconds, found=found)
    return done


def run_until(build: Build, name: str, executions: int, *, seconds: float, jobs: int) -> bool:
    """Whether the target has them by the ledger. What is found ends it."""
    while (left := executions - ledger.executions(name)) > 0:
        done = some(build, name, seconds=seconds, jobs=jobs, record=True, most=-(-left // jobs))
        if done.failure is not None:
            return False
    return True


def run_again(parser: argparse.ArgumentParser, file: Path, targets: list[str], *, fast: bool) -> int:
    """The exit status. The file's folders tell the target, unless it is given."""
    name = targets[0] if targets else next((part for part in reversed(file.parts) if part in TARGETS), None)
    if name is None or not file.is_file():
        parser.error("name a file, and its target")
    build = FAST if fast else CHECKED
    build.build()
    failure = again(build, name, [file])
    print(f"{name}: {failure or 'nothing found'}")
    return int(failure is not None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
