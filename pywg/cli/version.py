"""`pywg version`."""

import argparse

from pywg import __version__
from pywg.cli.parser import CommandParser

_DESCRIPTION = """\
Shows the version, as --version does.
"""


def define(parser: CommandParser) -> None:
    """Adds the command's arguments."""
    parser.description = _DESCRIPTION
    parser.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="and of what it runs on: libcrypto, Python, packages; from where; where docs/ is",
    )
    parser.set_defaults(execute=version)


def version(given: argparse.Namespace) -> int:
    """Prints the version and returns 0."""
    if not given.verbose:
        print(f"pywg {__version__}")
        return 0
    from pywg.manage.installed import documents
    from pywg.runtime.selfbench.loaded import loaded

    for name, (number, place) in loaded().items():
        print(f"{name:<14}{number}{f'  ({place})' if place else ''}")
    print(f"{'documents':<14}{documents() or 'not installed'}")
    return 0
