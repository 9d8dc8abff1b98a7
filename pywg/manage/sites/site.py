"""A site, what an operator says of it as text, and whether several of them fit together."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from pywg.config.addresses import MAX_PORT, V4_LEN, format_ip, format_prefix, mask, parse_interface_address, parse_ip
from pywg.config.addresses import parse_number as number_up_to
from pywg.config.model import Prefix
from pywg.config.wg_quick import HostPort
from pywg.errors import ConfigError

DEFAULT_PORT: Final = 51820
KEEPALIVE_S: Final = 25
"""What keeps the mappings of nearly every NAT alive."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_HOST: Final = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?"
)


@dataclass
class Site:
    """One end of tunnels: a router with networks behind it."""

    name: str
    endpoint: HostPort | None = None
    """where others reach it; None: nowhere, it has to call them"""
    networks: list[Prefix] = field(default_factory=list)
    addresses: list[Prefix] = field(default_factory=list)
    """of its interface, with the length of the tunnel's network"""
    keepalive: int = 0
    """seconds; 0: it sends none"""
    private_key: bytes = field(default=b"", repr=False)
    public_key: bytes = b""

    @property
    def port(self) -> int:
        """The port on which it listens."""
        return DEFAULT_PORT if self.endpoint is None else self.endpoint[1]

    @property
    def reached_by(self) -> list[Prefix]:
        """What the others send to it: its addresses in the tunnel, and its networks."""
        return [(ip, len(ip) * 8) for ip, _ in self.addresses] + self.networks


def parse_name(text: str) -> str:
    """A site's name, which names a folder too. Raises ConfigError."""
    if not _NAME.fullmatch(text):
        raise ConfigError("expected 1 to 32 letters, digits, dots, hyphens or underscores, such as berlin")
    return text


def parse_endpoint(text: str) -> HostPort:
    """HOST, HOST:PORT, IPv6 or [IPv6]:PORT; the default port where none is given. Raises ConfigError."""
    host, port = text, str(DEFAULT_PORT)
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ConfigError("expected [IPv6]:PORT")
        port = rest[1:] if rest else port
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if number_up_to(port, MAX_PORT) == 0:
        raise ConfigError("no peer can send to port 0")
    if ":" in host or re.fullmatch(r"[0-9.]+", host):
        parse_ip(host.partition("%")[0])
    elif not _HOST.fullmatch(host):
        raise ConfigError("expected an address or a host name, and a port after a colon if it is not 51820")
    return host, int(port)


def parse_networks(text: str) -> list[Prefix]:
    """Prefixes, separated by commas or space. Raises ConfigError, also for host bits: one digit may be wrong there."""
    found: list[Prefix] = []
    for word in re.split(r"[\s,]+", text.strip()) if text.strip() else ():
        try:
            ip, cidr = parse_interface_address(word)
        except ConfigError as error:
            raise ConfigError(f"{error}: expected networks such as 192.168.1.0/24") from None
        network = mask(ip, cidr), cidr
        if network[0] != ip:
            raise ConfigError(
                f"{format_prefix((ip, cidr))} is an address in a network: is it {format_prefix(network)}?"
            )
        if cidr == 0:
            raise ConfigError(f"{format_prefix(network)} is everything, not a network behind a site")
        found.append(network)
    for first, second in overlapping([("", network) for network in found]):
        raise ConfigError(f"{format_prefix(first[1])} and {format_prefix(second[1])} overlap")
    return found


def parse_tunnel(text: str, hosts: int) -> list[Prefix]:
    """The network of the tunnel's own addresses, or one of each family; room for `hosts`. Raises ConfigError."""
    networks = parse_networks(text)
    if not networks or len({len(ip) for ip, _ in networks}) < len(networks):
        raise ConfigError("expected one network of IPv4, one of IPv6, or one of each")
    for network in networks:
        if room(network) < hosts:
            raise ConfigError(f"{format_prefix(network)} has room for {room(network)} sites, not for {hosts}")
    return networks


def room(network: Prefix) -> int:
    """How many interfaces may have an address in it."""
    ip, cidr = network
    bits = len(ip) * 8 - cidr
    return (1 << bits) - (2 if bits > 1 else 0)


def address_in(network: Prefix, number: int) -> Prefix:
    """The address of the interface `number`, 0 being the first, with the network's length."""
    ip, cidr = network
    first = int.from_bytes(ip, "big") + (len(ip) * 8 - cidr > 1)
    return (first + number).to_bytes(len(ip), "big"), cidr


def holds(network: Prefix, ip: bytes) -> bool:
    """Whether the address is in the network."""
    return len(ip) == len(network[0]) and mask(ip, network[1]) == network[0]


def overlapping(networks: Iterable[tuple[str, Prefix]]) -> Iterable[tuple[tuple[str, Prefix], tuple[str, Prefix]]]:
    """Pairs of (whose, network) with addresses in common: for each the nearest one around it."""
    around: list[tuple[str, Prefix]] = []
    for one in sorted(networks, key=lambda it: (len(it[1][0]), it[1][0], it[1][1])):
        while around and not holds(around[-1][1], one[1][0]):
            around.pop()
        if around:
            yield around[-1], one
        around.append(one)


def check_together(sites: Sequence[Site], tunnel: Sequence[Prefix]) -> None:
    """Raises ConfigError when the sites' networks can't be told apart, or a tunnel would run through itself."""
    networks = [(site.name, network) for site in sites for network in site.networks]
    for (whose, one), (others, other) in overlapping([*networks, *(("the tunnel", network) for network in tunnel)]):
        text = f"{format_prefix(one)} of {whose} and {format_prefix(other)} of {others} overlap"
        raise ConfigError(f"{text}: no packet can tell them apart, so one of the two has to be another network")
    starts = sorted(((network, whose) for whose, network in networks), key=lambda it: (len(it[0][0]), it[0]))
    keys = [(len(network[0]), network[0]) for network, _ in starts]
    for site in sites:
        if site.endpoint is None or not (ip := _literal(site.endpoint[0])):
            continue
        index = bisect_right(keys, (len(ip), ip)) - 1
        if index >= 0 and holds(starts[index][0], ip):
            network, whose = starts[index]
            text = f"the endpoint {format_ip(ip)} of {site.name} is inside {format_prefix(network)} of {whose}"
            raise ConfigError(f"{text}: the tunnel would run through itself, so give its address outside")


def _literal(host: str) -> bytes:
    try:
        return parse_ip(host.partition("%")[0])
    except ConfigError:
        return b""


def is_v4(prefix: Prefix) -> bool:
    """Whether the network is one of IPv4."""
    return len(prefix[0]) == V4_LEN
