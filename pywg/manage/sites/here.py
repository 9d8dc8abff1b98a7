"""What this machine knows of itself, as defaults for its site's answers."""

import contextlib
import ipaddress
import re
import socket
import sys
from collections.abc import Iterator
from typing import Final, NamedTuple

from pywg.config.addresses import format_prefix
from pywg.config.model import Prefix

_VIRTUAL: Final = re.compile(r"(lo|docker|br-|veth|virbr|wg|tun|tap|lxc|cni|podman)")
"""Interfaces whose networks are nobody's behind a site."""
_UP: Final = 0x1
_GATEWAY: Final = 0x2
_REJECT: Final = 0x200
_ROUTES, _ROUTES_V6 = "/proc/net/route", "/proc/net/ipv6_route"
_ANYWHERE: Final = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
"""Nothing is sent there: a connected UDP socket says which address would be the source."""
_IPV6_ADDR_PREFERENCES: Final = 72
_PREFER_PUBLIC: Final = 0x2
"""Not one of the addresses that change by themselves (RFC 5014, 8981)."""


class Found(NamedTuple):
    """As an operator would write them; "" for what can't be known."""

    name: str
    address: str
    networks: str


class _Row(NamedTuple):
    """An entry of a routing table."""

    interface: str
    network: Prefix
    flags: int


def this_machine() -> Found:
    """The host's name, its address if that is a public one, and the networks on its other interfaces."""
    name = re.sub(r"[^A-Za-z0-9-]", "", socket.gethostname().partition(".")[0])[:32].lstrip("-")
    return Found(name or "site-a", _public_address(), networks_of(_text(_ROUTES), _text(_ROUTES_V6)))


def networks_of(routes: str, routes_v6: str) -> str:
    """The networks of texts like /proc/net/route and /proc/net/ipv6_route, without those where a default route leaves:
    private ones of IPv4, and those of IPv6 that have addresses of their own in the world, or are private."""
    rows = [row for row in (*_rows(routes), *_rows_v6(routes_v6)) if row.flags & _UP and not row.flags & _REJECT]
    outside = {row.interface for row in rows if row.network[1] == 0}
    found = []
    for interface, (ip, cidr), flags in rows:
        if interface in outside or _VIRTUAL.match(interface) or flags & _GATEWAY or cidr == len(ip) * 8:
            continue
        network = ipaddress.ip_address(ip)
        if network.is_private if network.version == 4 else (network in _UNIQUE_LOCAL or network in _GLOBAL):
            found.append(format_prefix((ip, cidr)))
    return ", ".join(dict.fromkeys(found))


_UNIQUE_LOCAL: Final = ipaddress.ip_network("fc00::/7")
_GLOBAL: Final = ipaddress.ip_network("2000::/3")


def _rows(routes: str) -> Iterator[_Row]:
    for row in map(str.split, routes.splitlines()[1:]):
        if len(row) > 7:
            yield _Row(row[0], (_bytes(row[1]), int.from_bytes(_bytes(row[7]), "big").bit_count()), int(row[3], 16))


def _rows_v6(routes: str) -> Iterator[_Row]:
    for row in map(str.split, routes.splitlines()):
        if len(row) > 9:
            yield _Row(row[9], (bytes.fromhex(row[0]), int(row[1], 16)), int(row[8], 16))


def _bytes(word: str) -> bytes:
    """An address as the kernel prints it there: a number in this machine's order of bytes."""
    return int(word, 16).to_bytes(4, sys.byteorder)


def _text(path: str) -> str:
    with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
        return file.read()
    return ""


def _public_address() -> str:
    """Of IPv4, or else of IPv6."""
    for family, anywhere in _ANYWHERE:
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, _IPV6_ADDR_PREFERENCES, _PREFER_PUBLIC)
            probe.connect((anywhere, 9))
            address = str(probe.getsockname()[0])
            if ipaddress.ip_address(address).is_global:
                return address
    return ""
