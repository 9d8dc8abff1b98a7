"""`pywg upgrade`: a new daemon goes on where the old one stops; nobody at either end notices, and what fails changes
nothing. The far end is each daemon in turn: what it sees is one and the same peer."""

import contextlib
import errno
import functools
import json
import os
import pwd
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.tunnel.command import CommandError
from bench.tunnel.implementations import find
from bench.tunnel.lab import Lab
from bench.tunnel.site import UAPI_DIR, Site, poll
from pywg.runtime.base.in_use import daemon_of
from pywg.runtime.base.parcel import ReceivedParcel
from pywg.runtime.daemon import handover, take_over
from tests.requirements import require_tool

from .conftest import OpenLab
from .inner_udp import Wire, payload
from .outer_link import INITIATION, RESPONSE, TRANSPORT, Link, Stranger
from .pings import told
from .several import join, ping, two_machines

QUIET: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
HEARD: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
HANDOVERS = 2
PINGS = 250
"""One in 10 ms."""
LOSSES = 5
"""Pings that two handovers may cost, on a machine that does ten other things. None is usual."""


def upgrade(site: Site, *names: str) -> str:
    """What `pywg upgrade` says. Raises CommandError."""
    return site.namespace.run(find("pywg").command[0], "upgrade", *(names or (site.interface,)))


def pid_of(interface: str) -> int:
    daemon = daemon_of(interface)
    assert daemon is not None
    return daemon.pid


def handshakes(lab: Lab) -> list[str]:
    """When the last ones were, as both ends tell."""
    return [site.wg("show", site.interface, "latest-handshakes") for site in lab.sites]


def test_a_stream_and_pings_go_through(open_lab: OpenLab, daemon: str) -> None:
    """iperf3's TCP connection lives through handovers, and no handshake is needed."""
    lab = open_lab("pywg", daemon, psk=True)
    lab.establish()
    near, before = lab.near, handshakes(lab)
    server = lab.far.namespace.start(["iperf3", "-s", "-1", "-B", lab.far.inner(4)], **QUIET)
    poll(lambda: ":5201" in lab.far.namespace.run("ss", "-ltn"), "iperf3 listens")
    client = near.namespace.start(["iperf3", "-c", lab.far.inner(4), "-t", "3", "-b", "100M", "-J"], **HEARD)
    pids = [pid_of(near.interface)]
    for _ in range(HANDOVERS):
        said = upgrade(near)
        pids.append(pid_of(near.interface))
        assert f"PID {pids[-1]} serves, in place of PID {pids[-2]}" in said
        print(said)
    assert len(set(pids)) == HANDOVERS + 1
    report = json.loads(client.communicate(timeout=30)[0])
    assert client.returncode == 0, report.get("error")
    assert report["end"]["sum_received"]["bytes"] > 1 << 20
    assert server.wait(30) == 0
    arguments = ("-i", "0.01", "-c", str(PINGS), "-w", "50")
    pings = near.namespace.start(["ping", "-n", *arguments, lab.far.inner(6)], **HEARD)
    for _ in range(HANDOVERS):
        print(upgrade(near))
    found = told(pings.communicate(timeout=60)[0].decode())
    print(f"{found.lost} pings lost, and {found.answered} answered")
    assert found.answered == PINGS
    assert found.lost <= LOSSES
    assert handshakes(lab) == before
    assert lab.near.daemon is not None
    assert lab.near.daemon.wait(10) == 0
    assert "sandbox_seccomp=1\n" in near.uapi("stats=1")
    assert "\nsandbox_refused=0\n" in near.uapi("stats=1")
    with Wire(near, lab.far) as there, Wire(lab.far, near) as back:
        there.check([payload(size) for size in range(20)])
        back.check([payload(size) for size in range(20)])
    near.namespace.run(find("pywg").command[0], "down", near.interface)
    assert not near.uapi_socket.exists()
    assert near.interface not in near.ip("-o", "link")


