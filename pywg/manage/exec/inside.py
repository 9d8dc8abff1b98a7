"""The first process of the inside: it makes the network there, starts the command, and is init for what that leaves.

It has every capability over the namespaces of the inside until the network is made, and none afterwards. The command
can't trace it: the command's user namespace is another, below this one's.
"""

import contextlib
import errno
import os
import select
import signal
import socket
import struct
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, NoReturn

from pywg.errors import DeviceError, TunError
from pywg.manage.exec.child import FAILED, say, status_of
from pywg.manage.exec.mounts import see_own_network
from pywg.manage.exec.plan import Plan
from pywg.manage.exec.userns import NEW_MOUNTS, NEW_NET, enter, enter_user_namespace
from pywg.manage.network import Network
from pywg.manage.tunnel.dns import RESOLV_CONF, resolv_conf
from pywg.manage.tunnel.interrupt import Interrupts
from pywg.manage.tunnel.machine import Machine
from pywg.runtime.base.failures import needing
from pywg.runtime.base.libc import forbid_dumps, prctl, read_signals, set_capabilities, signalfd
from pywg.runtime.base.log import Level, Log
from pywg.runtime.base.log_output import StandardError
from pywg.runtime.confine import capabilities
from pywg.runtime.net.tun import Tun, open_tun
from pywg.runtime.net.unreachable import Unreachables

READY, GO = b"r", b"g"
STOPPED, EXITED, KILLED = b"s", b"x", b"k"
"""What this process tells the outside of the command; the last two with a byte: the exit status, the signal."""
SIGNAL = b"!"
"""What the outside tells: with a byte, the signal for the command."""
NOT_FOUND, NOT_EXECUTABLE = 127, 126
_MESSAGE: Final = 16
_FDS: Final = struct.Struct("=I3?")
"""With the descriptors that the daemon gets: the MTU, and which of TUN and raw sockets are there."""
_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38
_PYTHON_IGNORES = (signal.SIGPIPE, signal.SIGXFSZ)


class Handed:
    """What the daemon gets of the inside: descriptors, the daemon's, -1 for none."""

    def __init__(self, mtu: int, fds: Sequence[int]) -> None:
        self.mtu = mtu
        self.tun, self.raw4, self.raw6 = fds


def take_handed(sock: socket.socket) -> Handed | None:
    """What `live` hands over; None where the inside has ended before."""
    data, fds, _, _ = socket.recv_fds(sock, _FDS.size, 3)
    if len(data) < _FDS.size:
        return None
    mtu, *there = _FDS.unpack(data)
    rest = iter(fds)
    return Handed(mtu, [next(rest) if one else -1 for one in there])


def live(
    plan: Plan,
    command: Sequence[str],
    outside: socket.socket,
    daemon: socket.socket,
    *,
    tun_offload: bool,
    vxlan_offload: bool,
) -> int:
    """Is the inside to its end. `daemon`: the socket by which the daemon gets the TUN."""
    for number in _resettable():
        signal.signal(number, signal.SIG_DFL)  # which is no signal at all for the first process of a namespace
    enter(NEW_NET | NEW_MOUNTS)
    with needing("the network of the command"):
        _make_network(plan, daemon, tun_offload=tun_offload, vxlan_offload=vxlan_offload)
    daemon.close()
    with needing("files of the command's own network"):
        missing = see_own_network(_resolv_conf(plan))
    for line in missing:
        say(line)
    with contextlib.suppress(OSError):  # the command's group may ping: it has no capability for a raw socket
        Path("/proc/sys/net/ipv4/ping_group_range").write_text(f"{os.getegid()} {os.getegid()}\n")
    forbid_dumps()
    outside.send(READY)
    if outside.recv(_MESSAGE) != GO:
        return FAILED
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    pid = _start(command)
    capabilities.keep_only(0)
    return _be_init(pid, outside)


