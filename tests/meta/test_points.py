"""The rows of docs/drop-in.md and the tests that name them: no row without a test, no name without a row."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.netns.points import KNOWN_BUGS, POINTS, Row

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "drop-in.md"
MARKS = ("dropin", "known_bug")
TABLES = {"dropin": POINTS, "known_bug": KNOWN_BUGS}


class Use(NamedTuple):
    """`@pytest.mark.KIND(name)` in a file."""

    kind: str
    name: str
    path: str


def _uses(path: Path) -> Iterator[Use]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MARKS:
            for argument in node.args:
                assert isinstance(argument, ast.Constant), f"{path}: a name that is not written out"
                assert isinstance(argument.value, str), f"{path}: a name that is no text"
                yield Use(node.func.attr, argument.value, path.relative_to(TESTS).as_posix())


USES = [use for path in sorted(TESTS.rglob("test_*.py")) for use in _uses(path)]


def _rows(use: Use) -> list[Row]:
    """Those that a use names: a point by its name, a fault by how it begins."""
    if use.kind == "dropin":
        return [row for row in POINTS if row.name == use.name]
    return [row for row in KNOWN_BUGS if row.name.startswith(use.name)]


@pytest.mark.parametrize("kind", MARKS)
def test_every_row_has_a_test(kind: str) -> None:
    named = {row for use in USES if use.kind == kind for row in _rows(use)}
    assert [row.name for row in TABLES[kind] if row not in named] == []


def test_every_name_is_that_of_one_row() -> None:
    assert [use for use in USES if len(_rows(use)) != 1] == []


def test_all_21_points_are_rows() -> None:
    assert [row.name for row in POINTS if row.name.isdigit()] == [str(number) for number in range(1, 22)]


@pytest.mark.parametrize("kind", MARKS)
def test_no_row_twice(kind: str) -> None:
    names = [row.name for row in TABLES[kind]]
    assert len(names) == len(set(names))


def stale(text: str) -> set[str]:
    """Rows that the page has and the tables have not, or the other way round; and files that are no more."""
    rows = set(re.findall(r"^\| ([^|]+) \| ((?:[^|\\]|\\.)+) \|.* test_", text, re.M))
    wrong = {name for name, _ in rows ^ {(row.name, row.what) for row in (*POINTS, *KNOWN_BUGS)}}
    return wrong | {file for file in re.findall(r"test_\w+\.py", text) if not any(TESTS.rglob(file))}


def test_the_page_has_these_rows_and_files_that_there_are() -> None:
    text = PAGE.read_text()
    assert stale(text) == set()
    assert stale(text.replace("test_unreachable.py", "test_icmp.py")) == {"test_icmp.py"}
    assert stale(text.replace("| NAT |", "| NATs |")) == {"NAT", "NATs"}
