"""Attach, swap, detach, remove, close: while packets flow, and leaving nothing behind."""

import gc
import select
import socket
import sys
from types import SimpleNamespace

import pytest

from pywg._fastpath import TUN_GONE, Plane
from pywg.runtime.net.sockets import open_sockets
from tests.fastpath.own_process import descriptors, thread_names
from tests.fastpath.plane_harness import (
    Far,
    PlaneHarness,
    flows,
    handshake_message,
    raw_packet,
    reply,
    traffic,
    tun_pair,
    unseal,
)

# ---- close


def test_close_ends_the_threads_and_gives_back_the_descriptors() -> None:
    gc.collect()
    threads, fds = thread_names(), descriptors()
    plane = Plane()
    assert sorted({"pywg-tx", "pywg-rx"} - set(thread_names())) == []
    assert descriptors() > fds
    plane.close()
    assert thread_names() == threads
    plane.close()
    del plane
    gc.collect()
    assert descriptors() == fds


def test_plane_that_is_forgotten_is_closed() -> None:
    gc.collect()
    threads, fds = thread_names(), descriptors()
    for _ in range(20):
        Plane().add_peer(1)
    gc.collect()
    assert thread_names() == threads
    assert descriptors() == fds


def test_plane_in_a_forgotten_cycle_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The collector must not take the peers away before they are freed, and their keys wiped."""
    failures: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", failures.append)
    threads = thread_names()
    plane = Plane()
    plane.add_peer(1)
    owner = SimpleNamespace(plane=plane)
    owner.itself = owner
    del plane, owner
    gc.collect()
    assert thread_names() == threads
    assert failures == []


@pytest.mark.known_bug("Deadlock on close")
def test_close_with_everything_pending_and_in_flight() -> None:
    threads = thread_names()
    for _ in range(5):
        with PlaneHarness() as harness:
            far = Far(harness)
            Far(harness, 2, prefixes=[(bytes([10, 5, 0, 0]), 16)], session=False)
            harness.plane.open_index(9, 2)
            for number in range(200):
                harness.write(raw_packet(60).replace(bytes([10, 0, 0, 2]), bytes([10, 5, 0, 1])))
                far.send_datagram(handshake_message(1, 148, body=number.to_bytes(4, "little")))
            with traffic(harness, far):
                flows(harness)
                harness.plane.close()
                harness.plane.close()
        assert thread_names() == threads


def test_peers_are_gone_after_close() -> None:
    with PlaneHarness() as harness:
        Far(harness)
        harness.plane.close()
        with pytest.raises(KeyError):
            harness.plane.peer_stats(1)


# ---- sockets


def test_new_sockets_take_over_at_once() -> None:
    """Nothing leaves the old sockets after the swap, and nothing is read from them."""
    with PlaneHarness() as harness:
        far = Far(harness)
        harness.write(raw_packet(60))
        _, source = far.sock.recvfrom(2048)
        assert source[1] == harness.sockets.port
        old, harness.sockets = harness.sockets, open_sockets(0, 0)
        harness.plane.attach_sockets(harness.sockets.fd4, harness.sockets.fd6)
        harness.write(raw_packet(61))
        datagram, source = far.sock.recvfrom(2048)
        assert datagram == far.expect(1, raw_packet(61))
        assert source[1] == harness.sockets.port
        far.sock.sendto(far.message(reply(1)), ("127.0.0.1", old.port))
        far.send(reply(2))
        assert harness.read(1) == [reply(2)]
        assert old.udp4 is not None
        assert len(old.udp4.recv(2048)) == 32 + 64  # still there, for whoever has the old socket
        old.close()


def test_swaps_under_traffic_lose_and_repeat_nothing() -> None:
    """Each datagram leaves by the port that was attached when it was sent; counters go on without a gap."""
    with PlaneHarness() as harness:
        far = Far(harness)
        expected = 0
        previous = None
        for _ in range(40):
            for number in range(30):
                harness.write(raw_packet(100, 4, number))
            old, harness.sockets = harness.sockets, open_sockets(0, 0)
            harness.plane.attach_sockets(harness.sockets.fd4, harness.sockets.fd6)
            marker = raw_packet(200)
            harness.write(marker)
            ports = []
            while True:
                datagram, (_, port) = far.sock.recvfrom(2048)
                opened = unseal(far.key, datagram)
                assert opened.counter == expected
                expected += 1
                ports.append(port)
                if len(opened.text) > 128:
                    break
            assert ports[-1] == harness.sockets.port
            assert set(ports) <= {previous or old.port, harness.sockets.port}
            assert sorted(ports, key=lambda port: port == harness.sockets.port) == ports
            previous = harness.sockets.port
            old.close()


def test_swaps_with_traffic_both_ways() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        with traffic(harness, far):
            flows(harness)
            for _ in range(30):
                old, harness.sockets = harness.sockets, open_sockets(0, 0)
                harness.plane.attach_sockets(harness.sockets.fd4, harness.sockets.fd6)
                old.close()
        harness.counted(rx_receive_error=0, tx_send_error=0)


def test_detached_sockets_are_free() -> None:
    """The port can be bound again as soon as detach_sockets has returned and the sockets are closed."""
    with PlaneHarness() as harness:
        far = Far(harness)
        for number in range(100):
            harness.plane.detach_sockets()
            port = harness.sockets.port
            harness.sockets.close()
            harness.sockets = open_sockets(port, 0)
            harness.plane.attach_sockets(harness.sockets.fd4, harness.sockets.fd6)
            harness.write(raw_packet(60))
            assert far.open().counter == number


def test_without_sockets_packets_are_counted_and_the_plane_lives() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        harness.plane.detach_sockets()
        harness.plane.detach_sockets()
        assert not harness.plane.offloads()["udp_gso4"]
        harness.write(raw_packet(60))
        harness.counted(tx_send_error=1)
        harness.plane.attach_sockets(harness.sockets.fd4, harness.sockets.fd6)
        harness.write(raw_packet(60))
        assert far.open().counter == 1  # a counter is never used twice


def test_one_family_is_enough() -> None:
    with PlaneHarness() as harness:
        four = Far(harness, 1)
        six = Far(harness, 2, family=socket.AF_INET6, prefixes=[(bytes([10, 5, 0, 0]), 16)])
        to_six = raw_packet(60).replace(bytes([10, 0, 0, 2]), bytes([10, 5, 0, 1]))
        harness.plane.attach_sockets(harness.sockets.fd4, -1)
        harness.write(to_six)
        harness.counted(tx_send_error=1)
        harness.write(raw_packet(60))
        assert four.open().counter == 0
        harness.plane.attach_sockets(-1, harness.sockets.fd6)
        harness.write(raw_packet(60))
        harness.counted(tx_send_error=2)
        harness.write(to_six)
        assert six.open().counter == 1
        six.send(b"")
        harness.counted(rx_keepalives=1)


def test_what_waits_in_both_sockets_is_taken_batch_by_batch() -> None:
    with PlaneHarness() as harness:
        fars = [Far(harness, 1), Far(harness, 2, family=socket.AF_INET6)]
        harness.plane.detach_sockets()
        for far, waiting in zip(fars, (20, 40), strict=True):
            for _ in range(waiting):
                far.send(b"")
        harness.plane.attach_sockets(harness.sockets.fd4, harness.sockets.fd6)
        harness.counted(rx_keepalives=60, rx_receives=5)


# ---- TUN


def test_detached_tun_is_not_read() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        harness.plane.detach_tun()
        harness.write(raw_packet(60))
        assert harness.plane.send_keepalive(1)
        assert far.open().text == b""
        far.send(reply(1))
        harness.counted(rx_tun_error=1)
        assert harness.tun_is_empty()
        harness.plane.attach_tun(harness.tun_end.fileno(), vnet_hdr_len=10)
        assert far.receive() == far.expect(1, raw_packet(60))


def test_tuns_are_swapped() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        ends = [tun_pair() for _ in range(3)]
        for number, (end, test_end) in enumerate(ends):
            harness.plane.attach_tun(end.fileno(), vnet_hdr_len=0)
            harness.vnet_hdr_len = 0
            old, harness.tun = harness.tun, test_end
            harness.write(raw_packet(60))
            assert far.open().counter == number
            far.send(reply(number))
            assert harness.read(1) == [reply(number)]
            old.close()
        harness.plane.detach_tun()
        for end, _ in ends:
            end.close()


@pytest.mark.parametrize("vnet_hdr_len", [1, 9, 11, 16, -1])
def test_virtio_headers_have_10_or_12_bytes(vnet_hdr_len: int) -> None:
    with PlaneHarness() as harness, pytest.raises(ValueError, match="virtio"):
        harness.plane.attach_tun(harness.tun_end.fileno(), vnet_hdr_len=vnet_hdr_len)


def test_tun_that_ends_is_told_and_the_control_plane_goes_on() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        harness.tun.close()
        assert select.select([harness.plane.event_fd], [], [], 10)[0]
        harness.drain()
        assert harness.device_flags & TUN_GONE
        assert harness.plane.send_keepalive(1)
        assert far.open().counter == 0
        harness.tun_end.close()
        harness.tun_end, harness.tun = tun_pair()
        harness.plane.attach_tun(harness.tun_end.fileno(), vnet_hdr_len=10)
        harness.drain()
        assert not harness.device_flags & TUN_GONE
        harness.write(raw_packet(60))
        assert far.open().counter == 1


def test_each_thread_goes_round_when_it_is_asked() -> None:
    with PlaneHarness() as harness:
        for _ in range(20):
            before = harness.plane.heartbeats()

            def gone_round(before: tuple[int, ...] = before) -> bool:
                return all(now > then for now, then in zip(harness.plane.heartbeats(), before, strict=True))

            harness.until(gone_round, "a turn of each")
        harness.plane.detach_sockets()
        harness.plane.detach_tun()
        before = harness.plane.heartbeats()
        harness.until(
            lambda: all(now > then for now, then in zip(harness.plane.heartbeats(), before, strict=True)),
            "without work",
        )
