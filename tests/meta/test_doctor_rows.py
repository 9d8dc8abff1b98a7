"""What doctor can find, and the tests that make its fault for real: none without a test, no test of none."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.netns.doctor import rows
from tests.netns.doctor.rows import NOT_TO_BE_HAD

FOLDER = Path(rows.__file__).parent


def _named(path: Path) -> Iterator[str]:
    """In `@pytest.mark.finds(*names)`, and in `made(fault, name)`, which is marked so."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.finds":
            for argument in node.args:
                yield from [ast.literal_eval(argument)] if not isinstance(argument, ast.Starred) else _of(argument)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "made":
            yield ast.literal_eval(node.args[1])


def _of(argument: ast.Starred) -> list[str]:
    return list(ast.literal_eval(argument.value))


NAMED = [name for path in sorted(FOLDER.glob("test_*.py")) for name in _named(path)]


def test_every_finding_has_a_test() -> None:
    met = {rows.row(name) for name in (*NAMED, *NOT_TO_BE_HAD)}
    assert [row.name for row in rows.rows() if row not in met] == []


def test_every_name_is_that_of_a_finding_or_begins_one_alone() -> None:
    names = [row.name for row in rows.rows()]
    assert [one for one in NAMED if one not in names and sum(name.startswith(one) for name in names) != 1] == []


def test_a_finding_that_is_added_is_missed() -> None:
    """The instrument: a check that has no test is no row of any."""
    added = (
        "def check(facts):\n    text = f'{facts.interface} is tired'\n    yield (error if x else note)('sleep', text)"
    )
    found = list(rows.of_checks(ast.parse(added)))
    assert [row.name for row in found] == ["sleep error: {} is tired", "sleep note: {} is tired"]
    assert not any(name.startswith("sleep") for name in NAMED)
