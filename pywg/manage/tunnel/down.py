"""`pywg down`: what `pywg up` did, or wg-quick, is undone, whatever has become of the file since."""

import os
from dataclasses import replace

from pywg.config.wg_quick import InterfaceSection
from pywg.errors import ConfigError, DeviceError
from pywg.manage import client
from pywg.manage.network import Network
from pywg.manage.tunnel import companion, dns, names, present, save
from pywg.manage.tunnel import state as states
from pywg.manage.tunnel.daemon import Daemon, remove, require_served
from pywg.manage.tunnel.hooks import Hook
from pywg.manage.tunnel.interrupt import Interrupted, Interrupts
from pywg.manage.tunnel.machine import Machine, program
from pywg.manage.tunnel.names import QuickFile, Target
from pywg.manage.tunnel.state import State
from pywg.manage.tunnel.steps import Step
from pywg.manage.tunnel.transaction import StepError
from pywg.runtime.base.in_use import daemon_here, is_served_in

_EIO, _EPERM = 5, 1
_KINDS = (companion.Companion,)
"""Steps of no other module here, which a state file may have."""


def down(target: Target, *, verbose: bool = False, if_up: bool = False) -> list[str]:
    """Takes the interface down, and returns what was done, in a line.

    Raises DeviceError when it is not up, unless `if_up`. A PreDown that fails leaves it up; what fails later is told
    when all else is done.
    """
    if os.geteuid():
        raise DeviceError(_EPERM, f"only root may do this: sudo pywg down {target.interface}")
    with states.locked(target.interface), Interrupts() as interrupts, Network() as network:
        machine = Machine(target.interface, network, interrupts, verbose=verbose)
        return take_down(target, machine, if_up=if_up)


def take_down(target: Target, machine: Machine, *, if_up: bool = False) -> list[str]:
    """The work of `down`, for a caller that has the interface's lock."""
    gone = machine.network.link(machine.interface) is None and daemon_here(machine.interface) is None
    if if_up and gone and states.read(machine.interface) is None:
        return [f"{target.interface} is not up"]
    state = _require_up(machine)
    if gone:
        undo_leftovers(machine)
        return [f"{target.interface} was gone; what it had left is removed"]
    pre, post, file = _hooks(target, machine, state)
    for hook in pre:
        _do(hook, machine, f"{target.interface} is still up")
    if file is not None and file.config.interface.save_config:
        _save(file, machine)
    failed = _undo(_outliving(machine, state, file), machine)
    with machine.interrupts.undoing():
        machine.show(Daemon().undo_command(target.interface))
        remove(machine)
        states.forget(target.interface)
    if failed:
        raise StepError(_EIO, f"{target.interface} is down, but this could not be undone: {', '.join(failed)}")
    for hook in post:
        _do(hook, machine, f"{target.interface} is down")
    return [f"{target.interface} is down"]


def dry_run(target: Target) -> list[str]:
    """The steps that `down` would take, as commands."""
    with Interrupts() as interrupts, Network() as network:
        machine = Machine(target.interface, network, interrupts)
        state = _require_up(machine)
        pre, post, file = _hooks(target, machine, state)
        name = target.interface
        commands = [hook.command(name) for hook in pre]
        commands += [_saving(file)] if file is not None and file.config.interface.save_config else []
        commands += [step.undo_command(name) for step in reversed(_outliving(machine, state, file))]
        commands += [Daemon().undo_command(name), *(hook.command(name) for hook in post)]
        return [line for command in commands for line in command.splitlines()]


def undo_leftovers(machine: Machine) -> None:
    """Undoes what is remembered of an interface that is gone, and was not taken down: its daemon was killed, or another
    program removed it. Its PreDown and PostDown run, as they undo what its PostUp did. Of one of this name in another
    network namespace, what is not in that namespace is undone; the rest waits there. Raises StepError."""
    failed = []
    if (state := states.read(machine.interface)) is not None:
        if state.was_up:
            _run_owed("PreDown", state, machine)
        failed = _undo([step for step in state.steps if step.outlives], machine)
        states.forget(machine.interface)
        if state.was_up:
            _run_owed("PostDown", state, machine)
    for other in states.others(machine.interface):
        owed = [step for step in other.steps if step.outlives and not step.in_namespace]
        if owed and other.interface == machine.interface and not is_served_in(other.interface, other.namespace):
            failed += _undo(owed, machine)
            states.rewrite(replace(other, steps=[step for step in other.steps if step not in owed]))
    if failed:
        raise StepError(_EIO, f"{machine.interface} has left what could not be undone: {', '.join(failed)}")


