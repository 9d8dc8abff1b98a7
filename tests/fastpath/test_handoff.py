"""While there is little to send, the thread that receives sends as well (pywg/dataplane/threads/handoff.pyx)."""

import random
from collections.abc import Iterator

import pytest

from tests.fastpath.own_process import thread_status
from tests.fastpath.packets import Udp, cut, gso_vnet
from tests.fastpath.plane_harness import Far, PlaneHarness, raw_packet, reply, tun_pair

SUPERFRAME = Udp(payload=random.Random(1).randbytes(60000))
RECEIVE_BATCH = 16
PRESSED_BATCHES = 32


@pytest.fixture(params=(0, 3), ids="helpers{}".format)
def harness(request: pytest.FixtureRequest) -> Iterator[PlaneHarness]:
    with PlaneHarness(helpers=request.param) as one:
        yield one


def is_lent(harness: PlaneHarness) -> bool:
    counters = harness.plane.counters()
    return counters["tx_lent"] == counters["tx_returned"] + 1


def lent(harness: PlaneHarness, far: Far) -> int:
    """A packet now and then, until the other thread has it; returns how many, all of them received."""
    packets = 0

    def one_more() -> bool:
        nonlocal packets
        if is_lent(harness):
            return True
        harness.write(raw_packet(60))
        far.open()
        packets += 1
        return False

    harness.until(one_more, "lent")
    return packets


def wake_ups(thread: str) -> str:
    return thread_status()[thread]["voluntary_ctxt_switches"]


def sleeps(thread: str) -> bool:
    return thread_status()[thread]["State"].startswith("S")


def test_answer_leaves_without_another_thread(harness: PlaneHarness) -> None:
    far = Far(harness)
    counter = lent(harness, far)
    harness.until(lambda: sleeps("pywg-tx"), "asleep")  # it has lent first, and going to sleep is a switch, too
    before = wake_ups("pywg-tx")
    for number in range(50):
        far.send(reply(number))
        harness.read(1)
        harness.write(raw_packet(100, 4, number))
        assert far.open().counter == counter + number
    assert wake_ups("pywg-tx") == before
    assert is_lent(harness)


def test_heavy_batch_goes_back_to_its_thread(harness: PlaneHarness) -> None:
    far = Far(harness)
    counter = lent(harness, far)
    harness.write(SUPERFRAME.unfinished(), gso_vnet(SUPERFRAME, 1300))
    segments = cut(SUPERFRAME, 1300)
    for number, segment in enumerate(segments, counter):
        assert far.receive() == far.expect(number, segment)
    harness.counted(tx_returned=1)
    lent(harness, far)
    harness.counted(tx_lent=2, tx_returned=1)


def test_order_holds_from_thread_to_thread(harness: PlaneHarness) -> None:
    far = Far(harness)
    counter = lent(harness, far)
    choose = random.Random(2)
    for _ in range(30):
        if choose.random() < 0.3:
            counter += lent(harness, far)
        light = [raw_packet(choose.randrange(20, 1400), 4, number) for number in range(choose.randrange(4))]
        for packet in light:
            harness.write(packet)
        harness.write(SUPERFRAME.unfinished(), gso_vnet(SUPERFRAME, 1300))
        last = raw_packet(choose.randrange(20, 1400))
        harness.write(last)
        for packet in [*light, *cut(SUPERFRAME, 1300), last]:
            assert far.receive() == far.expect(counter, packet)
            counter += 1
    assert harness.counter("tx_returned") > 1


def test_thread_with_enough_to_receive_gives_it_back(harness: PlaneHarness) -> None:
    far = Far(harness)
    lent(harness, far)
    harness.plane.detach_sockets()
    for _ in range((PRESSED_BATCHES + 4) * RECEIVE_BATCH):
        far.send_datagram(b"?")
    harness.plane.attach_sockets(harness.sockets.fd4, harness.sockets.fd6)
    harness.counted(tx_returned=1)
    harness.write(raw_packet(60))
    far.open()


def test_full_socket_is_waited_for_by_its_own_thread(harness: PlaneHarness) -> None:
    """Few packets, none of them heavy: it is the socket that ends the lending."""
    far = Far(harness)
    first = lent(harness, far)
    socket_end, wire = tun_pair(1)
    with socket_end, wire:
        harness.plane.attach_sockets(socket_end.fileno(), harness.sockets.fd6)
        packets = 0

        def ended() -> bool:
            return harness.counter("tx_returned") > 0

        def taken_or_ended() -> bool:
            return harness.counter("tx_packets") == first + packets or ended()

        while not ended():
            harness.write(raw_packet(1000, 4, packets))
            packets += 1
            # The one behind a full socket is not read, and the lending ends a moment after the socket was full.
            harness.until(taken_or_ended, "the packet is taken, or the lending has ended")
        for number in range(packets):
            assert wire.recv(1 << 16) == far.expect(first + number, raw_packet(1000, 4, number))
        harness.plane.detach_sockets()


def test_tun_that_is_gone_and_another_one(harness: PlaneHarness) -> None:
    far = Far(harness)
    counter = lent(harness, far)
    harness.plane.detach_tun()
    harness.write(raw_packet(60))
    assert far.is_silent()
    other, ours = tun_pair()
    with other, ours:
        harness.plane.attach_tun(other.fileno(), vnet_hdr_len=0)
        ours.send(raw_packet(90))
        assert far.receive() == far.expect(counter, raw_packet(90))
        harness.plane.detach_tun()
    harness.plane.attach_tun(harness.tun_end.fileno(), vnet_hdr_len=harness.vnet_hdr_len)
    assert far.receive() == far.expect(counter + 1, raw_packet(60))


def test_control_plane_among_both_threads(harness: PlaneHarness) -> None:
    """Peers come and go, and keepalives are sent, while the direction changes hands: nothing is lost, all in order."""
    far = Far(harness)
    sent = lent(harness, far)
    for number in range(60):
        if number % 3 == 0:
            harness.write(SUPERFRAME.unfinished(), gso_vnet(SUPERFRAME, 1300))
            sent += len(cut(SUPERFRAME, 1300))
        harness.write(raw_packet(60))
        harness.plane.add_peer(2)
        while not harness.plane.send_keepalive(1):
            pass
        harness.plane.remove_peer(2)
        sent += 2
        if number % 10 == 9:
            sent += lent(harness, far)
    first = far.open().counter
    assert [far.open().counter for _ in range(first + 1, sent)] == list(range(first + 1, sent))
    assert harness.counter("tx_returned") > 1


def test_thread_that_has_work_for_helpers_gives_it_back() -> None:
    with PlaneHarness(helpers=3) as harness:
        far = Far(harness)
        lent(harness, far)
        harness.plane.detach_sockets()
        for number in range(2 * RECEIVE_BATCH):
            far.send(reply(number))
        harness.plane.attach_sockets(harness.sockets.fd4, harness.sockets.fd6)
        harness.counted(tx_returned=1)
        harness.write(raw_packet(60))
        far.open()