def _make_network(plan: Plan, daemon: socket.socket, *, tun_offload: bool, vxlan_offload: bool) -> None:
    """Raises DeviceError, OSError."""
    with Network() as network, contextlib.ExitStack() as stack:
        if (loopback := network.link("lo")) is not None:
            network.set_up(loopback.index, mtu=loopback.mtu)
        tun = _open_tun(plan.interface, offload=tun_offload, tunnels=vxlan_offload)
        stack.callback(tun.close)
        machine = Machine(plan.interface, network, Interrupts())
        for step in plan.steps():
            try:
                step.do(machine)
            except OSError as error:
                code = error.errno or errno.EIO
                raise DeviceError(code, f"{step.name(plan.interface)}: {error.strerror or error}") from error
        raw = Unreachables(Log(plan.interface, Level.SILENT, output=StandardError()))
        stack.callback(raw.close)
        fds = (tun.fd, raw.fd4, raw.fd6)
        socket.send_fds(daemon, [_FDS.pack(plan.mtu, *(fd >= 0 for fd in fds))], [fd for fd in fds if fd >= 0])


def _open_tun(interface: str, *, offload: bool, tunnels: bool) -> Tun:
    """Raises DeviceError. To be root, which a daemon needs, is not what helps where only the device is closed."""
    try:
        return open_tun(interface, offload=offload, tunnels=tunnels)
    except TunError as error:
        if error.errno != errno.EACCES:
            raise
        text = (
            "this user may not open /dev/net/tun: `chmod 666 /dev/net/tun`, as root, lets all users, as most systems do"
        )
        raise DeviceError(errno.EACCES, text) from error


def _resolv_conf(plan: Plan) -> str:
    if plan.servers:
        return resolv_conf(plan.servers, plan.search)
    with contextlib.suppress(OSError):
        return Path(RESOLV_CONF).read_text("utf-8", "surrogateescape")
    return ""


def _start(command: Sequence[str]) -> int:
    """The PID of the command."""
    pid = os.fork()
    if pid == 0:
        _become(command)
    return pid


def _become(command: Sequence[str]) -> NoReturn:
    """Is the command from here on, with its standard descriptors and no other."""
    status = NOT_EXECUTABLE
    try:
        prctl(_PR_SET_DUMPABLE, 1)  # or /proc/self would be root's; there is no secret here
        enter_user_namespace()
        prctl(_PR_SET_NO_NEW_PRIVS, 1)
        set_capabilities(0)  # the bounding set stays: a file with capabilities, such as ping, could not be executed
        for fd in map(int, os.listdir("/proc/self/fd")):
            if fd > 2:
                with contextlib.suppress(OSError):  # that of the list itself
                    os.set_inheritable(fd, False)
        for number in _PYTHON_IGNORES:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        os.execvp(command[0], list(command))  # noqa: S606 - there is none to be wanted
    except FileNotFoundError as error:
        status = NOT_FOUND
        say(f"{command[0]}: {error.strerror}")
    except DeviceError as error:
        say(error.strerror or str(error))
    except OSError as error:
        say(f"{command[0]} can't be executed: {error.strerror}")
    finally:
        os._exit(status)


def _be_init(command: int, outside: socket.socket) -> int:
    """Waits for the command, and for what it leaves behind; passes signals on. Returns when the command has ended: the
    kernel then ends all that is left in this PID namespace."""
    signals = signalfd([signal.SIGCHLD])
    poll = select.poll()
    poll.register(signals, select.POLLIN)
    poll.register(outside, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == signals:
                read_signals(signals)
                if (ended := _reap(command, outside.send)) is not None:
                    return ended
            else:
                message = outside.recv(_MESSAGE)
                if not message:
                    return FAILED  # the outside has ended
                if message[:1] == SIGNAL:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(command, message[1])


def _reap(command: int, tell: Callable[[bytes], object]) -> int | None:
    """0 when the command has ended, None else."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
        except ChildProcessError:
            return None
        if pid == 0:
            return None
        if pid != command:
            continue
        if os.WIFSTOPPED(status):
            tell(STOPPED)
            continue
        code, number = status_of(status)
        tell(KILLED + bytes([number]) if number else EXITED + bytes([code]))
        return 0


def _resettable() -> Iterable[int]:
    """Signals that Python handles or ignores; those that the caller of pywg has ignored stay so."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) not in (signal.SIG_DFL, signal.SIG_IGN, None):
            yield number
