"""`pywg show`: what `wg show` prints, byte for byte, without wg."""

import argparse
import os
import sys

from pywg.cli.color import wants_color
from pywg.cli.parser import CommandParser

DESCRIPTION = """\
Shows the state of WireGuard interfaces as `wg show` does. Without IFACE, or
with all, that of all; interfaces names them. Keys stay hidden, unless WHAT asks
for them or WG_HIDE_KEYS=never is set. WG_COLOR_MODE=always or never, NO_COLOR.
Root may use it, and the groups of --socket-owner and --monitor-socket; the
latter sees no keys. The kernel's own interfaces are for wg.
"""
_EPILOG = """\
Exit status: 0 shown, or there is none; 1 an interface can't be shown; 2 usage.
"""
_WHAT = (
    *("public-key", "private-key", "listen-port", "fwmark", "peers", "preshared-keys", "endpoints", "allowed-ips"),
    *("latest-handshakes", "transfer", "persistent-keepalive", "dump"),
)


def define(parser: CommandParser) -> None:
    """Adds the command's arguments."""
    parser.description = DESCRIPTION
    parser.epilog = _EPILOG
    parser.add_argument("interface", metavar="IFACE", nargs="?", default="all", help="an interface, all or interfaces")
    parser.add_argument(
        "what", metavar="WHAT", nargs="?", choices=_WHAT, help=f"one column for programs: {', '.join(_WHAT)}"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object: see docs/json.md")
    parser.add_argument("--show-keys", action="store_true", help="with --json: private and preshared keys too")
    parser.set_defaults(execute=lambda given: show(given, parser))


def show(given: argparse.Namespace, parser: CommandParser) -> int:
    """Prints the state and returns the exit status. Raises DeviceError when the one interface can't be shown."""
    if given.json and given.what:
        parser.error("--json shows everything: it takes no WHAT")
    if given.show_keys and not given.json:
        parser.error("--show-keys goes with --json: `pywg show IFACE dump` shows keys too")
    if given.interface == "interfaces":
        if given.what or given.json:
            parser.error("interfaces takes no WHAT and no --json")
        return _interfaces()
    if given.json:
        return _objects(given.interface, keys=given.show_keys)
    if given.interface == "all":
        return _all(given.what)
    print(_text(given.interface, given.what, named=False), end="")
    return 0


def _interfaces() -> int:
    from pywg.manage.client import served_as_listed
    from pywg.manage.kernels import kernels

    if names := [*kernels(), *served_as_listed()]:
        print(*names)
    return 0


def _all(what: str | None) -> int:
    """As wg: 1 when there are interfaces, and none of them can be shown."""
    from pywg.errors import DeviceError
    from pywg.manage.client import served_as_listed

    names = served_as_listed()
    shown = 0
    for number, name in enumerate(names, 1):
        try:
            text = _text(name, what, named=True)
        except DeviceError as error:
            _say(error.strerror or str(error))
            continue
        print(text, end="\n" if number < len(names) and not what else "")
        shown += 1
    _name_kernels()
    return 0 if shown or not names else 1


def _objects(interface: str, *, keys: bool) -> int:
    import json

    from pywg.errors import DeviceError
    from pywg.manage.client import served, watch
    from pywg.manage.objects import shown_interface
    from pywg.manage.wg_show import View

    every = interface == "all"
    names = served() if every else [interface]
    found = []
    for name in names:
        try:
            status, told = watch(name)
        except DeviceError as error:
            if not every:
                raise
            _say(error.strerror or str(error))
            continue
        found.append(shown_interface(View(name, status, keys=told), told=told, keys=keys))
    print(json.dumps({"interfaces": found}, indent=2))
    if every:
        _name_kernels()
    return 0 if found or not names else 1


def _text(name: str, what: str | None, *, named: bool) -> str:
    from pywg.manage.client import watch
    from pywg.manage.wg_show import View, columns, pretty

    status, told = watch(name)
    if what is not None:
        return columns(View(name, status, keys=told), what, named=named)
    bare = os.environ.get("WG_HIDE_KEYS") == "never"
    return pretty(View(name, status, keys=told, bare=bare), color=wants_color())


def _name_kernels() -> None:
    from pywg.manage.kernels import kernels, whose

    for name in kernels():
        _say(whose(name))


def _say(text: str) -> None:
    print(f"pywg: {text}", file=sys.stderr)
