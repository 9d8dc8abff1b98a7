"""Steps: changes of this machine, each with its undo and with the command that an operator knows for it.

A step is whole or not at all. Those that are remembered in the state file have fields of text and numbers alone.
"""

import contextlib
import errno
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from socket import AF_INET, AF_INET6
from typing import ClassVar

from pywg.config.addresses import parse_interface_address
from pywg.errors import DeviceError
from pywg.manage.network import TABLE_MAIN, Rule
from pywg.manage.tunnel.machine import Machine

_GONE = (errno.ENODEV, errno.ESRCH, errno.ENOENT, errno.EADDRNOTAVAIL)
"""An undo finds nothing to undo: the interface, the route, the rule or the address is gone already."""
VALID_MARK = "net.ipv4.conf.all.src_valid_mark"


class Step:
    """A change."""

    remembered: ClassVar[bool] = True
    """in the state file"""
    outlives: ClassVar[bool] = False
    """stays when the interface goes"""
    in_namespace: ClassVar[bool] = True
    """is gone with its network namespace"""

    def command(self, interface: str) -> str:
        """What does the same, a line a command. Never with a secret."""
        raise NotImplementedError

    def undo_command(self, interface: str) -> str:
        """What does the same as the undo; empty where there is none."""
        raise NotImplementedError

    def do(self, machine: Machine) -> None:
        """Raises OSError, and has changed nothing then."""
        raise NotImplementedError

    def undo(self, machine: Machine) -> None:
        """What is gone already is no error. Raises OSError."""
        raise NotImplementedError

    def name(self, interface: str) -> str:
        """For errors."""
        return f"`{self.command(interface).partition(chr(10))[0]}`"

    def noun(self) -> str:
        """For lists of what comes and goes."""
        raise NotImplementedError

    def supersedes(self, other: "Step") -> bool:
        """Whether nothing is left of `other` once this is done."""
        return False

    def same(self) -> "Step":
        """What it is, without what it found when it was made: equal for steps that have the same effect."""
        return self


def family_of(prefix: str) -> int:
    """Of an address or prefix, as text."""
    return AF_INET6 if ":" in prefix else AF_INET


def option(family: int) -> str:
    """Of `ip`."""
    return "-6" if family == AF_INET6 else "-4"


@contextlib.contextmanager
def gone_is_fine() -> Iterator[None]:
    """For undos."""
    try:
        yield
    except OSError as error:
        if error.errno not in _GONE:
            raise


@dataclass(frozen=True)
class Address(Step):
    """An address of the interface, with its prefix length."""

    address: str

    def noun(self) -> str:
        return f"address {self.address}"

    def command(self, interface: str) -> str:
        return f"ip {option(family_of(self.address))} address add {self.address} dev {interface}"

    def undo_command(self, interface: str) -> str:
        return f"ip {option(family_of(self.address))} address delete {self.address} dev {interface}"

    def do(self, machine: Machine) -> None:
        try:
            machine.network.add_address(machine.index, parse_interface_address(self.address))
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.EOPNOTSUPP) and ":" in self.address:
                raise DeviceError(error.errno, "IPv6 is turned off on this machine (disable_ipv6)") from error
            raise

    def undo(self, machine: Machine) -> None:
        with gone_is_fine():
            machine.network.delete_address(machine.index, parse_interface_address(self.address))


@dataclass(frozen=True)
class LinkUp(Step):
    """The interface is up, with this MTU."""

    mtu: int
    before: int = 0
    """the MTU until then; 0: the interface was down"""

    def noun(self) -> str:
        return f"MTU {self.mtu}"

    def supersedes(self, other: Step) -> bool:
        return isinstance(other, LinkUp)

    def command(self, interface: str) -> str:
        return f"ip link set mtu {self.mtu} up dev {interface}"

    def undo_command(self, interface: str) -> str:
        return f"ip link set mtu {self.before} up dev {interface}" if self.before else ""

    def do(self, machine: Machine) -> None:
        machine.network.set_up(machine.index, mtu=self.mtu)

    def undo(self, machine: Machine) -> None:
        if self.before:
            machine.network.set_up(machine.index, mtu=self.before)

    def same(self) -> Step:
        return replace(self, before=0)


