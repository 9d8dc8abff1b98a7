"""`pywg top`: a live screen."""

import argparse
import os
import sys

from pywg.cli.color import wants_color
from pywg.cli.parser import CommandParser, interface_name
from pywg.errors import ConfigError

DESCRIPTION = """\
Shows a live screen: peers with their rates (bits a second) and a graph of the
last minutes, drops with their reasons, datagrams a system call, and the
threads' processor time. Needs a terminal and the Python package rich.
Keys: q quits; left and right choose the column to sort by, r reverses the
order; up and down, page up and down, home and end scroll.
"""
_EPILOG = """\
Exit status: 0 ended by a key, a signal, or the end of the interface;
1 no terminal, no rich, or nothing to watch; 2 usage.
"""
_FASTEST_S = 0.2


def define(parser: CommandParser) -> None:
    """Adds the command's arguments."""
    parser.description = DESCRIPTION
    parser.epilog = _EPILOG
    parser.add_argument("interface", metavar="IFACE", nargs="?", type=interface_name, help="default: all that run")
    parser.add_argument(
        "--interval", metavar="SECONDS", type=_seconds, default=1.0, help="time between two updates; default: 1"
    )
    parser.set_defaults(execute=top)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not _FASTEST_S <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"a number of seconds in {_FASTEST_S}..3600")
    return seconds


def top(given: argparse.Namespace) -> int:
    """Watches until it is ended, and returns 0. Raises ConfigError without a terminal or rich, DeviceError when there
    is nothing to watch."""
    if not (sys.stdin and sys.stdin.isatty() and sys.stdout and sys.stdout.isatty()):
        raise ConfigError("top needs a terminal: `pywg status` prints once, and `pywg status --json` for programs")
    if os.environ.get("TERM", "dumb") == "dumb":
        raise ConfigError("top needs a terminal that can move its cursor (TERM is dumb): `pywg status` prints once")
    try:
        import rich  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "top needs the Python package rich: `pip install 'pywg-tunnel[tools]'`, or Debian's python3-rich"
        ) from error
    from pywg.manage.terminal import Terminal
    from pywg.manage.top_loop import Top

    if ended := Top(given.interface, given.interval, color=wants_color()).run(Terminal()):
        print(f"pywg: {ended}", file=sys.stderr)
    return 0
