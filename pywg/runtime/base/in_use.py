"""The owner of an interface's name: a daemon, with its PID, the kernel's WireGuard, or another interface.

Messages of a start that fails name the owner, so that none of them advises what would end a running tunnel.
"""

import contextlib
import errno
import os
import socket
import struct
from typing import NamedTuple

from pywg.runtime.base import namespaces

DIRECTORY = "/var/run/wireguard"
SOCKET = "sock"
"""The suffix of the file of a configuration socket."""
_SERVED = (0, errno.EAGAIN, errno.EACCES, errno.EPERM)
"""What connect(2) says where a daemon listens, its queue may be full, and this process need not be allowed to ask."""
_UCRED = struct.Struct("3i")


class Daemon(NamedTuple):
    """A daemon that answers on a configuration socket."""

    path: str
    """of the socket"""
    pid: int
    """0: not known, because another process made the socket, or the daemon lives in another PID namespace"""
    program: str
    """the process's name; empty when the PID is not known"""
    thread: int = 0
    """where a program serves the interface beside what else it does: the thread that does, which is called like it"""

    @property
    def is_whole(self) -> bool:
        """Whether the process is known, and has nothing else to do: it may be ended with its interfaces."""
        return bool(self.pid) and not self.thread

    @property
    def namespace(self) -> int:
        """The network namespace that it serves; 0 where that can't be told."""
        if not self.pid:
            return 0
        return namespaces.of_process(self.pid, thread=self.thread)


def own_folder() -> str:
    """Where the sockets of this network namespace lie that can't be in DIRECTORY, which is one for all namespaces."""
    return _folder_in(namespaces.of_this_thread())


def forget_own_folder() -> None:
    """Removes it, if no socket is left in it."""
    with contextlib.suppress(OSError):
        os.rmdir(own_folder())


def folder_of(interface: str) -> str:
    """Where the socket of `interface` lies, for this network namespace."""
    own = own_folder()
    path = f"{own}/{interface}.{SOCKET}"
    if os.path.lexists(path):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
            if probe.connect_ex(path) in _SERVED:  # else its daemon was killed
                return own
    return DIRECTORY


def daemon_of(interface: str, *, directory: str | None = None, suffix: str = SOCKET) -> Daemon | None:
    """The daemon that answers for `interface`; None when no daemon does. It may be of another network namespace.

    `directory`: of the socket; None: where it lies for this namespace.
    """
    path = f"{directory or folder_of(interface)}/{interface}.{suffix}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(path)
        except BlockingIOError:
            return Daemon(path, 0, "")  # the queue of a daemon that listens is full
        except OSError:
            return None
        pid, _, _ = _UCRED.unpack(probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    thread = _thread_serving(pid, interface)
    program = _program_serving(pid, interface, named=not thread)
    return Daemon(path, pid if program else 0, program, thread if program else 0)


def serves_others(daemon: Daemon, interface: str) -> bool:
    """Whether it answers for another interface too, and so must not end with this one."""
    directory = os.path.dirname(daemon.path)
    with contextlib.suppress(OSError):
        for file in os.listdir(directory):
            name, dot, suffix = file.rpartition(".")
            if dot and suffix == SOCKET and name != interface:
                other = daemon_of(name, directory=directory)
                if other is not None and daemon.pid and other.pid == daemon.pid:
                    return True
    return False


def daemon_here(interface: str) -> Daemon | None:
    """As `daemon_of`, but not one that is known to be of another network namespace."""
    daemon = daemon_of(interface)
    return None if daemon is None or _is_elsewhere(daemon) else daemon


def is_beside(daemon: Daemon) -> bool:
    """Whether its socket is in the folder of this network namespace, where `wg` does not look."""
    return os.path.dirname(daemon.path) == own_folder()


def out_of_reach(interface: str) -> str:
    """One line: that `wg` does not reach an interface whose daemon is beside another's."""
    reached = f", but the {interface} of another network namespace" if is_taken_elsewhere(interface) else ""
    return (
        f"`wg` does not reach this {interface}{reached}: it looks into one folder for all; `pywg show {interface}` does"
    )


def is_taken_elsewhere(interface: str) -> bool:
    """Whether a daemon of another network namespace has the socket of that name in DIRECTORY."""
    daemon = daemon_of(interface, directory=DIRECTORY)
    return daemon is not None and _is_elsewhere(daemon)


def is_served_in(interface: str, namespace: int) -> bool:
    """Whether a daemon may serve an interface of this name in another network namespace."""
    if daemon_of(interface, directory=_folder_in(namespace)) is not None:
        return True
    daemon = daemon_of(interface, directory=DIRECTORY)
    return daemon is not None and daemon.namespace in (0, namespace)


def served_already(interface: str, daemon: Daemon) -> str:
    """One line: that a daemon serves `interface`, which, and how to end it."""
    if daemon.pid:
        what, end = f"{daemon.program}, PID {daemon.pid}, serves it", f"`pywg down {interface}`"
    else:
        what, end = f"a daemon answers on {daemon.path}", f"`pywg down {interface}`, or `rm {daemon.path}`"
    return f"{interface} is in use: {what}; to end it and remove {interface}: {end}"


def name_taken(interface: str, *, directory: str | None = None) -> str:
    """One line: the owner of an interface's name, and how to free it."""
    if daemon := daemon_of(interface, directory=directory):
        return served_already(interface, daemon)
    if is_kernels(interface):
        return (
            f"{interface} is in use: the kernel's own WireGuard serves it; `wg show {interface}` shows its peers, and "
            f"`wg-quick down {interface}` removes what wg-quick has made"
        )
    return (
        f"the name {interface} is taken by another interface: choose another name, or see with "
        f"`ip -details link show {interface}` what it is for"
    )


def is_kernels(interface: str) -> bool:
    """Whether there is an interface of the kernel's own WireGuard by this name, in the network namespace of /sys."""
    with contextlib.suppress(OSError, ValueError), open(f"/sys/class/net/{interface}/uevent") as uevent:
        return "DEVTYPE=wireguard\n" in uevent
    return False


def _folder_in(namespace: int) -> str:
    return f"{DIRECTORY}/netns-{namespace}"


def _is_elsewhere(daemon: Daemon) -> bool:
    return daemon.namespace not in {0, namespaces.of_this_thread()} and os.path.dirname(daemon.path) != own_folder()


def _program_serving(pid: int, interface: str, *, named: bool) -> str:
    """The name of process `pid`. Empty, if it is to be `named`, unless `interface` is on its command line: the kernel
    gives numbers again."""
    with contextlib.suppress(OSError):
        if named:
            with open(f"/proc/{pid}/cmdline", "rb") as command_line:
                if os.fsencode(interface) not in command_line.read().split(b"\0"):
                    return ""
        with open(f"/proc/{pid}/comm") as name:
            return name.read().strip()
    return ""


def _thread_serving(pid: int, interface: str) -> int:
    """The thread of process `pid` that is called like the interface, and is not its first; 0: there is none."""
    with contextlib.suppress(OSError, ValueError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/comm", "rb") as name:
                if int(thread) != pid and name.read().removesuffix(b"\n") == os.fsencode(interface):
                    return int(thread)
    return 0
