"""Name servers: the program that is asked, and /etc/resolv.conf kept, restored and handed on."""

import errno
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from pywg.manage.tunnel import dns
from pywg.manage.tunnel import state as states
from pywg.manage.tunnel.dns import ResolvConf, Resolvconf, Resolved, dns_step
from pywg.manage.tunnel.interrupt import Interrupts
from pywg.manage.tunnel.machine import Machine
from pywg.manage.tunnel.state import State

if TYPE_CHECKING:
    from pywg.manage.network import Network

OLD = "# from DHCP\nsearch lan\nnameserver 192.168.1.1\noptions edns0 trust-ad\n"


class NoNetwork:
    """A network where every interface is there."""

    def link(self, name: str) -> object:
        return name


def a_machine(interface: str) -> Machine:
    return Machine(interface, cast("Network", NoNetwork()), Interrupts())


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Has what is /etc/resolv.conf here, and programs; no name server of this machine is touched."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    monkeypatch.setattr("pywg.manage.tunnel.machine._SYSTEM_PATH", "/bin")
    monkeypatch.setattr(dns, "RESOLV_CONF", str(tmp_path / "resolv.conf"))
    monkeypatch.setattr(dns, "RESOLVED", str(tmp_path / "resolve"))
    monkeypatch.setattr(states, "DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setattr(
        dns, "program", lambda name: str(found) if (found := tmp_path / "bin" / name).exists() else None
    )
    (tmp_path / "resolv.conf").write_text(OLD)
    return tmp_path


def install(folder: Path, name: str, status: int = 0) -> Path:
    """A program that notes how it is called, and with what."""
    log = folder / f"{name}.log"
    path = folder / "bin" / name
    path.write_text(f'#!/bin/sh\necho "$*" >> {log}\n[ "$1" = -a ] && /bin/cat >> {log}\nexit {status}\n')
    path.chmod(0o755)
    return log


def test_a_file_is_kept_and_restored(folder: Path) -> None:
    path = folder / "resolv.conf"
    path.chmod(0o640)
    step = dns_step("wg0", ["10.0.0.53", "fd00::53"], ["corp.example"])
    step.do(a_machine("wg0"))
    lines = path.read_text().splitlines()
    assert "pywg down wg0" in lines[0]
    assert lines[1:] == [
        "nameserver 10.0.0.53",
        "nameserver fd00::53",
        "search corp.example",
        "options edns0 trust-ad",
    ]
    assert path.stat().st_mode & 0o777 == 0o640
    step.undo(a_machine("wg0"))
    assert path.read_text() == OLD
    assert path.stat().st_mode & 0o777 == 0o640
    assert sorted(os.listdir(folder)) == ["bin", "resolv.conf"]


def test_a_link_stays_a_link(folder: Path) -> None:
    real = folder / "real"
    (folder / "resolv.conf").rename(real)
    (folder / "resolv.conf").symlink_to(real)
    step = dns_step("wg0", ["10.0.0.53"], [])
    step.do(a_machine("wg0"))
    assert (folder / "resolv.conf").is_symlink()
    assert "10.0.0.53" in real.read_text()
    step.undo(a_machine("wg0"))
    assert (folder / "resolv.conf").is_symlink()
    assert real.read_text() == OLD


def test_where_there_was_no_file_there_is_none(folder: Path) -> None:
    (folder / "resolv.conf").unlink()
    step = dns_step("wg0", ["10.0.0.53"], [])
    step.do(a_machine("wg0"))
    assert (folder / "resolv.conf").exists()
    step.undo(a_machine("wg0"))
    assert not (folder / "resolv.conf").exists()


