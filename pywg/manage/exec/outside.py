"""The process that the operator has called: it puts the others in their places, passes signals on, and waits."""

import contextlib
import os
import resource
import select
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from pywg.manage.exec import inside
from pywg.manage.exec.child import FAILED, flush, fork, say, status_of
from pywg.manage.exec.plan import Plan
from pywg.manage.exec.reader import go_on, plan_from, read
from pywg.manage.exec.userns import NEW_PID, enter, enter_user_namespace
from pywg.manage.tunnel.names import Target
from pywg.runtime.base.failures import needing
from pywg.runtime.base.libc import forbid_dumps, read_signals, signalfd
from pywg.runtime.confine import capabilities

_READY: Final = b"r"
_END_S: Final = 5.0
_FORWARDED = {
    *(signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM),
    *(signal.SIGTSTP, signal.SIGCONT),
}
"""What the terminal sends goes to the command too, which is of the same process group: that is not passed on."""
_HEARD = {*_FORWARDED, signal.SIGCHLD, signal.SIGTTOU}


@dataclass(frozen=True)
class Daemon:
    """How to be the daemon of a tunnel whose TUN is elsewhere."""

    serve: Callable[[inside.Handed, int, Callable[[], None]], int]
    """serves with what the inside has handed over, and a listening configuration socket; calls back when it answers"""
    tun_offload: bool
    vxlan_offload: bool


def run(target: Target, command: Sequence[str], daemon: Daemon) -> int:
    """The exit status of the command, 128 and the number of the signal that ended it, or 1 where it was not started.

    Raises DeviceError for what this machine does not allow.
    """
    return _Outside(target, command, daemon).run()


class _Outside:
    def __init__(self, target: Target, command: Sequence[str], daemon: Daemon) -> None:
        self._target = target
        self._command = command
        self._daemon = daemon
        self._ends: list[socket.socket] = []
        self._reader = self._serving = self._inner = 0
        self._terminal = _terminal()

    def run(self) -> int:
        reader, reader_end = self._pair(socket.SOCK_STREAM)
        daemon, daemon_end = self._pair(socket.SOCK_SEQPACKET)
        inner, inner_end = self._pair(socket.SOCK_SEQPACKET)
        giving, taking = self._pair(socket.SOCK_SEQPACKET)
        with needing("the daemon's configuration socket"):
            listener, connection = _private_socket()
        self._ends += [listener, connection]
        self._reader = self._fork(partial(read, self._target, reader_end, connection), reader_end, connection)
        try:
            enter_user_namespace()
            self._serving = self._fork(partial(self._serve, daemon_end, taking, listener), daemon_end, taking, listener)
            plan = plan_from(reader)
            if plan is None:
                return FAILED
            for note in plan.notes:
                say(f"note: {note}")
            enter(NEW_PID)
            self._inner = self._fork(partial(self._live, plan, inner_end, giving), inner_end, giving)
            capabilities.keep_only(0)
            with contextlib.suppress(OSError):
                forbid_dumps()
            if inner.recv(1) != inside.READY or daemon.recv(1) != _READY:
                return FAILED
            go_on(reader)
            if any(_wait(self._reader)):
                return FAILED
            self._reader = 0
            return self._supervise(inner)
        finally:
            self._end()

    def _pair(self, kind: socket.SocketKind) -> tuple[socket.socket, socket.socket]:
        with needing("sockets between processes"):
            pair = socket.socketpair(socket.AF_UNIX, kind)
        self._ends += pair
        return pair

    def _fork(self, work: Callable[[], int], *keep: socket.socket) -> int:
        others = [end.fileno() for end in self._ends if end not in keep and end.fileno() >= 0]
        with needing("another process"):
            pid = fork(work, close=others)
        for end in keep:  # or its end would not be heard of at the other one
            end.close()
        return pid

    def _serve(self, outside: socket.socket, taking: socket.socket, listener: socket.socket) -> int:
        """Is the daemon."""
        os.setsid()  # what comes from the terminal is not for it
        handed = inside.take_handed(taking)
        if handed is None:
            return FAILED
        taking.close()
        return self._daemon.serve(handed, listener.detach(), lambda: outside.sendall(_READY))

    def _live(self, plan: Plan, outside: socket.socket, giving: socket.socket) -> int:
        """Is the inside."""
        return inside.live(
            plan,
            self._command,
            outside,
            giving,
            tun_offload=self._daemon.tun_offload,
            vxlan_offload=self._daemon.vxlan_offload,
        )

    def _supervise(self, inner: socket.socket) -> int:
        """Has the command start, and returns its status when it has ended."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
        signals = signalfd(_HEARD)
        ended: tuple[int, int] | None = None
        try:
            inner.send(inside.GO)
            poll = select.poll()
            poll.register(signals, select.POLLIN)
            poll.register(inner, select.POLLIN)
            self._look_after_daemon()
            while ended is None:
                for fd, _ in poll.poll():
                    if fd == signals:
                        self._heard(signals, inner)
                    else:
                        ended = _told(inner)
        finally:
            self._take_terminal_back()
            os.close(signals)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        code, number = ended
        if number:
            self._end()
            _die_of(number)
        return code or (128 + number if number else 0)

    def _heard(self, signals: int, inner: socket.socket) -> None:
        for number, from_process in read_signals(signals):
            if number == signal.SIGCHLD:
                self._look_after_daemon()
            elif number in _FORWARDED and (from_process or number == signal.SIGCONT):
                with contextlib.suppress(OSError):  # it has ended
                    inner.send(inside.SIGNAL + bytes([number]))

    def _look_after_daemon(self) -> None:
        if self._serving and (ended := _ended(self._serving)):
            self._serving = 0
            code, number = ended
            how = signal.Signals(number).name if number else f"status {code}"
            say(f"the daemon has ended ({how}): {self._command[0]} has no network any more")

    def _take_terminal_back(self) -> None:
        """From the process group of a shell inside, which can't give it back: it sees no group of the outside."""
        if self._terminal >= 0:
            with contextlib.suppress(OSError):
                if os.tcgetpgrp(self._terminal) != os.getpgrp():
                    os.tcsetpgrp(self._terminal, os.getpgrp())

    def _end(self) -> None:
        """Ends what still runs. Idempotent."""
        for pid in (self._reader, self._inner):
            _kill(pid, signal.SIGKILL)
            _wait(pid)
        _kill(self._serving, signal.SIGTERM)
        deadline = time.monotonic() + _END_S
        while self._serving and not _ended(self._serving):
            if time.monotonic() > deadline:
                _kill(self._serving, signal.SIGKILL)
                _wait(self._serving)
                break
            time.sleep(0.002)
        self._reader = self._inner = self._serving = 0
        for end in self._ends:
            end.close()


