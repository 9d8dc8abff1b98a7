"""`pywg check`: all that is wrong in a wg-quick file, and what can hardly be meant."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from pywg.config import wg_quick
from pywg.config.addresses import V4_LEN, V6_LEN, format_ip, format_prefix, mask, parse_interface_address, parse_ip
from pywg.config.model import Prefix
from pywg.config.quick_extensions import read_extensions
from pywg.config.quick_values import entries
from pywg.config.wg_quick import PeerSection, Reading
from pywg.errors import ConfigError, WgQuickError
from pywg.manage import here
from pywg.manage.public_key import public_key_of
from pywg.manage.tunnel import names

_MIN_V6_MTU: Final = 1280
_SINGLE: Final = ("PrivateKey", "ListenPort", "FwMark", "MTU", "Table", "PublicKey", "PresharedKey", "Endpoint")
_RESERVED_TABLES: Final = {253: "default", 254: "main", 255: "local"}


@dataclass(frozen=True)
class Finding:
    """What was found at a place; `code` stays the same in every version."""

    severity: str
    """error: it can't be read, or can't work; warning"""
    code: str
    line: int
    column: int
    message: str
    excerpt: str = field(default="", repr=False)


@dataclass(frozen=True)
class Report:
    """All findings about a file, by line."""

    file: str
    findings: list[Finding]

    @property
    def errors(self) -> int:
        """How many are errors."""
        return sum(finding.severity == "error" for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """As `pywg check --json` shows it."""
        keys = ("severity", "code", "line", "column", "message")
        found = [{key: getattr(finding, key) for key in keys} for finding in self.findings]
        return {"file": self.file, "errors": self.errors, "warnings": len(found) - self.errors, "findings": found}


def check(given: str) -> Report:
    """A file, whatever its name, or that of an interface. Raises DeviceError when it can't be read, ConfigError."""
    target = names.any_file(given)
    text = wg_quick.as_text(names.load(target, warn=False))
    reading = wg_quick.read(text, target.path)
    findings = [
        Finding("error", "syntax", error.line, error.column, error.message, error.excerpt) for error in reading.errors
    ]
    findings += _about_extensions(text, target.path)
    findings += [*_about_the_file(reading, target.path), *_about_the_name(target.path)]
    if not reading.errors:  # what is missing may stand in a line that can't be read
        findings += _Check(reading, target.interface).findings()
    return Report(target.path, sorted(findings, key=lambda one: (one.line, one.column)))


def _about_extensions(text: str, path: str) -> Iterator[Finding]:
    try:
        read_extensions(text, path)
    except WgQuickError as error:
        yield Finding("error", "syntax", error.line, error.column, error.message)


def _about_the_file(reading: Reading, path: str) -> Iterator[Finding]:
    mode = os.stat(path).st_mode
    secret = any(setting.name in {"PrivateKey", "PresharedKey"} for setting in reading.settings)
    if stat.S_ISREG(mode) and mode & stat.S_IROTH and secret:
        yield Finding("warning", "readable", 1, 1, f"every user may read the keys: `chmod 600 {path}`")
    if stat.S_ISREG(mode) and mode & stat.S_IWOTH:
        yield Finding("warning", "writable", 1, 1, f"every user may write what root runs: `chmod 600 {path}`")


def _about_the_name(path: str) -> Iterator[Finding]:
    """A file may have any name but for `pywg up`, whose files end in .conf."""
    if not path.endswith(".conf"):
        return
    try:
        names.find(path)
    except ConfigError as error:
        yield Finding("warning", "name", 1, 1, f"`pywg up` does not take it: {error}")


