"""Findings as text for people, and as objects for JSON. The worst come last, where a terminal shows them."""

import re
import textwrap
from collections import Counter, defaultdict
from typing import Any, Final

from pywg.manage.doctor.finding import Finding, Severity

_COLORS: Final = {Severity.OK: "32", Severity.NOTE: "36", Severity.WARNING: "33", Severity.ERROR: "1;31"}
_INDENT: Final = " " * 9
_NARROWEST: Final = 40
_MOST_ALIKE: Final = 4
"""so many peers with the same finding have one each; of more, all but the first are named together"""
_MOST_NAMES: Final = 6


def lines(about: str, findings: list[Finding], *, width: int, color: bool, each: bool = False) -> list[str]:
    """The lines of a report. `about`: what was looked at. `each`: no peers are named together."""
    width = max(width, _NARROWEST)
    alike: defaultdict[tuple[object, ...], list[Finding]] = defaultdict(list)
    for number, finding in enumerate(findings):
        together = finding.peer and not each
        alike[-1 if together else number, finding.severity, finding.check, _without_numbers(finding.text)].append(
            finding
        )
    shown = [about, ""]
    for group in sorted(alike.values(), key=lambda group: group[0].severity):
        several = len(group) > _MOST_ALIKE
        for finding in group[:1] if several else group:
            shown += _finding(finding, width, color=color)
        if several:
            shown += _wrapped(f"the same of {_named([finding.peer for finding in group[1:]])}", width, _INDENT)
    return [*shown, "", summary(findings)]


def _without_numbers(text: str) -> str:
    """What two peers' findings have in common: all but counts, ages and addresses."""
    return re.sub(r"\S*\d\S*", "#", text)


def _named(peers: list[str]) -> str:
    names = ", ".join(peers[:_MOST_NAMES])
    rest = len(peers) - _MOST_NAMES
    return f"{len(peers)} more: {names}{f' and {rest} others' if rest > 0 else ''} (--each shows them)"


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
        mend = _wrapped(finding.mend, width, f"{_INDENT}-> ")
        found += [f"\x1b[1m{line}\x1b[0m" if color else line for line in mend]
    return found


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(
        _printable(text),
        width,
        initial_indent=indent,
        subsequent_indent=" " * len(indent),
        break_long_words=False,
        break_on_hyphens=False,
    )


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
