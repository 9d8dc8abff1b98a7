"""Findings: what is so, how bad that is, and the command that mends it."""

from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple


class Severity(IntEnum):
    """How bad a finding is. The order is that of the numbers."""

    OK = 0
    """looked at, and as it should be"""
    NOTE = 1
    """worth to know; nothing has to be done"""
    WARNING = 2
    """the tunnel may work, and works less well than it could"""
    ERROR = 3
    """keeps the tunnel, or a peer, from working"""


class Finding(NamedTuple):
    """One line of what is so, and one of what mends it."""

    severity: Severity
    check: str
    """what was looked at: a word that stays the same, for programs"""
    text: str
    mend: str = ""
    """a command, or what to do where no command does it; empty where nothing has to be done"""
    peer: str = ""
    """the name of the peer that it is about"""


def ok(check: str, text: str, *, peer: str = "") -> Finding:
    """A finding that all is well."""
    return Finding(Severity.OK, check, text, peer=peer)


def note(check: str, text: str, mend: str = "", *, peer: str = "") -> Finding:
    """A finding to know."""
    return Finding(Severity.NOTE, check, text, mend, peer)


def warning(check: str, text: str, mend: str, *, peer: str = "") -> Finding:
    """A finding that makes a tunnel worse."""
    return Finding(Severity.WARNING, check, text, mend, peer)


def error(check: str, text: str, mend: str, *, peer: str = "") -> Finding:
    """A finding that keeps a tunnel from working."""
    return Finding(Severity.ERROR, check, text, mend, peer)


def exit_status(findings: Iterable[Finding]) -> int:
    """0: nothing to mend; 3: warnings; 4: errors. 1 and 2 are those of a command that failed or meant nothing."""
    worst = max((finding.severity for finding in findings), default=Severity.OK)
    return {Severity.WARNING: 3, Severity.ERROR: 4}.get(worst, 0)
