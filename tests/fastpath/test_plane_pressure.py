"""Outbound: UDP says EAGAIN. Then the TUN is not read any further, and nothing is lost or reordered.

Loopback never fills a UDP socket: what was sent is already in the receiver's buffer. A connected SOCK_SEQPACKET socket
takes the same calls (it ignores the address, and the control data of other layers), and does fill up.
"""

import errno
import random
import select
import socket
from collections.abc import Iterator

import pytest

from tests.fastpath.own_process import thread_status
from tests.fastpath.packets import Udp, cut, gso_vnet
from tests.fastpath.plane_harness import Far, PlaneHarness, raw_packet, tun_pair, udp_socket, unseal


class Narrow:
    """A harness whose IPv4 socket holds a few datagrams and then says EAGAIN, until the test reads them."""

    def __init__(self) -> None:
        self.harness = PlaneHarness(udp_gso=False)
        self.far = Far(self.harness)
        self.socket_end, self.wire = tun_pair(1)
        self.tun_end, tun = tun_pair(1 << 18)
        self.harness.tun.close()
        self.harness.tun = tun
        tun.setblocking(False)
        self.harness.plane.attach_sockets(self.socket_end.fileno(), self.harness.sockets.fd6)
        self.harness.plane.attach_tun(self.tun_end.fileno(), vnet_hdr_len=10)

    def close(self) -> None:
        self.harness.close()
        for sock in (self.socket_end, self.wire, self.tun_end):
            sock.close()

    def fill(self) -> list[bytes]:
        """Writes packets until the plane takes no more; returns them."""
        packets: list[bytes] = []
        while True:
            packet = raw_packet(random.Random(len(packets)).randrange(20, 1400), 4, len(packets))
            try:
                self.harness.write(packet)
            except BlockingIOError:
                if self.stuck():
                    return packets
            else:
                packets.append(packet)

    def stuck(self) -> bool:
        """Whether who sends sleeps although the TUN is full: waits for the socket."""
        return threads_sleep() and not self.has_room()

    def has_room(self) -> bool:
        return bool(select.select([], [self.harness.tun], [], 0)[1])

    def expect(self, first: int, packets: list[bytes]) -> None:
        for counter, packet in enumerate(packets, first):
            assert self.wire.recv(1 << 16) == self.far.expect(counter, packet)


def threads_sleep() -> bool:
    """Asleep each time one looks, and nobody woke them in between: they are not going round."""
    before = thread_status()
    looks = [thread_status() for _ in range(30)]
    return all(
        look[name]["State"].startswith("S")
        and look[name]["voluntary_ctxt_switches"] == before[name]["voluntary_ctxt_switches"]
        for look in looks
        for name in ("pywg-tx", "pywg-rx")
    )


@pytest.fixture
def narrow() -> Iterator[Narrow]:
    one = Narrow()
    yield one
    one.close()


def test_full_socket_stops_the_reading_and_loses_nothing(narrow: Narrow) -> None:
    packets = narrow.fill()
    assert narrow.harness.counter("tx_datagrams") < len(packets)
    assert narrow.harness.counter("tx_packets") < len(packets)
    narrow.expect(0, packets)
    narrow.harness.until(lambda: narrow.harness.counter("tx_datagrams") == len(packets), "all sent")
    narrow.harness.counted(tx_send_error=0)
    narrow.harness.write(raw_packet(60))
    narrow.expect(len(packets), [raw_packet(60)])


def test_again_and_again(narrow: Narrow) -> None:
    sent = 0
    for _ in range(5):
        packets = narrow.fill()
        narrow.expect(sent, packets)
        sent += len(packets)


def test_waiting_for_the_socket_costs_no_cpu(narrow: Narrow) -> None:
    """The IPv6 socket, which is writable all the time, does not wake the thread."""
    narrow.fill()
    narrow.harness.until(threads_sleep, "asleep")


def test_full_socket_loses_no_segment_of_a_superframe(narrow: Narrow) -> None:
    packet = Udp(payload=random.Random(1).randbytes(60000))
    narrow.harness.write(packet.unfinished(), gso_vnet(packet, 1300))
    narrow.expect(0, cut(packet, 1300))
    narrow.harness.until(lambda: narrow.harness.counter("tx_datagrams") == len(cut(packet, 1300)), "all sent")
    narrow.harness.counted(tx_send_error=0)


