"""Runs the drop-in tests on several daemons and writes docs/drop-in.md: what each of them holds, row by row.

    python -m tests.netns.holds [NAME ...]   by default pywg, wireguard-go, and wireguard-go-new where it can be built

NAME is one of bench.tunnel.implementations, or the path of a program that is called as wireguard-go is. Needs root.
"""

import sys
from collections import defaultdict
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench.tunnel.builds import NotInstalledError
from bench.tunnel.implementations import build, find, version

from .dropin import OURS
from .points import KNOWN_BUGS, POINTS, Row

TESTS = Path(__file__).resolve().parents[1]
DOCUMENT = TESTS.parent / "docs" / "drop-in.md"
HEADER = """# What holds as a drop-in

Written by `python -m tests.netns.holds`; `PYWG_LONG=1` for the long form of the tests that repeat something. Each row
is a promise; its tests run on every daemon that they can be asked of, with that daemon at both ends. "yes": all tests
of the row hold. "n of m": the rest fail, and the notes below say why. A dash: the tests of this row look inside pywg.
Versions and day are those of this run. `make test` has all of these tests for the pywg that you have.

"""
LIMITS = """
## What is not bounded

A circle of two devices of one host, each with its endpoint routed into the other. A device knows its own messages when
they come back, by whatever peers; another device's are to it those of a tunnel in a tunnel, which is allowed. Nothing
that would tell them apart stays on the host: a hop count in the outer header would show on the wire what is inside.
The circle takes processor time, and next to no memory, until the routes are right again.
"""


@dataclass
class Found:
    """What became of one test, all its parameters together: its marks, and by daemon the outcome of each parameter, why
    it failed or "", and of one that was tried a second time the last outcome."""

    points: set[str] = field(default_factory=set)
    bugs: set[str] = field(default_factory=set)
    outcomes: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))

    @property
    def reasons(self) -> dict[str, str]:
        """Why, by each daemon that does not hold it."""
        return {daemon: max(of.values()) for daemon, of in self.outcomes.items() if any(of.values())}


class Recorder:
    """A pytest plugin that runs the tests with a mark, and remembers, test by test, which daemon held it."""

    def __init__(self) -> None:
        self.found: dict[str, Found] = defaultdict(Found)

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leaves out what belongs to no row."""
        chosen = [item for item in items if any(item.iter_markers("dropin")) or any(item.iter_markers("known_bug"))]
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        daemon = _daemon(item)
        skipped = report.skipped and not hasattr(report, "wasxfail")
        if daemon is not None and not skipped and (report.when == "call" or report.failed):
            found = self.found[item.nodeid.partition("[")[0]]
            found.points |= {point for mark in item.iter_markers("dropin") for point in mark.args}
            found.bugs |= {words for mark in item.iter_markers("known_bug") for words in mark.args}
            reason = "" if report.passed else getattr(report, "wasxfail", "") or "fails"
            found.outcomes[daemon][item.nodeid] = reason
        return report


def _daemon(item: pytest.Item) -> str | None:
    """Whom the test is about; None for a tunnel between two different daemons."""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    if "pair" in parameters:
        near, far = parameters["pair"]
        return str(near) if near == far else None
    return str(parameters.get("subject", parameters.get("daemon", OURS)))


def _tests(row: Row, found: dict[str, Found]) -> dict[str, Found]:
    """The tests of a row."""
    return {
        node: one
        for node, one in found.items()
        if row.name in one.points or any(row.name.startswith(words) for words in one.bugs)
    }


def _verdict(tests: Iterable[Found], daemon: str) -> str:
    outcomes = [daemon not in one.reasons for one in tests if daemon in one.outcomes]
    if not outcomes:
        return "-"
    return "yes" if all(outcomes) else f"{sum(outcomes)} of {len(outcomes)}"


def _table(rows: Iterable[Row], daemons: list[str], found: dict[str, Found], titles: tuple[str, str]) -> list[str]:
    lines = [f"| {titles[0]} | {titles[1]} | {' | '.join(daemons)} | tests |", "|---" * (len(daemons) + 3) + "|"]
    for row in rows:
        tests = _tests(row, found)
        verdicts = [_verdict(tests.values(), daemon) for daemon in daemons]
        files = sorted({f"{Path(node.partition('::')[0]).name}" for node in tests}) or ["none yet"]
        lines.append(f"| {row.name} | {row.what} | {' | '.join(verdicts)} | {', '.join(files)} |")
    return lines


def _notes(daemons: list[str], found: dict[str, Found]) -> list[str]:
    lines: list[str] = []
    for daemon in daemons:
        failed = {node: one.reasons[daemon] for node, one in sorted(found.items()) if daemon in one.reasons}
        lines += ["", f"## What {daemon} does not hold", ""]
        lines += [f"- {node.partition('::')[2]}: {reason}" for node, reason in failed.items()] or [
            "Nothing that is asked."
        ]
    return lines


def write(daemons: list[str], found: dict[str, Found]) -> None:
    """Writes docs/drop-in.md."""
    about = [f"- {daemon}: {version(find(daemon))}" for daemon in daemons]
    about.append(f"- run on {datetime.now(UTC):%d %B %Y}")
    lines = [
        *about,
        "",
        "## Points",
        "",
        *_table(POINTS, daemons, found, ("point", "what")),
        "",
        "## Faults that others shipped",
        "",
        *_table(KNOWN_BUGS, daemons, found, ("fault", "where it was")),
        *_notes(daemons, found),
    ]
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(HEADER + "\n".join(lines) + "\n" + LIMITS)


def main(names: list[str]) -> int:
    """Runs the tests and writes the document. 0 when pywg, if it was asked, holds everything."""
    if not names:
        names = [OURS, "wireguard-go"]
        try:
            names.append(build("wireguard-go-new").name)
        except NotInstalledError as error:
            print(error, file=sys.stderr)
    recorder = Recorder()
    pairs = ",".join(f"{name}:{name}" for name in names)
    pytest.main(["-q", "--pairs", pairs, str(TESTS)], [recorder])
    write(names, recorder.found)
    return int(any(OURS in one.reasons for one in recorder.found.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
