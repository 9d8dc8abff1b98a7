"""The packet filter's verdict about a packet that nobody sends: rules of nftables, as `nft --json` lists them.

Each base chain on the packet's way is walked as the kernel does. A condition that can't be judged (a limit, a match of
iptables' that nft only wraps) makes a verdict uncertain, and never a drop.
"""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, TypeAlias

from pywg.manage.doctor.facts import Verdict

Rules: TypeAlias = Sequence[Mapping[str, Any]]
"""The array of `nft --json list ruleset`."""

_MOST_JUMPS = 16
_UDP = 17


class Packet(NamedTuple):
    """A UDP datagram's fields, as conditions see them. None: any; a condition on that is not judged."""

    version: int
    source: str | None = None
    destination: str | None = None
    source_port: int | None = None
    destination_port: int | None = None
    iif: str | None = None
    oif: str | None = None
    mark: int | None = 0
    state: str = "new"
    udp: bool = True
    """False: any protocol"""


class _Fate(NamedTuple):
    """Of a packet in a chain."""

    word: str
    """accept, drop, or continue: the chain has ended without a verdict"""
    rule: str = ""
    chain: str = ""
    packets: int | None = None


class _Walk:
    def __init__(self, rules: Rules, packet: Packet) -> None:
        self.packet = packet
        self.may_pass = False
        """a rule that could not be judged would accept it"""
        self._sets: dict[tuple[str, str, str], list[Any]] = {}
        self._rules: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
        for entry in rules:
            if one := entry.get("set") or entry.get("map"):
                self._sets[one["family"], one["table"], one["name"]] = one.get("elem", [])
            elif one := entry.get("rule"):
                self._rules.setdefault((one["family"], one["table"], one["chain"]), []).append(one)

    def chain(self, family: str, table: str, name: str, depth: int = 0) -> _Fate:
        if depth < _MOST_JUMPS:
            for rule in self._rules.get((family, table, name), ()):
                fate = self._rule(rule, depth)
                if fate.word != "continue":
                    return _Fate("continue") if fate.word == "return" else fate
        return _Fate("continue")

    def _rule(self, rule: Mapping[str, Any], depth: int) -> _Fate:
        certain, packets = True, None
        where = rule["family"], rule["table"], rule["chain"]
        for expression in rule.get("expr", ()):
            (kind, body), *_ = expression.items() if isinstance(expression, dict) else [(str(expression), None)]
            if kind == "counter":
                packets = body.get("packets") if isinstance(body, dict) else None
            elif kind == "match":
                matches = self._match(body or {}, where)
                if matches is False:
                    return _Fate("continue")
                certain &= matches is True
            elif kind in ("accept", "drop", "reject", "return", "jump", "goto"):
                if not certain:
                    self.may_pass |= kind not in {"drop", "reject"}
                    return _Fate("continue")
                return self._verdict(kind, body, rule, packets, depth)
            elif kind == "vmap":
                return self._vmap(body, rule, packets, depth, certain=certain)
            elif kind in ("limit", "xt", "quota", "connlimit", "ct count", "fib", "socket", "osf", "queue"):
                certain = False
        return _Fate("continue")

    def _verdict(self, kind: str, body: Any, rule: Mapping[str, Any], packets: int | None, depth: int) -> _Fate:
        family, table, chain = rule["family"], rule["table"], rule["chain"]
        if kind in ("jump", "goto"):
            fate = self.chain(family, table, body["target"], depth + 1)
            return _Fate("return") if kind == "goto" and fate.word == "continue" else fate
        if kind in ("drop", "reject"):
            text = f"rule {rule.get('handle', '?')} of chain {chain} in table {family} {table}"
            return _Fate("drop", text, f"{family} {table} {chain}", packets)
        return _Fate(kind)

    def _vmap(self, body: Any, rule: Mapping[str, Any], packets: int | None, depth: int, *, certain: bool) -> _Fate:
        value, known = self._value(body.get("key"))
        data = body.get("data")
        where = rule["family"], rule["table"], rule["chain"]
        pairs = self._elements(data, where)
        for pair in pairs:
            if not isinstance(pair, list) or len(pair) != 2:
                continue
            key, verdict = pair
            (kind, target), *_ = verdict.items() if isinstance(verdict, dict) else [(str(verdict), None)]
            if not known or not certain:
                self.may_pass |= kind not in ("drop", "reject")
            elif _in(value, key):
                return self._verdict(kind, target, rule, packets, depth)
        return _Fate("continue")

    def _match(self, body: Mapping[str, Any], where: tuple[str, str, str]) -> bool | None:
        """None: can't be judged."""
        value, known = self._value(body.get("left"))
        if not known:
            return None
        if value is _NOT_THIS_PROTOCOL:
            return False
        found = any(_in(value, one) for one in self._elements(body.get("right"), where))
        return {"==": found, "in": found, "!=": not found}.get(str(body.get("op")))

    def _elements(self, right: Any, where: tuple[str, str, str]) -> list[Any]:
        if isinstance(right, str) and right.startswith("@"):
            right = self._sets.get((where[0], where[1], right[1:]), [])
        if isinstance(right, dict) and "set" in right:
            right = right["set"]
        found = right if isinstance(right, list) else [right]
        return [one["elem"].get("val") if isinstance(one, dict) and "elem" in one else one for one in found]

    def _value(self, left: Any) -> tuple[Any, bool]:
        """(the packet's value, whether it is known)."""
        packet = self.packet
        if not isinstance(left, dict):
            return None, False
        if "payload" in left:
            return self._payload(left["payload"])
        if "ct" in left and left["ct"].get("key") == "state":
            return packet.state, True
        if "&" in left and isinstance(left["&"], list) and len(left["&"]) == 2:
            value, known = self._value(left["&"][0])
            mask = left["&"][1]
            if known and isinstance(value, int) and isinstance(mask, int):
                return value & mask, True
            return None, False
        if "meta" in left:
            values: dict[str, Any] = {
                "iifname": packet.iif,
                "iif": packet.iif,
                "oifname": packet.oif,
                "oif": packet.oif,
                "mark": packet.mark,
                "nfproto": f"ipv{packet.version}",
                "protocol": "ip" if packet.version == 4 else "ip6",
                "l4proto": "udp" if packet.udp else None,
                "pkttype": "host",
            }
            value = values.get(left["meta"].get("key"))
            return value, value is not None
        return None, False

    def _payload(self, payload: Mapping[str, Any]) -> tuple[Any, bool]:
        packet = self.packet
        protocol, name = payload.get("protocol"), payload.get("field")
        if protocol in ("ip", "ip6"):
            if (protocol == "ip") != (packet.version == 4):
                return _NOT_THIS_PROTOCOL, True
            values: dict[Any, Any] = {
                "saddr": packet.source,
                "daddr": packet.destination,
                "protocol": "udp" if packet.udp else None,
                "nexthdr": "udp" if packet.udp else None,
            }
        elif protocol in ("udp", "th"):
            if not packet.udp:
                return None, False
            values = {"sport": packet.source_port, "dport": packet.destination_port}
        elif protocol in ("tcp", "icmp", "icmpv6", "sctp", "dccp", "esp", "ah", "comp", "udplite", "arp", "igmp"):
            return (_NOT_THIS_PROTOCOL, True) if packet.udp else (None, False)
        else:
            return None, False
        value = values.get(name)
        return value, value is not None


