"""What may stand behind "Name =" in wg-quick's files, and the attribute that it becomes."""

import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from pywg.config.addresses import MAX_PORT, mask, parse_interface_address, parse_number, split_host_port
from pywg.config.keys import parse_key_base64
from pywg.config.quick_lines import SPACE, PlacedError, odd_character, squeeze, words
from pywg.errors import ConfigError

if TYPE_CHECKING:
    from pywg.config.wg_quick import InterfaceSection, PeerSection

MIN_MTU: Final = 68
MAX_MTU: Final = 65535
_MAX_KEEPALIVE: Final = 65535
_MAX_FWMARK: Final = 2**32 - 1
_HEX_DIGITS: Final = frozenset("0123456789abcdefABCDEF")

Setter: TypeAlias = Callable[[str], None]
"""Sets an attribute by a value's text. Raises ConfigError, or PlacedError with an offset in the text."""


T = TypeVar("T")


def interface_setters(interface: "InterfaceSection") -> dict[str, Setter]:
    def private_key(value: str) -> None:
        interface.private_key = parse_key_base64(squeeze(value), "the value")

    def listen_port(value: str) -> None:
        interface.listen_port = parse_number(squeeze(value), MAX_PORT)

    def fwmark(value: str) -> None:
        interface.fwmark = _parse_fwmark(squeeze(value))

    def address(value: str) -> None:
        interface.addresses += _each(words(value), parse_interface_address)

    def dns(value: str) -> None:
        interface.dns += [word for word, _ in words(value)]

    def mtu(value: str) -> None:
        interface.mtu = _parse_mtu(value) if value else None

    def table(value: str) -> None:
        if value and words(value) != [(value, 0)]:
            raise ConfigError('expected "off", "auto" or one routing table')
        interface.table = value or None

    def save_config(value: str) -> None:
        if value.lower() not in {"true", "false"}:
            raise ConfigError('expected "true" or "false"')
        interface.save_config = value.lower() == "true"

    def append_to(commands: list[str]) -> Setter:
        return lambda value: commands.append(value) if value else None

    return _named(
        {
            "PrivateKey": private_key,
            "ListenPort": listen_port,
            "FwMark": fwmark,
            "Address": address,
            "DNS": dns,
            "MTU": mtu,
            "Table": table,
            **{name: append_to(commands) for name, commands in hooks_of(interface).items()},
            "SaveConfig": save_config,
        }
    )


def peer_setters(peer: "PeerSection") -> dict[str, Setter]:
    def public_key(value: str) -> None:
        peer.public_key = parse_key_base64(squeeze(value), "the value")

    def preshared_key(value: str) -> None:
        peer.preshared_key = parse_key_base64(squeeze(value), "the value")

    def allowed_ips(value: str) -> None:
        try:
            addresses = _each(entries(value), parse_interface_address)
        except PlacedError as error:
            pieces = len(words(value[error.offset :].partition(",")[0]))
            if pieces == 1:
                raise
            what = "is a comma missing" if pieces else "is there a comma too many"
            raise PlacedError(f"{error}; {what}?", error.offset) from None
        peer.allowed_ips += [(mask(ip, cidr), cidr) for ip, cidr in addresses]

    def endpoint(value: str) -> None:
        peer.endpoint = split_host_port(squeeze(value))

    def persistent_keepalive(value: str) -> None:
        seconds = squeeze(value)
        peer.persistent_keepalive = 0 if seconds.lower() == "off" else parse_number(seconds, _MAX_KEEPALIVE)

    return _named(
        {
            "PublicKey": public_key,
            "PresharedKey": preshared_key,
            "AllowedIPs": allowed_ips,
            "Endpoint": endpoint,
            "PersistentKeepalive": persistent_keepalive,
        }
    )


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


def entries(value: str) -> list[tuple[str, int]]:
    """A list as wg reads it: what is between commas without space, each with its offset. An empty value has none.

    wg itself refuses the empty list in a file, and takes it in `wg set`.
    """
    found, offset = [], 0
    for piece in value.split(",") if squeeze(value) else ():
        found.append((squeeze(piece), offset + len(piece) - len(piece.lstrip(SPACE))))
        offset += len(piece) + 1
    return found


def _each(texts: Iterable[tuple[str, int]], parse: Callable[[str], T]) -> list[T]:
    """Raises PlacedError for the first that can't be parsed."""
    parsed = []
    for text, offset in texts:
        try:
            parsed.append(parse(text))
        except ConfigError as error:
            raise PlacedError(str(error), offset) from None
    return parsed


def _named(setters: dict[str, Setter]) -> dict[str, Setter]:
    """The same, with the setting's name in their errors."""

    def named(name: str, setter: Setter, value: str) -> None:
        try:
            setter(value)
        except ConfigError as error:
            if odd := odd_character(value):
                raise PlacedError(f"{name}: {error}: {odd}", odd.offset) from None
            raise PlacedError(f"{name}: {error}", error.offset if isinstance(error, PlacedError) else 0) from None

    return {name: functools.partial(named, name, setter) for name, setter in setters.items()}


def hooks_of(interface: "InterfaceSection") -> dict[str, list[str]]:
    return {
        "PreUp": interface.pre_up,
        "PostUp": interface.post_up,
        "PreDown": interface.pre_down,
        "PostDown": interface.post_down,
    }
