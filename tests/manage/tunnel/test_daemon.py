"""Which processes `pywg up` and `pywg down` end, and which not."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from pywg.errors import DeviceError
from pywg.manage.network import Link, Network
from pywg.manage.tunnel import daemon
from pywg.manage.tunnel.daemon import Daemon, remove
from pywg.manage.tunnel.interrupt import Interrupts
from pywg.manage.tunnel.machine import Machine
from pywg.runtime.base import in_use

BACKGROUND = """
setsid sh -c 'trap "" {ignored}; echo $$ > {file}.new; mv {file}.new {file}; exec sleep 600' &
{waits}
"""


class FakeNetwork:
    """Has the interface, and does `deleted` when that is deleted."""

    def __init__(self) -> None:
        self.deleted: Callable[[], None] = lambda: None

    def link(self, _name: str) -> Link:
        return cast(Link, type("OfIndex", (), {"index": 7}))

    def delete_link(self, index: int) -> None:
        assert index == 7
        self.deleted()


@pytest.fixture
def network() -> FakeNetwork:
    return FakeNetwork()


@pytest.fixture
def machine(network: FakeNetwork) -> Machine:
    return Machine("wg0", cast(Network, network), Interrupts())


@contextlib.contextmanager
def sleeping() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as process:
        try:
            yield process
        finally:
            process.kill()


def _answers(monkeypatch: pytest.MonkeyPatch, *pids: int) -> None:
    """The PIDs of the daemon that answers, one for each time that this is asked; nobody does afterwards."""
    answers = iter([in_use.Daemon("/run/x.sock", pid, "pywg") for pid in pids])
    monkeypatch.setattr(daemon, "daemon_here", lambda _interface: next(answers, None))
    monkeypatch.setattr(daemon, "serves_others", lambda *_: False)
    monkeypatch.setattr(daemon, "forget_own_folder", lambda: None)
    monkeypatch.setattr(daemon, "_END_S", 0.1)


def test_a_daemon_that_goes_on_without_its_interface_is_ended(
    machine: Machine, network: FakeNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = signal.pidfd_send_signal

    def asked(process: int, number: int) -> None:
        """It has all the time it needs, once it is asked."""
        monkeypatch.setattr(daemon, "_END_S", 60)
        send(process, number)

    with sleeping() as process:
        _answers(monkeypatch, process.pid, process.pid)
        monkeypatch.setattr(signal, "pidfd_send_signal", asked)
        network.deleted = lambda: _lives(process)
        remove(machine)
        assert process.wait() == -signal.SIGTERM


def _lives(process: subprocess.Popen[bytes]) -> None:
    assert process.poll() is None


def test_a_process_that_got_the_number_of_a_daemon_is_left_alone(
    machine: Machine, network: FakeNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon ends with its interface, at once, and the kernel gives its number to another."""
    opened = os.pidfd_open
    with sleeping() as process, sleeping() as other:
        _answers(monkeypatch, process.pid, process.pid)

        def end() -> None:
            process.kill()
            process.wait()
            monkeypatch.setattr(os, "pidfd_open", lambda pid: opened(other.pid if pid == process.pid else pid))

        network.deleted = end
        remove(machine)
        assert other.poll() is None


def test_a_process_that_got_the_number_before_it_was_looked_up_is_left_alone(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sleeping() as other:
        _answers(monkeypatch, other.pid)
        remove(machine)
        assert other.poll() is None


@pytest.mark.parametrize("ignored", ["HUP", "TERM"])
def test_a_daemon_that_does_not_get_ready_does_not_go_on(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ignored: str
) -> None:
    """It is in a session of its own; and whether it ends at SIGTERM or not."""
    file = tmp_path / "pid"
    held = []

    def too_long(process: subprocess.Popen[bytes], **_: Any) -> None:
        held.append(os.pidfd_open(_written(file)))
        raise subprocess.TimeoutExpired(process.args, 60)

    script = BACKGROUND.format(ignored=ignored, file=file, waits="wait")
    monkeypatch.setattr(daemon, "program_of_pywg", lambda: ["sh", "-c", script])
    monkeypatch.setattr(subprocess.Popen, "communicate", too_long)
    monkeypatch.setattr(daemon, "_END_S", 0.1 if ignored == "TERM" else 60)
    with pytest.raises(DeviceError, match="it is not ready after 60 s"):
        Daemon().do(machine)
    try:
        assert select.select(held, [], [], 30)[0] == held
    finally:
        _kill(held[0])


def test_a_daemon_that_is_ready_goes_on(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pid"
    script = BACKGROUND.format(ignored="HUP", file=file, waits=f"until [ -e {file} ]; do sleep 0.01; done")
    monkeypatch.setattr(daemon, "program_of_pywg", lambda: ["sh", "-c", f"({script}) 2> {os.devnull}"])
    Daemon().do(machine)
    held = os.pidfd_open(_written(file))
    try:
        assert not select.select([held], [], [], 0)[0]
    finally:
        _kill(held)


def _kill(process: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(process, signal.SIGKILL)
    os.close(process)


def _written(file: Path) -> int:
    until = time.monotonic() + 30
    while not file.exists() and time.monotonic() < until:
        time.sleep(0.005)
    return int(file.read_text())


def test_descendants_are_found_at_any_depth() -> None:
    script = "import subprocess, sys; subprocess.run(['sh', '-c', 'sleep 600 & echo; wait'])"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        found = daemon._descendants(process.pid)
        os.killpg(process.pid, signal.SIGKILL)
        assert select.select(found, [], [], 30)[0]
    for fd in found:
        os.close(fd)
    assert len(found) == 2
