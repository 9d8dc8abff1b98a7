"""Findings as text for people, and as objects for JSON. The worst come last, where a terminal shows them."""

import textwrap
from collections import Counter
from typing import Any, Final

from pywg.manage.doctor.finding import Finding, Severity

_COLORS: Final = {Severity.OK: "32", Severity.NOTE: "36", Severity.WARNING: "33", Severity.ERROR: "1;31"}
_INDENT: Final = " " * 9
_NARROWEST: Final = 40


def lines(about: str, findings: list[Finding], *, width: int, color: bool) -> list[str]:
    """The lines of a report. `about`: what was looked at."""
    shown = [about, ""]
    for finding in sorted(findings, key=lambda one: one.severity):
        shown += _finding(finding, max(width, _NARROWEST), color=color)
    return [*shown, "", summary(findings)]


def summary(findings: list[Finding]) -> str:
    """One line: how many of each severity."""
    counts = Counter(finding.severity for finding in findings)
    parts = [
        f"{counts[severity]} {severity.name.lower()}{'s' if counts[severity] > 1 else ''}"
        for severity in (Severity.ERROR, Severity.WARNING, Severity.NOTE)
        if counts[severity]
    ]
    return f"{', '.join(parts) or 'Nothing to mend'}; {counts[Severity.OK]} looked at and fine"


def _finding(finding: Finding, width: int, *, color: bool) -> list[str]:
    word = f"{finding.severity.name.lower():<9}"
    text = _printable(f"{finding.peer}: {finding.text}" if finding.peer else finding.text)
    first, *rest = textwrap.wrap(
        word + text, width, subsequent_indent=_INDENT, break_long_words=False, break_on_hyphens=False
    )
    if color:
        first = f"\x1b[{_COLORS[finding.severity]}m{word}\x1b[0m{first[len(word) :]}"
    found = [first, *rest]
    if finding.mend and finding.severity != Severity.OK:
        mend = textwrap.wrap(
            _printable(finding.mend),
            width,
            initial_indent=f"{_INDENT}-> ",
            subsequent_indent=f"{_INDENT}   ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        found += [f"\x1b[1m{line}\x1b[0m" if color else line for line in mend]
    return found


def _printable(text: str) -> str:
    """A file's names and a daemon's words can't move the cursor."""
    return "".join(character if character.isprintable() else "?" for character in text)


def as_objects(interface: str, findings: list[Finding], status: int) -> dict[str, Any]:
    """What --json shows."""
    return {
        "interface": interface or None,
        "status": status,
        "findings": [
            {
                "severity": finding.severity.name.lower(),
                "check": finding.check,
                "peer": finding.peer or None,
                "text": finding.text,
                "mend": finding.mend or None,
            }
            for finding in findings
        ],
    }
