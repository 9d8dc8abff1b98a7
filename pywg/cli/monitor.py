"""`pywg monitor`: what happens, while it happens."""

import argparse
import json
import sys

from pywg.cli.parser import CommandParser, interface_name

DESCRIPTION = """\
Prints the events of an interface as they happen: handshakes, peers that come up
or go stale, initiations without an answer, endpoints that move, changes of the
configuration, drops, and the end of the daemon. Then it waits for the next one.
Root may use it, and the groups of --socket-owner and --monitor-socket. If its
output is read too slowly, events are lost, and it prints how many.
"""
_EPILOG = """\
Exit status: 0 ended by Ctrl-C; 1 no daemon answers, or it has no events;
2 usage.
"""


def define(parser: CommandParser) -> None:
    """Adds the command's arguments."""
    parser.description = DESCRIPTION
    parser.epilog = _EPILOG
    parser.add_argument(
        "interface", metavar="IFACE", nargs="?", type=_interface, help='a running interface; default: "all" that run'
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line, for programs")
    parser.set_defaults(execute=monitor)


def _interface(text: str) -> str | None:
    return None if text == "all" else interface_name(text)


def monitor(given: argparse.Namespace) -> int:
    """Prints events until it is interrupted, and returns 0. Raises DeviceError when no daemon tells any."""
    from pywg.config.uapi_event_reader import Event
    from pywg.config.uapi_events import CONFIGURATION, SUBSCRIBED
    from pywg.manage.event_text import event_line, event_object
    from pywg.manage.names import names_of
    from pywg.manage.subscriber import Subscriber, until_interrupted

    names: dict[str, dict[bytes, str]] = {}

    def say(interface: str, event: Event) -> None:
        if interface not in names or event.name in (CONFIGURATION, SUBSCRIBED):
            names[interface] = names_of(interface)
        if given.json:
            print(json.dumps(event_object(interface, event, names[interface])), flush=True)
        else:
            print(event_line(interface, event, names[interface]), flush=True)

    until_interrupted(Subscriber(given.interface, watched=sys.stdout.fileno() if sys.stdout else -1), say)
    return 0
