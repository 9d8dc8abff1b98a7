"""Questions to the operator at a terminal, each asked until its answer can be used."""

import sys
from collections.abc import Callable
from typing import TypeVar

from pywg.errors import ConfigError

T = TypeVar("T")


def at_terminal() -> bool:
    """Whether anybody can be asked."""
    return bool(sys.stdin and sys.stderr and sys.stdin.isatty() and sys.stderr.isatty())


def ask(question: str, parse: Callable[[str], T], *, default: str = "", hint: str = "") -> T:
    """The answer, by `parse`, whose ConfigError says why another is needed. An empty one means `default`.

    Raises ConfigError when the input ends, and lets a Ctrl-C through.
    """
    while True:
        prompt = f"{question}{f' [{default or hint}]' if default or hint else ''}: "
        try:  # a Ctrl-C may come as soon as the question is seen
            print(prompt, end="", file=sys.stderr, flush=True)
            line = sys.stdin.readline()
        except KeyboardInterrupt:
            print("\npywg: nothing was written", file=sys.stderr)
            raise
        if not line.endswith("\n"):
            print(file=sys.stderr)
            raise ConfigError("the answers end too early: nothing was written")
        try:
            return parse(line.strip() or default)
        except ConfigError as error:
            print(f"  {error}", file=sys.stderr)