def _require_up(machine: Machine) -> State | None:
    """What is remembered of the interface. Raises DeviceError unless it is up here, or has left something here."""
    state = states.read(machine.interface)
    if state is None or machine.network.link(machine.interface) or daemon_here(machine.interface):
        require_served(machine)
    return state


def _outliving(machine: Machine, state: State | None, file: QuickFile | None) -> list[Step]:
    """What has to be undone beside the interface. Of wg-quick's doing, the file alone tells whether there is DNS."""
    if state:
        return [step for step in state.steps if step.outlives]
    steps = present.found_steps(machine, client.get(machine.interface).fwmark)
    servers = [one for one in file.config.interface.dns if dns.is_server(one)] if file else []
    if servers and program("resolvconf"):
        steps.append(dns.Resolvconf(tuple(servers), ()))
    return [step for step in steps if step.outlives]


def _undo(steps: list[Step], machine: Machine) -> list[str]:
    """In reverse order, to the end. Returns what could not be undone, in words."""
    failed = []
    with machine.interrupts.undoing():
        for step in reversed(steps):
            machine.show(step.undo_command(machine.interface))
            try:
                step.undo(machine)
            except OSError as error:
                failed.append(f"{step.name(machine.interface)} ({error.strerror or error})")
    return failed


def _hooks(target: Target, machine: Machine, state: State | None) -> tuple[list[Hook], list[Hook], QuickFile | None]:
    """PreDown and PostDown: the file's, as with wg-quick; without a file that can be read, those of `up`."""
    file, interface = None, InterfaceSection()
    if state is not None:
        interface.pre_down, interface.post_down = state.hooks["PreDown"], state.hooks["PostDown"]
    path = state.file if state and not os.path.exists(target.path) else target.path
    if os.path.exists(path):
        try:
            file = names.read(Target(target.interface, path))
            interface = file.config.interface
        except (ConfigError, DeviceError) as error:
            machine.warn(f"{error}; what was done is undone all the same")
    pre = [Hook("PreDown", text) for text in interface.pre_down]
    return pre, [Hook("PostDown", text) for text in interface.post_down], file


def _save(file: QuickFile, machine: Machine) -> None:
    """Raises ConfigError or DeviceError, and nothing is changed."""
    machine.show(_saving(file))
    link = machine.network.link(machine.interface)
    addresses = machine.network.addresses(machine.index)
    running = client.get(machine.interface)
    still_up = f"{machine.interface} is still up; without SaveConfig = true it goes down as it is"
    try:
        save.write(file, save.saved(file.config, running, addresses, link.mtu if link else 0))
    except ConfigError as error:
        raise ConfigError(f"{error}; {still_up}") from error
    except DeviceError as error:
        raise DeviceError(error.errno or _EIO, f"{error.strerror}; {still_up}") from error


def _saving(file: QuickFile) -> str:
    return f"pywg save {file.target.path}"


def _run_owed(phase: str, state: State, machine: Machine) -> None:
    """Those that failed are told: their interface is gone, so some may have nothing to act on."""
    for text in state.hooks[phase]:
        hook = Hook(phase, text)
        machine.show(hook.command(machine.interface))
        try:
            hook.do(machine)
        except OSError as error:
            machine.warn(f"{hook.name(machine.interface)}: {error.strerror or error}; {machine.interface} was gone")


def _do(hook: Hook, machine: Machine, left: str) -> None:
    machine.show(hook.command(machine.interface))
    try:
        machine.interrupts.check()
        hook.do(machine)
    except Interrupted as error:
        raise Interrupted(error.number, left) from None
    except OSError as error:
        raise StepError(_EIO, f"{hook.name(machine.interface)}: {error.strerror or error}; {left}") from error
