"""Interfaces, addresses, routes and rules of this network namespace, as the kernel tells them and is told of them.

Messages have the fields that iproute2 gives them, so that `ip` shows the same as after its own commands.
"""

import contextlib
import errno
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from socket import AF_INET, AF_INET6
from typing import NamedTuple

from pywg.config.addresses import V4_LEN, format_ip, parse_ip
from pywg.config.model import Prefix
from pywg.manage.rtnetlink import Rtnetlink, messages
from pywg.runtime.net.netlink import Message

TABLE_MAIN = 254
_NEWLINK, _DELLINK, _GETLINK = 16, 17, 18
_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_NEWRULE, _DELRULE, _GETRULE = 32, 33, 34
_CREATE_EXCLUSIVE = 0x600
_IFF_UP = 1
_PROTO_BOOT = 3
_SCOPE_UNIVERSE, _SCOPE_LINK, _SCOPE_HOST, _SCOPE_NOWHERE = 0, 253, 254, 255
_UNICAST = 1
_TO_TABLE = 1
_INVERT = 0x2
_NOTHING_SUPPRESSED = 2**32 - 1


@dataclass(frozen=True)
class Link:
    """A network interface."""

    index: int
    mtu: int
    up: bool


class Rule(NamedTuple):
    """A rule of policy routing, as far as wg-quick's have more than a table."""

    family: int
    priority: int
    table: int
    fwmark: int | None
    inverted: bool
    """for packets without the mark"""
    suppress_prefixlength: int | None


class Network:
    """Questions and changes. Each raises OSError with the kernel's errno.

    It belongs to the network namespace of the thread that makes it. No signal's handler may raise inside a call.
    """

    def __init__(self) -> None:
        self._netlink = Rtnetlink()
        self._forms = messages()

    def close(self) -> None:
        """Idempotent."""
        self._netlink.close()

    def __enter__(self) -> "Network":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def link(self, name: str) -> Link | None:
        """The interface of this name; None when there is none."""
        return self._link({}, {"IFLA_IFNAME": name})

    def set_up(self, index: int, *, mtu: int) -> None:
        """`ip link set mtu MTU up`."""
        fields = {"index": index, "flags": _IFF_UP, "change": _IFF_UP}
        self._netlink.change(_NEWLINK, self._forms.link, fields, {"IFLA_MTU": mtu})

    def delete_link(self, index: int) -> None:
        """`ip link delete`."""
        self._netlink.change(_DELLINK, self._forms.link, {"index": index}, {})

    def addresses(self, index: int) -> list[Prefix]:
        """Of an interface, with host bits, in the kernel's order: IPv4, then IPv6."""
        found = []
        for family in (AF_INET, AF_INET6):
            with _nothing_of():
                for message in self._netlink.dump(_GETADDR, self._forms.address, {"family": family, "index": index}):
                    address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
                    if message["index"] == index and address:
                        found.append((parse_ip(address), message["prefixlen"]))
        return found

    def add_address(self, index: int, address: Prefix) -> None:
        """`ip address add`."""
        self._netlink.change(_NEWADDR, self._forms.address, *_address(index, address), flags=_CREATE_EXCLUSIVE)

    def delete_address(self, index: int, address: Prefix) -> None:
        """`ip address delete`."""
        self._netlink.change(_DELADDR, self._forms.address, *_address(index, address))

    def routes(self, *, index: int = 0, table: int = 0, boot: bool = False) -> list[tuple[Prefix, int]]:
        """(destination, table) of the routes through an interface, in one table; 0: any.

        `boot`: those alone that `ip route add PREFIX dev NAME` makes.
        """
        attributes = ({"RTA_OIF": index} if index else {}) | ({"RTA_TABLE": table} if table else {})
        found = []
        for family in (AF_INET, AF_INET6):
            with _nothing_of():
                for message in self._netlink.dump(_GETROUTE, self._forms.route, {"family": family}, attributes):
                    its_table = message.get_attr("RTA_TABLE") or message["table"]
                    if (index and message.get_attr("RTA_OIF") != index) or (table and its_table != table):
                        continue
                    if boot and not _is_boot(message):
                        continue
                    destination = message.get_attr("RTA_DST")
                    ip = parse_ip(destination) if destination else bytes(_LENGTHS[family])
                    found.append(((ip, message["dst_len"]), its_table))
        return found

    def add_route(self, index: int, destination: Prefix, table: int) -> None:
        """`ip route add DESTINATION dev NAME table TABLE`."""
        self._netlink.change(_NEWROUTE, self._forms.route, *_route(index, destination, table), flags=_CREATE_EXCLUSIVE)

    def delete_route(self, index: int, destination: Prefix, table: int) -> None:
        """`ip route delete`, of such a route."""
        fields, attributes = _route(index, destination, table)
        fields["scope"] = _SCOPE_NOWHERE
        self._netlink.change(_DELROUTE, self._forms.route, fields, attributes)

    def route_mtu(self, ip: bytes, *, scope_id: int = 0, mark: int = 0, not_through: int = 0) -> int:
        """The MTU of the route to `ip`, or else of its interface; 0 where there is none, or it is `not_through`."""
        fields = {"family": _family(ip), "dst_len": len(ip) * 8}
        attributes: dict[str, object] = {"RTA_DST": format_ip(ip)}
        attributes |= ({"RTA_OIF": scope_id} if scope_id else {}) | ({"RTA_MARK": mark} if mark else {})
        try:
            message = self._netlink.ask(_GETROUTE, self._forms.route, fields, attributes)
        except OSError:
            return 0
        return 0 if message.get_attr("RTA_OIF") == not_through != 0 else self._mtu_of(message)

    def default_mtu(self) -> int:
        """The MTU of the first default route of IPv4, or else of its interface; 0 where there is none."""
        for message in self._netlink.dump(_GETROUTE, self._forms.route, {"family": AF_INET}, {"RTA_TABLE": TABLE_MAIN}):
            if message["dst_len"] == 0 and (message.get_attr("RTA_TABLE") or message["table"]) == TABLE_MAIN:
                return self._mtu_of(message)
        return 0

    def rules(self, family: int) -> list[Rule]:
        """In the order in which the kernel asks them; none without this family."""
        with _nothing_of():
            return [
                _rule(message) for message in self._netlink.dump(_GETRULE, self._forms.rule, {"family": family}, {})
            ]
        return []

    def add_rule(self, rule: Rule) -> None:
        """`ip rule add`."""
        self._netlink.change(_NEWRULE, self._forms.rule, *_of_rule(rule), flags=_CREATE_EXCLUSIVE)

    def delete_rule(self, rule: Rule) -> None:
        """`ip rule delete`, of exactly this one."""
        self._netlink.change(_DELRULE, self._forms.rule, *_of_rule(rule))

    def _mtu_of(self, route: Message) -> int:
        metrics = route.get_attr("RTA_METRICS")
        mtu = metrics.get_attr("RTAX_MTU") if metrics else 0
        if mtu:
            return int(mtu)
        index = route.get_attr("RTA_OIF")
        if not index and (hops := route.get_attr("RTA_MULTIPATH")):
            index = hops[0]["oif"]
        link = self._link({"index": index}, {}) if index else None
        return link.mtu if link else 0

    def _link(self, fields: Mapping[str, int], attributes: Mapping[str, object]) -> Link | None:
        try:
            message = self._netlink.ask(_GETLINK, self._forms.link, fields, attributes)
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise
        return Link(message["index"], message.get_attr("IFLA_MTU"), bool(message["flags"] & _IFF_UP))


