"""`pywg exec`: which variables of `pywg run` count."""

import re
from pathlib import Path

from pywg.cli.exec import _KEPT
from pywg.cli.help import ENVIRONMENT

PAGE = Path(__file__).resolve().parents[2] / "docs" / "exec.md"
NAME = re.compile(r"\b(?:LOG_LEVEL|(?:PYWG|WG)_[A-Z_]*[A-Z])\b")


def test_each_variable_counts_or_the_page_says_why_not() -> None:
    """And none does both."""
    others = set(NAME.findall(PAGE.read_text().partition("## Variables")[2]))
    assert others
    assert sorted([*_KEPT, *others]) == sorted(set(NAME.findall(ENVIRONMENT)))
