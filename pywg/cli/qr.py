"""`pywg qr`: a wg-quick file for the camera of a phone."""

import argparse
import sys

from pywg.cli.color import open_output
from pywg.cli.parser import CommandParser

DESCRIPTION = """\
Shows a wg-quick file as a QR code, which WireGuard on a phone takes up. The
code has the private key in it. What no phone takes, such as hooks, is left out.
"""


def define(parser: CommandParser) -> None:
    """Adds the command's arguments."""
    parser.description = DESCRIPTION
    parser.add_argument("file", metavar="FILE|NAME", help="a wg-quick file, or the name of an interface")
    parser.set_defaults(execute=qr)


def qr(given: argparse.Namespace) -> int:
    """Shows the code and returns 0. Raises ConfigError, DeviceError."""
    from pywg.config.wg_quick import as_text
    from pywg.manage import qr as codes
    from pywg.manage.tunnel import names

    codes.require()
    open_output()
    target = names.any_file(given.file)
    if left_out := codes.show(as_text(names.load(target)), target.path):
        print(f"pywg: left out, as no phone takes it: {', '.join(left_out)}", file=sys.stderr)
    return 0
