"""The configuration files of wg(8) and wg-quick(8), to and from data classes.

Read as those two do: names in any case, "#" starts a comment anywhere, space inside wg's own values is nothing, lists
in several lines add up, and of a single value the last one counts. Host names are not resolved, and nothing is applied.
The errors name file and line and what was expected there, and never repeat what the line holds.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from pywg.config.addresses import (
    MAX_PORT,
    format_prefix,
    mask,
    parse_interface_address,
    parse_number,
    split_host_port,
)
from pywg.config.keys import format_key_base64, parse_key_base64
from pywg.config.model import Prefix
from pywg.errors import ConfigError, WgQuickError

MIN_MTU: Final = 68
MAX_MTU: Final = 65535
_MAX_KEEPALIVE: Final = 65535
_MAX_FWMARK: Final = 2**32 - 1
_HEX_DIGITS: Final = frozenset("0123456789abcdefABCDEF")

HostPort: TypeAlias = tuple[str, int]
"""(name or IP address, UDP port)"""


@dataclass(slots=True)
class InterfaceSection:
    """[Interface]: this end. None means "not given"."""

    private_key: bytes | None = field(default=None, repr=False)
    listen_port: int | None = None
    fwmark: int | None = None
    """0 means off"""
    addresses: list[Prefix] = field(default_factory=list)
    """with host bits, as they are given to the interface"""
    dns: list[str] = field(default_factory=list)
    """servers' addresses and search domains, in the order given"""
    mtu: int | None = None
    table: str | None = None
    """the number or name of a routing table, or one of the words off and auto"""
    pre_up: list[str] = field(default_factory=list)
    post_up: list[str] = field(default_factory=list)
    pre_down: list[str] = field(default_factory=list)
    post_down: list[str] = field(default_factory=list)
    save_config: bool = False


@dataclass(slots=True)
class PeerSection:
    """[Peer]: one other end. None means "not given"."""

    public_key: bytes
    preshared_key: bytes | None = field(default=None, repr=False)
    allowed_ips: list[Prefix] = field(default_factory=list)
    endpoint: HostPort | None = None
    persistent_keepalive: int | None = None
    """seconds; 0 means off"""


@dataclass(slots=True)
class WgQuickConfig:
    """A whole file."""

    interface: InterfaceSection = field(default_factory=InterfaceSection)
    peers: list[PeerSection] = field(default_factory=list)


def parse(text: str, file: str) -> WgQuickConfig:
    """Read a configuration file's text; `file` is its name for the errors.

    WgQuickError: the first line that can't be read, or the [Peer] line of a peer without PublicKey.
    """
    config = WgQuickConfig()
    peer: PeerSection | None = None
    setters: dict[str, Callable[[str], None]] = {}
    peer_lines: list[int] = []
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.partition("#")[0].strip()
        if not stripped:
            continue
        try:
            match _squeeze(stripped).lower():
                case "[interface]":
                    setters = _interface_setters(config.interface)
                case "[peer]":
                    peer = PeerSection(b"")
                    config.peers.append(peer)
                    peer_lines.append(number)
                    setters = _peer_setters(peer)
                case _:
                    _set(setters, stripped)
        except ConfigError as error:
            raise WgQuickError(str(error), file=file, line=number) from None
    for peer, number in zip(config.peers, peer_lines, strict=True):
        if not peer.public_key:
            raise WgQuickError("this [Peer] needs a PublicKey", file=file, line=number)
    return config


def format(config: WgQuickConfig) -> str:
    """The text of a file that `parse` reads back as an equal configuration.

    ConfigError: a text of `config` (a command, a search domain, ...) would not be read back as it is.
    """
    interface = config.interface
    lines = ["[Interface]"]
    lines += [f"Address = {format_prefix(address)}" for address in interface.addresses]
    lines += [f"DNS = {_word('DNS', server)}" for server in interface.dns]
    if interface.mtu is not None:
        lines.append(f"MTU = {interface.mtu}")
    if interface.table is not None:
        lines.append(f"Table = {_word('Table', interface.table)}")
    if interface.private_key is not None:
        lines.append(f"PrivateKey = {format_key_base64(interface.private_key)}")
    if interface.listen_port is not None:
        lines.append(f"ListenPort = {interface.listen_port}")
    if interface.fwmark is not None:
        lines.append(f"FwMark = {interface.fwmark:#x}" if interface.fwmark else "FwMark = off")
    for name, commands in _hooks(interface).items():
        lines += [f"{name} = {_command(name, command)}" for command in commands]
    if interface.save_config:
        lines.append("SaveConfig = true")
    for peer in config.peers:
        lines += ["", "[Peer]", *_format_peer(peer)]
    return "\n".join(lines) + "\n"


def _format_peer(peer: PeerSection) -> list[str]:
    lines = [f"PublicKey = {format_key_base64(peer.public_key)}"]
    if peer.preshared_key is not None:
        lines.append(f"PresharedKey = {format_key_base64(peer.preshared_key)}")
    if peer.allowed_ips:
        lines.append(f"AllowedIPs = {', '.join(map(format_prefix, peer.allowed_ips))}")
    if peer.endpoint is not None:
        host, port = peer.endpoint
        if "[" in host or "]" in host:
            raise ConfigError("Endpoint: a host has no brackets")
        host = _word("Endpoint", host)
        lines.append(f"Endpoint = [{host}]:{port}" if ":" in host else f"Endpoint = {host}:{port}")
    if peer.persistent_keepalive is not None:
        lines.append(f"PersistentKeepalive = {peer.persistent_keepalive or 'off'}")
    return lines


