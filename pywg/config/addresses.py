"""IP addresses, prefixes and endpoints: text to packed bytes and back.

Strict as inet_pton is: no leading zeros in IPv4, no zone in a prefix. The errors don't repeat the text.
"""

import re
import struct
from fcntl import ioctl
from socket import AF_INET, AF_INET6, IPPROTO_UDP, SOCK_DGRAM, inet_ntop, inet_pton, socket
from typing import Final

from pywg.config.interface import INTERFACE_NAME_MAX
from pywg.config.model import Prefix, SockAddr
from pywg.errors import ConfigError

V4_LEN = 4
V6_LEN = 16
MAX_PORT = 65535
_MAX_SCOPE_ID = 2**32 - 1
SIOCGIFNAME = 0x8910  # linux/sockios.h
SIOCGIFINDEX = 0x8933
_IFREQ = f"{INTERFACE_NAME_MAX + 1}si20x"  # struct ifreq: the name and, of the union, the index
_PLAIN_NAME = re.compile(rb"[A-Za-z0-9_.:-]+")
_MAPPED_PREFIX = bytes(10) + b"\xff\xff"

# Canonical decimal text only: "+8", "08" and " 8" are not in here.
_CIDRS = {str(cidr): cidr for cidr in range(V6_LEN * 8 + 1)}
_V4_MASKS: Final = tuple((2**32 - 1) & ~((1 << (32 - cidr)) - 1) for cidr in range(33))
_V6_MASKS: Final = tuple((2**128 - 1) & ~((1 << (128 - cidr)) - 1) for cidr in range(129))


def parse_ip(text: str) -> bytes:
    """A packed address, 4 or 16 bytes. ConfigError when it is none."""
    try:
        return inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    except (OSError, ValueError):
        raise ConfigError("not an IP address") from None


def format_ip(ip: bytes) -> str:
    """The text of a packed address. ConfigError when it is not 4 or 16 bytes long."""
    if len(ip) == V4_LEN:
        return inet_ntop(AF_INET, ip)
    if len(ip) == V6_LEN:
        return inet_ntop(AF_INET6, ip)
    raise ConfigError("an IP address has 4 or 16 bytes")


def parse_prefix(text: str) -> Prefix:
    """ADDRESS/CIDR with host bits cleared. ConfigError when it is no such thing."""
    address, _slash, length = text.partition("/")
    try:
        cidr = _CIDRS[length]
        return mask(inet_pton(AF_INET6 if ":" in address else AF_INET, address), cidr), cidr
    except (OSError, ValueError, LookupError):
        raise ConfigError("not an IP address, a slash and a prefix length") from None


def parse_interface_address(text: str) -> Prefix:
    """ADDRESS or ADDRESS/CIDR with host bits kept; without a length it is the whole address. ConfigError otherwise."""
    address, slash, length = text.partition("/")
    ip = parse_ip(address)
    cidr = _CIDRS.get(length.lstrip("0") or length[:1]) if slash else len(ip) * 8
    if cidr is None or cidr > len(ip) * 8:
        raise ConfigError(f"the prefix length is not a number in 0..{len(ip) * 8}")
    return ip, cidr


def mask(ip: bytes, cidr: int) -> bytes:
    """The address with its host bits cleared."""
    masks = _V4_MASKS if len(ip) == V4_LEN else _V6_MASKS
    bits = int.from_bytes(ip, "big") & masks[cidr]
    return bits.to_bytes(len(ip), "big")


def format_prefix(prefix: Prefix) -> str:
    """ADDRESS/CIDR."""
    return f"{format_ip(prefix[0])}/{prefix[1]}"


def parse_sock_addr(text: str) -> SockAddr:
    """IPv4:PORT or [IPv6]:PORT or [IPv6%ZONE]:PORT, the zone an interface's name or index.

    An IPv4-mapped IPv6 address becomes the IPv4 address it means. ConfigError when it is no such thing.
    """
    host, port = split_host_port(text)
    bracketed = text.startswith("[")
    host, percent, zone = host.partition("%")
    ip = parse_ip(host)
    if bracketed != (len(ip) == V6_LEN) or (percent and not bracketed):
        raise ConfigError("not IPv4:PORT or [IPv6]:PORT")
    if ip.startswith(_MAPPED_PREFIX):
        return ip[-V4_LEN:], port, 0
    return ip, port, _scope_id(zone) if percent else 0


def format_sock_addr(address: SockAddr) -> str:
    """The inverse of `parse_sock_addr`; a scope is written as the name that its interface has now."""
    ip, port, scope_id = address
    if len(ip) == V4_LEN:
        return f"{format_ip(ip)}:{port}"
    return f"[{format_ip(ip)}%{_zone(scope_id)}]:{port}" if scope_id else f"[{format_ip(ip)}]:{port}"


def split_host_port(text: str) -> tuple[str, int]:
    """HOST:PORT or [HOST]:PORT, the port a number in 0..65535. ConfigError when it is no such thing."""
    host, separator, port = text[1:].partition("]:") if text.startswith("[") else text.rpartition(":")
    if not separator or not host:
        raise ConfigError("not an address, a colon and a port")
    return host, parse_number(port, MAX_PORT)


def parse_number(text: str, most: int) -> int:
    """Decimal digits, 0..`most`. ConfigError for anything else: signs, spaces, underscores, other scripts' digits."""
    digits = text.lstrip("0") or text[:1]
    if not (digits.isascii() and digits.isdigit()) or len(digits) > len(str(most)) or int(digits) > most:
        raise ConfigError(f"not a number in 0..{most}")
    return int(digits)


def _scope_id(zone: str) -> int:
    """The index of an interface named in a zone; a name goes before a number, as in getaddrinfo(3)."""
    try:
        return interface_index(zone.encode())
    except (OSError, ValueError):
        return parse_number(zone, _MAX_SCOPE_ID)


def _zone(scope_id: int) -> str:
    """The interface's name, which outlives a restart of the machine; its index when no reader would take the name."""
    try:
        name = interface_name(scope_id)
    except OSError:
        return str(scope_id)
    # The kernel allows names that no reader of an endpoint takes, such as with "]" or bytes that are no text.
    return name.decode("ascii") if _PLAIN_NAME.fullmatch(name) else str(scope_id)


def interface_name(index: int) -> bytes:
    """An interface's name by its index: as if_indextoname(3), with the socket that `interface_index` uses.

    Raises OSError (ENODEV: there is none).
    """
    signed = index - (1 << 32) if index >> 31 else index  # ifr_ifindex is an int
    with socket(AF_INET, SOCK_DGRAM, IPPROTO_UDP) as sock:
        answer = ioctl(sock, SIOCGIFNAME, struct.pack(_IFREQ, b"", signed))
    return bytes(struct.unpack(_IFREQ, answer)[0]).partition(b"\0")[0]


def interface_index(name: bytes) -> int:
    """An interface's index by its name: as if_nametoindex(3), whose Unix socket the daemon's sandbox forbids.

    Raises OSError (ENODEV: there is none), or ValueError for what can't be a name.
    """
    if not 0 < len(name) <= INTERFACE_NAME_MAX or b"\0" in name:
        raise ValueError("not an interface name")
    with socket(AF_INET, SOCK_DGRAM, IPPROTO_UDP) as sock:
        answer = ioctl(sock, SIOCGIFINDEX, struct.pack(_IFREQ, name, 0))
    return int(struct.unpack(_IFREQ, answer)[1])