def test_a_mount_is_written_in_place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container, where nothing can be renamed over it."""

    def busy(*_: object) -> None:
        raise OSError(errno.EBUSY, "busy")

    monkeypatch.setattr(os, "rename", busy)
    step = dns_step("wg0", ["10.0.0.53"], [])
    step.do(a_machine("wg0"))
    assert "10.0.0.53" in (folder / "resolv.conf").read_text()
    step.undo(a_machine("wg0"))
    assert (folder / "resolv.conf").read_text() == OLD
    assert sorted(os.listdir(folder)) == ["bin", "resolv.conf"]


def test_another_error_leaves_it_as_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="full"):
        dns_step("wg0", ["10.0.0.53"], []).do(a_machine("wg0"))
    assert (folder / "resolv.conf").read_text() == OLD
    assert sorted(os.listdir(folder)) == ["bin", "resolv.conf"]


@pytest.mark.parametrize("first", [0, 1])
def test_two_tunnels_give_it_back_in_any_order(folder: Path, first: int) -> None:
    """One that goes before the one above it hands on what it has kept."""
    steps = []
    for number in (0, 1):
        step = dns_step(f"wg{number}", [f"10.0.{number}.53"], [])
        states.rewrite(State(f"wg{number}", steps=[step]))
        step.do(a_machine(f"wg{number}"))
        steps.append(step)
    for number in (first, 1 - first):
        state = states.read(f"wg{number}")
        assert state is not None
        state.steps[0].undo(a_machine(f"wg{number}"))
        states.forget(f"wg{number}")
        if number == first:
            left = steps[1 - first]
            assert isinstance(left, ResolvConf)
            assert (folder / "resolv.conf").read_text() == left.after
    assert (folder / "resolv.conf").read_text() == OLD


def test_what_another_program_has_written_stays(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    step = dns_step("wg0", ["10.0.0.53"], [])
    step.do(a_machine("wg0"))
    (folder / "resolv.conf").write_text("nameserver 9.9.9.9\n")
    step.undo(a_machine("wg0"))
    assert (folder / "resolv.conf").read_text() == "nameserver 9.9.9.9\n"
    assert "is left as it is: another program has changed it" in capsys.readouterr().err


def test_resolvconf(folder: Path) -> None:
    log = install(folder, "resolvconf")
    step = dns_step("wg0", ["10.0.0.53"], ["a.example", "b.example"])
    assert isinstance(step, Resolvconf)
    step.do(a_machine("wg0"))
    step.undo(a_machine("wg0"))
    assert log.read_text() == "-a wg0 -m 0 -x\nnameserver 10.0.0.53\nsearch a.example b.example\n-d wg0 -f\n"
    assert (folder / "resolv.conf").read_text() == OLD


def test_resolvconf_of_debian(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = install(folder, "resolvconf")
    order = folder / "interface-order"
    order.write_text("# first\nlo.inet*\ntun*\neth*\n")
    monkeypatch.setattr(dns, "_ORDER", str(order))
    dns_step("wg0", ["10.0.0.53"], []).do(a_machine("wg0"))
    assert log.read_text().startswith("-a tun.wg0 -m 0 -x\n")


@pytest.mark.parametrize("stub", ["nameserver 127.0.0.53\n", "link"])
def test_systemd_resolved(folder: Path, stub: str) -> None:
    """Where it runs, and this machine's programs ask it."""
    log = install(folder, "resolvectl")
    install(folder, "resolvconf")
    (folder / "resolve").mkdir()
    assert isinstance(dns_step("wg0", ["10.0.0.53"], []), Resolvconf), "it doesn't run"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "resolve" / "io.systemd.Resolve"))
        listener.listen()
        assert isinstance(dns_step("wg0", ["10.0.0.53"], []), Resolvconf | Resolved), "nsswitch.conf decides"
        (folder / "resolv.conf").unlink()
        if stub == "link":
            (folder / "resolve" / "stub-resolv.conf").write_text("nameserver 127.0.0.53\n")
            (folder / "resolv.conf").symlink_to(folder / "resolve" / "stub-resolv.conf")
        else:
            (folder / "resolv.conf").write_text(stub)
        step = dns_step("wg0", ["10.0.0.53", "fd00::53"], ["corp.example"])
    assert isinstance(step, Resolved)
    step.do(a_machine("wg0"))
    step.undo(a_machine("wg0"))
    assert log.read_text() == "dns wg0 10.0.0.53 fd00::53\ndomain wg0 corp.example ~.\nrevert wg0\n"


def test_resolvconf_that_is_resolvectl_is_of_no_use_without_systemd_resolved(folder: Path) -> None:
    """As the package systemd-resolved has it: where it doesn't run, or no program asks it, the file is written."""
    log = install(folder, "resolvectl")
    (folder / "bin" / "resolvconf").symlink_to(folder / "bin" / "resolvectl")
    step = dns_step("wg0", ["10.0.0.53"], [])
    assert isinstance(step, ResolvConf)
    step.do(a_machine("wg0"))
    assert "10.0.0.53" in (folder / "resolv.conf").read_text()
    assert not log.exists()


def test_systemd_resolved_that_fails_is_left_as_it_was(folder: Path) -> None:
    log = install(folder, "resolvectl", status=1)
    with pytest.raises(OSError, match="resolvectl"):
        Resolved(("10.0.0.53",), ()).do(a_machine("wg0"))
    assert log.read_text() == "dns wg0 10.0.0.53\nrevert wg0\n"


@pytest.mark.parametrize("text", ["10.0.0.53", "fd00::53", "fe80::1%eth0", "1.1"])
def test_servers(text: str) -> None:
    assert dns.is_server(text)


@pytest.mark.parametrize("text", ["example.org", "lan", "1.1.x"])
def test_search_domains(text: str) -> None:
    assert not dns.is_server(text)
