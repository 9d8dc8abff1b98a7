"""How often each target was run, added up over runs, in tests/fuzz/ledger.json: `python -m tests.fuzz.ledger`.

That prints the table, and puts it where docs/security.md has it. Nothing is added but by runs that are told to
(--record, --until), and what they ran is the commit that they began with, or a change of it.
"""

import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from tests.fuzz.fuzzer import CACHE, ROOT

FILE = ROOT / "tests/fuzz/ledger.json"
PAGE = ROOT / "docs/security.md"
BEGIN, END = "<!-- python -m tests.fuzz.ledger writes what follows -->\n\n", "\n<!-- up to here -->\n"
BUILDS = {
    "checked": "ASan, UBSan, assertions",
    "fast": "assertions",
    "python": "atheris",
}


@dataclass
class Entry:
    """All runs of one target in one build."""

    target: str
    build: str
    executions: int = 0
    cpu_seconds: float = 0.0
    found: int = 0
    """runs that ended with a finding"""
    commit: str = ""
    """of the last run"""


def read() -> list[Entry]:
    """All, by target and build."""
    return [Entry(**each) for each in json.loads(FILE.read_text())] if FILE.exists() else []


def executions(target: str) -> int:
    """In all builds."""
    return sum(entry.executions for entry in read() if entry.target == target)


def add(target: str, build: str, *, executions: int, cpu_seconds: float, found: bool) -> None:
    """Adds one run. Others may do so at the same time."""
    with _alone():
        entries = {(entry.target, entry.build): entry for entry in read()}
        entry = entries.setdefault((target, build), Entry(target, build))
        entry.executions += executions
        entry.cpu_seconds = round(entry.cpu_seconds + cpu_seconds, 1)
        entry.found += found
        entry.commit = commit()
        part = FILE.with_suffix(".part")
        part.write_text(form([entries[key] for key in sorted(entries)]))
        part.rename(FILE)


def form(entries: list[Entry]) -> str:
    """The file: a line for each."""
    return "[" + ",".join(f"\n{json.dumps(asdict(entry))}" for entry in entries) + "\n]\n"


def table(entries: list[Entry]) -> str:
    """In Markdown: a line for each."""
    lines = ["| target | build | executions | hours of CPU | findings |", "|---|---|---|---|---|"]
    for entry in entries:
        hours = f"{entry.cpu_seconds / 3600:.2f}"
        build = BUILDS[entry.build]
        lines.append(f"| {entry.target} | {build} | {entry.executions:,} | {hours} | {entry.found} |")
    return "\n".join(lines) + "\n"


def page(text: str, entries: list[Entry]) -> str:
    """The text of docs/security.md with the table of these entries."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin, f"{PAGE.name} has no place for the table"
    assert end, f"{PAGE.name} has no end of the table"
    return before + begin + table(entries) + end + after


def commit() -> str:
    """Short; "" where there is no git."""
    command = ["git", "rev-parse", "--short=10", "HEAD"]
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


@contextmanager
def _alone() -> Iterator[None]:
    (ROOT / CACHE).mkdir(parents=True, exist_ok=True)
    with (ROOT / CACHE / "ledger.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    """The exit status."""
    PAGE.write_text(page(PAGE.read_text(), read()))
    print(table(read()), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
