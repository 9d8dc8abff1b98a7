"""sd_notify(3) without its library, the watchdog, and the environment that asks for them. dropin: 4, 21."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pywg.errors import ConfigError
from pywg.runtime.daemon.notify import PATIENCE_S, Notifier, Pulse, keep_watchdog, watchdog_seconds
from pywg.runtime.daemon.options import read_options


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """(the manager's socket, its address as NOTIFY_SOCKET has it)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        if request.param == "path":
            address = str(tmp_path / "notify")
            sock.bind(address)
        else:
            sock.bind("")  # the kernel chooses an abstract name
            address = "@" + sock.getsockname()[1:].decode()
        sock.settimeout(30)
        yield sock, address


@pytest.mark.dropin("4", "21")
def test_messages(manager: tuple[socket.socket, str]) -> None:
    sock, address = manager
    notifier = Notifier(address)
    assert notifier.connected
    notifier.ready()
    notifier.status("wg0 is up\nREADY=1")
    notifier.watchdog()
    notifier.stopping()
    assert [sock.recv(100) for _ in range(4)] == [b"READY=1", b"STATUS=wg0 is up READY=1", b"WATCHDOG=1", b"STOPPING=1"]
    notifier.close()
    notifier.ready()
    notifier.close()


def test_a_descriptor_is_kept(manager: tuple[socket.socket, str]) -> None:
    sock, address = manager
    readable, writable = os.pipe()
    notifier = Notifier(address)
    notifier.keep(writable, "tun")
    message, (kept,), _, _ = socket.recv_fds(sock, 100, 1)
    assert message == b"FDSTORE=1\nFDNAME=tun"
    os.write(kept, b"x")
    assert os.read(readable, 1) == b"x"
    notifier.forget("tun")
    assert sock.recv(100) == b"FDSTOREREMOVE=1\nFDNAME=tun"
    for fd in (readable, writable, kept):
        os.close(fd)


@pytest.mark.parametrize("address", [None, "/nowhere/at/all", "@nobody-listens-here", "vsock:2:1234", "relative"])
def test_nobody_listens(address: str | None) -> None:
    notifier = Notifier(address)
    assert not notifier.connected
    notifier.ready()
    notifier.status("x")
    notifier.keep(0, "tun")
    notifier.close()


def test_a_manager_that_went_away_or_is_slow_costs_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        notifier = Notifier(path)
        for _ in range(10_000):  # more than its queue holds: nothing waits
            notifier.watchdog()
    notifier.ready()


class Handle:
    def cancel(self) -> None:
        """Nothing is called by itself here."""


class Loop:
    """call_later that is called by hand."""

    def __init__(self) -> None:
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, delay: float, callback: Callable[[], None]) -> Handle:
        self.timers.append((delay, callback))
        return Handle()

    def turn(self) -> None:
        self.timers.pop()[1]()


@pytest.mark.dropin("21")
def test_watchdog_is_fed_at_half_time_and_only_alive(manager: tuple[socket.socket, str]) -> None:
    sock, address = manager
    sock.setblocking(False)
    loop, alive = Loop(), [True]
    keep_watchdog(Notifier(address), 10.0, lambda: alive[0], loop.call_later)
    assert sock.recv(100) == b"WATCHDOG=1"
    assert [delay for delay, _ in loop.timers] == [5.0]
    loop.turn()
    assert sock.recv(100) == b"WATCHDOG=1"
    alive[0] = False
    loop.turn()
    with pytest.raises(BlockingIOError):
        sock.recv(100)
    alive[0] = True
    loop.turn()
    assert sock.recv(100) == b"WATCHDOG=1"
    assert len(loop.timers) == 1


def test_pulse_has_patience_and_forgives() -> None:
    now = [100.0]
    pulse = Pulse(now=lambda: now[0])

    def look(after: float, *counters: int) -> bool:
        now[0] += after
        return pulse.beats(counters)

    assert look(0, 1, 1)
    assert look(5, 2, 9)
    assert look(PATIENCE_S - 0.1, 2, 10), "not yet"
    assert not look(0.1, 2, 11)
    assert not look(60, 2, 12)
    assert look(1, 3, 12)
    assert not look(PATIENCE_S, 4, 12), "the other one"
    assert look(60, 4, 12, 0), "there is one more thread"
    assert not look(PATIENCE_S, 5, 13, 0)


def test_watchdog_seconds() -> None:
    assert watchdog_seconds("", "", 7) is None
    assert watchdog_seconds("10000000", "", 7) == 10.0
    assert watchdog_seconds("1500000", "7", 7) == 1.5
    assert watchdog_seconds("10000000", "8", 7) is None
    assert watchdog_seconds("0", "", 7) is None


@pytest.mark.parametrize(
    ("variable", "environ"),
    [
        ("WATCHDOG_USEC", {"WATCHDOG_USEC": "soon"}),
        ("WATCHDOG_PID", {"WATCHDOG_USEC": "1", "WATCHDOG_PID": "-1"}),
    ],
)
def test_a_watchdog_that_is_no_number_is_a_remark(variable: str, environ: dict[str, str]) -> None:
    options = read_options("wg0", environ, foreground=True)
    assert options.watchdog is None
    assert [remark.partition("=")[0] for remark in options.remarks] == [variable]
    assert not read_options("wg0", {"WATCHDOG_USEC": "1"}, foreground=True).remarks


def test_a_wrong_switch_about_the_tun_is_named() -> None:
    with pytest.raises(ConfigError, match="PYWG_STORE_TUN"):
        read_options("wg0", {"PYWG_STORE_TUN": "yes"}, foreground=True)


@pytest.mark.parametrize("address", ["", "/nonexistent", "@nobody", "vsock:2:1", "x", "/" + 200 * "x"])
def test_nobody_at_the_managers_address_is_no_error(address: str) -> None:
    notifier = Notifier(address)
    assert not notifier.connected
    notifier.ready()
    notifier.close()


@pytest.mark.dropin("4")
def test_options_in_the_foreground_and_in_the_background() -> None:
    environ = {
        "NOTIFY_SOCKET": "@x",
        "WATCHDOG_USEC": "2000000",
        "PYWG_STORE_TUN": "1",
        "LISTEN_PID": str(os.getpid()),
        "LISTEN_FDNAMES": "other:tun",
    }
    options = read_options("wg0", environ, foreground=True)
    assert (options.notify_socket, options.watchdog, options.store_tun, options.tun_fd) == ("@x", 2.0, True, 4)
    options = read_options("wg0", environ)
    assert (options.notify_socket, options.watchdog, options.store_tun, options.tun_fd) == (None, None, False, None)


def test_stored_descriptors_of_others_are_left_alone() -> None:
    own = {"LISTEN_PID": str(os.getpid())}
    assert read_options("wg0", {"LISTEN_PID": "1", "LISTEN_FDNAMES": "tun"}, foreground=True).tun_fd is None
    assert read_options("wg0", {**own, "LISTEN_FDNAMES": "http"}, foreground=True).tun_fd is None
    assert read_options("wg0", {**own, "LISTEN_FDNAMES": "tun", "WG_TUN_FD": "9"}, foreground=True).tun_fd == 9
