"""`pywg log`: how much a running daemon writes to its log."""

import argparse

from pywg.cli.parser import CommandParser, interface_name
from pywg.cli.usage import UsageError

DESCRIPTION = """\
Changes how much a running interface writes to its log, until it ends.
LEVEL: verbose (or debug), info, warning, error or silent; each includes those
after it. LOG_LEVEL sets the level at the start.
"""


def define(parser: CommandParser) -> None:
    """Adds the command's arguments."""
    parser.description = DESCRIPTION
    parser.add_argument("interface", metavar="IFACE", type=interface_name, help="a running interface")
    parser.add_argument("level", metavar="LEVEL", help="the new level")
    parser.set_defaults(execute=log)


def log(given: argparse.Namespace) -> int:
    """Sets the level and returns 0. Raises UsageError for no level, DeviceError when no pywg answers."""
    from pywg.errors import ConfigError
    from pywg.manage.client import set_level
    from pywg.runtime.base.log import parse_level

    try:
        parse_level(given.level)
    except ConfigError as error:
        raise UsageError(str(error), see="") from error
    set_level(given.interface, given.level)
    return 0