_NOT_THIS_PROTOCOL = object()


def _in(value: Any, right: Any) -> bool:
    """Whether a value is one of what the right side of a condition means."""
    if isinstance(right, dict):
        if "prefix" in right:
            return _in_prefix(value, right["prefix"])
        if "range" in right:
            low, high = right["range"]
            return _between(value, low, high)
        return False
    if right == "*":
        return True
    if isinstance(value, str) and isinstance(right, str):
        return fnmatchcase(value, right) if right.endswith("*") else value == right
    if value == "udp" and right == _UDP:
        return True
    return bool(value == right)


def _in_prefix(value: Any, prefix: Mapping[str, Any]) -> bool:
    try:
        return ipaddress.ip_address(value) in ipaddress.ip_network(f"{prefix['addr']}/{prefix['len']}", strict=False)
    except (ValueError, KeyError):
        return False


def _between(value: Any, low: Any, high: Any) -> bool:
    if isinstance(value, int) and isinstance(low, int) and isinstance(high, int):
        return low <= value <= high
    try:
        ip, first, last = (ipaddress.ip_address(one) for one in (value, low, high))
        return ip.version == first.version and int(first) <= int(ip) <= int(last)
    except ValueError:
        return False


def verdict(rules: Rules, packet: Packet, hooks: Iterable[str]) -> Verdict | None:
    """What becomes of the packet in the filter chains of `hooks`; None when there are no such chains."""
    families = ("inet", "ip" if packet.version == 4 else "ip6")
    chains = [entry["chain"] for entry in rules if entry.get("chain", {}).get("hook")]
    order = list(hooks)
    mine = [
        one
        for one in chains
        if one["hook"] in order and one["family"] in families and one.get("type", "filter") == "filter"
    ]
    if not mine:
        return None
    walk = _Walk(rules, packet)
    for chain in sorted(mine, key=lambda one: (order.index(one["hook"]), one.get("prio", 0))):
        where = f"{chain['family']} {chain['table']} {chain['name']}"
        walk.may_pass = False
        fate = walk.chain(chain["family"], chain["table"], chain["name"])
        if fate.word == "drop":
            return Verdict(True, not walk.may_pass, fate.rule, fate.chain, fate.packets)
        if fate.word == "continue" and chain.get("policy") == "drop":
            text = f"the policy of chain {chain['name']} in table {chain['family']} {chain['table']}"
            return Verdict(True, not walk.may_pass, text, where)
    return Verdict(False)
