"""Keys, networks, endpoints and configurations as a program gives them, and what they are in pywg's own data classes.

No error repeats a key.
"""

import copy
import os
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import TypeAlias

from pywg.config.addresses import mask, parse_interface_address, split_host_port
from pywg.config.keys import parse_key_base64
from pywg.config.model import Prefix
from pywg.config.wg_quick import HostPort, WgQuickConfig, as_text
from pywg.constants import KEY_LEN
from pywg.errors import ConfigError
from pywg.manage.tunnel import names
from pywg.manage.tunnel.names import QuickFile, Target

Key: TypeAlias = str | bytes | bytearray
"""44 characters of base64, or 32 bytes. A bytearray that holds a secret is wiped when the secret is set."""
Address: TypeAlias = (
    str | IPv4Address | IPv6Address | IPv4Network | IPv6Network | IPv4Interface | IPv6Interface | Prefix
)
"""An address, with its prefix length or without: "10.0.0.0/24"."""
Endpoint: TypeAlias = str | HostPort
"""HOST:PORT or [IPV6]:PORT, or (host, port). A name is resolved once, when it is given."""
Config: TypeAlias = str | os.PathLike[str] | WgQuickConfig
"""The path of a file of wg-quick, the name of an interface whose file is in /etc/wireguard, the text of such a file
(anything with a line's end in it), or the data class."""


def key_of(given: Key, what: str) -> bytes:
    """The 32 bytes of a key. ConfigError for anything else; `what` names it there."""
    if isinstance(given, str):
        return parse_key_base64(given.strip(), what)
    if len(given) != KEY_LEN:
        raise ConfigError(f"{what} must be a key: {KEY_LEN} bytes, or their base64")
    return bytes(memoryview(given))  # one copy, and another object: it is wiped once the secret is set


def wiped(given: Key | None) -> None:
    """Wipes a secret, where it is something that can be wiped."""
    if isinstance(given, bytearray):
        given[:] = bytes(len(given))


def prefixes_of(given: Iterable[Address], what: str) -> list[Prefix]:
    """Networks, their host bits cleared, each once. ConfigError for anything else."""
    if isinstance(given, str):
        raise ConfigError(f"{what} is a list of networks, and not one text")
    return list(dict.fromkeys((mask(ip, cidr), cidr) for ip, cidr in (_prefix(one, what) for one in given)))


def endpoint_of(given: Endpoint) -> HostPort:
    """ConfigError for what is no endpoint."""
    try:
        host, port = split_host_port(given) if isinstance(given, str) else given
    except (ValueError, TypeError):
        raise ConfigError(f"endpoint {given!a} is not HOST:PORT") from None
    if not host or not 0 < port <= 0xFFFF:
        raise ConfigError(f"endpoint {given!a} is not HOST:PORT")
    return host, port


def file_of(config: Config, name: str) -> QuickFile:
    """What is given, as a file that was read; `name` of the interface, "" for the file's. A data class is copied.

    Raises ConfigError, WgQuickError that says where, DeviceError for a file that can't be read.
    """
    if isinstance(config, WgQuickConfig):
        return QuickFile(_target(name), copy.deepcopy(config), [], "")
    given = os.fspath(config)
    if "\n" in given:
        return names.file_of(_target(name), given)
    target = names.find(given)
    if name not in ("", target.interface):
        raise ConfigError(f"{target.path} is the file of {target.interface}, and not of {name!a}")
    return names.file_of(target, as_text(names.load(target, warn=False)))


def _target(name: str) -> Target:
    if not name:
        raise ConfigError("a configuration that is no file needs `name`, the interface's")
    return Target(names.find(name).interface, "")


def _prefix(given: Address, what: str) -> Prefix:
    try:
        if isinstance(given, tuple):
            ip, cidr = given
            if len(ip) not in (4, 16) or not 0 <= cidr <= len(ip) * 8:
                raise ConfigError("not a packed address and a prefix length")
            return ip, cidr
        return parse_interface_address(str(given))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{what}: {given!a}: {error}") from None
