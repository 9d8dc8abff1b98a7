"""A daemon takes over from another: the interface stays as it is, and traffic goes on. dropin: 3, 21."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.tunnel.command import CommandError
from bench.tunnel.lab import Lab
from bench.tunnel.site import Site, poll
from pywg.runtime.net.tun import open_tun

from .conftest import OpenLab
from .inner_udp import Wire, payload
from .supervisor import PATIENCE_S, Supervisor

pytestmark = pytest.mark.dropin("3", "upgrade")


@contextmanager
def _deletions(site: Site) -> Iterator[Callable[[], str]]:
    """What `ip monitor` has seen go away in the block."""
    with site.namespace.entered():
        monitor = subprocess.Popen(["ip", "-o", "monitor", "link"], stdout=subprocess.PIPE, text=True)
    try:

        def seen() -> str:
            monitor.terminate()
            output, _ = monitor.communicate(timeout=PATIENCE_S)
            return "".join(line for line in output.splitlines(keepends=True) if line.startswith("Deleted"))

        yield seen
    finally:
        monitor.kill()
        monitor.wait()


@pytest.fixture
def supervisor(open_lab: OpenLab) -> Iterator[Supervisor]:
    lab = open_lab(None, "pywg", connect=False)
    lab.far.configure(lab.mtu)
    lab.far.add_peer(lab.near)
    supervisor = Supervisor(lab)
    try:
        yield supervisor
    finally:
        supervisor.close()


def _first_connection(supervisor: Supervisor) -> str:
    lab = supervisor.lab
    lab.near.configure(lab.mtu)
    lab.near.add_peer(lab.far, endpoint=4)
    poll(lambda: _ping(lab), "a ping through the tunnel is answered")
    return supervisor.link()


def _ping(lab: Lab) -> bool:
    try:
        lab.near.namespace.run("ping", "-n", "-c", "1", "-W", "0.1", lab.far.inner(4))
    except CommandError:
        return False
    return True


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_the_next_daemon_takes_the_tun(supervisor: Supervisor, end: signal.Signals) -> None:
    lab = supervisor.lab
    with lab.near.namespace.entered():
        supervisor.tun_fd = open_tun(lab.near.interface).fd
    supervisor.start_on_tun()
    before = _first_connection(supervisor)
    with _deletions(lab.near) as deletions:
        for _ in range(3):
            began = time.monotonic()
            supervisor.stop(end)
            assert supervisor.link() == before  # nobody serves it, and it is there
            supervisor.start_on_tun()
            supervisor.configure_again()
            poll(lambda: _ping(lab), "traffic goes on", PATIENCE_S)
            print(f"a restart: traffic after {time.monotonic() - began:.2f} s (promised: 2)")
            assert supervisor.link() == before
            with Wire(lab.near, lab.far) as there, Wire(lab.far, lab.near) as back:
                there.check([payload(size) for size in range(50)])
                back.check([payload(size) for size in range(50)])
        assert deletions() == ""
    supervisor.stop(signal.SIGTERM)
    os.close(supervisor.tun_fd)
    supervisor.tun_fd = None
    assert lab.near.interface not in lab.near.ip("-o", "link")


class _Manager:
    """The service manager's side of sd_notify(3): collects messages, keeps the descriptors it is given.

    It takes each at once: the daemon waits for no manager, and a socket holds as few as ten.
    """

    def __init__(self, directory: Path) -> None:
        self.address = str(directory / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.address)
        self.messages: list[str] = []
        self.kept: list[int] = []
        self._thread = threading.Thread(target=self._take)
        self._thread.start()

    def _take(self) -> None:
        while True:
            data, fds, _, _ = socket.recv_fds(self.socket, 4096, 4)
            if not data:
                return
            self.kept += fds
            self.messages += data.decode().splitlines()

    def heard(self, message: str) -> bool:
        """Whether it came; what came before it is taken off the list."""
        seen = list(self.messages)
        if message not in seen:
            return False
        del self.messages[: seen.index(message) + 1]
        return True

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"", self.address)
        self._thread.join()
        self.socket.close()
        for fd in self.kept:
            os.close(fd)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[_Manager]:
    manager = _Manager(tmp_path)
    yield manager
    manager.close()


class _Stopped:
    """One thread stands still while the block lasts, wherever it is; the others run on. Done as a debugger does it."""

    SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17
    WALL = 0x40000000

    def __init__(self, pid: int, name: str) -> None:
        threads = Path(f"/proc/{pid}/task").iterdir()
        (self.tid,) = [int(one.name) for one in threads if (one / "comm").read_text().strip() == name]

    def _ptrace(self, request: int) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.ptrace(ctypes.c_long(request), self.tid, None, None):
            raise OSError(ctypes.get_errno(), "ptrace")

    def __enter__(self) -> None:
        self._ptrace(self.SEIZE)
        self._ptrace(self.INTERRUPT)
        os.waitpid(self.tid, self.WALL)

    def __exit__(self, *_: object) -> None:
        self._ptrace(self.DETACH)


@pytest.mark.parametrize("thread", ["pywg-tx", "pywg-rx"])
def test_thread_that_hangs_ends_the_signs_of_life(supervisor: Supervisor, manager: _Manager, thread: str) -> None:
    """It stands in its poll(), outside of everything that the event loop could meet it in."""
    supervisor.start({"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "400000"})
    poll(lambda: manager.heard("WATCHDOG=1"), "a sign of life")
    with _Stopped(supervisor.daemons[-1].pid, thread):

        def silent() -> bool:
            while manager.heard("WATCHDOG=1"):
                pass
            time.sleep(1.0)  # five times as long as it takes between two
            return not manager.heard("WATCHDOG=1")

        poll(silent, "no more signs of life")
        assert supervisor._answers(), "the loop itself goes on"
    poll(lambda: manager.heard("WATCHDOG=1"), "a sign of life again")


def test_under_a_service_manager(supervisor: Supervisor, manager: _Manager) -> None:
    """Ready, status, watchdog, and a crash after which the interface that the manager kept is taken over."""
    lab = supervisor.lab
    unit = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "200000", "PYWG_STORE_TUN": "1"}
    supervisor.start(unit)
    poll(lambda: manager.heard("READY=1"), "READY=1")
    poll(lambda: len(manager.kept) == 1, "the TUN is kept")
    before = _first_connection(supervisor)
    poll(lambda: manager.heard(f"STATUS={lab.near.interface} is up, MTU {lab.mtu}"), "the status says up")
    for _ in range(5):
        poll(lambda: manager.heard("WATCHDOG=1"), "a sign of life")
    os.kill(supervisor.daemons[-1].pid, signal.SIGSTOP)  # it hangs
    manager.heard("WATCHDOG=1")
    supervisor.stop(signal.SIGKILL)
    assert supervisor.link() == before
    # As systemd does it: the descriptor is number 3, and LISTEN_PID the daemon's own.
    stored = f"import os; os.dup2({manager.kept[0]}, 3); os.environ['LISTEN_PID'] = str(os.getpid()); "
    launcher = stored + "import sys; os.set_inheritable(3, True); os.execv(sys.argv[1], sys.argv[1:])"
    supervisor.start(
        {**unit, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "tun"},
        fds=(manager.kept[0],),
        command=(sys.executable, "-c", launcher),
    )
    poll(lambda: manager.heard("READY=1"), "READY=1 again")
    supervisor.configure_again()
    poll(lambda: _ping(lab), "traffic goes on", PATIENCE_S)
    assert supervisor.link() == before
    supervisor.stop(signal.SIGTERM)
    poll(lambda: manager.heard("STOPPING=1"), "STOPPING=1")
