"""Rules against packets that claim to be for the tunnel's addresses and came another way, and for the marks by which
answers from an endpoint pass the reverse-path filter: wg-quick's, under wg-quick's names.
"""

from dataclasses import dataclass
from socket import AF_INET6

from pywg.manage.tunnel.machine import Machine, program, run
from pywg.manage.tunnel.steps import Step

_WAIT_S = 10
"""Seconds that the older iptables waits for another program that changes rules. Without, most versions of it fail where
there is one, and 1.8.9 waits without end."""


@dataclass(frozen=True)
class Firewall(Step):
    """The rules of one family, in a table of nftables of their own, or in iptables' tables."""

    outlives = True

    family: int
    mark: int
    addresses: tuple[str, ...]
    """of the interface, without prefix lengths"""
    tool: str = "nft"
    """nft or iptables; empty: neither is installed"""

    def noun(self) -> str:
        return f"{self.tool} rules for {', '.join(self.addresses) or 'no address'}"

    def command(self, interface: str) -> str:
        if self.tool == "iptables":
            return f"{' '.join(self._restore_command)}    # {self._marker(interface)}"
        if not self.tool:
            return "# nft or iptables is not installed: no rules against spoofed packets"
        return "\n".join(f"nft '{line}'" for line in self._nft(interface))

    def undo_command(self, interface: str) -> str:
        if self.tool == "iptables":
            return f"{' '.join(self._restore_command)}    # deletes {self._marker(interface)}"
        return f"nft delete table {self._table(interface)}" if self.tool else ""

    def name(self, interface: str) -> str:
        return f"the {self.tool} rules of {interface}"

    def do(self, machine: Machine) -> None:
        if self.tool == "nft":
            table = self._table(machine.interface)
            lines = [f"add table {table}", f"delete table {table}", *self._nft(machine.interface)]  # one transaction
            run(("nft", "-f", "-"), text="\n".join(lines) + "\n")
        elif self.tool:
            run(self._restore_command, text=self._restore(machine.interface, "I"))
        else:
            machine.warn(
                f"neither nft nor iptables is installed: other interfaces may bring packets for {machine.interface}'s "
                "addresses, and a strict rp_filter may drop what its peers send"
            )

    def undo(self, machine: Machine) -> None:
        if self.tool == "nft":
            table = self._table(machine.interface)
            run(("nft", "-f", "-"), text=f"add table {table}\ndelete table {table}\n")
        elif self.tool:
            run(self._restore_command, text=self._restore(machine.interface, "D"))

    @property
    def _ip(self) -> str:
        return "ip6" if self.family == AF_INET6 else "ip"

    @property
    def _restore_command(self) -> tuple[str, ...]:
        return f"{self._ip}tables-restore", "-n", "-w", str(_WAIT_S)

    def _table(self, interface: str) -> str:
        return f"{self._ip} wg-quick-{interface}"

    def _nft(self, interface: str) -> list[str]:
        table = self._table(interface)
        return [
            f"add table {table}",
            f"add chain {table} preraw {{ type filter hook prerouting priority -300; }}",
            f"add chain {table} premangle {{ type filter hook prerouting priority -150; }}",
            f"add chain {table} postmangle {{ type filter hook postrouting priority -150; }}",
            *(
                f'add rule {table} preraw iifname != "{interface}" {self._ip} daddr {address} '
                "fib saddr type != local drop"
                for address in self.addresses
            ),
            f"add rule {table} postmangle meta l4proto udp mark {self.mark} ct mark set mark",
            f"add rule {table} premangle meta l4proto udp meta mark set ct mark",
        ]

    def _marker(self, interface: str) -> str:
        return f'-m comment --comment "wg-quick(8) rule for {interface}"'

    def _restore(self, interface: str, how: str) -> str:
        marker = self._marker(interface)
        drops = "".join(
            f"-{how} PREROUTING ! -i {interface} -d {address} -m addrtype ! --src-type LOCAL -j DROP {marker}\n"
            for address in self.addresses
        )
        return (
            f"*raw\n{drops}COMMIT\n*mangle\n"
            f"-{how} POSTROUTING -m mark --mark {self.mark} -p udp -j CONNMARK --save-mark {marker}\n"
            f"-{how} PREROUTING -p udp -j CONNMARK --restore-mark {marker}\nCOMMIT\n"
        )


def tool() -> str:
    """What this machine has."""
    return next((one for one, file in (("nft", "nft"), ("iptables", "iptables-restore")) if program(file)), "")
