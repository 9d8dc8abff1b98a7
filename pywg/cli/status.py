"""`pywg status`: what runs and how it does, for people."""

import argparse
from typing import TYPE_CHECKING

from pywg.cli.color import screen, wants_color
from pywg.cli.parser import CommandParser, interface_name

if TYPE_CHECKING:
    from pywg.manage.status import Found

DESCRIPTION = """\
Shows, on a screen, each interface: its daemon, addresses, cipher, offloads and
what was dropped and why; and its peers by name, those in trouble first, with
their handshakes, endpoints, rates (bits a second) and totals (bytes). Names are
those of the file that the interface was set up with: `# Name = berlin`, or a
comment above [Peer]. Root may use it, and the groups of --socket-owner and
--monitor-socket, without keys.
"""
_EPILOG = """\
Exit status: 0 shown; 1 something runs, but you may not see it; 2 usage;
3 nothing runs. Peers in trouble don't change it.
"""
NOTHING_RUNS = 3


def define(parser: CommandParser) -> None:
    """Adds the command's arguments."""
    parser.description = DESCRIPTION
    parser.epilog = _EPILOG
    parser.add_argument("interface", metavar="IFACE", nargs="?", type=interface_name, help="default: all that run")
    parser.add_argument("-a", "--all", action="store_true", help="all peers and drops, beyond the screen's end")
    parser.add_argument(
        "--interval", metavar="SECONDS", type=_seconds, default=1.0, help="that the rates are taken over; 0: no rates"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object: see docs/json.md")
    parser.set_defaults(execute=status)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= 3600:
        raise argparse.ArgumentTypeError("a number of seconds in 0..3600")
    return seconds


def status(given: argparse.Namespace) -> int:
    """Prints what is seen and returns the exit status."""
    from pywg.errors import DeviceError
    from pywg.manage.client import served
    from pywg.manage.kernels import whose
    from pywg.manage.status import gather
    from pywg.runtime.base.in_use import is_kernels

    name = given.interface
    if name and name not in served():
        if given.json:
            _print_objects([], [], [name] if is_kernels(name) else [])
        else:
            print(whose(name) if is_kernels(name) else _does_not_run(name))
        return NOTHING_RUNS
    try:
        found = gather(name, given.interval)
    except DeviceError:
        if name and name not in served():  # it has just ended
            print(_does_not_run(name))
            return NOTHING_RUNS
        raise
    if given.json:
        from pywg.manage.objects import seen_interface

        _print_objects([seen_interface(*one) for one in found.seen], list(found.refused), found.kernels)
    else:
        _print_text(given, found)
    if found.seen:
        return 0
    return 1 if found.refused else NOTHING_RUNS


def _does_not_run(name: str) -> str:
    from pywg.manage.meant import what_is_up

    return f"{name} does not run{what_is_up(name) or f'. To start it: `pywg up {name}`'}"


def _print_objects(interfaces: list[dict[str, object]], refused: list[str], kernels: list[str]) -> None:
    import json

    print(json.dumps({"interfaces": interfaces, "refused": refused, "kernel_interfaces": kernels}, indent=2))


def _print_text(given: argparse.Namespace, found: "Found") -> None:
    from pywg.manage.kernels import whose
    from pywg.manage.status_text import Room, interface_lines, painted

    columns, lines = screen()
    several = len(found.seen) > 1
    share = None if given.all or lines is None else max((lines - 1) // max(len(found.seen), 1) - several, 0)
    blocks = [interface_lines(sight, speed, Room(columns, share)) for sight, speed in found.seen]
    print("\n".join(painted(block, color=wants_color()) for block in blocks), end="")
    if blocks and (found.refused or found.kernels):
        print()
    for text in (*found.refused.values(), *map(whose, found.kernels)):
        print(text)
    if not (blocks or found.refused):
        print("No tunnel of pywg runs. To start one: `pywg up NAME`, with the file /etc/wireguard/NAME.conf")
