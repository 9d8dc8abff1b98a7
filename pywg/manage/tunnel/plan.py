"""The steps that set an interface up, in wg-quick's order, each found when those before it are done."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from socket import AF_INET, AF_INET6
from typing import ClassVar, Final, TypeAlias

from pywg.config.addresses import V4_LEN, format_ip, format_prefix, mask, parse_prefix
from pywg.config.model import Prefix, SockAddr
from pywg.manage.network import TABLE_MAIN
from pywg.manage.tunnel import firewall, hooks
from pywg.manage.tunnel.companion import companion_steps
from pywg.manage.tunnel.daemon import Daemon
from pywg.manage.tunnel.dns import dns_step, is_server
from pywg.manage.tunnel.machine import Machine
from pywg.manage.tunnel.names import QuickFile
from pywg.manage.tunnel.peers import WantedPeer, initial, peers_of
from pywg.manage.tunnel.resolve import Addresses
from pywg.manage.tunnel.steps import Address, LinkUp, PolicyRule, Route, Step, ValidMark, has_valid_mark

FIRST_TABLE: Final = 51820
OVERHEAD: Final = 80
"""Bytes: IPv6, UDP and WireGuard around a packet."""
_ETHERNET_MTU: Final = 1500
_LAST_TABLE: Final = 2**32 - 1
_TABLES = (
    ("/etc/iproute2/rt_tables", "/usr/share/iproute2/rt_tables", "/usr/lib/iproute2/rt_tables"),
    ("/etc/iproute2/rt_tables.d", "/usr/share/iproute2/rt_tables.d", "/usr/lib/iproute2/rt_tables.d"),
)
_NAMED = {"default": 253, "main": TABLE_MAIN, "local": 255}
_LINK_LOCAL: Final = parse_prefix("fe80::/64")
AUTO, OFF = 0, -1


Resolver: TypeAlias = Callable[[dict[bytes, WantedPeer]], Addresses]
"""Finds the addresses of peers' endpoints; in a dry run, of those that are written as addresses."""


class Facts:
    """What the plan asks of the machine while its steps are done."""

    alone: ClassVar[bool] = False
    """the interface is the only way out of its network namespace, and the daemon is in another: no packet of the
    daemon's can go into the tunnel"""

    def __init__(self, machine: Machine, *, mark: int = 0) -> None:
        """`mark`: of the packets that the daemon sends, where there are rules for them already."""
        self.machine = machine
        self._mark = mark

    def through(self) -> list[Prefix]:
        """Destinations in the main table that go through the interface."""
        network = self.machine.network
        return [destination for destination, _ in network.routes(index=self.machine.index, table=TABLE_MAIN)]

    def addresses(self, family: int) -> tuple[str, ...]:
        """Of the interface."""
        found = self.machine.network.addresses(self.machine.index)
        return tuple(format_ip(ip) for ip, _ in found if (len(ip) == V4_LEN) == (family == AF_INET))

    def free_table(self) -> int:
        """The first one from 51820 on that has no routes."""
        return next(table for table in range(FIRST_TABLE, _LAST_TABLE) if not self.machine.network.routes(table=table))

    def priority(self, family: int) -> int:
        """That the kernel would give a new rule: before all that there are, but the first."""
        rules = self.machine.network.rules(family)
        return max(rules[1].priority - 1, 0) if len(rules) > 1 else 0

    def mtu(self, endpoints: Sequence[SockAddr]) -> int:
        """The largest of the routes to the peers, or else of the default route, less what a tunnel adds."""
        network = self.machine.network
        link = network.link(self.machine.interface)
        itself = link.index if link else 0
        mtus = [
            network.route_mtu(ip, scope_id=scope_id, mark=self._mark, not_through=itself)
            for ip, _, scope_id in endpoints
        ]
        return (max(mtus, default=0) or network.default_mtu() or _ETHERNET_MTU) - OVERHEAD


class Imagined(Facts):
    """The same, where the interface does not exist, or is not yet what the file wants."""

    def __init__(self, machine: Machine, file: QuickFile, *, mark: int = 0, own: Sequence[str] = ()) -> None:
        """`own`: addresses that the interface has by itself."""
        super().__init__(machine, mark=mark)
        self._addresses = file.config.interface.addresses
        self._own = own

    def through(self) -> list[Prefix]:
        connected = [(mask(ip, cidr), cidr) for ip, cidr in self._addresses if len(ip) != V4_LEN or cidr < 32]
        return [*connected, _LINK_LOCAL] if os.path.exists("/proc/net/if_inet6") else connected

    def addresses(self, family: int) -> tuple[str, ...]:
        found = [format_ip(ip) for ip, _ in self._addresses if (len(ip) == V4_LEN) == (family == AF_INET)]
        return tuple(dict.fromkeys((*found, *(one for one in self._own if (":" in one) == (family == AF_INET6)))))


@dataclass(frozen=True)
class LinkUpLater(Step):
    """In a dry run, where the MTU depends on addresses that names have."""

    remembered = False

    hosts: tuple[str, ...]

    def command(self, interface: str) -> str:
        where = ", ".join(self.hosts)
        return f"ip link set mtu MTU up dev {interface}    # of the route to {where}, less {OVERHEAD}"


