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
    Bed,
    Far,
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
        with Bed() as bed:
            far = Far(bed)
            Far(bed, 2, prefixes=[(bytes([10, 5, 0, 0]), 16)], session=False)
            bed.plane.open_index(9, 2)
            for number in range(200):
                bed.write(raw_packet(60).replace(bytes([10, 0, 0, 2]), bytes([10, 5, 0, 1])))
                far.send_datagram(handshake_message(1, 148, body=number.to_bytes(4, "little")))
            with traffic(bed, far):
                flows(bed)
                bed.plane.close()
                bed.plane.close()
        assert thread_names() == threads


def test_peers_are_gone_after_close() -> None:
    with Bed() as bed:
        Far(bed)
        bed.plane.close()
        with pytest.raises(KeyError):
            bed.plane.peer_stats(1)


# ---- sockets


def test_new_sockets_take_over_at_once() -> None:
    """Nothing leaves the old sockets after the swap, and nothing is read from them."""
    with Bed() as bed:
        far = Far(bed)
        bed.write(raw_packet(60))
        _, source = far.sock.recvfrom(2048)
        assert source[1] == bed.sockets.port
        old, bed.sockets = bed.sockets, open_sockets(0, 0)
        bed.plane.attach_sockets(bed.sockets.fd4, bed.sockets.fd6)
        bed.write(raw_packet(61))
        datagram, source = far.sock.recvfrom(2048)
        assert datagram == far.expect(1, raw_packet(61))
        assert source[1] == bed.sockets.port
        far.sock.sendto(far.message(reply(1)), ("127.0.0.1", old.port))
        far.send(reply(2))
        assert bed.read(1) == [reply(2)]
        assert old.udp4 is not None
        assert len(old.udp4.recv(2048)) == 32 + 64  # still there, for whoever has the old socket
        old.close()


def test_swaps_under_traffic_lose_and_repeat_nothing() -> None:
    """Each datagram leaves by the port that was attached when it was sent; counters go on without a gap."""
    with Bed() as bed:
        far = Far(bed)
        expected = 0
        previous = None
        for _ in range(40):
            for number in range(30):
                bed.write(raw_packet(100, 4, number))
            old, bed.sockets = bed.sockets, open_sockets(0, 0)
            bed.plane.attach_sockets(bed.sockets.fd4, bed.sockets.fd6)
            marker = raw_packet(200)
            bed.write(marker)
            ports = []
            while True:
                datagram, (_, port) = far.sock.recvfrom(2048)
                opened = unseal(far.key, datagram)
                assert opened.counter == expected
                expected += 1
                ports.append(port)
                if len(opened.text) > 128:
                    break
            assert ports[-1] == bed.sockets.port
            assert set(ports) <= {previous or old.port, bed.sockets.port}
            assert sorted(ports, key=lambda port: port == bed.sockets.port) == ports
            previous = bed.sockets.port
            old.close()


def test_swaps_with_traffic_both_ways() -> None:
    with Bed() as bed:
        far = Far(bed)
        with traffic(bed, far):
            flows(bed)
            for _ in range(30):
                old, bed.sockets = bed.sockets, open_sockets(0, 0)
                bed.plane.attach_sockets(bed.sockets.fd4, bed.sockets.fd6)
                old.close()
        bed.counted(rx_receive_error=0, tx_send_error=0)


def test_detached_sockets_are_free() -> None:
    """The port can be bound again as soon as detach_sockets has returned and the sockets are closed."""
    with Bed() as bed:
        far = Far(bed)
        for number in range(100):
            bed.plane.detach_sockets()
            port = bed.sockets.port
            bed.sockets.close()
            bed.sockets = open_sockets(port, 0)
            bed.plane.attach_sockets(bed.sockets.fd4, bed.sockets.fd6)
            bed.write(raw_packet(60))
            assert far.open().counter == number


def test_without_sockets_packets_are_counted_and_the_plane_lives() -> None:
    with Bed() as bed:
        far = Far(bed)
        bed.plane.detach_sockets()
        bed.plane.detach_sockets()
        assert not bed.plane.offloads()["udp_gso4"]
        bed.write(raw_packet(60))
        bed.counted(tx_send_error=1)
        bed.plane.attach_sockets(bed.sockets.fd4, bed.sockets.fd6)
        bed.write(raw_packet(60))
        assert far.open().counter == 1  # a counter is never used twice