def test_what_was_recorded_before_is_refused_afterwards(open_lab: OpenLab) -> None:
    """Datagrams of the session, and the initiation that began it, from the wire; the next ones pass."""
    lab = open_lab("pywg", "pywg", connect=False)
    for site in lab.sites:
        site.configure(lab.mtu)
    with Link(lab.near), Link(lab.far) as link, Stranger(lab.near, lab.far) as stranger:
        lab.far.add_peer(lab.near, endpoint=4)
        lab.near.add_peer(lab.far, endpoint=4)
        lab.establish()
        with Wire(lab.near, lab.far) as wire:
            wire.check([payload(size) for size in range(1, 30)])
        recorded = [one.message for one in link.received(TRANSPORT)]
        initiations = [one.message for one in link.received(INITIATION)]
        assert len(recorded) >= 29
        assert len(initiations) == 1
        upgrade(lab.far)
        delivered = lab.far.stats()["counter_rx_packets"]
        stranger.send(*recorded)
        stranger.send(*initiations)
        poll(lambda: int(lab.far.stats()["counter_rx_replayed"]) == len(recorded), "each is a replay")
        poll(lambda: lab.far.stats()["counter_handshake_replayed_initiation"] == "1", "and the initiation is one")
        assert lab.far.stats()["counter_rx_packets"] == delivered
        assert len(link.sent(RESPONSE)) == 1
        with Wire(lab.near, lab.far) as wire:
            wire.check([payload(size) for size in range(1, 30)])


class Newcomer(take_over.Taking):
    """A new daemon that does what a test says, in the test's own process."""

    def hang_up_after_hello(self) -> None:
        self.close()

    def hang_up_after_all_was_written(self) -> None:
        self.states()
        self.close()

    def refuse_what_was_written(self) -> None:
        self.states()
        self._sock.sendall(b"?")

    def hang_up_at_the_end(self) -> None:
        self.states()
        self._sock.shutdown(socket.SHUT_RDWR)


WAYS = (
    "hang_up_after_hello",
    "hang_up_after_all_was_written",
    "refuse_what_was_written",
    "hang_up_at_the_end",
)


@pytest.fixture
def established(open_lab: OpenLab) -> Lab:
    lab = open_lab("pywg", "pywg")
    lab.establish()
    return lab


def serves_on(lab: Lab, before: list[str], pid: int) -> None:
    """The old daemon does, with the session that it had."""
    poll(functools.partial(_answers, lab), "traffic goes on")
    assert pid_of(lab.near.interface) == pid
    assert lab.near.alive()
    assert handshakes(lab) == before
    with Wire(lab.near, lab.far) as there, Wire(lab.far, lab.near) as back:
        there.check([payload(size) for size in range(20)])
        back.check([payload(size) for size in range(20)])


def _answers(lab: Lab) -> bool:
    with contextlib.suppress(CommandError):
        return bool(lab.near.namespace.run("ping", "-n", "-c", "1", "-W", "0.5", lab.far.inner(4)))
    return False


