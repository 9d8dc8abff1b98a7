"""The peer that an operator means: by its name, the beginning of its key, an address in it, or its interface."""

import contextlib
import errno
from typing import NamedTuple

from pywg.config.addresses import format_ip, mask, parse_ip
from pywg.config.keys import format_key_base64
from pywg.config.model import PeerStatus, Prefix
from pywg.errors import ConfigError, DeviceError
from pywg.manage import client
from pywg.manage.names import names_of

_SHORTEST_KEY = 4
MOST_ADDRESSES = 8
"""Addresses of a peer that are tried."""


class Chosen(NamedTuple):
    """A peer, and where it may answer."""

    interface: str
    peer: PeerStatus
    name: str
    addresses: list[bytes]
    """to try, the likeliest first; the one that was given, if one was"""


def choose(who: str, *, interface: str = "") -> Chosen:
    """The one peer that `who` means, among those of `interface` or of all that run. Raises DeviceError."""
    interfaces = [interface] if interface else client.served_here()
    if not interfaces:
        raise DeviceError(errno.ENODEV, "no tunnel runs here")
    all_peers: list[Chosen] = []
    denied: DeviceError | None = None
    for name in interfaces:
        try:
            status, _ = client.watch(name)
        except DeviceError as error:
            denied = error
            continue
        status.private_key = None
        named = names_of(name)
        for peer in status.peers:
            peer_name = named.get(peer.public_key, "") or format_key_base64(peer.public_key)
            all_peers.append(Chosen(name, peer, peer_name, hosts(peer.allowed_ips)))
    if not all_peers and denied is not None:
        raise denied
    return _choose(who, all_peers)


def _choose(who: str, peers: list[Chosen]) -> Chosen:
    with contextlib.suppress(ConfigError):
        ip = parse_ip(who)
        owner = _owner(ip, peers)
        if owner is None:
            raise DeviceError(errno.ENETUNREACH, f"no peer has {who} in its allowed IPs")
        return owner._replace(addresses=[ip])
    key_prefix = [one for one in peers if len(who) >= _SHORTEST_KEY and _key(one).startswith(who.rstrip("…"))]
    for found in (
        [one for one in peers if one.name == who],
        [one for one in peers if one.name.casefold() == who.casefold()],
        [one for one in peers if one.interface == who],
        key_prefix,
        [one for one in peers if one.name != _key(one) and one.name.casefold().startswith(who.casefold())],
    ):
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(sorted(one.name for one in found)[:MOST_ADDRESSES])
            raise DeviceError(errno.EINVAL, f"{who!a} may be any of {len(found)} peers: {names}")
    names = ", ".join(sorted(one.name for one in peers)[:MOST_ADDRESSES]) or "none"
    raise DeviceError(errno.ENOENT, f"no peer is called {who!a}, and no key begins so; the peers here: {names}")


def _owner(ip: bytes, peers: list[Chosen]) -> Chosen | None:
    """The peer with the longest prefix that has the address."""
    best, longest = None, -1
    for one in peers:
        for net, cidr in one.peer.allowed_ips:
            if len(net) == len(ip) and cidr > longest and mask(ip, cidr) == net:
                best, longest = one, cidr
    return best


def hosts(allowed_ips: list[Prefix]) -> list[bytes]:
    """Addresses that may be a host's: whole addresses first, then the first of each network; IPv4 before IPv6."""
    single = [ip for ip, cidr in allowed_ips if cidr == len(ip) * 8]
    nets = [
        (int.from_bytes(ip, "big") + (cidr < len(ip) * 8 - 1)).to_bytes(len(ip), "big")
        for ip, cidr in allowed_ips
        if 0 < cidr < len(ip) * 8
    ]
    return (sorted(single, key=len) + sorted(nets, key=len))[:MOST_ADDRESSES]


def _key(one: Chosen) -> str:
    return format_key_base64(one.peer.public_key)


def described(chosen: Chosen) -> str:
    """For a heading: the peer and its interface."""
    return f"{chosen.name} by {chosen.interface}" + (f" ({format_ip(chosen.addresses[0])})" if chosen.addresses else "")
