"""The helpers as threads: their start and end, their names, and what goes on meanwhile; no hop for single packets."""

import gc
import os
from dataclasses import replace
from typing import Any

import pytest

from pywg._fastpath import Plane
from pywg.runtime.net.sockets import open_sockets
from tests.fastpath.own_process import descriptors, thread_names, thread_status
from tests.fastpath.plane_harness import (
    Far,
    PlaneHarness,
    Raw,
    flows,
    inbound,
    raw_packet,
    traffic,
)
from tests.native.pool import left_in_work

MANY = pytest.mark.parametrize("helpers", [1, 2, 3, 5, 8])


@MANY
def test_sockets_and_tun_are_swapped_with_traffic_both_ways(helpers: int) -> None:
    with PlaneHarness(helpers=helpers) as harness:
        far = Far(harness)
        with traffic(harness, far):
            for number in range(30):
                old, harness.sockets = harness.sockets, open_sockets(0, 0)
                harness.plane.attach_sockets(harness.sockets.fd4, harness.sockets.fd6)
                old.close()
                harness.plane.attach_tun(harness.tun_end.fileno(), vnet_hdr_len=10, uso=bool(number % 2))
        harness.counted(rx_receive_error=0, tx_send_error=0, rx_forged=0, rx_replayed=0)


@pytest.mark.known_bug("Deadlock on close")
@MANY
def test_close_under_load(helpers: int) -> None:
    gc.collect()
    threads, fds = thread_names(), descriptors()
    for round_ in range(5):
        with PlaneHarness(helpers=helpers) as harness:
            far = Far(harness)
            assert len(thread_names()) == len(threads) + 2 + helpers
            with traffic(harness, far):
                flows(harness)
                if round_ % 2:
                    harness.plane.remove_peer(1)
                harness.plane.close()
                harness.plane.close()
        del harness, far
        gc.collect()
        assert thread_names() == threads
    assert descriptors() == fds


@MANY
def test_helpers_leave_no_slot_in_work_when_they_end(helpers: int) -> None:
    """The control plane waits for such a slot: a call that comes after the end must not wait for ever."""
    assert left_in_work(helpers, 0) == 0
    assert left_in_work(helpers, 16) == 0


def test_helpers_have_names_and_block_every_signal() -> None:
    plane = Plane(helpers=8)
    try:
        found = {name: int(status["SigBlk"], 16) for name, status in thread_status().items()}
        names = {f"pywg-h{number}" for number in range(8)} | {"pywg-tx", "pywg-rx"}
        assert names <= found.keys()
        for name in names:
            assert found[name] & (1 << 15 - 1)  # SIGTERM
        assert plane.threads == 10
    finally:
        plane.close()


@pytest.mark.parametrize("helpers", [-1, 63])
def test_no_more_helpers_than_there_is_room_for(helpers: int) -> None:
    with pytest.raises(ValueError, match="helpers"):
        Plane(helpers=helpers)


@pytest.mark.parametrize("arguments", [{"helpers": -1}, {"helpers": "none"}, {"help": 1}])
def test_plane_that_was_refused_closes_no_descriptor_of_others(arguments: dict[str, Any]) -> None:
    """All zeros, a plane without descriptors would close number 0."""
    read, write = os.pipe()
    kept = os.dup(0)
    try:
        os.dup2(read, 0)
        with pytest.raises((TypeError, ValueError)):
            Plane(**arguments)
        assert os.fstat(0).st_ino == os.fstat(read).st_ino
    finally:
        os.dup2(kept, 0)
        for fd in (read, write, kept):
            os.close(fd)


def test_single_packets_take_no_hop() -> None:
    """Where nothing is on its way, the thread that reads does all there is to do."""
    with PlaneHarness(helpers=4) as harness:
        far = Far(harness)
        for number in range(50):
            harness.write(raw_packet(100, 4, number))
            assert far.open().counter == number
            far.send(replace(inbound(Raw(payload=bytes([number]))), ident=number).build())
            assert len(harness.read(1)) == 1
        harness.counted(tx_shared=0, rx_shared=0)
