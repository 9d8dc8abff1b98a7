"""One fuzzer: a program that looks for faults until it is told to end.

Whatever it is written in, it runs from the repository's root and prints what it finds. SIGUSR1 ends it, with status 0
if it has found nothing. libFuzzer's programs do that by themselves.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
CACHE = Path(".cache/fuzz")
KEPT = Path("tests/fuzz/corpus")
"""The inputs that are part of the repository (tests/fuzz/corpus.py): small, and enough to begin with."""
UNPACKED = CACHE / "kept"
"""The same as files, in a folder for each fuzzer."""
LEARNT = CACHE / "corpus"
"""The inputs that runs on this machine have found worth keeping. A run begins with both."""
FOUND = CACHE / "found"
"""The inputs that failed."""
_COUNT = re.compile(r"^stat::number_of_executed_units: (\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Fuzzer:
    """`command` fuzzes, `prepare` builds what it needs (fuzzers with the same one share it), `again` runs a file."""

    name: str
    command: tuple[str, ...]
    prepare: tuple[str, ...] = ()
    again: tuple[str, ...] = ()
    share: float = 1.0
    """Of the time that others get."""
    build: str = "python"
    """What the ledger calls what runs (tests/fuzz/ledger.py)."""
    inputs: str = ""
    """The target whose inputs it takes and adds to, where that has another name."""

    @property
    def target(self) -> str:
        """What it looks at."""
        return self.inputs or self.name


def libfuzzer(
    name: str,
    program: Sequence[str],
    *,
    options: Sequence[str] = (),
    prepare: Sequence[str] = (),
    again: Sequence[str] = (),
    memory_mb: int = 512,
    share: float = 1.0,
    build: str = "python",
    target: str = "",
) -> Fuzzer:
    """A program that libFuzzer drives, with its corpus, a bound on its memory, and a place for what it finds.

    `again` is the command that takes the name of a file that failed, where it is another than the program itself.
    """
    of = target or name
    learnt, found, kept = LEARNT / of, FOUND / of, UNPACKED / of
    command = (
        *program,
        f"-rss_limit_mb={memory_mb}",
        f"-artifact_prefix={found}/",
        "-create_missing_dirs=1",
        "-print_final_stats=1",
        "-print_funcs=0",
        "-verbosity=1",
        *options,
        str(learnt),
        str(kept),
    )
    return Fuzzer(name, command, tuple(prepare), tuple(again or program), share, build, target)


def executions(output: str) -> int:
    """How many inputs a program of libFuzzer's has tried, by what it printed at its end; 0 where it doesn't say."""
    found = _COUNT.search(output)
    return int(found[1]) if found else 0
