"""`pywg reload`: the difference between what runs and what a file says, applied as a whole. No session of a peer that
stays is touched."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from socket import AF_INET

from pywg.config.addresses import format_ip, format_prefix
from pywg.errors import DeviceError
from pywg.manage import client
from pywg.manage.companion import process
from pywg.manage.network import Network
from pywg.manage.tunnel import dns, names, present
from pywg.manage.tunnel import state as states
from pywg.manage.tunnel.companion import Companion, companion_steps, looked_after
from pywg.manage.tunnel.daemon import require_served
from pywg.manage.tunnel.firewall import Firewall
from pywg.manage.tunnel.interrupt import Interrupts
from pywg.manage.tunnel.machine import Machine
from pywg.manage.tunnel.names import QuickFile, Target
from pywg.manage.tunnel.peers import Configure, Difference, WantedPeer, difference, peers_of, remembered
from pywg.manage.tunnel.plan import AUTO, FIRST_TABLE, Imagined, dns_steps, link_up, mark_of, route_steps, table_of
from pywg.manage.tunnel.resolve import Addresses, resolve
from pywg.manage.tunnel.state import State
from pywg.manage.tunnel.steps import Address, LinkUp, PolicyRule, Route, Step, ValidMark
from pywg.manage.tunnel.transaction import Replace, Transaction, Undo
from pywg.manage.tunnel.up import addresses_as_written, require_root, state_of

_DNS = (dns.Resolved, dns.Resolvconf, dns.ResolvConf)


class Reconfigure(Configure):
    """A change of a device that runs."""

    def command(self, interface: str) -> str:
        return "\n".join(self.commands)


class _Reload:
    """The file, and what runs of it."""

    def __init__(self, file: QuickFile, machine: Machine, *, keys_stay: bool) -> None:
        self.file = file
        self.keys_stay = keys_stay
        self.machine = machine
        self.peers = peers_of(file.config)
        self.table = table_of(file)
        self.running = client.get(machine.interface)
        self.stands = present.found_steps(machine, self.running.fwmark)
        self.stands_before = self.stands
        self.remembered = states.read(machine.interface)
        self.state = self.remembered or State(machine.interface)
        self.state.steps = self._standing(self.remembered)
        marks = [step.mark for step in self.state.steps if isinstance(step, PolicyRule) and step.mark]
        self._policy_mark = marks[0] if marks and marks[0] >= FIRST_TABLE else 0  # a lower one was a file's

    def device(self, addresses: Addresses) -> Difference:
        """The difference of keys and peers."""
        before = self.remembered.peers if self.remembered else None
        return difference(
            self.file.config,
            self.peers,
            addresses,
            fwmark=self.mark,
            running=self.running,
            before=before,
            keys_stay=self.keys_stay,
            clears=self._is_pywg(),
        )

    @property
    def mark(self) -> int:
        """The daemon's. A default route that has rules keeps its mark."""
        if self._policy_mark and not self.file.config.interface.fwmark and self.table == AUTO and self._has_default():
            return self._policy_mark
        return mark_of(self.file, self.peers, self.table, self._facts()) or 0

    def network_steps(self, addresses: Addresses) -> Iterator[Step]:
        """The difference of all else, each step found when those before it are done."""
        yield from self._addresses()
        yield from self._mtu(addresses)
        self.stands = present.found_steps(self.machine, self.running.fwmark)  # with addresses, routes may have gone
        yield from self._routes()

    def dns_steps(self) -> Iterator[Step]:
        """The difference of name servers."""
        old = [step for step in self.state.steps if isinstance(step, _DNS)]
        new = list(dns_steps(self.file))
        if [_names(step) for step in old] == [_names(step) for step in new]:
            return
        yield from map(Undo, old)
        yield from dns_steps(self.file)  # which keeps what is there then

    def companion_steps(self) -> Iterator[Step]:
        """Another companion where the file asks for something else of it, or where it has ended."""
        old = [step for step in self.state.steps if isinstance(step, Companion)]
        new = list(companion_steps(self.file))
        if old == new and (not old or process.runs(self.machine.interface)):
            return
        yield from map(Undo, old)
        yield from new

    def hooks_that_differ(self) -> list[str]:
        """Of what they were when the interface was set up."""
        if self.remembered is None:
            return []
        new = state_of(self.file).hooks
        return [phase for phase, commands in new.items() if commands != self.remembered.hooks.get(phase)]

    def _addresses(self) -> Iterator[Step]:
        wanted = [Address(text) for text in dict.fromkeys(map(format_prefix, self.file.config.interface.addresses))]
        old = [step for step in self.state.steps if isinstance(step, Address)]
        there = {step for step in self.stands if isinstance(step, Address)}
        yield from (step for step in wanted if step not in there)
        yield from (Undo(step) for step in old if step not in wanted)

    def _mtu(self, addresses: Addresses) -> Iterator[Step]:
        given = self.file.config.interface.mtu
        link = self.machine.network.link(self.machine.interface)
        if link is None or (given is None and not (self.remembered and self.remembered.mtu_given)):
            return
        wanted = link_up(self.file, self.peers, addresses, self._facts())
        if isinstance(wanted, LinkUp) and (wanted.mtu != link.mtu or not link.up):
            yield LinkUp(wanted.mtu, link.mtu if link.up else 0)

    def _routes(self) -> Iterator[Step]:
        there = {step.same(): step for step in self.stands}
        wanted = list(route_steps(self.peers, self.table, self.mark, self._facts()))
        keep = {step.same() for step in wanted}
        old = [step for step in self.state.steps if isinstance(step, Route | PolicyRule | Firewall)]
        walls = {step.family: step for step in old if isinstance(step, Firewall)}
        for step in wanted:
            if isinstance(step, Firewall):
                if (wall := walls.pop(step.family, None)) is None:
                    yield step
                elif wall != step and wall.tool == step.tool == "nft":
                    yield Replace(wall, step)
                elif wall != step:
                    yield step  # iptables has no table of its own for them: none gives way by itself
                    yield Undo(wall)
            elif isinstance(step, ValidMark) or step.same() not in there:
                yield step
        yield from map(Undo, walls.values())
        gone = [step for step in old if not isinstance(step, Firewall) and step.same() not in keep]
        yield from (Undo(step) for step in reversed(gone))
        if PolicyRule(AF_INET, 0) not in keep:
            yield from (Undo(step) for step in self.state.steps if isinstance(step, ValidMark))

    def _standing(self, state: State | None) -> list[Step]:
        """The remembered steps whose effect is still there; where none are, what is found."""
        if state is None:
            return [
                step for step in self.stands if not (isinstance(step, Address) and step.address.startswith("fe80:"))
            ]
        there = {step.same() for step in self.stands}
        tables = {step.family for step in self.stands if isinstance(step, Firewall)}
        return [
            step
            for step in state.steps
            if not isinstance(step, Address | Route | PolicyRule | Firewall)
            or step.same() in there
            or (isinstance(step, Firewall) and (step.tool != "nft" or step.family in tables))
        ]

    def _facts(self) -> Imagined:
        network = self.machine.network
        own = [format_ip(ip) for ip, _ in network.addresses(self.machine.index) if ip.startswith(b"\xfe\x80")]
        return Imagined(self.machine, self.file, mark=self.running.fwmark, own=own)

    def _is_pywg(self) -> bool:
        with contextlib.suppress(DeviceError):
            return bool(client.stats(self.machine.interface))
        return False

    def _has_default(self) -> bool:
        return any(cidr == 0 for peer in self.peers.values() for _, cidr in peer.allowed)


