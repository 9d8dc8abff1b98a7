"""One network namespace: commands, processes and sockets in it, and its removal with all that still runs there."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, ClassVar, NamedTuple

from .command import CommandError, keep_priority, run

CLONE_NEWNET = 0x40000000
_OF_NETLINK = ("ip", "wg", "ping")
"""Commands that look at nothing below /sys. `ip netns exec` mounts it anew, and takes four times as long as they do."""
_libc = ctypes.CDLL(None, use_errno=True)


def _enter(namespace_fd: int) -> None:
    if _libc.setns(namespace_fd, CLONE_NEWNET):
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))


class Child(NamedTuple):
    """What was started in a namespace."""

    process: subprocess.Popen[bytes]
    output: str
    """the file that its standard output goes to; empty where that is none"""


class Namespace:
    """A named network namespace. `create` makes it, `remove` ends all processes in it and deletes it. Needs root."""

    present: ClassVar[dict[str, "Namespace"]] = {}
    """Those that this process has made and not removed, by name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = Path("/run/netns", name)
        self.children: list[Child] = []

    def create(self) -> None:
        """Makes the namespace, with its loopback up. Raises CommandError without root."""
        run("ip", "netns", "add", self.name)
        Namespace.present[self.name] = self
        self.run("ip", "link", "set", "lo", "up")

    def run(self, *argv: str, stdin: str | None = None, timeout: float = 30.0) -> str:
        """Runs a command in the namespace to its end; see command.run."""
        if argv[0] in _OF_NETLINK:
            with self.entered():  # which the command inherits
                return run(*argv, stdin=stdin, timeout=timeout)
        return run("ip", "netns", "exec", self.name, *argv, stdin=stdin, timeout=timeout)

    def start(
        self,
        argv: Sequence[str],
        *,
        stdout: int | IO[bytes],
        stderr: int | IO[bytes],
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Starts a long-running command there; `ip netns exec` becomes it, so the process id is the command's own."""
        child = subprocess.Popen(
            ["ip", "netns", "exec", self.name, *argv],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=env,
            start_new_session=True,
        )
        keep_priority(child.pid)
        name = getattr(stdout, "name", "")
        self.children.append(Child(child, name if isinstance(name, str) else ""))
        return child

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """In the body, the calling thread is in the namespace: a socket made there stays there."""
        with open("/proc/thread-self/ns/net", "rb") as home, self.path.open("rb") as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())

    def socket(self, family: int, kind: int, proto: int = 0) -> socket.socket:
        """A socket that lives in the namespace, for use from anywhere."""
        with self.entered():
            return socket.socket(family, kind, proto)

    def pids(self) -> list[int]:
        """The processes that run in the namespace now."""
        return [int(pid) for pid in run("ip", "netns", "pids", self.name).split()]

    def remove(self) -> None:
        """Kills what runs there and deletes it. The kernel names the processes, so nothing has to be remembered."""
        Namespace.present.pop(self.name, None)
        if not self.path.exists():
            return
        until = time.monotonic() + 10
        with contextlib.suppress(CommandError):  # not yet mounted: it was interrupted while being made
            while pids := self.pids():
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                if time.monotonic() > until:
                    raise CommandError(f"processes {pids} in namespace {self.name} don't die")
                time.sleep(0.01)
        for child in self.children:
            child.process.wait()
        run("ip", "netns", "del", self.name)
