"""What a file asks for inside, without its secrets: by way of JSON from the process that reads the file."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from pywg.config.addresses import V4_LEN, format_prefix, parse_ip
from pywg.config.model import Prefix
from pywg.config.quick_extensions import read_extensions
from pywg.config.quick_values import hooks_of
from pywg.errors import ConfigError
from pywg.manage.tunnel.dns import host_servers, is_server
from pywg.manage.tunnel.machine import Machine
from pywg.manage.tunnel.names import QuickFile
from pywg.manage.tunnel.peers import WantedPeer
from pywg.manage.tunnel.plan import AUTO, Imagined, covered, link_up, route_steps
from pywg.manage.tunnel.resolve import Addresses
from pywg.manage.tunnel.steps import Address, LinkUp, Route, Step

_IGNORED_HERE = "in a network namespace of its own it means nothing"


@dataclass(frozen=True)
class Plan:
    """Of the inside."""

    interface: str
    addresses: list[str]
    mtu: int
    routes: list[str]
    servers: list[str]
    search: list[str]
    notes: list[str]
    """what the file says and is not done, and what may surprise"""

    def steps(self) -> list[Step]:
        """In the order of `pywg up`."""
        return [*map(Address, self.addresses), LinkUp(self.mtu), *map(Route, self.routes)]

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        return cls(**json.loads(text))


class Alone(Imagined):
    """Facts of an interface that will be the only way out of its network namespace."""

    alone = True


def plan_of(file: QuickFile, peers: dict[bytes, WantedPeer], addresses: Addresses, machine: Machine) -> Plan:
    """`machine`: the outside, whose routes to the peers say how long packets may be."""
    interface = file.config.interface
    facts = Alone(machine, file)
    link = link_up(file, peers, addresses, facts)
    assert isinstance(link, LinkUp)  # every endpoint has its address
    routes = [step.destination for step in route_steps(peers, AUTO, None, facts) if isinstance(step, Route)]
    return Plan(
        file.target.interface,
        list(dict.fromkeys(map(format_prefix, interface.addresses))),
        link.mtu,
        routes,
        [one for one in interface.dns if is_server(one)],
        [one for one in interface.dns if not is_server(one)],
        [*_ignored(file), *_unreached(file, peers)],
    )


def _ignored(file: QuickFile) -> Iterator[str]:
    """Settings that nothing comes of."""
    interface = file.config.interface
    if interface.table is not None:
        yield f"Table is passed over: {_IGNORED_HERE}"
    if interface.fwmark:
        yield f"FwMark is passed over: {_IGNORED_HERE}"
    if hooks := [name for name, commands in hooks_of(interface).items() if commands]:
        yield f"{', '.join(hooks)} {'is' if len(hooks) == 1 else 'are'} not run: hooks are for the machine itself"
    if interface.save_config:
        yield "SaveConfig is passed over: nothing is written into the file"
    try:
        wanted = read_extensions(file.text, file.target.path).wanted
    except ConfigError:
        wanted = True
    if wanted:
        yield "what is for `pywg companion` is passed over: endpoints are resolved once"


def _unreached(file: QuickFile, peers: dict[bytes, WantedPeer]) -> Iterator[str]:
    """Where no name will resolve."""
    given = [one for one in file.config.interface.dns if is_server(one)]
    servers = given or host_servers()
    through = {prefix for peer in peers.values() for prefix in peer.allowed}
    if not any(_reached(server, through) for server in servers):
        of = "the servers of DNS" if given else f"{file.target.path} has no DNS, and this machine's servers"
        names = f" ({', '.join(servers)})" if servers else ""
        yield f"names may not resolve inside: {of}{names} are not among AllowedIPs"


def _reached(server: str, through: set[Prefix]) -> bool:
    try:
        ip = parse_ip(server.partition("%")[0])
    except ConfigError:
        return False
    loopback = ip[0] == 127 if len(ip) == V4_LEN else ip == bytes(15) + b"\1"
    return not loopback and covered((ip, len(ip) * 8), through)
