"""python -m tests.fuzz.guided [--seconds S] [--jobs N] [TARGET...]: fuzzes until the time is up.

Without targets all of them share the time. Status 1: something failed; what is printed has it again.

    --run [FILE...] runs these inputs of one target, or the kept ones, and nothing else
    --merge         puts what was learnt into the kept corpus, and leaves there no more than its coverage takes
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz import corpus
from tests.fuzz.fuzzer import LEARNT, ROOT
from tests.fuzz.guided import NOT_HERE, TARGETS, fuzzer, is_here
from tests.fuzz.guided.inputs import failures, kept
from tests.fuzz.supervisor import Result, supervise


def main(arguments: list[str]) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz.guided", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="for all targets together (default: 60)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="targets at a time")
    parser.add_argument("--run", type=Path, nargs="*", metavar="FILE")
    parser.add_argument("--merge", action="store_true")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    given = parser.parse_args(arguments)
    unknown = set(given.targets) - TARGETS.keys()
    if unknown:
        parser.error(f"no target {', '.join(sorted(unknown))}: choose from {', '.join(TARGETS)}")
    names = given.targets or list(TARGETS)
    if given.run is not None:
        if len(given.targets) != 1:
            parser.error("--run takes the inputs of one target")
        return run(given.targets[0], given.run or kept(given.targets[0]))
    if not is_here():
        parser.error(NOT_HERE)
    if given.merge:
        for name in names:
            print(merge(name), flush=True)
        return 0
    return fuzz(names, given.seconds * min(given.jobs, len(names)) / len(names), given.jobs)


def run(name: str, files: list[Path]) -> int:
    failed = failures(name, files)
    print("\n".join(failed) or f"{name}: none of {len(files)} inputs failed")
    return int(bool(failed))


def fuzz(names: list[str], cpu_seconds: float, jobs: int) -> int:
    results: list[Result] = []

    def done(result: Result) -> None:
        print(result, flush=True)
        results.append(result)

    supervise([fuzzer(name) for name in names], cpu_seconds, at_once=jobs, done=done)
    return int(any(result.found for result in results))


def merge(name: str) -> str:
    """What is kept then. Inputs with a name stay."""
    learnt = ROOT / LEARNT / name
    learnt.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as merged:
        program = (sys.executable, "-m", "tests.fuzz.guided.program", name)
        options = ("-merge=1", f"-max_len={TARGETS[name].max_len}", merged, str(corpus.unpack(name)), str(learnt))
        subprocess.run((*program, *options), cwd=ROOT, check=True, capture_output=True)
        count, size = corpus.pack(name, Path(merged).iterdir())
    return f"{name}: {count} inputs, {size} bytes"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