def _told(inner: socket.socket) -> tuple[int, int] | None:
    """(exit code, signal) of the command that has ended. Stops where the command was stopped."""
    message = inner.recv(2)
    if message == inside.STOPPED:
        os.kill(os.getpid(), signal.SIGSTOP)
        return None
    if message[:1] == inside.EXITED:
        return message[1], 0
    if message[:1] == inside.KILLED:
        return 0, message[1]
    return 0, signal.SIGKILL  # the inside was ended, and the command with it


def _private_socket() -> tuple[socket.socket, socket.socket]:
    """(listening, connected to it), with no name any more by which others could connect."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with tempfile.TemporaryDirectory(prefix="pywg-", ignore_cleanup_errors=True) as folder:
            os.chdir(folder)
            listener.bind("socket")  # relative: a daemon watches a file that it knows the path of
            listener.listen(1)
            connection.connect("socket")
            os.unlink("socket")
            os.fchdir(here)
    finally:
        os.close(here)
    return listener, connection


def _terminal() -> int:
    """A standard descriptor that is the terminal in whose foreground this process is; -1 without one."""
    for fd in range(3):
        with contextlib.suppress(OSError):
            if os.tcgetpgrp(fd) == os.getpgrp():
                return fd
    return -1


def _kill(pid: int, number: int) -> None:
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _wait(pid: int) -> tuple[int, int]:
    """Of a child: (exit code, signal) as it has ended. 0: of no child."""
    if pid:
        with contextlib.suppress(ChildProcessError):
            return status_of(os.waitpid(pid, 0)[1])
    return 0, 0


def _ended(pid: int) -> tuple[int, int] | None:
    """The same, None while it runs."""
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return 0, 0
    return status_of(status) if found else None


def _die_of(number: int) -> None:
    """Ends this process by the signal that has ended the command, so that a shell sees the same. Returns if not."""
    flush()
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
