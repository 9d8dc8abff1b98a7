"""What this machine knows of itself, as defaults for its site's answers."""

import contextlib
import ipaddress
import re
import socket
import sys
from typing import Final, NamedTuple

from pywg.config.addresses import format_prefix

_VIRTUAL: Final = re.compile(r"(lo|docker|br-|veth|virbr|wg|tun|tap|lxc|cni|podman)")
"""Interfaces whose networks are nobody's behind a site."""
_UP: Final = 0x1
_GATEWAY: Final = 0x2
_ROUTES = "/proc/net/route"
_ANYWHERE = ("192.0.2.1", 9)
"""Nothing is sent there: a connected UDP socket says which address would be the source."""


class Found(NamedTuple):
    """As an operator would write them; "" for what can't be known."""

    name: str
    address: str
    networks: str


def this_machine() -> Found:
    """The host's name, its address if that is a public one, and the private networks on its other interfaces."""
    name = re.sub(r"[^A-Za-z0-9-]", "", socket.gethostname().partition(".")[0])[:32].lstrip("-")
    return Found(name or "site-a", _public_address(), networks_of(_routes()))


def networks_of(routes: str) -> str:
    """The networks of a text like /proc/net/route, without those where the default route leaves."""
    rows = [line.split() for line in routes.splitlines()[1:]]
    rows = [row for row in rows if len(row) > 7 and int(row[3], 16) & _UP]
    outside = {row[0] for row in rows if row[7] == "00000000"}
    found = []
    for interface, network, _, flags, _, _, _, mask, *_ in rows:
        if interface in outside or _VIRTUAL.match(interface) or int(flags, 16) & _GATEWAY:
            continue
        prefix = _bytes(network), int.from_bytes(_bytes(mask), "big").bit_count()
        if ipaddress.ip_address(prefix[0]).is_private:
            found.append(format_prefix(prefix))
    return ", ".join(dict.fromkeys(found))


def _bytes(word: str) -> bytes:
    """An address as the kernel prints it there: a number in this machine's order of bytes."""
    return int(word, 16).to_bytes(4, sys.byteorder)


def _routes() -> str:
    with contextlib.suppress(OSError), open(_ROUTES, encoding="ascii") as file:
        return file.read()
    return ""


def _public_address() -> str:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(_ANYWHERE)
        address = str(probe.getsockname()[0])
        return address if ipaddress.ip_address(address).is_global else ""
    return ""
