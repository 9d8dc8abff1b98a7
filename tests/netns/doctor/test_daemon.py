"""What doctor says of the daemon and of its interface; each fault is made for real."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench.tunnel.builds import ROOT
from bench.tunnel.implementations import find
from bench.tunnel.lab import Lab
from bench.tunnel.site import LISTEN_PORT, poll
from pywg.manage.companion import process as process_of_companion
from pywg.manage.doctor.finding import Severity
from pywg.runtime.base.in_use import Daemon, daemon_of, forget_own_folder, is_beside
from tests.processes import read
from tests.runtime.syscall_injection import inside

from .. import dropin
from ..conftest import OpenLab
from .looking import USER, Fault, allowed, allowing, file_of, findings, made, one_of, program, unconnected, wrong
from .rows import row

_FORK = 57  # x86-64


@contextlib.contextmanager
def down(lab: Lab) -> Iterator[None]:
    lab.near.ip("link", "set", lab.near.interface, "down")
    try:
        yield
    finally:
        lab.near.ip("link", "set", lab.near.interface, "up")
        lab.near.ip("address", "add", f"{lab.near.inner(6)}/64", "dev", lab.near.interface, "nodad")


@contextlib.contextmanager
def no_address(lab: Lab) -> Iterator[None]:
    lab.near.ip("address", "flush", "dev", lab.near.interface)
    try:
        yield
    finally:
        for family, length in ((4, 24), (6, 64)):
            lab.near.ip("address", "add", f"{lab.near.inner(family)}/{length}", "dev", lab.near.interface, "nodad")


@contextlib.contextmanager
def own_address(lab: Lab) -> Iterator[None]:
    with allowing(lab, f"{lab.near.inner(4)}/32"):
        yield


@contextlib.contextmanager
def no_allowed_ips(lab: Lab) -> Iterator[None]:
    lab.near.wg("set", lab.near.interface, "peer", lab.far.keys.public, "allowed-ips", "")
    try:
        yield
    finally:
        lab.near.wg("set", lab.near.interface, "peer", lab.far.keys.public, "allowed-ips", allowed(lab))


FAULTS = [
    made(down, "interface error: {} is down"),
    made(no_address, "address error", "has no address"),
    made(own_address, "own-address error", "this host's own address"),
    made(no_allowed_ips, "allowed-ips warning", "has no allowed IPs"),
]


@pytest.mark.parametrize(("fault", "name", "text"), FAULTS)
def test_a_fault_is_found(fault: Fault, name: str, text: str, healthy: Lab) -> None:
    dropin.resumes(healthy.near, healthy.far.inner(4))
    with fault(healthy):
        (found,) = [one for one in findings(healthy.near) if row(name).is_of(one)]
    assert text in found.text
    assert found.mend


@pytest.mark.finds("daemon warning: the daemon of {} can't be asked", "privileges warning")
def test_a_user_may_not_ask(pywg: str, healthy: Lab) -> None:
    _, seen = program(pywg, healthy.near, *USER)
    assert seen["privileges"].severity == Severity.WARNING
    assert seen["daemon"].text == f"the daemon of {healthy.near.interface} can't be asked: permission denied"


@pytest.mark.finds("key error: no private key is set", "peers error")
def test_no_private_key_and_no_peer(pywg: str, open_lab: OpenLab) -> None:
    lab = unconnected(open_lab, pywg)
    lab.near.wg("set", lab.near.interface, "private-key", "/dev/null")
    assert {one.check for one in wrong(findings(lab.near))} >= {"key", "peers"}


@pytest.mark.finds("port error: UDP port {} can't be had", "port warning")
def test_a_port_that_is_taken_while_the_interface_is_down(pywg: str, open_lab: OpenLab, tmp_path: Path) -> None:
    lab = open_lab(pywg, pywg)
    lab.establish()
    near = lab.near
    near.ip("link", "set", near.interface, "down")
    with near.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        near.await_link(up=False)
        taken.bind(("0.0.0.0", LISTEN_PORT))
        near.ip("link", "set", near.interface, "up")
        near.await_link(up=True)
        port = one_of(findings(near), "port")
        assert f"UDP port {LISTEN_PORT} can't be had: " in port.text
        assert f"(PID {os.getpid()}) has it" in port.text
    poll(lambda: near.stats()["sockets_open"] == "1", "it is had again")
    path = file_of(near, tmp_path, "ListenPort = 7")
    assert "the file says 7" in one_of(findings(near, path), "port").text
    assert [one for one in findings(near) if one.check == "port" and one.severity != Severity.OK] == []


@pytest.mark.finds("interface note: {} is in another network namespace")
def test_an_interface_that_has_been_moved(pywg: str, open_lab: OpenLab) -> None:
    lab = open_lab(pywg, pywg, connect=False)
    lab.near.ip("link", "set", lab.near.interface, "netns", lab.far.namespace.name)
    assert one_of(findings(lab.near), "interface").severity == Severity.NOTE


@pytest.mark.finds("daemon error: there is an interface {}{}, and no daemon answers")
def test_an_interface_without_a_daemon(pywg: str, open_lab: OpenLab) -> None:
    lab = open_lab(pywg, pywg, connect=False)
    lab.near.ip("link", "add", "idle1", "type", "veth", "peer", "idle1-far")
    found = one_of(findings(lab.near, interface="idle1"), "daemon")
    assert (found.severity, "(of kind veth)" in found.text) == (Severity.ERROR, True)


@pytest.mark.finds("daemon note: {} is served by {}, which is not pywg")
def test_a_daemon_that_is_not_pywg(open_lab: OpenLab, pytestconfig: pytest.Config) -> None:
    if "wireguard-go" not in pytestconfig.getoption("pairs"):
        pytest.skip("wireguard-go is not among the --pairs")
    lab = open_lab("wireguard-go", "wireguard-go")
    lab.establish()
    found = findings(lab.near)
    assert "which is not pywg" in one_of(found, "daemon").text
    assert wrong(found) == []


@pytest.mark.finds("wg note")
def test_a_name_that_another_namespace_has(pywg: str, open_lab: OpenLab) -> None:
    """The later daemon is not where `wg` looks. What doctor says to do for `wg` does it."""
    near, far = open_lab(pywg, pywg, connect=False).sites
    near.wg("set", near.interface, "listen-port", "1001")
    assert [one for one in findings(near) if one.check == "wg"] == []
    environment = {**os.environ, "PYWG_NAMESPACE_SOCKET": "1"}
    argv, null = [pywg, "run", "-f", near.interface], subprocess.DEVNULL
    with far.namespace.start(argv, stdout=null, stderr=null, env=environment) as beside:
        with far.namespace.entered():
            poll(lambda: is_beside(daemon_of(near.interface) or Daemon("", 0, "")), "it answers")
        found = one_of(findings(far, interface=near.interface), "wg")
        assert found.severity == Severity.NOTE
        shown = far.namespace.run("wg", "show", near.interface, "listen-port")
        assert shown == "1001\n", "as it says"
        mend = found.mend.partition(" for wg itself: ")[2]
        shown = far.namespace.run("sh", "-c", mend.removesuffix("'") + " listen-port'")
        assert shown not in ("1001\n", "")
        beside.terminate()
    with far.namespace.entered():
        forget_own_folder()


@pytest.mark.finds("sandbox warning: the sandbox is off")
def test_no_sandbox(pywg: str, open_lab: OpenLab) -> None:
    lab = open_lab(replace(find("pywg"), env={"PYWG_SANDBOX": "0"}), pywg)
    assert "the sandbox is off" in one_of(findings(lab.near), "sandbox").text
    assert [one for one in findings(lab.far) if one.check == "sandbox" and one.severity != Severity.OK] == []


@pytest.mark.finds("sandbox note: {} (PID {}) serves {} itself")
def test_a_tunnel_inside_of_a_program(pywg: str, open_lab: OpenLab) -> None:
    """Which knows no option of the command line: none is named."""
    lab = open_lab(pywg, pywg, connect=False)
    name = f"in{lab.near.interface}"[:15]
    program = f"import asyncio, pywg\nasync def main():\n async with pywg.Tunnel('[Interface]\\n', name={name!r}):\n"
    program += "  print('up', flush=True)\n  await asyncio.to_thread(input)\nasyncio.run(main())"
    pipe = subprocess.PIPE
    argv = ["ip", "netns", "exec", lab.near.namespace.name, sys.executable, "-c", program]
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        found = one_of(findings(lab.near, interface=name), "sandbox")
        process.communicate("\n", timeout=30)
    assert "--no-sandbox" not in found.mend
    assert "daemon=True" in found.mend


@pytest.mark.finds("companion warning")
def test_a_companion_that_was_killed(pywg: str, healthy: Lab, tmp_path: Path) -> None:
    """With all that could start it again."""
    near = healthy.near
    peer = (f"PublicKey = {healthy.far.keys.public}", f"AllowedIPs = {allowed(healthy)}")
    path = file_of(near, tmp_path, "# pywg.Companion = on", "[Peer]", "Endpoint = nowhere.invalid:7", *peer)

    def found() -> set[Severity]:
        return {one.severity for one in findings(near, path) if one.check == "companion"}

    null = subprocess.DEVNULL
    with near.namespace.start([pywg, "companion", str(path)], stdout=null, stderr=null) as process:
        poll(lambda: found() == {Severity.OK}, "it runs")
        pids = [pid for pid in near.namespace.pids() if str(path).encode() in read(pid, "cmdline")]
        assert len(pids) > 1
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        process.wait()
    poll(lambda: found() == {Severity.WARNING}, "it is missed")
    assert one_of(findings(near, path), "companion").mend.startswith(f"pywg reload {path}; ")
    with near.namespace.entered():
        process_of_companion.stop(near.interface)


@pytest.mark.finds("sandbox warning: the sandbox has refused")
def test_a_call_that_the_sandbox_refuses(pywg: str) -> None:
    """One that no thread of pywg makes, made by the event loop as if it had been taken over."""
    with Lab(replace(find("pywg"), env={"PYWG_SANDBOX": "1"}), pywg, connect=False) as lab:
        near = lab.near
        poll(lambda: near.stats()["sandbox_seccomp"] == "1", "the sandbox is closed")
        with inside(near.pid) as thread:
            assert thread.call(_FORK) == "EPERM"
        found = one_of(findings(near), "sandbox")
    assert "has refused 1 system calls" in found.text


@pytest.mark.finds("secrets warning")
def test_keys_that_can_not_be_locked(pywg: str, open_lab: OpenLab) -> None:
    """Neither by the limit nor by the capability."""
    ours = find("pywg")
    command = ("setpriv", "--bounding-set", "-ipc_lock", "--inh-caps", "-ipc_lock", "prlimit", "--memlock=0:0")
    lab = open_lab(replace(ours, command=(*command, *ours.command)), pywg)
    assert "swap" in one_of(findings(lab.near), "secrets").text
    assert [one for one in findings(lab.far) if one.check == "secrets"] == []


@pytest.mark.finds("drops warning")
def test_what_is_lost(pywg: str, open_lab: OpenLab) -> None:
    """Packets to addresses that no peer has, beside few that pass."""
    lab = open_lab(pywg, pywg)
    lab.establish()
    near = lab.near
    before = [one for one in findings(near) if one.check == "drops"]
    near.ip("route", "add", "192.168.99.0/24", "dev", near.interface)
    for number in range(200):
        dropin.kick(near, f"192.168.99.{number + 1}")
    poll(lambda: int(near.stats()["counter_tx_no_peer"]) >= 200, "they are counted")
    found = one_of(findings(near), "drops")
    assert before == []
    assert re.fullmatch(r"2\d\d, beside \d+ that passed: packets to an address that no peer has", found.text)
    assert found.mend


@pytest.mark.finds(
    "address warning", "file-differs warning: the file has a peer", "file-differs warning: the allowed IPs are not"
)
def test_what_differs_from_the_file(healthy: Lab, tmp_path: Path) -> None:
    near = healthy.near
    peers = ("[Peer]", f"PublicKey = {healthy.far.keys.public}", "AllowedIPs = 10.1.0.0/16")
    more = ("[Peer]", "# Name = paris", f"PublicKey = {dropin.UNKNOWN_KEY}", "AllowedIPs = 10.2.0.0/16")
    found = findings(near, file_of(near, tmp_path, "Address = 10.66.0.1/24", *peers, *more))
    assert f"{near.interface} lacks the file's address 10.66.0.1/24" in [one.text for one in found]
    assert {one.peer for one in found if one.check == "file-differs"} >= {"paris"}
    assert len([one for one in found if one.check == "file-differs"]) == 2


def test_what_is_as_in_the_file(healthy: Lab, tmp_path: Path) -> None:
    near = healthy.near
    own = (f"Address = {near.inner(4)}/24, {near.inner(6)}/64", f"ListenPort = {LISTEN_PORT}")
    peer = (f"PublicKey = {healthy.far.keys.public}", f"AllowedIPs = {allowed(healthy)}")
    assert wrong(findings(near, file_of(near, tmp_path, *own, "[Peer]", *peer))) == []
