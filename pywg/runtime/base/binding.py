"""The binding of the UDP sockets besides their port: an address of this host for a family, a device, or nothing.

A VRF is named by its device: a socket bound to that device uses the VRF's routes alone. The kernel binds a socket to
the index of a device. A device that goes and comes back under the same name has another index, so net/bound_link.py
then opens the sockets again.
"""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pywg.config.addresses import V4_LEN, parse_ip
from pywg.config.interface import interface_name_fault
from pywg.errors import ConfigError

_LINK_LOCAL: Final = 0xFE80
_LINK_LOCAL_MASK: Final = 0xFFC0


@dataclass(frozen=True, slots=True)
class Binding:
    """Without addresses both families are open, on all; otherwise only the families named. `device` may be ""."""

    addresses: tuple[tuple[socket.AddressFamily, str], ...] = ()
    device: str = ""

    def __bool__(self) -> bool:
        return bool(self.addresses or self.device)

    def __str__(self) -> str:
        places = [address for _, address in self.addresses]
        return " and ".join(places + ([f"device {self.device}"] if self.device else []))

    def stats(self) -> dict[str, str]:
        """`bound_*` for each part that is bound."""
        stats = {"bound_addresses": ",".join(address for _, address in self.addresses), "bound_device": self.device}
        return {name: value for name, value in stats.items() if value}

    def opens(self, family: socket.AddressFamily) -> bool:
        """Whether this binding wants a socket of this family."""
        return not self.addresses or bool(self.address(family))

    def address(self, family: socket.AddressFamily) -> str:
        """The address of this family; "" for all addresses."""
        return dict(self.addresses).get(family, "")


EVERYWHERE: Final = Binding()


def read_binding(addresses: Sequence[str], device: str) -> Binding:
    """A binding from its options: IPv4, IPv6 or IPv6%ZONE, at most one for each family. A zone is the device.

    Raises ConfigError that names what is wrong.
    """
    if device and interface_name_fault(device):
        raise ConfigError(f"{device!a} is not the name of a device")
    found: dict[socket.AddressFamily, str] = {}
    for text in addresses:
        host, percent, zone = text.partition("%")
        try:
            ip = parse_ip(host)
        except ConfigError as error:
            raise ConfigError(f"listen address {text!a}: {error}") from error
        family = socket.AF_INET if len(ip) == V4_LEN else socket.AF_INET6
        if family in found:
            raise ConfigError(f"listen address {text!a}: there is one of its family already, {found[family]}")
        if percent and (family == socket.AF_INET or not zone or zone != (device or zone)):
            raise ConfigError(f"listen address {text!a}: its zone has to be the device that the sockets are bound to")
        if percent and interface_name_fault(zone):
            raise ConfigError(f"listen address {text!a}: {zone!a} is not the name of a device")
        device = device or zone
        found[family] = host
    for address in found.values():
        if is_link_local(parse_ip(address)) and not device:
            raise ConfigError(f"listen address {address}: a link-local address needs a zone, as {address}%DEVICE")
    return Binding(tuple(found.items()), device)


def is_link_local(ip: bytes) -> bool:
    """Whether a packed address is an IPv6 address that has a meaning on one link only."""
    return len(ip) != V4_LEN and int.from_bytes(ip[:2], "big") & _LINK_LOCAL_MASK == _LINK_LOCAL
