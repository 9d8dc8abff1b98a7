"""The walk through the rules of nftables: as the kernel goes, and never surer than it can be."""

import json
import subprocess
from typing import Any

import pytest

from pywg.manage.doctor.facts import Verdict
from pywg.manage.doctor.packet_filter import Packet, verdict
from tests.requirements import require_root, require_tool

COMING = Packet(4, "203.0.113.9", None, 51820, 51820, "eth0", None, 0)
SETS = """
set ports { type inet_service; flags interval; elements = { 22, 51000-52000 }; }
set nets { type ipv4_addr; flags interval; elements = { 203.0.113.0/24, 192.0.2.1-192.0.2.9 }; }
chain sub { udp dport 51820 drop; }
chain back { return; }
"""
DROPPED = {
    "port": "udp dport 51820 drop",
    "rejected": "udp dport 51820 reject",
    "any port": "th dport 51820 drop",
    "set": "udp dport { 53, 51820 } drop",
    "range": "udp dport 51000-52000 drop",
    "named set": "udp dport @ports drop",
    "named set of networks": "ip saddr @nets drop",
    "not": "udp dport != 53 drop",
    "prefix": "ip saddr 203.0.113.0/28 drop",
    "interface": 'iifname "eth*" drop',
    "interfaces": 'iifname { "lo", "eth0" } drop',
    "protocol": "meta l4proto udp drop",
    "protocol of IP": "ip protocol udp drop",
    "family": "meta nfproto ipv4 drop",
    "state": "ct state { new, invalid } drop",
    "map of states": "ct state vmap { established : accept, new : drop }",
    "map": "udp dport vmap { 53 : accept, 51820 : drop }",
    "jump": "jump sub",
    "jump that returns": "jump back\ndrop",
    "goto": "goto sub",
    "all": "drop",
    "mark": "meta mark and 0xff == 0 drop",
    "counted": "counter drop",
    "logged": 'log prefix "x" drop',
}
PASSED = {
    "nothing": "",
    "other port": "udp dport 53 drop",
    "other protocol": "tcp dport 51820 drop",
    "other family": "ip6 saddr fd00::/8 drop",
    "other source": "ip saddr != @nets drop",
    "other interface": 'iifname "lo" drop',
    "accepted before": "udp dport 51820 accept\ndrop",
    "accepted by the set": "udp dport @ports accept\ndrop",
    "other state": "ct state invalid drop",
    "limit": "limit rate over 5/second drop",
    "mark": "meta mark 1 drop",
    "returned": "return\ndrop",
}


def listed(rules: str, policy: str = "accept", hook: str = "input") -> list[dict[str, Any]]:
    """What nft says of them, in a namespace of their own."""
    require_root()
    require_tool("nft")
    text = f"table inet f {{ {SETS}\nchain c {{ type filter hook {hook} priority 0; policy {policy};\n{rules}\n}}\n}}"
    script = "nft -f - && nft --json list ruleset"
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", script], input=text.encode(), capture_output=True, check=True
    )
    found: list[dict[str, Any]] = json.loads(done.stdout)["nftables"]
    return found


@pytest.mark.parametrize("name", DROPPED)
def test_dropped(name: str) -> None:
    found = verdict(listed(DROPPED[name]), COMING, ("input",))
    assert found is not None
    assert (found.drops, found.certain) == (True, True)
    assert found.chain.startswith("inet f ")


@pytest.mark.parametrize("name", PASSED)
def test_passed(name: str) -> None:
    assert verdict(listed(PASSED[name]), COMING, ("input",)) == Verdict(False)


def test_policy() -> None:
    rules = listed("ct state established accept", policy="drop")
    found = verdict(rules, COMING, ("input",))
    assert found is not None
    assert (found.drops, found.certain, found.rule) == (True, True, "the policy of chain c in table inet f")
    assert verdict(rules, COMING._replace(state="established"), ("input",)) == Verdict(False)


def test_what_can_not_be_judged() -> None:
    found = verdict(listed("fib daddr type local accept", policy="drop"), COMING, ("input",))
    assert found is not None
    assert (found.drops, found.certain) == (True, False)


def test_no_rules_of_that_hook() -> None:
    assert verdict(listed("drop", hook="output"), COMING, ("input",)) is None
    assert verdict([], COMING, ("input",)) is None


def test_a_circle_of_jumps_ends() -> None:
    rules: list[dict[str, Any]] = [
        {"chain": {"family": "inet", "table": "f", "name": "c", "type": "filter", "hook": "input", "prio": 0}},
        {"rule": {"family": "inet", "table": "f", "chain": "c", "expr": [{"jump": {"target": "c"}}]}},
    ]
    assert verdict(rules, COMING, ("input",)) == Verdict(False)


@pytest.mark.parametrize("expr", [[None], ["drop"], [{"match": None}], [{"vmap": {}}], [{"match": {"left": 1}}]])
def test_odd_rules(expr: list[Any]) -> None:
    rules: list[dict[str, Any]] = [
        {"chain": {"family": "inet", "table": "f", "name": "c", "type": "filter", "hook": "input", "prio": 0}},
        {"rule": {"family": "inet", "table": "f", "chain": "c", "expr": expr}},
    ]
    assert verdict(rules, COMING, ("input",)) is not None
