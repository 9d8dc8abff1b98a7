"""`pywg upgrade`: a new daemon takes over from the running one, and sessions and connections go on."""

import argparse

from pywg.cli.parser import CommandParser, interface_name

_DESCRIPTION = """\
Replaces the daemon that serves IFACE by this pywg, with the same options: after
an upgrade of the package, or of a library that it uses. Interface, addresses,
port, peers and sessions stay; packets wait for some milliseconds. If anything
fails, the old daemon goes on, and the status is 1. A daemon of several
interfaces is replaced as a whole. To change options, restart instead.
"""


def define(parser: CommandParser) -> None:
    """Adds the command's arguments."""
    parser.description = _DESCRIPTION
    parser.add_argument(
        "interfaces", metavar="IFACE", nargs="+", type=interface_name, help="a running interface, or several"
    )
    parser.set_defaults(execute=upgrade)


def upgrade(given: argparse.Namespace) -> int:
    """Returns 0 when new daemons serve all; 1 where an old one serves on, and a line on standard error says why."""
    from pywg.cli.run import take_over
    from pywg.runtime.base.in_use import daemon_of

    new: list[int] = []
    for interface in given.interfaces:
        daemon = daemon_of(interface)
        if daemon is not None and daemon.pid and daemon.pid in new:
            continue  # with one before it
        pid = take_over(interface)
        if not pid:
            return 1
        new.append(pid)
    return 0