def _set(setters: dict[str, Callable[[str], None]], line: str) -> None:
    name, equals, value = line.partition("=")
    if not equals:
        raise ConfigError("expected [Interface], [Peer] or Name = value")
    if not setters:
        raise ConfigError("expected [Interface] or [Peer] before this")
    folded = _squeeze(name).lower()
    for known, setter in setters.items():
        if known.lower() == folded:
            try:
                return setter(value.strip())
            except ConfigError as error:
                raise ConfigError(f"{known}: {error}") from None
    raise ConfigError(f"unknown name; expected one of {', '.join(setters)}")


def _interface_setters(interface: InterfaceSection) -> dict[str, Callable[[str], None]]:
    def private_key(value: str) -> None:
        interface.private_key = parse_key_base64(_squeeze(value), "the value")

    def listen_port(value: str) -> None:
        interface.listen_port = parse_number(_squeeze(value), MAX_PORT)

    def fwmark(value: str) -> None:
        interface.fwmark = _parse_fwmark(_squeeze(value))

    def address(value: str) -> None:
        interface.addresses += map(parse_interface_address, _words(value))

    def dns(value: str) -> None:
        interface.dns += _words(value)

    def mtu(value: str) -> None:
        interface.mtu = _parse_mtu(value) if value else None

    def table(value: str) -> None:
        if value and _words(value) != [value]:
            raise ConfigError('expected "off", "auto" or one routing table')
        interface.table = value or None

    def save_config(value: str) -> None:
        if value.lower() not in {"true", "false"}:
            raise ConfigError('expected "true" or "false"')
        interface.save_config = value.lower() == "true"

    def append_to(commands: list[str]) -> Callable[[str], None]:
        return lambda value: commands.append(value) if value else None

    return {
        "PrivateKey": private_key,
        "ListenPort": listen_port,
        "FwMark": fwmark,
        "Address": address,
        "DNS": dns,
        "MTU": mtu,
        "Table": table,
        **{name: append_to(commands) for name, commands in _hooks(interface).items()},
        "SaveConfig": save_config,
    }


def _peer_setters(peer: PeerSection) -> dict[str, Callable[[str], None]]:
    def public_key(value: str) -> None:
        peer.public_key = parse_key_base64(_squeeze(value), "the value")

    def preshared_key(value: str) -> None:
        peer.preshared_key = parse_key_base64(_squeeze(value), "the value")

    def allowed_ips(value: str) -> None:
        entries = _squeeze(value)  # an empty list is one here; wg itself refuses it in a file
        addresses = map(parse_interface_address, entries.split(",") if entries else ())
        peer.allowed_ips += [(mask(ip, cidr), cidr) for ip, cidr in addresses]

    def endpoint(value: str) -> None:
        peer.endpoint = split_host_port(_squeeze(value))

    def persistent_keepalive(value: str) -> None:
        seconds = _squeeze(value)
        peer.persistent_keepalive = 0 if seconds.lower() == "off" else parse_number(seconds, _MAX_KEEPALIVE)

    return {
        "PublicKey": public_key,
        "PresharedKey": preshared_key,
        "AllowedIPs": allowed_ips,
        "Endpoint": endpoint,
        "PersistentKeepalive": persistent_keepalive,
    }


def _hooks(interface: InterfaceSection) -> dict[str, list[str]]:
    return {
        "PreUp": interface.pre_up,
        "PostUp": interface.post_up,
        "PreDown": interface.pre_down,
        "PostDown": interface.post_down,
    }


def _parse_fwmark(text: str) -> int:
    """Decimal, hexadecimal after "0x", or the word "off"."""
    if text.lower() == "off":
        return 0
    if not text.startswith("0x"):
        return parse_number(text, _MAX_FWMARK)
    digits = text[2:].lstrip("0") or text[2:3]
    if not digits or len(digits) > 8 or not set(digits) <= _HEX_DIGITS:
        raise ConfigError(f'expected "off" or a number in 0..{_MAX_FWMARK:#x}')
    return int(digits, 16)


def _parse_mtu(text: str) -> int:
    mtu = parse_number(text, MAX_MTU)
    if mtu < MIN_MTU:
        raise ConfigError(f"not a number in {MIN_MTU}..{MAX_MTU}")
    return mtu


def _squeeze(text: str) -> str:
    """Without any space, as wg reads its own lines."""
    return "".join(text.split())


def _words(text: str) -> list[str]:
    """A list as wg-quick reads it: commas are spaces."""
    return text.replace(",", " ").split()


def _word(name: str, text: str) -> str:
    if _words(text) != [text] or "#" in text:
        raise ConfigError(f"{name} can't hold space, commas or '#'")
    return text


def _command(name: str, text: str) -> str:
    if not text or text != text.strip() or "#" in text or "\n" in text:
        raise ConfigError(f"{name} can't be empty, begin or end with space, or hold '#' or a line's end")
    return text
