"""`pywg init`: the files that join sites, for two of them or a mesh."""

import argparse
import os
import sys
from collections.abc import Callable
from typing import TypeVar

from pywg.cli.ask import ask, at_terminal
from pywg.cli.parser import CommandParser, interface_name
from pywg.cli.usage import UsageError
from pywg.config.addresses import parse_number
from pywg.config.model import Prefix
from pywg.config.uapi import MAX_KEEPALIVE
from pywg.config.wg_quick import HostPort
from pywg.errors import ConfigError
from pywg.manage.sites.here import Found, this_machine
from pywg.manage.sites.site import (
    Site,
    check_together,
    is_v4,
    parse_endpoint,
    parse_name,
    parse_networks,
    parse_tunnel,
)

T = TypeVar("T")
_MOST_TABLE = 1 << 24

DESCRIPTION = """\
Writes the files that join sites: keys, a file for `pywg up` (or wg-quick) at
each end, rules for nftables, and says what to copy where and what to run.
"""
_SITE_TO_SITE = """\
Two sites. At a terminal it asks for what the options don't say; elsewhere
--left, --right and an endpoint are needed. Each site gets a folder of its name
in --out, readable by its owner alone.

A site without an endpoint is behind NAT: it calls the other one.
"""
_MESH = """\
A tunnel between every two sites of a table, CSV with a header or TOML:

  name, endpoint, networks, address       [[site]]
  berlin, 203.0.113.1, 192.168.1.0/24,    name = "berlin"
  paris, paris.example.org:51821,,        endpoint = "203.0.113.1"

Only the name is needed. Further runs keep keys and addresses, and add what is
new in the table. The folder --out has a folder for each site, and mesh.json
with all keys: it belongs on the one machine where the mesh is planned.
"""


def define(parser: CommandParser) -> None:
    """Adds the command's arguments."""
    parser.description = DESCRIPTION
    words = parser.words("WHAT")
    _define_site_to_site(words.add_parser("site-to-site", help="two sites: asks, or takes options"))
    _define_mesh(words.add_parser("mesh", help="each with each, from a table in CSV or TOML"))


def _define_site_to_site(parser: CommandParser) -> None:
    parser.description = _SITE_TO_SITE
    for side, whose in (("left", "one site"), ("right", "the other site")):
        parser.add_argument(f"--{side}", metavar="NAME", help=f"the name of {whose}")
        parser.add_argument(f"--{side}-endpoint", metavar="HOST[:PORT]", help="where the other one reaches it")
        parser.add_argument(f"--{side}-network", metavar="CIDR,...", help="the networks behind it")
    parser.add_argument("--nat", choices=("left", "right", "both"), help="behind NAT, though it has an endpoint")
    parser.add_argument("--keepalive", metavar="SECONDS", help="at both ends; default: 25 at those behind NAT")
    _define_common(parser, tunnel="10.99.0.0/30", out="this folder")
    parser.add_argument("--qr", action="store_true", help="show the right site's file as a QR code, for a phone")
    parser.set_defaults(execute=_site_to_site)


def _define_mesh(parser: CommandParser) -> None:
    parser.description = _MESH
    parser.add_argument("table", metavar="TABLE", help="a file: CSV, or TOML if its name ends in .toml")
    _define_common(parser, tunnel="10.99.0.0/16", out="TABLE without its ending")
    parser.set_defaults(execute=_mesh)


def _define_common(parser: CommandParser, *, tunnel: str, out: str) -> None:
    parser.add_argument("--tunnel", metavar="CIDR,...", help=f"network of the tunnel itself; default: {tunnel}")
    parser.add_argument("--ipv6", action="store_true", help="and one of IPv6 for it, of a private network (RFC 4193)")
    psk = parser.add_mutually_exclusive_group()
    psk.add_argument("--psk", action="store_true", help="a preshared key for each pair: the default")
    psk.add_argument("--no-psk", action="store_true", help="none")
    parser.add_argument("--interface", metavar="IFACE", type=interface_name, default="wg0", help="default: wg0")
    parser.add_argument("--out", metavar="DIR", default="", help=f"where the folders go; default: {out}")
    parser.add_argument("--force", action="store_true", help="overwrite files")


def _site_to_site(given: argparse.Namespace) -> int:
    from pywg.manage.sites import folder, site_to_site

    asks = at_terminal()
    if not asks:
        _require(given)
    if given.qr:
        from pywg.manage import qr

        qr.require()
    left = _site(given, "left", None, asks=asks)
    right = _site(given, "right", left, asks=asks)
    asked = asks and any(_leaves_open(given, side) for side in ("left", "right"))
    tunnel = _tunnel(given, (left, right), asks=asked)
    nat = {"left": [left.name], "right": [right.name], "both": [left.name, right.name], None: []}[given.nat]
    keepalive = None
    if given.keepalive is not None:
        keepalive = _value("--keepalive", given.keepalive, lambda text: parse_number(text, MAX_KEEPALIVE))
    site_to_site.join(left, right, tunnel, nat=nat, keepalive=keepalive)
    files = site_to_site.files(left, right, interface=given.interface, psk=not given.no_psk)
    out = given.out or "."
    folder.write_all(out, files, force=given.force)
    print("\n".join(["Written:", *(f"  {os.path.join(out, name)}" for name in files), ""]))
    print(site_to_site.what_next(left, right, interface=given.interface, folder=out), end="")
    if given.qr:
        print()
        qr.show(files[f"{right.name}/{given.interface}.conf"], os.path.join(out, right.name))
    return 0