class _Check:
    """The rules for a file that can be read."""

    def __init__(self, reading: Reading, interface: str) -> None:
        self._reading = reading
        self._interface = reading.config.interface
        self._peers = reading.config.peers
        self._name = interface
        self._places = {(one.peer, one.name): (one.line, one.column) for one in reading.settings}
        self._hooks = " ".join([*self._interface.pre_up, *self._interface.post_up])

    def findings(self) -> Iterator[Finding]:
        """All of them."""
        yield from self._keys()
        yield from self._repeated()
        yield from self._allowed_ips()
        yield from self._overlaps()
        yield from self._addresses()
        yield from self._endpoints()
        yield from self._machine()

    def _at(self, name: str, peer: int = -1) -> tuple[int, int]:
        """The place of a setting's last line, or of its section."""
        section = (self._reading.peer_lines[peer], 1) if peer >= 0 else (1, 1)
        return self._places.get((peer, name), section)

    def _find(self, severity: str, code: str, name: str, peer: int, message: str) -> Finding:
        return Finding(severity, code, *self._at(name, peer), message)

    def _called(self, peer: int) -> str:
        name = self._peers[peer].name
        return f"the peer of line {self._reading.peer_lines[peer]}{f' ({name})' if name else ''}"

    def _keys(self) -> Iterator[Finding]:
        own = self._interface.private_key
        if own is None and "private-key" not in self._hooks:
            yield self._find("warning", "no-private-key", "PrivateKey", -1, "no PrivateKey: there is no handshake")
        public = public_key_of(own) if own else b""
        seen: dict[bytes, int] = {}
        for number, peer in enumerate(self._peers):
            if peer.public_key == own:
                text = "this is the interface's private key: a peer has the public one of the other end"
                yield self._find("error", "private-as-public", "PublicKey", number, text)
            elif peer.public_key == public:
                text = "this is the interface's own public key: a peer has that of the other end"
                yield self._find("error", "own-key", "PublicKey", number, text)
            if (first := seen.setdefault(peer.public_key, number)) != number:
                text = f"{self._called(first)} has the same PublicKey: they are one peer"
                yield self._find("warning", "same-key", "PublicKey", number, text)
            if peer.preshared_key is not None and peer.preshared_key == own:
                yield self._find(
                    "error", "private-as-psk", "PresharedKey", number, "this is the interface's private key"
                )

    def _repeated(self) -> Iterator[Finding]:
        seen: dict[tuple[int, str], int] = {}
        for setting in self._reading.settings:
            key = setting.peer, setting.name
            if (
                setting.name in _SINGLE
                and setting.value
                and (first := seen.setdefault(key, setting.line)) != setting.line
            ):
                text = f"{setting.name} is in line {first} too: the last one counts"
                yield Finding("warning", "repeated", setting.line, setting.column, text)

    def _allowed_ips(self) -> Iterator[Finding]:
        for setting in self._reading.settings:
            for text, offset in entries(setting.value) if setting.name == "AllowedIPs" else ():
                ip, cidr = parse_interface_address(text)
                if mask(ip, cidr) != ip:
                    meant = format_prefix((mask(ip, cidr), cidr))
                    message = f"{text} has host bits: it means {meant}"
                    yield Finding("warning", "host-bits", setting.line, setting.column + offset, message)
        for number, peer in enumerate(self._peers):
            if not peer.allowed_ips:
                text = "no AllowedIPs: nothing is sent to this peer, and nothing taken from it"
                yield self._find("warning", "no-allowed-ips", "AllowedIPs", number, text)

    def _overlaps(self) -> Iterator[Finding]:
        """One peer's prefix that is another's too, or lies within another's that is no default route."""
        prefixes = [(prefix, number) for number, peer in enumerate(self._peers) for prefix in set(peer.allowed_ips)]
        around: list[tuple[Prefix, int]] = []
        for prefix, number in sorted(prefixes, key=lambda one: (len(one[0][0]), *one[0], one[1])):
            while around and not _within(prefix, around[-1][0]):
                around.pop()
            if around:
                outer, other = around[-1]
                if (outer == prefix or outer[1] > 0) and self._peers[other].public_key != self._peers[
                    number
                ].public_key:
                    yield self._overlap(prefix, number, outer, other)
            around.append((prefix, number))

    def _overlap(self, prefix: Prefix, number: int, outer: Prefix, other: int) -> Finding:
        if outer == prefix:
            text = f"{format_prefix(prefix)} is also that of {self._called(other)}, which loses it"
            return self._find("warning", "same-allowed-ip", "AllowedIPs", number, text)
        text = f"{format_prefix(prefix)} is within {format_prefix(outer)} of {self._called(other)}: the longer one wins"
        return self._find("warning", "overlap", "AllowedIPs", number, text)

    def _addresses(self) -> Iterator[Finding]:
        own = {ip for ip, _ in self._interface.addresses}
        routed = [prefix for peer in self._peers for prefix in peer.allowed_ips]
        for number, peer in enumerate(self._peers):
            for ip, cidr in peer.allowed_ips:
                if cidr == len(ip) * 8 and ip in own:
                    text = f"{format_ip(ip)} is this interface's own Address: AllowedIPs are the other end's"
                    yield self._find("warning", "own-address", "AllowedIPs", number, text)
        for ip, cidr in self._interface.addresses:
            network = mask(ip, cidr), cidr
            if cidr < len(ip) * 8 and self._peers and not any(_touch(network, prefix) for prefix in routed):
                text = (
                    f"no peer has an address of {format_prefix(network)} in its AllowedIPs: none can be reached there"
                )
                yield self._find("warning", "unrouted-address", "Address", -1, text)
        prefixes = [*self._interface.addresses, *routed]
        mtu = self._interface.mtu
        if mtu is not None and mtu < _MIN_V6_MTU and any(len(ip) == V6_LEN for ip, _ in prefixes):
            text = f"IPv6 needs an MTU of {_MIN_V6_MTU} at least: the kernel takes it off this interface"
            yield self._find("error", "mtu", "MTU", -1, text)

    def _endpoints(self) -> Iterator[Finding]:
        if self._peers and not any(peer.endpoint for peer in self._peers) and not self._interface.listen_port:
            text = "no Endpoint and no ListenPort: neither end finds the other"
            yield self._find("warning", "unreachable", "ListenPort", -1, text)
        networks = [prefix for peer in self._peers for prefix in peer.allowed_ips if prefix[1] > 0]
        hosts = {(len(ip), cidr): set[bytes]() for ip, cidr in networks}
        for ip, cidr in networks:
            hosts[len(ip), cidr].add(ip)
        for number, peer in enumerate(self._peers):
            if peer.endpoint and peer.endpoint[1] == 0:
                yield self._find("error", "port-0", "Endpoint", number, "nothing can be sent to port 0")
            ip = _address_of(peer)
            inside = [cidr for length, cidr in hosts if length == len(ip) and mask(ip, cidr) in hosts[length, cidr]]
            if ip and inside and self._interface.table != "off":
                prefix = format_prefix((mask(ip, max(inside)), max(inside)))
                text = f"this endpoint is within the AllowedIPs {prefix}: the tunnel would run through itself"
                yield self._find("warning", "loop", "Endpoint", number, text)

    def _machine(self) -> Iterator[Finding]:
        interface = self._interface
        default = any(cidr == 0 for peer in self._peers for _, cidr in peer.allowed_ips)
        automatic = interface.table in (None, "auto")
        if default and automatic and interface.fwmark in _RESERVED_TABLES:
            table = _RESERVED_TABLES[interface.fwmark]
            text = f"the default route goes to the table FwMark says, and {interface.fwmark} is {table}: take another"
            yield self._find("error", "fwmark-table", "FwMark", -1, text)
        if default and not automatic and interface.table != "off" and not interface.fwmark:
            text = "a default route in a table of its own, but no FwMark: no rule can tell the tunnel's own packets"
            yield self._find("warning", "table-without-mark", "Table", -1, text)
        if interface.table and not here.table_is_known(interface.table):
            text = "there is no such routing table: /etc/iproute2/rt_tables has the names"
            yield self._find("error", "unknown-table", "Table", -1, text)
        if interface.dns and not here.has_dns_tool():
            text = "neither resolvectl nor resolvconf is here: pywg writes /etc/resolv.conf, wg-quick fails"
            yield self._find("warning", "dns-tool", "DNS", -1, text)
        if interface.listen_port and self._name and here.port_is_taken(interface.listen_port, self._name):
            text = f"UDP port {interface.listen_port} is taken on this machine"
            yield self._find("warning", "port-taken", "ListenPort", -1, text)


def _within(prefix: Prefix, outer: Prefix) -> bool:
    return len(prefix[0]) == len(outer[0]) and prefix[1] >= outer[1] and mask(prefix[0], outer[1]) == outer[0]


def _touch(one: Prefix, other: Prefix) -> bool:
    return _within(one, other) or _within(other, one)


def _address_of(peer: PeerSection) -> bytes:
    if peer.endpoint is None:
        return b""
    try:
        ip = parse_ip(peer.endpoint[0].partition("%")[0])
    except ConfigError:
        return b""
    return ip[-V4_LEN:] if ip.startswith(bytes(10) + b"\xff\xff") else ip
