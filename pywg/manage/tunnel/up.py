"""`pywg up`: from nothing to what a file says, or to nothing again."""

import errno
import os
from collections.abc import Callable

from pywg.config.addresses import format_prefix
from pywg.errors import DeviceError
from pywg.manage import client
from pywg.manage.network import Network
from pywg.manage.tunnel import names
from pywg.manage.tunnel import state as states
from pywg.manage.tunnel.companion import looked_after
from pywg.manage.tunnel.daemon import require_free
from pywg.manage.tunnel.down import undo_leftovers
from pywg.manage.tunnel.interrupt import Interrupts
from pywg.manage.tunnel.machine import Machine
from pywg.manage.tunnel.names import QuickFile, Target
from pywg.manage.tunnel.peers import WantedPeer, remembered
from pywg.manage.tunnel.plan import Facts, Imagined, Resolver, table_of, up_steps
from pywg.manage.tunnel.resolve import Addresses, numeric, resolve
from pywg.manage.tunnel.state import State
from pywg.manage.tunnel.steps import Step
from pywg.manage.tunnel.transaction import Transaction
from pywg.runtime.base import namespaces
from pywg.runtime.base.in_use import daemon_of, is_beside, out_of_reach

_EPERM = 1


def up(target: Target, *, verbose: bool = False, ready: Callable[[int], None] | None = None) -> list[str]:
    """Sets the interface up, and returns what runs then, in lines. `ready` is called with the daemon's PID when all is
    done.

    Raises ConfigError for what the file says, StepError for a step that fails, Interrupted for a signal: then nothing
    is left of it.
    """
    file = names.read(target)
    require_root("up", target)
    with states.locked(target.interface), Interrupts() as interrupts, Network() as network:
        machine = Machine(target.interface, network, interrupts, verbose=verbose)
        set_up(file, machine, ready=ready)
        return _running(file, machine)


def set_up(
    file: QuickFile, machine: Machine, *, daemon: Step | None = None, ready: Callable[[int], None] | None = None
) -> State:
    """The work of `up`, for a caller that has the interface's lock. Returns what is remembered of it.

    `daemon`: the step that serves the interface, None for pywg in the background.
    """
    interface = machine.interface
    require_free(machine)
    table_of(file)
    undo_leftovers(machine)
    state = state_of(file)
    with Transaction(machine, state, left=f"{interface} is not up, and nothing is left of it") as transaction:
        for step in up_steps(file, Facts(machine), _resolver(file, machine, state), daemon=daemon):
            transaction.run(step)
        if ready is not None:
            ready(_pid(machine))
        state.was_up = True
    found = daemon_of(interface)
    if found is not None and is_beside(found):
        machine.warn(out_of_reach(interface))
    return state


def dry_run(target: Target) -> list[str]:
    """The steps that `up` would take, as commands. Asks the network about routes alone, and no name server."""
    file = names.read(target)
    with Interrupts() as interrupts, Network() as network:
        machine = Machine(target.interface, network, interrupts)
        require_free(machine)
        steps = up_steps(file, Imagined(machine, file), addresses_as_written)
        return [line for step in steps for line in step.command(target.interface).splitlines()]


def addresses_as_written(peers: dict[bytes, WantedPeer]) -> Addresses:
    """Of the endpoints that are addresses."""
    endpoints = dict.fromkeys(peer.endpoint for peer in peers.values() if peer.endpoint is not None)
    return {endpoint: address for endpoint in endpoints if (address := numeric(endpoint)) is not None}


def state_of(file: QuickFile) -> State:
    """What is to be remembered, before any step."""
    interface = file.config.interface
    return State(
        file.target.interface,
        os.path.realpath(file.target.path) if file.target.path else "",
        namespaces.of_this_thread(),
        interface.mtu is not None,
        {
            "PreUp": interface.pre_up,
            "PostUp": interface.post_up,
            "PreDown": interface.pre_down,
            "PostDown": interface.post_down,
        },
    )


def require_root(command: str, target: Target) -> None:
    """Raises DeviceError EPERM for other users."""
    if os.geteuid():
        raise DeviceError(_EPERM, f"only root may do this: sudo pywg {command} {target.interface}")


def _resolver(file: QuickFile, machine: Machine, state: State) -> Resolver:
    def addresses(peers: dict[bytes, WantedPeer]) -> Addresses:
        endpoints = [peer.endpoint for peer in peers.values() if peer.endpoint is not None]
        found = resolve(endpoints, file, machine, later=looked_after(file))
        state.peers = remembered(peers, found)
        return found

    return addresses


def _pid(machine: Machine) -> int:
    daemon = daemon_of(machine.interface)
    if daemon is None or not daemon.pid:
        raise DeviceError(errno.ESRCH, "the service manager can't be told the daemon's PID: it is not known")
    return daemon.pid


def _running(file: QuickFile, machine: Machine) -> list[str]:
    interface = machine.interface
    daemon = daemon_of(interface)
    port = client.get(interface).listen_port
    addresses = " ".join(map(format_prefix, file.config.interface.addresses))
    pid = f"PID {daemon.pid}, " if daemon and daemon.pid else ""
    return [
        f"{interface} is up: pywg, {pid}UDP port {port}{f', {addresses}' if addresses else ''}",
        f"`pywg down {interface}` takes it down; `pywg status {interface}` shows how it does",
    ]
