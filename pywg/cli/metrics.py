"""`pywg metrics`: what daemons count, for Prometheus."""

import argparse
from pathlib import Path

from pywg.cli.parser import CommandParser, interface_name

DESCRIPTION = """\
Answers Prometheus by HTTP, in the foreground, on 127.0.0.1:9586/metrics, for
all interfaces of this machine. It asks their daemons on the sockets that
--monitor-socket makes, which show no keys and take no changes, and needs only
the group of these sockets. Started by root it becomes another user.
docs/metrics.md has the metrics, alerts, a dashboard, and the unit.

With IFACE: only these interfaces; one that does not run has pywg_up 0.
"""
_EPILOG = """\
Whoever can connect to the address reads the page, which has peers' public keys
and names: neither a password nor TLS protects it. It needs the Python package
prometheus-client (pywg-tunnel[metrics], Debian: python3-prometheus-client).
Exit status: 0 done, or ended by a signal; 1 it could not start; 2 usage.
"""


def define(parser: CommandParser) -> None:
    """Adds the command's arguments."""
    parser.description = DESCRIPTION
    parser.epilog = _EPILOG
    parser.add_argument("interfaces", metavar="IFACE", nargs="*", type=interface_name, help="default: all that run")
    parser.add_argument(
        "--listen", metavar="ADDRESS", default="127.0.0.1:9586", help="HOST:PORT, [IPV6]:PORT, or :PORT for all"
    )
    parser.add_argument("--once", action="store_true", help="print the page, for node_exporter's textfile collector")
    parser.add_argument(
        "--names", metavar="FILE", type=Path, help="names of peers, by --write-names; read when changed"
    )
    parser.add_argument(
        "--write-names",
        metavar="FILE",
        type=Path,
        help="write peers' names from the wg-quick files into FILE, for others to read, and end",
    )
    parser.add_argument("--user", metavar="USER", default="nobody", help="user that root becomes; default: nobody")
    parser.set_defaults(execute=metrics)


def metrics(given: argparse.Namespace) -> int:
    """Serves, or prints, or writes, and returns 0. Raises PywgError for what can't be had."""
    if given.write_names is not None:
        from pywg.manage.metrics.names import write

        write(given.write_names, given.interfaces)
        return 0
    from pywg.manage.metrics.process import Options, once, serve

    options = Options(given.interfaces, given.listen, given.names, given.user)
    if given.once:
        print(once(options).decode(), end="")
    else:
        serve(options)
    return 0