@dataclass(frozen=True)
class Route(Step):
    """A route through the interface."""

    destination: str
    table: int = TABLE_MAIN

    def noun(self) -> str:
        return f"route {self.destination}" + ("" if self.table == TABLE_MAIN else f" table {self.table}")

    def command(self, interface: str) -> str:
        return f"ip {option(family_of(self.destination))} route add {self._what(interface)}"

    def undo_command(self, interface: str) -> str:
        return f"ip {option(family_of(self.destination))} route delete {self._what(interface)}"

    def do(self, machine: Machine) -> None:
        try:
            machine.network.add_route(machine.index, parse_interface_address(self.destination), self.table)
        except FileExistsError as error:
            shown = f"ip {option(family_of(self.destination))} route show {self.destination}"
            shown += "" if self.table == TABLE_MAIN else f" table {self.table}"
            raise DeviceError(errno.EEXIST, f"there is such a route already, see `{shown}`") from error

    def undo(self, machine: Machine) -> None:
        with gone_is_fine():
            machine.network.delete_route(machine.index, parse_interface_address(self.destination), self.table)

    def _what(self, interface: str) -> str:
        return f"{self.destination} dev {interface}" + ("" if self.table == TABLE_MAIN else f" table {self.table}")


@dataclass(frozen=True)
class PolicyRule(Step):
    """A rule of policy routing: packets without the mark look into the mark's table; or, with mark 0, routes of the
    main table go before, its default route aside."""

    outlives = True

    family: int
    mark: int
    priority: int = 0

    def noun(self) -> str:
        return f"rule {option(self.family)} {self._what()}"

    def command(self, interface: str) -> str:
        return f"ip {option(self.family)} rule add priority {self.priority} {self._what()}"

    def undo_command(self, interface: str) -> str:
        return f"ip {option(self.family)} rule delete priority {self.priority} {self._what()}"

    def do(self, machine: Machine) -> None:
        machine.network.add_rule(self._rule())

    def undo(self, machine: Machine) -> None:
        with gone_is_fine():
            machine.network.delete_rule(self._rule())

    def same(self) -> Step:
        return replace(self, priority=0)

    def _what(self) -> str:
        return f"not fwmark {self.mark} table {self.mark}" if self.mark else "table main suppress_prefixlength 0"

    def _rule(self) -> Rule:
        if self.mark:
            return Rule(self.family, self.priority, self.mark, self.mark, inverted=True, suppress_prefixlength=None)
        return Rule(self.family, self.priority, TABLE_MAIN, None, inverted=False, suppress_prefixlength=0)


@dataclass(frozen=True)
class ValidMark(Step):
    """The reverse-path filter looks at marks, so that it takes what comes from a peer's endpoint."""

    outlives = True

    def noun(self) -> str:
        return f"{VALID_MARK}=1"

    def command(self, interface: str) -> str:
        return f"sysctl -q {VALID_MARK}=1"

    def undo_command(self, interface: str) -> str:
        return f"sysctl -q {VALID_MARK}=0"

    def do(self, machine: Machine) -> None:
        _valid_mark_file().write_text("1\n")

    def undo(self, machine: Machine) -> None:
        if not any(rule.inverted and rule.fwmark for rule in machine.network.rules(AF_INET)):  # another tunnel's
            _valid_mark_file().write_text("0\n")


def has_valid_mark() -> bool:
    """Whether the setting is on."""
    return _valid_mark_file().read_text().strip() != "0"


def _valid_mark_file() -> Path:
    return Path("/proc/sys", *VALID_MARK.split("."))
