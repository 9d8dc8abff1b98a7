"""`pywg version`."""

import argparse

from pywg import __version__
from pywg.cli.parser import CommandParser


def define(parser: CommandParser) -> None:
    """Adds the command's arguments: none."""
    parser.description = "Shows the version, as --version does."
    parser.set_defaults(execute=version)


def version(given: argparse.Namespace) -> int:
    """Prints the version and returns 0."""
    print(f"pywg {__version__}")
    return 0