def _mesh(given: argparse.Namespace) -> int:
    from pywg.manage.sites import mesh, table

    entries = table.parse(_read(given.table), given.table)
    tunnel = _value("--tunnel", given.tunnel or mesh.DEFAULT_TUNNEL, lambda text: parse_tunnel(text, len(entries)))
    out = given.out or os.path.splitext(given.table)[0]
    if out == given.table:
        raise UsageError("the table's name has no ending to leave out: --out DIR says where the folders go")
    made = mesh.make(
        entries,
        tunnel or [],
        folder=out,
        interface=given.interface,
        psk=not given.no_psk,
        force=given.force,
        ipv6=given.ipv6,
    )
    print(f"{len(entries)} sites in {out}/: {made.new} new, {made.changed} changed, {made.same} as before.")
    if made.gone:
        print(f"No longer in the table, and left alone: {', '.join(made.gone)}.")
    if made.apart:
        print(f"Pairs without an endpoint at either end, which get no tunnel: {made.apart}.")
    print(f"Copy each folder to its site, and there run, as root: install -D -m 600 {given.interface}.conf", end="")
    print(f" /etc/wireguard/{given.interface}.conf && pywg up {given.interface}")
    print(f"{os.path.join(out, mesh.MEMORY)} has all keys: keep it for the next run, and from others.")
    return 0


def _require(given: argparse.Namespace) -> None:
    missing = [option for option in ("--left", "--right") if not getattr(given, option[2:])]
    if not given.left_endpoint and not given.right_endpoint:
        missing.append("--left-endpoint or --right-endpoint")
    if missing:
        raise UsageError(
            f"nobody can be asked here, so init site-to-site needs {', '.join(missing)}",
            see="pywg init site-to-site --help",
        )


def _leaves_open(given: argparse.Namespace, side: str) -> bool:
    """Whether there is something to ask about a site."""
    return getattr(given, side) is None or getattr(given, f"{side}_endpoint") is None


def _site(given: argparse.Namespace, side: str, other: Site | None, *, asks: bool) -> Site:
    """One site: what the options say, the operator's answers to what they don't, and defaults."""
    said = {what: getattr(given, f"{side}_{what}" if what else side) for what in ("", "endpoint", "network")}
    asks = asks and _leaves_open(given, side)

    def value(what: str, question: str, parse: Callable[[str], T], default: str = "", hint: str = "") -> T:
        option = f"--{side}-{what}" if what else f"--{side}"
        if said[what] is not None or not asks:
            return _value(option, said[what] or "", parse)
        return ask(question, parse, default=default, hint=hint)

    if asks:
        print("This site:" if other is None else "The other site:", file=sys.stderr)
    here = this_machine() if asks and other is None else Found("site-b" if asks else "", "", "")

    def name(text: str) -> str:
        if other is not None and text == other.name:
            raise ConfigError("this is the name of the first site")
        return parse_name(text)

    def endpoint(text: str) -> HostPort | None:
        if text not in {"", "none"}:
            return parse_endpoint(text)
        if other is not None and other.endpoint is None:
            raise ConfigError("one of the two sites needs an address that the other can reach")
        return None

    def networks(text: str) -> list[Prefix]:
        found = parse_networks(text if text != "none" else "")
        site.networks = found
        check_together([site, other] if other is not None else [site], [])
        return found

    site = Site(value("", "  its name", name, here.name))
    hint = "none: it is behind NAT" if other is None or other.endpoint else ""
    site.endpoint = value(
        "endpoint", "  its public address or host name, and :PORT if not 51820", endpoint, here.address, hint
    )
    site.networks = value("network", "  networks behind it, such as 192.168.1.0/24", networks, here.networks, "none")
    return site


def _tunnel(given: argparse.Namespace, sites: tuple[Site, Site], *, asks: bool) -> list[Prefix]:
    """The option's, or the first default that is in no network of the sites; with one of IPv6 if that is wanted."""
    from pywg.constants import KEY_LEN
    from pywg.manage.sites.keys import private_network

    tunnel = _tunnel_v4(given, sites)
    several = not all(map(is_v4, tunnel))
    wanted = given.ipv6
    if asks and not (several or wanted or given.tunnel):
        both = any(not is_v4(network) for site in sites for network in site.networks)
        question = "Addresses of IPv6 in the tunnel too? (yes or no)"
        wanted = ask(question, _yes_or_no, default="yes" if both else "no")
    return tunnel if several or not wanted else [*tunnel, private_network(os.urandom(KEY_LEN))]


def _yes_or_no(text: str) -> bool:
    for word, means in (("yes", True), ("no", False)):
        if text and word.startswith(text.lower()):
            return means
    raise ConfigError("expected yes or no")


def _tunnel_v4(given: argparse.Namespace, sites: tuple[Site, Site]) -> list[Prefix]:
    from pywg.manage.sites.site_to_site import DEFAULT_TUNNELS

    if given.tunnel:
        return _value("--tunnel", given.tunnel, lambda text: parse_tunnel(text, len(sites)))
    for text in DEFAULT_TUNNELS:
        tunnel = parse_tunnel(text, len(sites))
        try:
            check_together(sites, tunnel)
        except ConfigError:
            continue
        return tunnel
    return parse_tunnel(DEFAULT_TUNNELS[0], len(sites))


def _value(option: str, text: str, parse: Callable[[str], T]) -> T:
    try:
        return parse(text)
    except ConfigError as error:
        raise UsageError(f"{option}: {error}", see="") from None


def _read(path: str) -> str:
    with open(path, "rb") as file:
        data = file.read(_MOST_TABLE + 1)
    if len(data) > _MOST_TABLE:
        raise ConfigError(f"{path} is too large for a table of sites")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line, column = data.count(b"\n", 0, error.start) + 1, error.start - data.rfind(b"\n", 0, error.start)
        raise ConfigError(f"{path}:{line}:{column}: not UTF-8") from None
