"""`pywg stats`: everything that a daemon counts and says of itself."""

import argparse

from pywg.cli.parser import CommandParser, interface_name

DESCRIPTION = """\
Shows the counters and offloads of a running interface, one NAME=VALUE a line.
`wg show IFACE` shows its peers. Root may use it, and the groups of
--socket-owner and --monitor-socket.
"""


def define(parser: CommandParser) -> None:
    """Adds the command's arguments."""
    parser.description = DESCRIPTION
    parser.add_argument("interface", metavar="IFACE", type=interface_name, help="a running interface")
    parser.add_argument("--json", action="store_true", help="one JSON object: numbers are numbers")
    parser.set_defaults(execute=stats)


def stats(given: argparse.Namespace) -> int:
    """Prints what the daemon says, and returns 0. Raises DeviceError when no pywg answers."""
    from pywg.manage.client import stats as ask

    found = ask(given.interface)
    if given.json:
        import json

        numbers = {name: int(value) for name, value in found.items() if value.removeprefix("-").isdecimal()}
        print(json.dumps(found | numbers, indent=2))
    else:
        for name, value in found.items():
            print(f"{name}={value}")
    return 0
