"""Which lines of the data plane the kept inputs of all targets reach: `python -m tests.fuzz.native --coverage`.

Lines of functions that need no GIL count. What is not reached has its reason in unreached.txt: a function of a file,
and why no input leads there.
"""

import fnmatch
import json
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.native.builds import LINES, TARGETS
from tests.fuzz.native.runner import again, inputs
from tests.requirements import require_tool

REASONS = Path(__file__).parent / "unreached.txt"
_FUNCTION = re.compile(r"cdef\b.*?\b(\w+)\s*\(", re.DOTALL)


@dataclass
class Covered:
    """Of one file: the function of each line that counts, and the lines that ran."""

    path: str
    functions: dict[int, str]
    ran: set[int] = field(default_factory=set)

    @property
    def missed(self) -> list[int]:
        """The lines that did not run."""
        return sorted(self.functions.keys() - self.ran)


def measure(targets: Iterable[str] = TARGETS) -> list[Covered]:
    """Builds, and runs the kept inputs with every cipher."""
    require_tool("gcov")
    LINES.build()
    for old in LINES.directory.rglob("*.gcda"):
        old.unlink()
    for target in targets:
        failure = again(LINES, target, inputs(target))
        assert failure is None, failure
    return read()


def read() -> list[Covered]:
    """What the compiler has counted in the last run."""
    seen: dict[str, dict[int, bool]] = defaultdict(dict)
    for path, line, ran in _counted(LINES.directory):
        seen[path][line] = seen[path].get(line, False) or ran
    found = []
    for path, lines in sorted(seen.items()):
        functions = nogil_lines((LINES.directory / path).read_text())
        its = {line: functions[line] for line in lines if line in functions}
        if its:
            found.append(Covered(path, its, {line for line in its if lines[line]}))
    return found


def _counted(directory: Path) -> Iterator[tuple[str, int, bool]]:
    """File of Cython's, line, and whether it ran."""
    for counts in directory.rglob("*.gcda"):
        command = ["gcov", "--json-format", "--stdout", str(counts.relative_to(directory))]
        said = subprocess.run(command, check=True, cwd=directory, capture_output=True, text=True).stdout
        for each in json.loads(said)["files"]:
            if each["file"].startswith("pywg/") and each["file"].endswith((".pyx", ".pxd")):
                for line in each["lines"]:
                    yield each["file"], line["line_number"], line["count"] > 0


def nogil_lines(source: str) -> dict[int, str]:
    """The function of each line of a body that runs without the GIL. Cython counts some lines for a function's head."""
    found = {}
    name, nogil, head = "", False, ""
    for number, line in enumerate(source.splitlines(), 1):
        if line[:1].strip() and not line.startswith((")", "#")):
            head, name = line, ""
        elif head and not name:
            head += line
        elif name and nogil and line.strip():
            found[number] = name
        if head and not name and head.rstrip().endswith(":") and (begins := _FUNCTION.match(head)):
            name, nogil = begins[1], "nogil" in head
            head = line
    return found


def reason(path: str, function: str) -> str | None:
    """Why no input leads there; None: nobody has said."""
    for line in REASONS.read_text().splitlines():
        if line and not line.startswith("#"):
            files, functions, why = line.split(maxsplit=2)
            if fnmatch.fnmatch(path, files) and fnmatch.fnmatch(function, functions):
                return why
    return None


def unexplained(covered: Iterable[Covered]) -> list[str]:
    """The lines that no input reaches and no reason is given for, as FILE:LINE FUNCTION."""
    return [
        f"{one.path}:{line} {one.functions[line]}"
        for one in covered
        for line in one.missed
        if reason(one.path, one.functions[line]) is None
    ]


def report(covered: list[Covered]) -> str:
    """Each file's share, and what was not reached."""
    lines = []
    for one in covered:
        share = 100 * len(one.ran) / len(one.functions)
        lines.append(f"{share:5.1f} %  {one.path}")
        for function in dict.fromkeys(one.functions[line] for line in one.missed):
            numbers = ", ".join(str(line) for line in one.missed if one.functions[line] == function)
            lines.append(f"         {function}: {numbers}: {reason(one.path, function) or 'NO REASON'}")
    count, ran = sum(len(one.functions) for one in covered), sum(len(one.ran) for one in covered)
    explained = count - ran - len(unexplained(covered))
    lines.append(
        f"{100 * ran / count:.1f} % of {count} lines reached; {explained} of {count - ran} others have a reason"
    )
    return "\n".join(lines)