def reload(target: Target, *, verbose: bool = False) -> list[str]:
    """Makes the interface what its file says, and returns what has changed, in lines.

    Raises ConfigError for what the file says, DeviceError when the interface is not up, StepError for a step that
    fails, Interrupted for a signal: then all is as it was.
    """
    file = names.read(target)
    require_root("reload", target)
    with states.locked(target.interface), Interrupts() as interrupts, Network() as network:
        return make_it(file, Machine(target.interface, network, interrupts, verbose=verbose))


def make_it(file: QuickFile, machine: Machine, *, keys_stay: bool = False) -> list[str]:
    """The work of `reload`, for a caller that has the interface's lock. `keys_stay`: preshared keys that the file lacks
    do, and so does what is remembered of them."""
    target = file.target
    it = _begin(file, machine, keys_stay=keys_stay)
    for phase in it.hooks_that_differ():
        machine.warn(_about_hook(phase, target))
    endpoints = [peer.endpoint for peer in it.peers.values() if peer.endpoint is not None]
    addresses = resolve(endpoints, file, machine, later=looked_after(file))
    device = it.device(addresses)
    changed: list[str] = []
    left = f"{target.interface} is as it was"
    try:
        with (
            _secondaries_stay(target.interface),
            Transaction(machine, it.state, left=left, keep=it.remembered is not None) as transaction,
        ):
            for step in _all_steps(it, device, addresses):
                changed += _lines(step)
                transaction.run(step)
            _remember(it, file, addresses)
    except BaseException:
        with machine.interrupts.undoing():
            _heal(machine, it.stands_before)
        raise
    says = f"{target.interface} is what {target.path or names.NO_FILE} says"
    return [*changed, says + ("" if changed else " already")]


