"""Everything that `pywg doctor` can find, read from its checks: a row for each place that makes a finding.

A finding's name is its check, its severity and its text, with {} for what varies. Tests that make its fault for real
name it, or begin its name: `@pytest.mark.finds`. tests/meta/test_doctor_rows.py sees to it that every row has such a
test, and tests/netns/doctor/conftest.py that the test has met it.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from pywg.manage import doctor
from pywg.manage.doctor.finding import Finding, Severity

_FOLDER = Path(doctor.__file__).parent
_VARIES = "{}"
_MAKES = {"error": Severity.ERROR, "warning": Severity.WARNING, "note": Severity.NOTE}

NOT_TO_BE_HAD = ("daemon note: {} is the kernel's own WireGuard",)
"""Findings about what the machines of the tests lack: the kernel's module. From facts, tests/manage/test_doctor.py."""


class Row(NamedTuple):
    """One finding that is not "ok"."""

    check: str
    severity: Severity
    pattern: str

    @property
    def name(self) -> str:
        return f"{self.check} {self.severity.name.lower()}: {self.pattern}"

    def is_of(self, finding: Finding) -> bool:
        """Whether the finding may have been made there."""
        text = ".*".join(map(re.escape, self.pattern.split(_VARIES)))
        return finding[:2] == (self.severity, self.check) and bool(re.fullmatch(text, finding.text, re.DOTALL))


@cache
def rows() -> list[Row]:
    """All of them: of the checks, and of what could not be seen."""
    found = [row for path in sorted(_FOLDER.glob("checks_*.py")) for row in of_checks(ast.parse(path.read_text()))]
    for path in sorted(_FOLDER.glob("gather*.py")):
        found += _unseen(ast.parse(path.read_text()))
    return list(dict.fromkeys(found))


def row(name: str) -> Row:
    """The one of this name, or the only one whose name begins so."""
    beginning = [row for row in rows() if row.name.startswith(name)]
    (one,) = [row for row in beginning if row.name == name] or beginning
    return one


def met(findings: Iterable[Finding]) -> set[Row]:
    """The rows of findings, of several that it may be the one that says most."""
    found = set()
    for finding in findings:
        if finding.severity != Severity.OK:
            fitting = [row for row in rows() if row.is_of(finding)]
            assert fitting, f"a finding of no row: {finding}"
            found.add(max(fitting, key=lambda row: len(row.pattern.replace(_VARIES, ""))))
    return found


def of_checks(module: ast.Module) -> Iterator[Row]:
    """Those of one module of checks."""
    for function in [node for node in module.body if isinstance(node, ast.FunctionDef)]:
        for call in ast.walk(function):
            if isinstance(call, ast.Call):
                for name in _called(call.func):
                    if name in _MAKES:
                        check = call.args[0]
                        assert isinstance(check, ast.Constant), f"line {call.lineno}: a check that is not written out"
                        yield Row(str(check.value), _MAKES[name], _pattern(call.args[1], function))


def _called(function: ast.expr) -> list[str]:
    """The names of what may be called: both of `(error if certain else warning)(...)`."""
    if isinstance(function, ast.IfExp):
        return _called(function.body) + _called(function.orelse)
    return [function.id] if isinstance(function, ast.Name) else []


def _unseen(module: ast.Module) -> Iterator[Row]:
    """`unseen.append(TEXT)`."""
    for function in [node for node in module.body if isinstance(node, ast.FunctionDef)]:
        for call in ast.walk(function):
            if isinstance(call, ast.Call) and ast.unparse(call.func) in ("unseen.append", "facts.unseen.append"):
                yield Row("unseen", Severity.NOTE, _pattern(call.args[0], function))


def _pattern(text: ast.expr, function: ast.FunctionDef) -> str:
    """What is written of a text, with {} for what is not."""
    if isinstance(text, ast.Constant):
        return str(text.value)
    if isinstance(text, ast.JoinedStr):
        return "".join(_pattern(part, function) for part in text.values)
    if isinstance(text, ast.Call) and text.args:  # which adds something
        return _pattern(text.args[0], function) + _VARIES
    if isinstance(text, ast.Name):
        values = [
            node.value
            for node in ast.walk(function)
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == text.id and node.lineno < text.lineno
        ]
        if values:
            return _pattern(max(values, key=lambda value: value.lineno), function)
    return _VARIES