_LENGTHS = {AF_INET: 4, AF_INET6: 16}
_NOT_HERE = (errno.ENOENT, errno.EAFNOSUPPORT, errno.EOPNOTSUPP)
"""There is no such routing table, or the kernel runs without IPv6, or without policy routing."""


@contextlib.contextmanager
def _nothing_of() -> Iterator[None]:
    """In the body, what is not here has nothing to list."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise


def _family(ip: bytes) -> int:
    return AF_INET if len(ip) == V4_LEN else AF_INET6


def _address(index: int, address: Prefix) -> tuple[dict[str, int], dict[str, object]]:
    ip, cidr = address
    loopback = len(ip) == V4_LEN and ip[0] == 127
    scope = _SCOPE_HOST if loopback else _SCOPE_UNIVERSE
    text = format_ip(ip)
    fields = {"family": _family(ip), "prefixlen": cidr, "index": index, "scope": scope, "flags": 0}
    return fields, {"IFA_LOCAL": text, "IFA_ADDRESS": text}


def _route(index: int, destination: Prefix, table: int) -> tuple[dict[str, int], dict[str, object]]:
    ip, cidr = destination
    fields = {
        "family": _family(ip),
        "dst_len": cidr,
        "table": table if table < 256 else 0,
        "proto": _PROTO_BOOT,
        "scope": _SCOPE_LINK if len(ip) == V4_LEN else _SCOPE_UNIVERSE,
        "type": _UNICAST,
    }
    attributes: dict[str, object] = {"RTA_DST": format_ip(ip)} if cidr else {}
    return fields, attributes | {"RTA_OIF": index, "RTA_TABLE": table}


def _is_boot(message: Message) -> bool:
    return (
        message["proto"] == _PROTO_BOOT
        and message["type"] == _UNICAST
        and not message.get_attr("RTA_GATEWAY")
        and not message.get_attr("RTA_VIA")
    )


def _rule(message: Message) -> Rule:
    suppressed = message.get_attr("FRA_SUPPRESS_PREFIXLEN")
    return Rule(
        message["family"],
        message.get_attr("FRA_PRIORITY") or 0,
        message.get_attr("FRA_TABLE") or message["table"],
        message.get_attr("FRA_FWMARK"),
        bool(message["flags"] & _INVERT),
        None if suppressed in (None, _NOTHING_SUPPRESSED) else suppressed,
    )


def _of_rule(rule: Rule) -> tuple[dict[str, int], dict[str, object]]:
    fields = {
        "family": rule.family,
        "table": rule.table if rule.table < 256 else 0,
        "action": _TO_TABLE,
        "flags": _INVERT if rule.inverted else 0,
    }
    attributes: dict[str, object] = {"FRA_PRIORITY": rule.priority, "FRA_TABLE": rule.table}
    if rule.fwmark is not None:
        attributes["FRA_FWMARK"] = rule.fwmark
    if rule.suppress_prefixlength is not None:
        attributes["FRA_SUPPRESS_PREFIXLEN"] = rule.suppress_prefixlength
    return fields, attributes