def dry_run(target: Target) -> list[str]:
    """What would go, with a -, and what would come, with a +. Asks no name server."""
    file = names.read(target)
    with Interrupts() as interrupts, Network() as network:
        it = _begin(file, Machine(target.interface, network, interrupts))
        addresses = addresses_as_written(it.peers)
        lines = [line for step in _all_steps(it, it.device(addresses), addresses) for line in _lines(step)]
        lines += [f"# {host}: asked for when it is reloaded" for host in _names_in(it.peers, addresses)]
        return lines + [f"# {_about_hook(phase, target)}" for phase in it.hooks_that_differ()]


def _begin(file: QuickFile, machine: Machine, *, keys_stay: bool = False) -> _Reload:
    require_served(machine)
    return _Reload(file, machine, keys_stay=keys_stay)


def _all_steps(it: _Reload, device: Difference, addresses: Addresses) -> Iterator[Step]:
    last = device.without_mark() if device.change.fwmark == 0 else None
    if device.lines:
        yield Reconfigure(device.change, device.back, tuple(device.lines))
    yield from it.network_steps(addresses)
    if last is not None:  # a daemon without its mark would send into the tunnel, by the rules that are gone by now
        yield Reconfigure(last.change, last.back, tuple(last.lines))
    yield from it.dns_steps()
    yield from it.companion_steps()


def _remember(it: _Reload, file: QuickFile, addresses: Addresses) -> None:
    new = state_of(file)
    it.state.file, it.state.mtu_given = new.file, new.mtu_given
    it.state.hooks = it.state.hooks or new.hooks
    before, it.state.peers = it.state.peers, remembered(it.peers, addresses)
    if it.keys_stay:
        for key, peer in it.state.peers.items():
            peer.preshared_key |= key in before and before[key].preshared_key


def _lines(step: Step) -> list[str]:
    if isinstance(step, Reconfigure):
        return list(step.commands)
    if isinstance(step, Replace):
        return [f"- {step.step.noun()}", f"+ {step.by.noun()}"]
    if isinstance(step, Undo):
        return [f"- {step.step.noun()}"]
    if isinstance(step, LinkUp) and step.before:
        return [f"- MTU {step.before}", f"+ {step.noun()}"]
    return [f"+ {step.noun()}"]


def _names(step: Step) -> tuple[tuple[str, ...], tuple[str, ...]]:
    assert isinstance(step, _DNS)
    return step.servers, step.search


def _names_in(peers: dict[bytes, WantedPeer], addresses: Addresses) -> list[str]:
    endpoints = [peer.endpoint for peer in peers.values() if peer.endpoint is not None]
    return list(dict.fromkeys(endpoint[0] for endpoint in endpoints if endpoint not in addresses))


def _about_hook(phase: str, target: Target) -> str:
    again = f"pywg down {target.interface} && pywg up {target.interface}"
    return f"{phase} differs from what it was when {target.interface} came up: hooks run with `{again}`"


@contextlib.contextmanager
def _secondaries_stay(interface: str) -> Iterator[None]:
    """In the body, an address that is removed takes none of the same network with it."""
    path = Path("/proc/sys/net/ipv4/conf", interface, "promote_secondaries")
    try:
        before = path.read_text()
        path.write_text("1\n")
    except OSError:
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.write_text(before)


def _heal(machine: Machine, before: list[Step]) -> None:
    """Adds the routes again that the kernel has removed with an interface's last address."""
    with contextlib.suppress(OSError):
        routes = set(machine.network.routes(index=machine.index, boot=True))
        there = {Route(format_prefix(to), table) for to, table in routes}
        for step in before:
            if isinstance(step, Route) and step not in there:
                step.do(machine)
