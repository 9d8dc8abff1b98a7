"""`pywg up`, `down` and `reload`: tunnels by their wg-quick files."""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable

from pywg.cli.parser import CommandParser

_UP = """\
Sets up the interface of a wg-quick file: a pywg that serves it, keys and peers,
addresses, MTU, DNS, routes, hooks. All of it, or on any error nothing.
NAME stands for /etc/wireguard/NAME.conf.
"""
_DOWN = """\
Takes an interface down, and all that `pywg up` or wg-quick have done for it,
also when its file has changed or gone since.
"""
_RELOAD = """\
Changes an interface that is up to what its file says now: keys, peers, port,
addresses, MTU, DNS, routes. Sessions of peers that stay are not interrupted.
All of it, or on any error nothing. Hooks don't run.
"""
_BOTH = "a file NAME.conf, or the name of an interface"


def define_up(parser: CommandParser) -> None:
    """Adds the command's arguments."""
    parser.description = _UP
    _define(parser, "print the steps as commands, and do nothing")
    parser.add_argument(
        "--notify", action="store_true", help="as ExecStart= of a unit with Type=notify: see docs/systemd"
    )
    parser.set_defaults(execute=_up)


def define_down(parser: CommandParser) -> None:
    """Adds the command's arguments."""
    parser.description = _DOWN
    _define(parser, "print the steps as commands, and do nothing")
    parser.add_argument("--if-up", action="store_true", help="no error where it is not up")
    parser.set_defaults(execute=_down)


def define_reload(parser: CommandParser) -> None:
    """Adds the command's arguments."""
    parser.description = _RELOAD
    _define(parser, "print what would go (-) and come (+), and do nothing")
    parser.set_defaults(execute=_reload)


def _define(parser: CommandParser, dry_run: str) -> None:
    parser.add_argument("target", metavar="FILE|NAME", help=_BOTH)
    parser.add_argument("-n", "--dry-run", action="store_true", help=dry_run)
    parser.add_argument("-v", "--verbose", action="store_true", help="print each step as it is taken")


def _up(given: argparse.Namespace) -> int:
    from pywg.manage.tunnel import names, up

    target = names.find(given.target)
    if given.dry_run:
        return _print(up.dry_run(target))
    ready = _tell_manager if given.notify else None
    return _carry_out(lambda: up.up(target, verbose=given.verbose, ready=ready))


def _tell_manager(pid: int) -> None:
    """Makes the daemon the main process of the unit in which this command runs."""
    from pywg.runtime.daemon.notify import Notifier

    notifier = Notifier(os.environ.get("NOTIFY_SOCKET") or None)
    notifier.ready_as(pid)
    notifier.close()


def _down(given: argparse.Namespace) -> int:
    from pywg.manage.tunnel import down, names

    target = names.find(given.target)
    if given.dry_run:
        return _print(down.dry_run(target))
    return _carry_out(lambda: down.down(target, verbose=given.verbose, if_up=given.if_up))


def _reload(given: argparse.Namespace) -> int:
    from pywg.manage.tunnel import names, reload

    target = names.find(given.target)
    if given.dry_run:
        return _print(reload.dry_run(target))
    return _carry_out(lambda: reload.reload(target, verbose=given.verbose))


def _carry_out(change: Callable[[], list[str]]) -> int:
    """Says what runs where a person reads it; a script gets no output. Keys of this process go into no core file."""
    from pywg.manage.tunnel.interrupt import Interrupted
    from pywg.runtime.base.libc import forbid_dumps

    with contextlib.suppress(OSError):
        forbid_dumps()
    try:
        lines = change()
    except Interrupted as stopped:
        print(f"pywg: {stopped}", file=sys.stderr)
        return 128 + stopped.number
    return _print(lines) if sys.stdout and sys.stdout.isatty() else 0


def _print(lines: list[str]) -> int:
    for line in lines:
        print(line)
    return 0
