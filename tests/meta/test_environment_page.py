"""docs/environment.md has every variable that pywg, its build and its packaging read, and none that they do not."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

from pywg.cli.help import ENVIRONMENT

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "environment.md").read_text()
OURS = re.compile(r"(?:PYWG|WG)_[A-Z_]*[A-Z]")
OF_HOOKS = {"PYWG_PUBLIC_KEY", "PYWG_ENDPOINT"}
"""Made of the name of an event's field."""


def variables(source: str) -> set[str]:
    """What a module reads of the environment, by the look of it: a constant that is called like one of ours, or that
    stands where a variable's name does."""
    return set(_variables(ast.parse(source)))


def _variables(tree: ast.Module) -> Iterator[str]:
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    readers = {"environ.get", "os.environ.get", "os.environ.pop"}
    readers |= {function.name for function in functions if "environ" in ast.unparse(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and OURS.fullmatch(node.value):
            yield node.value
        elif isinstance(node, ast.Call):
            if ast.unparse(node.func) in readers or "environ" in map(ast.unparse, node.args):
                named = (str(part.value) for part in node.args if isinstance(part, ast.Constant))
                yield from (name for name in named if re.fullmatch(r"[A-Z_]{4,}", name))
        elif isinstance(node, ast.Subscript) and ast.unparse(node.value) in ("os.environ", "environ"):
            yield from (str(part.value) for part in ast.walk(node.slice) if isinstance(part, ast.Constant))


@functools.cache
def read() -> set[str]:
    """All that the code reads."""
    files = [*(ROOT / "pywg").rglob("*.py"), *(ROOT / "ship").glob("*.py"), ROOT / "setup.py"]
    found = {name for file in files for name in variables(file.read_text())}
    return found | set(OURS.findall(ENVIRONMENT))


def shown(page: str) -> set[str]:
    """Names between backticks, in the first column or in the text."""
    return set(re.findall(r"`([A-Z]+(?:_[A-Z]+)*)`", page))


def test_every_variable_is_on_the_page() -> None:
    assert sorted(read() - shown(PAGE)) == []


def test_nothing_else_is_on_the_page() -> None:
    assert sorted(shown(PAGE) - read() - OF_HOOKS) == []


def test_each_of_the_daemons_is_in_its_help_and_in_its_table() -> None:
    table = PAGE.partition("## Of the daemon")[2].partition("\n## ")[0]
    assert set(OURS.findall(ENVIRONMENT)) <= shown(table)


def test_a_variable_that_is_read_is_found() -> None:
    source = (
        'a = os.environ.get("WORD"); b = environ["TWO"]; c = switch(environ, "THREE", 1); d = {"PYWG_FOUR": "FIVE"}\n'
    )
    source += 'def number(name):\n    return int(environ[name])\ne = number("SEVEN"); f = other("EIGHT")\n'
    assert variables(source) == {"WORD", "TWO", "THREE", "PYWG_FOUR", "SEVEN"}
    assert shown("`PYWG_NO_SUCH`, PYWG_PLAIN, `LINES`") == {"PYWG_NO_SUCH", "LINES"}