def test_control_plane_works_while_the_socket_is_full(narrow: Narrow) -> None:
    packets = narrow.fill()
    plane = narrow.harness.plane
    assert not plane.send_keepalive(1)
    assert not plane.send_staged(1)
    assert not plane.send_to_peer(1, b"hello")
    assert plane.send_error == errno.EAGAIN
    plane.add_peer(2)
    plane.allow_many(2, [(bytes([10, 9, 0, 0]), 16)])
    plane.drain()
    assert plane.peer_stats(1)[0] > 0
    narrow.expect(0, packets)
    narrow.harness.until(lambda: plane.send_keepalive(1), "room")
    narrow.expect(len(packets), [b""])


def test_peer_is_removed_with_its_datagrams_in_the_queue(narrow: Narrow) -> None:
    narrow.fill()
    narrow.harness.plane.remove_peer(1)
    other = Far(narrow.harness, 2)
    old = 0
    narrow.wire.settimeout(20)
    # What was sealed before goes out, what was not read yet is the new owner's.
    while True:
        datagram = narrow.wire.recv(1 << 16)
        if int.from_bytes(datagram[4:8], "little") == other.remote_index:
            break
        assert unseal(narrow.far.key, datagram).counter == old
        old += 1
    assert unseal(other.key, datagram).counter == 0


def test_new_socket_takes_what_waits(narrow: Narrow) -> None:
    packets = narrow.fill()
    held = narrow.harness.counter("tx_datagrams")
    narrow.harness.plane.attach_sockets(narrow.harness.sockets.fd4, narrow.harness.sockets.fd6)
    for counter in range(held, len(packets)):
        assert narrow.far.receive() == narrow.far.expect(counter, packets[counter])
    narrow.wire.setblocking(False)
    for counter in range(held):
        assert narrow.wire.recv(1 << 16) == narrow.far.expect(counter, packets[counter])
    with pytest.raises(BlockingIOError):
        narrow.wire.recv(1 << 16)


def test_detached_socket_gives_up_what_waits(narrow: Narrow) -> None:
    packets = narrow.fill()
    narrow.harness.plane.detach_sockets()
    narrow.harness.until(lambda: narrow.harness.counter("tx_packets") == len(packets), "the TUN is read again")
    narrow.harness.until(lambda: narrow.harness.counter("tx_send_error") > 0, "given up")
    narrow.harness.plane.attach_sockets(narrow.harness.sockets.fd4, narrow.harness.sockets.fd6)
    narrow.harness.until(narrow.has_room, "room")
    narrow.harness.write(raw_packet(60))
    opened = narrow.far.open()
    assert opened.counter == len(packets)


@pytest.mark.known_bug("Deadlock on close")
def test_close_while_the_socket_is_full(narrow: Narrow) -> None:
    narrow.fill()
    narrow.harness.plane.close()
    narrow.harness.plane.close()


def test_blocked_family_is_the_one_that_is_waited_for() -> None:
    """IPv6 full, IPv4 free: datagrams go out in their order, so the IPv4 ones behind wait as well, and then all go."""
    harness = PlaneHarness(udp_gso=False)
    socket_end, wire = tun_pair(1)
    with harness:
        six = Far(harness, 6, sock=udp_socket(socket.AF_INET6, "::1"))
        four = Far(harness, 4, prefixes=[(bytes([10, 5, 0, 0]), 16)])
        harness.plane.attach_sockets(harness.sockets.fd4, socket_end.fileno())
        harness.plane.detach_tun()
        for number in range(30):
            harness.write(raw_packet(1000, 4, number))
        harness.write(raw_packet(60).replace(bytes([10, 0, 0, 2]), bytes([10, 5, 0, 1])))
        harness.plane.attach_tun(harness.tun_end.fileno(), vnet_hdr_len=10)
        harness.until(lambda: harness.counter("tx_datagrams") > 0 and threads_sleep(), "blocked")
        assert harness.counter("tx_datagrams") < 30
        assert four.is_silent()
        for counter in range(30):
            assert wire.recv(1 << 16) == six.expect(counter, raw_packet(1000, 4, counter))
        assert four.open().counter == 0
    socket_end.close()
    wire.close()