def up_steps(file: QuickFile, facts: Facts, addresses: Resolver, *, daemon: Step | None = None) -> Iterator[Step]:
    """All. `daemon`: the step that serves the interface, None for pywg in the background.

    Raises PywgError for what can't be done as the file says."""
    config, table = file.config, table_of(file)
    peers = peers_of(config)
    yield from _hooks("PreUp", config.interface.pre_up)
    found = addresses(peers)
    mark = mark_of(file, peers, table, facts)
    yield daemon or Daemon()
    yield initial(config, peers, found, mark)
    yield from map(Address, dict.fromkeys(map(format_prefix, config.interface.addresses)))
    yield link_up(file, peers, found, facts)
    yield from dns_steps(file)
    yield from route_steps(peers, table, mark, facts)
    yield from companion_steps(file)
    yield from _hooks("PostUp", config.interface.post_up)


def table_of(file: QuickFile) -> int:
    """The number of the routing table that the file names, AUTO or OFF. Raises WgQuickError for an unknown name."""
    text = file.config.interface.table
    if text is None or text.lower() == "auto":
        return AUTO
    if text.lower() == "off":
        return OFF
    number = _NAMED.get(text)
    if number is None and re.fullmatch(r"0[xX][0-9a-fA-F]{1,8}|[0-9]{1,10}", text):
        number = int(text, 0 if text.lower().startswith("0x") else 10)
        number = None if number > _LAST_TABLE else number or TABLE_MAIN
    if number is None:
        number = _named_tables().get(text)
    if number is None:
        raise file.error(f"no routing table is called {text!a}, see {_TABLES[0][0]}", "Table", text)
    return number


def mark_of(file: QuickFile, peers: dict[bytes, WantedPeer], table: int, facts: Facts) -> int | None:
    """The daemon's mark: the file's, or else the first free table's where a default route needs one."""
    given = file.config.interface.fwmark
    if given or table != AUTO or not any(cidr == 0 for peer in peers.values() for _, cidr in peer.allowed):
        return given
    return facts.free_table()


def link_up(file: QuickFile, peers: dict[bytes, WantedPeer], addresses: Addresses, facts: Facts) -> Step:
    """The interface's MTU."""
    given = file.config.interface.mtu
    if given is not None:
        return LinkUp(given)
    endpoints = dict.fromkeys(peer.endpoint for peer in peers.values() if peer.endpoint is not None)
    unknown = tuple(dict.fromkeys(endpoint[0] for endpoint in endpoints if endpoint not in addresses))
    if unknown and isinstance(facts, Imagined):
        return LinkUpLater(unknown)
    return LinkUp(facts.mtu([addresses[endpoint] for endpoint in endpoints if endpoint in addresses]))


def dns_steps(file: QuickFile) -> Iterator[Step]:
    """None without a server, as with wg-quick."""
    given = file.config.interface.dns
    servers = [one for one in given if is_server(one)]
    if servers:
        yield dns_step(file.target.interface, servers, [one for one in given if not is_server(one)])


def route_steps(peers: dict[bytes, WantedPeer], table: int, mark: int | None, facts: Facts) -> Iterator[Step]:
    """Routes, the narrow ones first, and for default routes the rules that keep the daemon's packets out of them."""
    if table == OFF:
        return
    destinations = sorted(
        (prefix for peer in peers.values() for prefix in peer.allowed), key=lambda prefix: (-prefix[1], -len(prefix[0]))
    )
    through = set(facts.through()) if table == AUTO else set()
    for prefix in destinations:
        if table != AUTO:
            yield Route(format_prefix(prefix), table)
        elif prefix[1] == 0 and not facts.alone:
            yield from _default(format_prefix(prefix), mark or 0, facts)
        elif not covered(prefix, through):
            through.add(prefix)
            yield Route(format_prefix(prefix))


def _default(destination: str, table: int, facts: Facts) -> Iterator[Step]:
    family = AF_INET6 if ":" in destination else AF_INET
    if family == AF_INET and not has_valid_mark():
        yield ValidMark()
    yield Route(destination, table)
    priority = facts.priority(family)
    # This one first, so that at no time the default route takes what has a better one.
    yield PolicyRule(family, 0, max(priority - 1, 0))
    yield PolicyRule(family, table, priority)
    yield firewall.Firewall(family, table, facts.addresses(family), firewall.tool())


def covered(prefix: Prefix, by: set[Prefix]) -> bool:
    """Whether it lies in one of them."""
    ip, cidr = prefix
    return any((mask(ip, shorter), shorter) in by for shorter in range(cidr + 1))


def _hooks(phase: str, commands: Sequence[str]) -> Iterator[Step]:
    return (hooks.Hook(phase, command) for command in commands)


def _named_tables() -> dict[str, int]:
    found: dict[str, int] = {}
    files, folders = _TABLES
    paths = [Path(file) for file in reversed(files)]
    for folder in reversed(folders):
        paths += sorted(Path(folder).glob("*.conf"))
    for path in paths:
        try:
            text = path.read_text(errors="replace")
        except OSError:
            continue
        for line in text.splitlines():
            words = line.partition("#")[0].split()
            if len(words) == 2 and re.fullmatch(r"0[xX][0-9a-fA-F]{1,8}|[0-9]{1,10}", words[0]):
                found[words[1]] = int(words[0], 0 if words[0].lower().startswith("0x") else 10)
    return found