def test_a_new_daemon_that_fails_leaves_the_old_one_as_it_was(established: Lab) -> None:
    """Wherever it does, one after the other; then one that does not fail takes over."""
    lab = established
    before, pid = handshakes(lab), lab.near.pid
    for way in WAYS:
        with lab.near.namespace.entered():
            newcomer = Newcomer(lab.near.interface)
        getattr(newcomer, way)()
        serves_on(lab, before, pid)
        newcomer.close()
    with lab.near.namespace.entered(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(take_over, "_FORMATS", (handover.FORMAT_OF_SHARDS,))
        with pytest.raises(OSError, match="format 1 of the handover, and this pywg 2"):
            Newcomer(lab.near.interface)
    serves_on(lab, before, pid)
    with lab.near.namespace.entered(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(take_over, "ReceivedParcel", lambda fd, _length, **_: ReceivedParcel(fd, 64))
        short = Newcomer(lab.near.interface)
        with pytest.raises(OSError, match="served on"):
            short.states()
    serves_on(lab, before, pid)
    poll(lambda: lab.near.log_tail().count("handover: ") == len(WAYS) + 2, "each is told")
    upgrade(lab.near)
    assert lab.near.daemon is not None
    assert lab.near.daemon.wait(10) == 0
    poll(functools.partial(_answers, lab), "the new one serves")
    assert handshakes(lab) == before


def test_one_that_stops_answering_costs_seconds_and_no_session(established: Lab) -> None:
    lab = established
    before, pid = handshakes(lab), lab.near.pid
    with lab.near.namespace.entered():
        newcomer = Newcomer(lab.near.interface)
    newcomer.states()
    assert not _answers(lab), "what is frozen sends nothing"
    serves_on(lab, before, pid)
    with pytest.raises(OSError, match=r"serve[ds] on"):
        newcomer.finish()


def test_one_that_is_killed_while_it_starts_leaves_the_old_one_as_it_was(established: Lab) -> None:
    """The real one, at moments of its own."""
    lab = established
    before, pid = handshakes(lab), lab.near.pid
    for moment in ("Taking", "interfaces", "planes"):
        script = Path(lab.near.directory, "killed.py")
        script.write_text(KILLED[moment])
        with pytest.raises(CommandError, match="without a word, or could not say it"):
            lab.near.namespace.run(sys.executable, str(script), lab.near.interface)
        serves_on(lab, before, pid)


_KILLED = """
import os, signal, sys
from pywg.cli.main import main
from pywg.runtime.daemon import interface, take_over
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
{}
sys.exit(main(["upgrade", sys.argv[1]]))
"""
KILLED = {
    "Taking": _KILLED.format("take_over.Taking.states = die"),
    "interfaces": _KILLED.format("interface.Interface.resume = die"),
    "planes": _KILLED.format("take_over.Taking.finish = die"),
}


def ask(interface: str, request: bytes, suffix: str = "sock") -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(UAPI_DIR / f"{interface}.{suffix}"))
        client.sendall(request)
        answer = client.recv(1 << 16)
        while answer[:1] != b"H" and not answer.endswith(b"\n\n") and (more := client.recv(1 << 16)):
            answer += more
        return answer


def as_nobody(ask_it: Callable[[], bytes]) -> bytes:
    """In a child that is nobody."""
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os.setgid(pwd.getpwnam("nobody").pw_gid)
            os.setuid(pwd.getpwnam("nobody").pw_uid)
            os.write(writable, ask_it())
        os._exit(0)
    os.close(writable)
    os.waitpid(child, 0)
    with open(readable, "rb") as answer:
        return answer.read()


def test_only_root_may_take_over(open_lab: OpenLab) -> None:
    """The owner of the socket may read the static key, and not have the sessions; a monitor has neither."""
    implementation = find("pywg")
    command = (implementation.command[0], "-f", "--socket-owner", "nobody", "--monitor-socket", "nogroup")
    lab = open_lab(type(implementation)("pywg", command), "pywg")
    lab.establish()
    name, before, pid = lab.near.interface, handshakes(lab), lab.near.pid
    refused = b"errno=%d\n\n"
    assert b"private_key=" in as_nobody(lambda: ask(name, b"get=1\n\n")), "the positive control"
    assert as_nobody(lambda: ask(name, b"handover=1\n\n")) == refused % -errno.EPERM
    assert ask(name, b"handover=1\n\n", "monitor") == refused % -errno.EACCES
    assert ask(name, b"handover=1\nfd=5\n\n") == refused % -errno.EINVAL
    assert as_nobody(lambda: ask(name, b"get=1\n\n", "monitor")).endswith(b"errno=0\n\n")
    assert ask(name, b"handover=1\n\n")[:1] == b"H", "root is answered"
    serves_on(lab, before, pid)
    upgrade(lab.near)
    assert as_nobody(lambda: ask(name, b"handover=1\n\n")) == refused % -errno.EPERM, "as the first one was started"
    assert ask(name, b"stats=1\n\n", "monitor").endswith(b"errno=0\n\n")


def test_in_another_namespace_it_is_refused(established: Lab) -> None:
    lab = established
    with pytest.raises(CommandError, match="another network namespace"):
        lab.far.namespace.run(find("pywg").command[0], "upgrade", lab.near.interface)
    serves_on(lab, handshakes(lab), lab.near.pid)


def test_wireguard_go_can_not_hand_over(open_lab: OpenLab) -> None:
    require_tool("wireguard-go")
    lab = open_lab("wireguard-go", "pywg")
    lab.establish()
    with pytest.raises(CommandError, match="can't hand over: it is not pywg"):
        upgrade(lab.near)
    assert lab.near.alive()


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[object]:
    with two_machines(tmp_path, 2) as made:
        yield made


def test_several_interfaces_go_together_and_another_user_stays_another(machines: tuple) -> None:  # type: ignore[type-arg]
    near, far = machines
    near.start("--user", "nobody", "--threads", "3")
    far.start()
    for number in range(2):
        join(near, far, number)
        ping(near, number)
    first, second = near.names
    said = near.namespace.run(find("pywg").command[0], "upgrade", first, second)
    assert said.count("serves, in place of") == 1
    assert near.daemon is not None
    assert near.daemon.wait(10) == 0
    for number in range(2):
        ping(near, number)
        shown = near.stats(near.names[number])
        assert shown["sandbox_user"] == str(pwd.getpwnam("nobody").pw_uid)
        assert (shown["threads"], shown["sandbox_refused"]) == ("3", "0")
        assert (UAPI_DIR / f"{near.names[number]}.sock").exists()
    near.namespace.run("ip", "link", "del", first)
    poll(lambda: near.gone(first), f"{first} is gone")
    ping(near, 1)
    os.kill(pid_of(second), signal.SIGTERM)
    poll(lambda: near.gone(second), f"{second} is gone")
