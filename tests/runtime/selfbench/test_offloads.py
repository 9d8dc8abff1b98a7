"""What the kernel gives: that it is really tried, what is said when it isn't there, and that nothing is left."""

import contextlib
import errno
import functools
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from pywg.runtime.net import tun
from pywg.runtime.net.sockets import open_sockets
from pywg.runtime.selfbench import offloads
from pywg.runtime.selfbench.ciphers import PACKET_LENS, aead_speeds, idle_plane
from pywg.runtime.selfbench.offloads import (
    NO,
    NOT_PERMITTED,
    TUN_OFFLOADS,
    UDP_OFFLOADS,
    YES,
    tun_offloads,
    udp_offloads,
)
from tests.aead import HERE
from tests.descriptors import own_descriptors
from tests.requirements import require_root, require_tool
from tests.runtime.namespace import ip, run_inside


def refuse(code: int) -> Callable[..., NoReturn]:
    def call(*_args: object) -> NoReturn:
        raise OSError(code, os.strerror(code))

    return call


def test_cpu_model_is_one_line() -> None:
    assert re.fullmatch(r"\S.*", offloads.cpu_model())


@pytest.mark.netns
def test_tun_offloads_are_what_the_daemon_gets() -> None:
    require_root()
    found: list[tun.Tun] = []

    def test() -> None:
        found.append(tun.open_tun("pywg%d"))
        found[0].close()

    run_inside(test)
    given = tun_offloads()
    assert given["tun_vnet_hdr"] == (YES if found[0].vnet_hdr_len else NO)
    assert given["tun_uso"] == (YES if found[0].uso else NO)
    assert given["tun_tunnels"] == (YES if found[0].tunnels else NO)
    assert given["tun_tso"] in (YES, NO)


@pytest.mark.netns
def test_a_tun_without_offloads(monkeypatch: pytest.MonkeyPatch) -> None:
    require_root()
    monkeypatch.setattr(tun, "_wishes", lambda _offload: (0,))
    monkeypatch.setattr(tun, "_set_offload", lambda _fd, wanted: wanted == 0)
    assert tun_offloads() == {"tun_vnet_hdr": YES, "tun_tso": NO, "tun_uso": NO, "tun_tunnels": NO}


def children() -> set[str]:
    """Of this process, by their process ids: those of the test session, too."""
    found: set[str] = set()
    for task in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has been joined ends meanwhile
            found.update(task.read_text().split())
    return found


@pytest.mark.netns
def test_nothing_is_left() -> None:
    require_root()
    require_tool("ip")
    before, files, mine = ip("-brief", "link"), own_descriptors(settled=True), children()
    tun_offloads()
    udp_offloads()
    assert (ip("-brief", "link"), own_descriptors(), children()) == (before, files, mine)
    child = subprocess.Popen(["sleep", "60"])
    assert children() == {*mine, str(child.pid)}
    child.kill()
    child.wait()


def test_who_may_not_make_a_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offloads, "unshare", refuse(errno.EPERM))
    assert tun_offloads() == dict.fromkeys(TUN_OFFLOADS, NOT_PERMITTED)


@pytest.mark.parametrize(("code", "text"), [(errno.EACCES, NOT_PERMITTED), (errno.ENOENT, "unknown: .*modprobe tun.*")])
def test_a_device_node_that_cant_be_opened(monkeypatch: pytest.MonkeyPatch, code: int, text: str) -> None:
    monkeypatch.setattr(offloads, "unshare", lambda _flags: None)
    monkeypatch.setattr(os, "open", refuse(code))
    found = tun_offloads()
    assert set(found) == set(TUN_OFFLOADS)
    assert all(re.fullmatch(text, one) for one in found.values())


def test_a_child_that_dies_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offloads, "_try_tun", lambda: os._exit(3))
    assert tun_offloads() == dict.fromkeys(TUN_OFFLOADS, "unknown: the attempt failed")


def test_udp_offloads_of_this_kernel() -> None:
    """Linux 5.12 and later has both."""
    release = tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])
    assert udp_offloads() == dict.fromkeys(UDP_OFFLOADS, YES) or release < (5, 12)


def test_a_kernel_without_udp_gro(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offloads, "open_sockets", functools.partial(open_sockets, udp_gro=False))
    assert udp_offloads() == {"udp_segment": YES, "udp_gro": NO}


def test_a_kernel_without_udp_segment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offloads, "_UDP_SEGMENT", 9999)
    assert udp_offloads()["udp_segment"] == NO


def test_no_sockets_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offloads, "open_sockets", refuse(errno.EAFNOSUPPORT))
    assert udp_offloads() == dict.fromkeys(UDP_OFFLOADS, f"unknown: {os.strerror(errno.EAFNOSUPPORT)}")


def test_every_backend_is_measured_and_evp_is_the_yardstick() -> None:
    speeds = aead_speeds(0.02)
    assert {one.backend for one in speeds} == set(HERE)
    measured = {(one.backend, one.operation, one.packet_len, one.batch) for one in speeds}
    assert len(measured) == len(speeds) == 8 * len({one.backend for one in speeds})
    assert {one.packet_len for one in speeds} == set(PACKET_LENS)
    for one in speeds:
        assert one.ns > 0
        assert one.gbit_per_s == pytest.approx(one.packet_len * 8 / one.ns)
        assert one.backend != "evp" or one.against_evp == 1


@pytest.mark.parametrize("threads", [2, 5])
def test_a_plane_without_peers_is_what_auto_starts(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    monkeypatch.setattr("pywg.runtime.selfbench.ciphers.auto_threads", lambda: threads)
    found, aead, memory = idle_plane()
    assert found == threads
    assert aead in HERE
    assert memory["ceiling"] > memory["tx_buffers"]
