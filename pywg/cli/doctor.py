"""`pywg doctor`: why there is no tunnel, or a bad one."""

import argparse
import json
import os
import shutil

from pywg.cli.color import wants_color
from pywg.cli.parser import CommandParser
from pywg.cli.usage import check_interface_name

DESCRIPTION = """\
Finds out why there is no tunnel, or a bad one: this machine, the interface, its
peers, the ways to their endpoints, the packet filter, routes. Each finding has
the command that mends it. WHAT is an interface, whose file is
/etc/wireguard/NAME.conf, or a file; without it, what runs is looked at, or this
machine alone. As root it sees all; it says what it could not see.

It changes nothing. It sends each endpoint some datagrams, which WireGuard there
counts as malformed, and pings.
"""
_EPILOG = """\
Exit status: 0 nothing to mend; 1 doctor failed; 2 usage; 3 the worst finding is
a warning; 4 it is an error. Notes don't count.
"""


def define(parser: CommandParser) -> None:
    """Adds the command's arguments."""
    parser.description = DESCRIPTION
    parser.epilog = _EPILOG
    parser.add_argument("what", metavar="WHAT", nargs="?", default="", help="NAME of an interface, or a FILE.conf")
    parser.add_argument("--json", action="store_true", help="one JSON object for each interface, in an array")
    parser.add_argument("--each", action="store_true", help="a finding for each peer, however many have the same")
    parser.set_defaults(execute=doctor)


def doctor(given: argparse.Namespace) -> int:
    """Prints the findings and returns the exit status. Raises DeviceError when the file can't be read."""
    from pywg.manage.doctor.checks import judge
    from pywg.manage.doctor.finding import exit_status
    from pywg.manage.doctor.gather import gather
    from pywg.manage.doctor.report import as_objects, lines

    reports, worst = [], 0
    for interface, path in _targets(given.what):
        findings = judge(gather(interface, path))
        status = exit_status(findings)
        worst = max(worst, status)
        if given.json:
            reports.append(as_objects(interface, findings, status))
            continue
        about = f"{interface}{f' ({path})' if path else ''}" if interface else "this machine: no tunnel runs"
        print("\n".join(lines(about, findings, width=_width(), color=wants_color(), each=given.each)))
    if given.json:
        print(json.dumps(reports, indent=2))
    return worst


def _targets(what: str) -> list[tuple[str, str]]:
    """(interface, file) of each that is to be looked at. Raises UsageError."""
    from pywg.manage.client import served_here

    if not what:
        return [(name, "") for name in served_here()] or [("", "")]
    if "/" not in what and not what.endswith(".conf"):
        return [(check_interface_name(what), "")]
    return [(check_interface_name(os.path.basename(what).removesuffix(".conf")), what)]


def _width() -> int:
    return min(shutil.get_terminal_size((100, 24)).columns, 120)