def test_one_family_is_enough() -> None:
    with Bed() as bed:
        four = Far(bed, 1)
        six = Far(bed, 2, family=socket.AF_INET6, prefixes=[(bytes([10, 5, 0, 0]), 16)])
        to_six = raw_packet(60).replace(bytes([10, 0, 0, 2]), bytes([10, 5, 0, 1]))
        bed.plane.attach_sockets(bed.sockets.fd4, -1)
        bed.write(to_six)
        bed.counted(tx_send_error=1)
        bed.write(raw_packet(60))
        assert four.open().counter == 0
        bed.plane.attach_sockets(-1, bed.sockets.fd6)
        bed.write(raw_packet(60))
        bed.counted(tx_send_error=2)
        bed.write(to_six)
        assert six.open().counter == 1
        six.send(b"")
        bed.counted(rx_keepalives=1)


def test_what_waits_in_both_sockets_is_taken_batch_by_batch() -> None:
    with Bed() as bed:
        fars = [Far(bed, 1), Far(bed, 2, family=socket.AF_INET6)]
        bed.plane.detach_sockets()
        for far, waiting in zip(fars, (20, 40), strict=True):
            for _ in range(waiting):
                far.send(b"")
        bed.plane.attach_sockets(bed.sockets.fd4, bed.sockets.fd6)
        bed.counted(rx_keepalives=60, rx_receives=5)


# ---- TUN


def test_detached_tun_is_not_read() -> None:
    with Bed() as bed:
        far = Far(bed)
        bed.plane.detach_tun()
        bed.write(raw_packet(60))
        assert bed.plane.send_keepalive(1)
        assert far.open().text == b""
        far.send(reply(1))
        bed.counted(rx_tun_error=1)
        assert bed.tun_is_empty()
        bed.plane.attach_tun(bed.tun_end.fileno(), vnet_hdr_len=10)
        assert far.receive() == far.expect(1, raw_packet(60))


def test_tuns_are_swapped() -> None:
    with Bed() as bed:
        far = Far(bed)
        ends = [tun_pair() for _ in range(3)]
        for number, (end, test_end) in enumerate(ends):
            bed.plane.attach_tun(end.fileno(), vnet_hdr_len=0)
            bed.vnet_hdr_len = 0
            old, bed.tun = bed.tun, test_end
            bed.write(raw_packet(60))
            assert far.open().counter == number
            far.send(reply(number))
            assert bed.read(1) == [reply(number)]
            old.close()
        bed.plane.detach_tun()
        for end, _ in ends:
            end.close()


@pytest.mark.parametrize("vnet_hdr_len", [1, 9, 11, 16, -1])
def test_virtio_headers_have_10_or_12_bytes(vnet_hdr_len: int) -> None:
    with Bed() as bed, pytest.raises(ValueError, match="virtio"):
        bed.plane.attach_tun(bed.tun_end.fileno(), vnet_hdr_len=vnet_hdr_len)


def test_tun_that_ends_is_told_and_the_control_plane_goes_on() -> None:
    with Bed() as bed:
        far = Far(bed)
        bed.tun.close()
        assert select.select([bed.plane.event_fd], [], [], 10)[0]
        bed.drain()
        assert bed.device_flags & TUN_GONE
        assert bed.plane.send_keepalive(1)
        assert far.open().counter == 0
        bed.tun_end.close()
        bed.tun_end, bed.tun = tun_pair()
        bed.plane.attach_tun(bed.tun_end.fileno(), vnet_hdr_len=10)
        bed.drain()
        assert not bed.device_flags & TUN_GONE
        bed.write(raw_packet(60))
        assert far.open().counter == 1


def test_each_thread_goes_round_when_it_is_asked() -> None:
    with Bed() as bed:
        for _ in range(20):
            before = bed.plane.heartbeats()

            def gone_round(before: tuple[int, ...] = before) -> bool:
                return all(now > then for now, then in zip(bed.plane.heartbeats(), before, strict=True))

            bed.until(gone_round, "a turn of each")
        bed.plane.detach_sockets()
        bed.plane.detach_tun()
        before = bed.plane.heartbeats()
        bed.until(
            lambda: all(now > then for now, then in zip(bed.plane.heartbeats(), before, strict=True)), "without work"
        )
