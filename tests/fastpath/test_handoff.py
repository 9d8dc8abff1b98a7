"""While there is little to send, the thread that receives sends as well (pywg/dataplane/threads/handoff.pyx)."""

import random
from collections.abc import Iterator

import pytest

from tests.fastpath.own_process import thread_status
from tests.fastpath.packets import Udp, cut, gso_vnet
from tests.fastpath.plane_harness import Bed, Far, raw_packet, reply, tun_pair

SUPERFRAME = Udp(payload=random.Random(1).randbytes(60000))
RECEIVE_BATCH = 16
PRESSED_BATCHES = 32


@pytest.fixture(params=(0, 3), ids="helpers{}".format)
def bed(request: pytest.FixtureRequest) -> Iterator[Bed]:
    with Bed(helpers=request.param) as one:
        yield one


def is_lent(bed: Bed) -> bool:
    counters = bed.plane.counters()
    return counters["tx_lent"] == counters["tx_returned"] + 1


def lent(bed: Bed, far: Far) -> int:
    """A packet now and then, until the other thread has it; returns how many, all of them received."""
    packets = 0

    def one_more() -> bool:
        nonlocal packets
        if is_lent(bed):
            return True
        bed.write(raw_packet(60))
        far.open()
        packets += 1
        return False

    bed.until(one_more, "lent")
    return packets


def wake_ups(thread: str) -> str:
    return thread_status()[thread]["voluntary_ctxt_switches"]


def test_answer_leaves_without_another_thread(bed: Bed) -> None:
    far = Far(bed)
    counter = lent(bed, far)
    before = wake_ups("pywg-tx")
    for number in range(50):
        far.send(reply(number))
        bed.read(1)
        bed.write(raw_packet(100, 4, number))
        assert far.open().counter == counter + number
    assert wake_ups("pywg-tx") == before
    assert is_lent(bed)


def test_heavy_batch_goes_back_to_its_thread(bed: Bed) -> None:
    far = Far(bed)
    counter = lent(bed, far)
    bed.write(SUPERFRAME.unfinished(), gso_vnet(SUPERFRAME, 1300))
    segments = cut(SUPERFRAME, 1300)
    for number, segment in enumerate(segments, counter):
        assert far.receive() == far.expect(number, segment)
    bed.counted(tx_returned=1)
    lent(bed, far)
    bed.counted(tx_lent=2, tx_returned=1)


def test_order_holds_from_thread_to_thread(bed: Bed) -> None:
    far = Far(bed)
    counter = lent(bed, far)
    choose = random.Random(2)
    for _ in range(30):
        if choose.random() < 0.3:
            counter += lent(bed, far)
        light = [raw_packet(choose.randrange(20, 1400), 4, number) for number in range(choose.randrange(4))]
        for packet in light:
            bed.write(packet)
        bed.write(SUPERFRAME.unfinished(), gso_vnet(SUPERFRAME, 1300))
        last = raw_packet(choose.randrange(20, 1400))
        bed.write(last)
        for packet in [*light, *cut(SUPERFRAME, 1300), last]:
            assert far.receive() == far.expect(counter, packet)
            counter += 1
    assert bed.counter("tx_returned") > 1


def test_thread_with_enough_to_receive_gives_it_back(bed: Bed) -> None:
    far = Far(bed)
    lent(bed, far)
    bed.plane.detach_sockets()
    for _ in range((PRESSED_BATCHES + 4) * RECEIVE_BATCH):
        far.send_datagram(b"?")
    bed.plane.attach_sockets(bed.sockets.fd4, bed.sockets.fd6)
    bed.counted(tx_returned=1)
    bed.write(raw_packet(60))
    far.open()


def test_full_socket_is_waited_for_by_its_own_thread(bed: Bed) -> None:
    """Few packets, none of them heavy: it is the socket that ends the lending."""
    far = Far(bed)
    first = lent(bed, far)
    socket_end, wire = tun_pair(1)
    with socket_end, wire:
        bed.plane.attach_sockets(socket_end.fileno(), bed.sockets.fd6)
        packets = 0
        while bed.counter("tx_returned") == 0:
            bed.write(raw_packet(1000, 4, packets))
            packets += 1
            bed.counted(tx_packets=first + packets)
        for number in range(packets):
            assert wire.recv(1 << 16) == far.expect(first + number, raw_packet(1000, 4, number))
        bed.plane.detach_sockets()


def test_tun_that_is_gone_and_another_one(bed: Bed) -> None:
    far = Far(bed)
    counter = lent(bed, far)
    bed.plane.detach_tun()
    bed.write(raw_packet(60))
    assert far.is_silent()
    other, ours = tun_pair()
    with other, ours:
        bed.plane.attach_tun(other.fileno(), vnet_hdr_len=0)
        ours.send(raw_packet(90))
        assert far.receive() == far.expect(counter, raw_packet(90))
        bed.plane.detach_tun()
    bed.plane.attach_tun(bed.tun_end.fileno(), vnet_hdr_len=bed.vnet_hdr_len)
    assert far.receive() == far.expect(counter + 1, raw_packet(60))


def test_control_plane_among_both_threads(bed: Bed) -> None:
    """Peers come and go, and keepalives are sent, while the direction changes hands: nothing is lost, all in order."""
    far = Far(bed)
    sent = lent(bed, far)
    for number in range(60):
        if number % 3 == 0:
            bed.write(SUPERFRAME.unfinished(), gso_vnet(SUPERFRAME, 1300))
            sent += len(cut(SUPERFRAME, 1300))
        bed.write(raw_packet(60))
        bed.plane.add_peer(2)
        while not bed.plane.send_keepalive(1):
            pass
        bed.plane.remove_peer(2)
        sent += 2
        if number % 10 == 9:
            sent += lent(bed, far)
    first = far.open().counter
    assert [far.open().counter for _ in range(first + 1, sent)] == list(range(first + 1, sent))
    assert bed.counter("tx_returned") > 1


def test_thread_that_has_work_for_helpers_gives_it_back() -> None:
    with Bed(helpers=3) as bed:
        far = Far(bed)
        lent(bed, far)
        bed.plane.detach_sockets()
        for number in range(2 * RECEIVE_BATCH):
            far.send(reply(number))
        bed.plane.attach_sockets(bed.sockets.fd4, bed.sockets.fd6)
        bed.counted(tx_returned=1)
        bed.write(raw_packet(60))
        far.open()
