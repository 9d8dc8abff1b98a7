"""The daemon of an interface: started in the background, and ended with its interface."""

import contextlib
import errno
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

from pywg.errors import DeviceError
from pywg.manage.meant import what_is_up
from pywg.manage.tunnel.machine import Machine
from pywg.manage.tunnel.steps import Step
from pywg.runtime.base.in_use import (
    daemon_here,
    daemon_of,
    forget_own_folder,
    is_kernels,
    is_taken_elsewhere,
    name_taken,
    serves_others,
)

_START_S = 60.0
_END_S = 10.0
_NOT_FOR_IT = ("WG_PROCESS_FOREGROUND", "WG_TUN_FD", "WG_UAPI_FD")
"""Variables by which a daemon would stay in the foreground, or take another's descriptors."""


@dataclass(frozen=True)
class Daemon(Step):
    """pywg, serving the interface in the background."""

    remembered = False

    variables: tuple[tuple[str, str], ...] = ()
    """of its environment, before those of this process"""

    def command(self, interface: str) -> str:
        return f"pywg run {interface}"

    def undo_command(self, interface: str) -> str:
        return f"ip link delete dev {interface}"

    def do(self, machine: Machine) -> None:
        """Raises DeviceError with what the daemon says. It says that on standard error itself where LOG_LEVEL is set,
        as its log goes there from then on."""
        beside = is_taken_elsewhere(machine.interface)
        try:
            self._start(machine, beside=beside)
        except DeviceError:
            if beside or not is_taken_elsewhere(machine.interface):
                raise
            self._start(machine, beside=True)  # a daemon of another namespace has just taken the socket

    def _start(self, machine: Machine, *, beside: bool) -> None:
        """`beside`: with its socket in the folder of this network namespace."""
        environment = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_IT}
        environment |= dict(self.variables)
        environment |= {"PYWG_NAMESPACE_SOCKET": "1"} if beside else {}
        said = None if environment.get("LOG_LEVEL") else subprocess.PIPE
        process = subprocess.Popen(
            [*program_of_pywg(), "run", machine.interface],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # which it may keep open for ever
            stderr=said,
            env=environment,
            start_new_session=True,  # a Ctrl-C must not end the parent alone, and leave the daemon
        )
        try:
            _, text = process.communicate(timeout=_START_S)
        except subprocess.TimeoutExpired:
            _end_start(process)
            raise DeviceError(errno.ETIMEDOUT, f"it is not ready after {_START_S:.0f} s") from None
        if process.returncode:
            lines = (text or b"").decode(errors="replace").strip().splitlines()
            why = lines[-1].removeprefix("pywg: ") if lines else f"it ended with status {process.returncode}"
            raise DeviceError(errno.EIO, why)

    def undo(self, machine: Machine) -> None:
        remove(machine)


def remove(machine: Machine) -> None:
    """Deletes the interface, and waits until its daemon has ended, or no longer serves it. Raises OSError."""
    daemon = daemon_here(machine.interface)
    ends = daemon is not None and daemon.is_whole and not serves_others(daemon, machine.interface)
    process = _hold(daemon.pid, machine.interface) if daemon is not None and ends else -1
    try:
        link = machine.network.link(machine.interface)
        if link is not None:
            machine.network.delete_link(link.index)
        if process >= 0:
            _await_end(process)
    finally:
        if process >= 0:
            os.close(process)
    if daemon is None:
        return
    if not _await_silence(machine):
        raise DeviceError(errno.ETIMEDOUT, f"the interface is gone, but a daemon answers on {daemon.path} still")
    forget_own_folder()


def require_free(machine: Machine) -> None:
    """Raises DeviceError EEXIST when there is such an interface, or a daemon for it.

    Waits for a daemon whose interface is gone: another program has just deleted it (`wg-quick down` does not wait), and
    the daemon is about to end.
    """
    interface = machine.interface
    if machine.network.link(interface) is None and _await_silence(machine):
        return
    text = name_taken(interface)
    if daemon_of(interface) is not None:
        text += f"; `pywg reload {interface}` applies what has changed in its file"
    raise DeviceError(errno.EEXIST, text)


def require_served(machine: Machine) -> None:
    """Raises DeviceError unless a daemon in user space serves the interface, in this network namespace."""
    interface = machine.interface
    link = machine.network.link(interface)
    daemon = daemon_of(interface)
    if link is None and daemon is None:
        instead = what_is_up(interface) or f": `pywg up {interface}` sets it up"
        raise DeviceError(errno.ENODEV, f"{interface} is not up{instead}")
    if link is None:
        who = f"{daemon.program}, PID {daemon.pid}," if daemon and daemon.pid else "a daemon"
        raise DeviceError(errno.ENODEV, f"{interface} is not in this network namespace, though {who} answers for it")
    if daemon is None:
        if is_kernels(interface):
            raise DeviceError(errno.EOPNOTSUPP, name_taken(interface))
        raise DeviceError(errno.EOPNOTSUPP, f"no WireGuard daemon serves {interface}: it is another interface")


def program_of_pywg() -> list[str]:
    """What the operator has called, or else this interpreter. Never a module of the working directory."""
    called = sys.argv[0]
    if os.path.basename(called) == "pywg" != called and os.path.isfile(called) and os.access(called, os.X_OK):
        return [called]
    return [sys.executable, "-P", "-m", "pywg"]


def _await_silence(machine: Machine) -> bool:
    """Waits until no daemon answers for the interface. False: one still does."""
    end = time.monotonic() + _END_S
    while daemon_here(machine.interface) is not None:
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def _hold(pid: int, interface: str) -> int:
    """A descriptor, the caller's, of the process that serves `interface`. -1 where that has ended by now, or the system
    has no such descriptors. To be called before the process is told to end: later its number may be another's."""
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return -1
    daemon = daemon_here(interface)
    if daemon is not None and daemon.pid == pid:  # so it lived when the descriptor was opened
        return fd
    os.close(fd)
    return -1


def _await_end(process: int) -> None:
    """Waits until a process has ended; asks it to, and makes it, when it takes too long."""
    for number in (signal.SIGTERM, signal.SIGKILL, None):
        if select.select([process], [], [], _END_S)[0] or number is None:
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, number)


def _end_start(process: "subprocess.Popen[bytes]") -> None:
    """Ends a daemon that does not get ready, and the process that waits for it. The daemon has a session of its own."""
    held = _descendants(process.pid)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for fd in held:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(fd, number)
        until = time.monotonic() + _END_S
        for fd in held:
            select.select([fd], [], [], max(until - time.monotonic(), 0))
    for fd in held:
        os.close(fd)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stderr is not None:
        process.stderr.close()


def _descendants(pid: int) -> list[int]:
    """Descriptors, the caller's, of the processes below `pid`, a child of this process that it has not waited for."""
    parents = {int(name): _parent_of(int(name)) for name in os.listdir("/proc") if name.isdigit()}
    found, above = [], [pid]
    while above:
        parent = above.pop()
        for child in (one for one, its in parents.items() if its == parent):
            with contextlib.suppress(OSError):
                fd = os.pidfd_open(child)
                if _parent_of(child) == parent:  # else its number is another's by now
                    found.append(fd)
                    above.append(child)
                else:
                    os.close(fd)
    return found


def _parent_of(pid: int) -> int:
    """0: there is none, or no such process."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as stat:
        return int(stat.read().rpartition(")")[2].split()[1])
    return 0
