"""The UAPI as a reader of its text would write it down, for comparison: https://www.wireguard.com/xplatform/.

A second reading of the same rules, which shares no code with pywg's and does nothing that makes it fast. It has the
state of a device as plain values, and says of a stream of bytes which replies it gets.
"""

import contextlib
import errno
import ipaddress
import socket
from dataclasses import dataclass, field, replace

from tests.runtime.device_harness import public

_FIRST_FREE_PORT = 40000  # of tests/runtime/device_harness.py
_HEX = frozenset(b"0123456789abcdefABCDEF")


class RefusedError(Exception):
    """A set operation that is refused, with the errno of its reply."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass
class Peer:
    """What is known of one peer."""

    preshared_key: bytes = bytes(32)
    endpoint: str = ""
    keepalive: int = 0
    allowed_ips: list[str] = field(default_factory=list)


@dataclass
class PeerWish:
    """The part of a set operation that is about one peer."""

    public_key: bytes
    values: dict[bytes, bytes | str | int] = field(default_factory=dict)
    remove: bool = False
    update_only: bool = False
    replace_allowed_ips: bool = False
    allowed_ips: list[tuple[bool, str]] = field(default_factory=list)


@dataclass
class Model:
    """A device, that is up or down for its whole life."""

    up: bool
    private_key: bytes | None = None
    listen_port: int = 0
    fwmark: int = 0
    peers: dict[bytes, Peer] = field(default_factory=dict)
    _free_port: int = _FIRST_FREE_PORT

    def __post_init__(self) -> None:
        if self.up:
            self._take_a_free_port()

    def set(self, body: bytes) -> int:
        """Carries out a set operation, whole or not at all; 0 or an errno."""
        device: dict[bytes, bytes | int] = {}
        wishes: list[PeerWish] = []
        try:
            for line in body.split(b"\n"):
                if not line:
                    break
                self._read(line, device, wishes)
        except RefusedError as refusal:
            return refusal.number
        except (ValueError, OSError):
            return errno.EINVAL
        self._carry_out(device, wishes)
        return 0

    def _read(self, line: bytes, device: dict[bytes, bytes | int], wishes: list[PeerWish]) -> None:
        name, equals, value = line.partition(b"=")
        if not equals:
            raise RefusedError(errno.EPROTO)
        wish = wishes[-1] if wishes else None
        if name == b"public_key":
            wishes.append(PeerWish(key(value)))
        elif wish is None:
            device[name] = self._read_device(name, value)
        elif name == b"allowed_ip":
            taken = value.startswith(b"-")
            wish.allowed_ips.append((taken, prefix(value[1:] if taken else value)))
        elif name == b"replace_allowed_ips":
            wish.replace_allowed_ips = bool(one_of(value, b"true"))
            wish.allowed_ips.clear()
        elif name in (b"remove", b"update_only"):
            setattr(wish, name.decode(), bool(one_of(value, b"true")))
        elif name == b"protocol_version":
            one_of(value, b"1")
        elif name == b"preshared_key":
            wish.values[name] = key(value)
        elif name == b"endpoint":
            wish.values[name] = endpoint(value)
        elif name == b"probe_endpoint":
            endpoint(value)
        elif name == b"clear_endpoint":
            one_of(value, b"true")
            wish.values[b"endpoint"] = ""
        elif name == b"persistent_keepalive_interval":
            wish.values[name] = number(value, 0xFFFF)
        else:
            refuse()

    def _read_device(self, name: bytes, value: bytes) -> bytes | int:
        if name == b"private_key":
            return key(value)
        if name == b"listen_port":
            return number(value, 0xFFFF)
        if name == b"fwmark":
            return number(value, 0xFFFFFFFF)
        return one_of(value, b"true") if name == b"replace_peers" else refuse()

    def _carry_out(self, device: dict[bytes, bytes | int], wishes: list[PeerWish]) -> None:
        self.fwmark = int(device.get(b"fwmark", self.fwmark))
        if b"listen_port" in device:
            port = int(device[b"listen_port"])
            if self.up and not port:
                self._take_a_free_port()
            else:
                self.listen_port = port
        if b"replace_peers" in device:
            self.peers.clear()
        if (given := device.get(b"private_key")) is not None:
            assert isinstance(given, bytes)
            self.private_key = clamped(given) if any(given) else None
        own = public(self.private_key) if self.private_key is not None else None
        self.peers.pop(own or b"", None)
        for wish in wishes:
            self._wish(wish, own)

    def _wish(self, wish: PeerWish, own: bytes | None) -> None:
        if wish.remove:
            self.peers.pop(wish.public_key, None)
            return
        if wish.public_key not in self.peers:
            if wish.update_only or wish.public_key == own:
                return
            self.peers[wish.public_key] = Peer()
        peer = replace(self.peers[wish.public_key])
        for name, attribute in (
            (b"preshared_key", "preshared_key"),
            (b"endpoint", "endpoint"),
            (b"persistent_keepalive_interval", "keepalive"),
        ):
            if name in wish.values:
                setattr(peer, attribute, wish.values[name])
        self.peers[wish.public_key] = peer
        if wish.replace_allowed_ips:
            peer.allowed_ips = []
        for taken, cidr in wish.allowed_ips:
            for it in [peer] if taken else self.peers.values():
                it.allowed_ips = [one for one in it.allowed_ips if one != cidr]
            if not taken:
                peer.allowed_ips.append(cidr)

    def _take_a_free_port(self) -> None:
        self.listen_port, self._free_port = self._free_port, self._free_port + 1

    def get(self) -> bytes:
        """The reply to a get operation, without its end."""
        lines = []
        if self.private_key is not None:
            lines.append(f"private_key={self.private_key.hex()}")
        if self.listen_port:
            lines.append(f"listen_port={self.listen_port}")
        if self.fwmark:
            lines.append(f"fwmark={self.fwmark}")
        for public_key, peer in self.peers.items():
            lines += [f"public_key={public_key.hex()}", f"preshared_key={peer.preshared_key.hex()}"]
            lines += ["protocol_version=1", *([f"endpoint={peer.endpoint}"] if peer.endpoint else [])]
            lines += ["last_handshake_time_sec=0", "last_handshake_time_nsec=0"]
            lines += ["tx_bytes=*", "rx_bytes=0", f"persistent_keepalive_interval={peer.keepalive}"]
            lines += [f"allowed_ip={cidr}" for cidr in peer.allowed_ips]
        return "".join(line + "\n" for line in lines).encode()


def refuse() -> int:
    raise RefusedError(errno.EINVAL)


def clamped(given: bytes) -> bytes:
    return bytes([given[0] & 0xF8, *given[1:31], given[31] & 0x7F | 0x40])


def key(value: bytes) -> bytes:
    if len(value) != 64 or not _HEX.issuperset(value):
        refuse()
    return bytes.fromhex(value.decode())


def number(value: bytes, most: int) -> int:
    if not value or not frozenset(b"0123456789").issuperset(value) or int(value[-20:]) > most:
        refuse()
    if value[:-20].strip(b"0"):
        refuse()
    return int(value[-20:])


def one_of(value: bytes, wanted: bytes) -> bytes:
    if value != wanted:
        refuse()
    return wanted


def prefix(value: bytes) -> str:
    address, _, length = value.decode("ascii").partition("/")
    if str(number(length.encode(), 128)) != length or "%" in address:
        refuse()
    return str(ipaddress.ip_network(f"{address}/{length}", strict=False))


def endpoint(value: bytes) -> str:
    """As it is shown: IPv4 or [IPv6], and the port; the zone by the name of its interface, where that has one."""
    host, _, port = value.decode("ascii").rpartition(":")
    zone = ""
    if host.startswith("[") and host.endswith("]"):
        host, percent, zone = host[1:-1].partition("%")
        if percent and not zone:
            refuse()
        ip: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.IPv6Address(host)
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
            ip, zone = ip.ipv4_mapped, ""
    else:
        ip = ipaddress.IPv4Address(host)
    shown = socket.inet_ntop(socket.AF_INET if ip.version == 4 else socket.AF_INET6, ip.packed)
    if zone:
        shown += _scope(zone)
    return f"{shown if ip.version == 4 else f'[{shown}]'}:{number(port.encode(), 0xFFFF)}"


def _scope(zone: str) -> str:
    try:
        index = socket.if_nametoindex(zone)
    except OSError:
        index = number(zone.encode(), 0xFFFFFFFF)
    with contextlib.suppress(OSError, OverflowError):
        return f"%{socket.if_indextoname(index)}"
    return f"%{index}" if index else ""
