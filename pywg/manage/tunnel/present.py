"""Steps that nobody remembers: what an interface has that runs, whatever program has set it up."""

import re
from collections.abc import Iterator
from socket import AF_INET, AF_INET6

from pywg.config.addresses import format_prefix
from pywg.manage.network import TABLE_MAIN
from pywg.manage.tunnel.firewall import Firewall
from pywg.manage.tunnel.machine import Machine, program, run
from pywg.manage.tunnel.state import others
from pywg.manage.tunnel.steps import Address, LinkUp, PolicyRule, Route, Step
from pywg.runtime.base import namespaces


def found_steps(machine: Machine, mark: int) -> list[Step]:
    """As if `pywg up` had done them, the address that an interface gives itself among them.

    `mark`: the daemon's, which names the table of its default routes.
    """
    network, index = machine.network, machine.index
    steps: list[Step] = [Address(format_prefix(address)) for address in network.addresses(index)]
    link = network.link(machine.interface)
    if link is not None and link.up:
        steps.append(LinkUp(link.mtu))
    steps += (Route(format_prefix(to), table) for to, table in network.routes(index=index, boot=True))
    return [*steps, *_policy(machine, mark), *_firewall(machine, mark)]


def _policy(machine: Machine, mark: int) -> Iterator[Step]:
    """Rules for the mark, and one of those that wg-quick adds beside each; another interface's stay."""
    if not mark:
        return
    near = [state for state in others(machine.interface) if state.namespace == namespaces.of_this_thread()]
    remembered = {step for state in near for step in state.steps}
    for family in (AF_INET, AF_INET6):
        rules = machine.network.rules(family)
        suppressing = [rule for rule in rules if rule.suppress_prefixlength == 0 and rule.table == TABLE_MAIN]
        free = [one for rule in suppressing if (one := PolicyRule(family, 0, rule.priority)) not in remembered]
        for rule in reversed(rules):
            if rule.inverted and rule.fwmark == mark == rule.table:
                yield PolicyRule(family, mark, rule.priority)
                if before := [one for one in free if one.priority < rule.priority]:
                    free.remove(before[-1])
                    yield before[-1]


def _firewall(machine: Machine, mark: int) -> Iterator[Step]:
    if not program("nft"):
        return
    tables = run(("nft", "list", "tables")).splitlines()
    for family, name in ((AF_INET, "ip"), (AF_INET6, "ip6")):
        table = f"{name} wg-quick-{machine.interface}"
        if f"table {table}" in tables:
            rules = run(("nft", "list", "table", *table.split()))
            yield Firewall(family, mark, tuple(re.findall(rf"{name} daddr (\S+)", rules)), "nft")
