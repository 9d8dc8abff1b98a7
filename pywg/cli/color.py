"""Where what is printed goes: whether it is there, whether it takes colours, and how large a screen it is."""

import os
import shutil
import sys
from typing import TextIO

from pywg.errors import ConfigError

_WIDE = 200
"""Columns where nobody says how many there are: a pipe cuts nothing off."""


def wants_color() -> bool:
    """As wg(8): WG_COLOR_MODE=always or never decides, then the terminal; NO_COLOR (no-color.org) turns them off."""
    mode = os.environ.get("WG_COLOR_MODE")
    if mode in ("always", "never"):
        return mode == "always"
    return is_terminal() and not os.environ.get("NO_COLOR")


def is_terminal() -> bool:
    """Whether standard output is one."""
    return bool(sys.stdout) and sys.stdout.isatty()


def open_output() -> TextIO:
    """Standard output, of a command whose output is all that it does. Raises ConfigError when it is closed."""
    if not sys.stdout:
        raise ConfigError("standard output is closed")
    return sys.stdout


def screen() -> tuple[int, int | None]:
    """(columns, lines) of the terminal, or those that COLUMNS and LINES say, as watch(1) does; no lines: no limit."""
    if is_terminal():
        size = shutil.get_terminal_size()
        return size.columns, size.lines
    return _number("COLUMNS") or _WIDE, _number("LINES")


def _number(variable: str) -> int | None:
    text = os.environ.get(variable, "")
    return int(text) if text.isascii() and text.isdecimal() and int(text) else None
