"""What doctor says of this host. Where the host can't have the fault, the program that asks it is given it.

Clock, processor and socket buffers are the machine's and no namespace's: net.core.rmem_max can't be written in one, and
adjtimex(2) knows one clock. So the clock is preloaded, /proc/cpuinfo is mounted over, and the daemon may not pass the
limit of the buffers.
"""

import errno
import os
import socket
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from bench.tunnel.implementations import find
from bench.tunnel.lab import Lab
from bench.tunnel.site import poll
from pywg.manage.doctor.finding import Severity
from pywg.runtime.base.system import SOCKET_BUFFER_LEN
from tests.faults.injector import SUPPORTED, Injector

from .. import dropin
from ..conftest import OpenLab
from .looking import USER, Clock, findings, one_of, program

pytestmark = pytest.mark.usefixtures("_resumed")
_NO_TUN = 'mount -t tmpfs none /dev/net && exec "$@"'
_CLOSED_TUN = 'mount -t tmpfs none /dev/net && touch /dev/net/tun && chmod 0 /dev/net/tun && exec "$@"'
_UDP_GRO = 104


@pytest.fixture
def _resumed(request: pytest.FixtureRequest) -> None:
    if "healthy" in request.fixturenames:
        lab: Lab = request.getfixturevalue("healthy")
        dropin.resumes(lab.near, lab.far.inner(4))


def mounted(script: str, *behind: str) -> tuple[str, ...]:
    """The beginning of a command line, behind which the mounts are others."""
    return ("unshare", "--mount", "sh", "-c", script, "sh", *behind)


def test_nothing_is_wrong(pywg: str, healthy: Lab) -> None:
    assert program(pywg, healthy.near)[0] == 0


@pytest.mark.finds("clock error: the clock is {} behind", "clock error: the clock says")
def test_a_clock_that_has_gone_back(pywg: str, healthy: Lab, tmp_path: Path) -> None:
    clock = Clock(tmp_path, -3600)
    status, found = program(pywg, healthy.near, env=clock.env)
    assert status == 4
    assert "behind the newest handshake" in found["clock"].text
    clock.set(-40 * 365 * 86400)
    assert "the clock says 19" in program(pywg, healthy.near, env=clock.env)[1]["clock"].text


@pytest.mark.finds("clock note: no time service keeps the clock")
def test_a_clock_that_nobody_keeps(pywg: str, healthy: Lab, tmp_path: Path) -> None:
    env = Clock(tmp_path).env
    assert program(pywg, healthy.near, env={**env, "PYWG_CLOCK_KEPT": "0"})[1]["clock"].severity == Severity.NOTE
    assert program(pywg, healthy.near, env={**env, "PYWG_CLOCK_KEPT": "1"})[1]["clock"].severity == Severity.OK


@pytest.mark.finds("tun error", "tun warning")
def test_no_tun(pywg: str, healthy: Lab) -> None:
    _, found = program(pywg, healthy.near, *mounted(_NO_TUN))
    assert found["tun"].text == "no interface can be made: /dev/net/tun is missing"
    assert stat.S_ISCHR(os.stat("/dev/net/tun").st_mode)
    status, found = program(pywg, healthy.near, *mounted(_CLOSED_TUN, *USER))
    assert "can't be opened" in found["tun"].text
    assert status == 3, "of a user, whose tunnel is fine"


@pytest.mark.finds("privileges warning")
def test_root_of_a_user_namespace(pywg: str, healthy: Lab) -> None:
    """Has all capabilities, and none over a network namespace that is not its own; in one of its own it has them."""
    assert program(pywg, healthy.near, "unshare", "--map-root-user")[1]["privileges"].severity == Severity.WARNING
    own = program(pywg, healthy.near, "unshare", "--map-root-user", "--net")[1]
    assert own["privileges"].severity == Severity.OK


@pytest.mark.finds("offloads note: this kernel ({}) lacks")
@pytest.mark.skipif(not SUPPORTED, reason="the injector knows x86-64 alone")
def test_an_older_kernel(pywg: str, healthy: Lab) -> None:
    """One before UDP_GRO."""
    with Injector() as injector:
        gro = ((1, socket.IPPROTO_UDP), (2, _UDP_GRO))
        with injector.failing("setsockopt", errno.ENOPROTOOPT, arguments=gro):
            _, found = program(pywg, healthy.near, *injector.command)
    assert "lacks merging of received UDP (GRO)" in found["offloads"].text


@pytest.mark.finds("offloads note: this kernel has all offloads")
def test_an_offload_that_is_switched_off(pywg: str, open_lab: OpenLab) -> None:
    lab = open_lab(replace(find("pywg"), env={"PYWG_UDP_GRO": "0"}), pywg)
    poll(lambda: lab.near.stats()["sockets_open"] == "1", "it is up")
    assert one_of(findings(lab.near), "offloads").text.endswith("does not use: udp_gro")


@pytest.mark.finds("cipher warning")
def test_a_slow_cipher(pywg: str, open_lab: OpenLab) -> None:
    lab = open_lab(replace(find("pywg"), env={"PYWG_AEAD": "evp"}), pywg)
    assert f"{lab.near.interface} encrypts with evp" in one_of(findings(lab.near), "cipher").text
    assert [one.severity for one in findings(lab.far) if one.check == "cipher"] == [Severity.OK]


@pytest.mark.finds("cipher note")
def test_a_processor_without_vectors(pywg: str, healthy: Lab, tmp_path: Path) -> None:
    processor = tmp_path / "cpuinfo"
    flags = Path("/proc/cpuinfo").read_text().splitlines()
    processor.write_text("\n".join("flags\t: fpu sse2" if one.startswith("flags") else one for one in flags))
    _, found = program(pywg, healthy.near, *mounted(f'mount --bind {processor} /proc/cpuinfo && exec "$@"'))
    assert found["cipher"].severity == Severity.NOTE


@pytest.mark.finds("buffers warning")
def test_small_socket_buffers(pywg: str, open_lab: OpenLab) -> None:
    """Of a daemon that has given up the capability to pass the machine's limit, and opens its sockets again."""
    if min(int(Path("/proc/sys/net/core", name).read_text()) for name in ("rmem_max", "wmem_max")) >= SOCKET_BUFFER_LEN:
        pytest.skip("net.core.rmem_max and wmem_max are large on this machine")
    ours = find("pywg")
    lab = open_lab(replace(ours, env={"PYWG_DROP_NET_ADMIN": "1"}), pywg)
    near = lab.near
    poll(lambda: near.stats()["sandbox_net_admin_dropped"] == "1", "the sandbox is closed")
    near.ip("link", "set", near.interface, "down")
    near.await_link(up=False)
    near.ip("link", "set", near.interface, "up")
    poll(lambda: near.stats()["sockets_open"] == "1", "it is up")
    found = [one for one in findings(near) if one.check == "buffers"]
    assert all(f"wants {SOCKET_BUFFER_LEN >> 10}" in one.text for one in found)
    assert [one for one in findings(lab.far) if one.check == "buffers"] == []
