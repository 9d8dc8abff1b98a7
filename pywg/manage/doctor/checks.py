"""The table of the checks, in the order in which their findings are read.

A new check is a function from the facts to findings, in the module of its theme, and its row here.
"""

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from pywg.manage.doctor import checks_daemon, checks_machine, checks_network, checks_peers
from pywg.manage.doctor.facts import Facts
from pywg.manage.doctor.finding import Finding, note

Check: TypeAlias = Callable[[Facts], Iterator[Finding]]

MACHINE: Final[tuple[Check, ...]] = (
    checks_machine.tun,
    checks_machine.privileges,
    checks_machine.clock,
    checks_machine.offloads,
    checks_machine.ciphers,
    checks_machine.buffers,
)
TUNNEL: Final[tuple[Check, ...]] = (
    checks_daemon.file,
    checks_daemon.daemon,
    checks_daemon.key,
    checks_daemon.peers,
    checks_daemon.interface,
    checks_daemon.ipv6_mtu,
    checks_daemon.port,
    checks_daemon.differences,
    checks_daemon.companion,
    checks_peers.handshake,
    checks_peers.replays,
    checks_peers.endpoint,
    checks_network.endpoints,
    checks_network.loop_to_come,
    checks_network.path_mtu,
    checks_network.firewall,
    checks_network.routes,
    checks_network.same_network,
    checks_daemon.tunnel_addresses,
    checks_peers.overlaps,
    checks_peers.empty,
    checks_peers.keepalive,
    checks_network.forwarding,
    checks_network.reverse_path,
    checks_daemon.dns,
    checks_daemon.drops,
    checks_daemon.sandbox,
)


def judge(facts: Facts) -> list[Finding]:
    """All findings, the machine's first."""
    found = [finding for check in MACHINE for finding in check(facts)]
    if facts.interface:
        found += [finding for check in TUNNEL for finding in check(facts)]
    found += [note("unseen", text) for text in facts.unseen]
    return found
