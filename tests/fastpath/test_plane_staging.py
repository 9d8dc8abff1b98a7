"""Outbound: packets that wait for a session (the kernel's staged packets: 128 a peer, the oldest dropped)."""

from dataclasses import replace

import pytest

from pywg._fastpath import HANDSHAKE_WANTED, now
from tests.fastpath.packets import Tcp, Udp, cut, gso_vnet
from tests.fastpath.plane_harness import Far, PlaneHarness, Raw, pad, raw_packet
from tests.paper import STAGED_PACKETS


def numbered(number: int, length: int = 60) -> bytes:
    return Raw(payload=number.to_bytes(4, "big") + bytes(length - 24)).build()


def stage(harness: PlaneHarness, count: int, first: int = 0) -> list[bytes]:
    """Writes numbered packets and waits until the plane has them all."""
    seen = harness.counter("tx_packets")
    packets = [numbered(first + number) for number in range(count)]
    for packet in packets:
        harness.write(packet)
    harness.until(lambda: harness.counter("tx_packets") == seen + count, "all staged")
    return packets


def begin_session(harness: PlaneHarness, far: Far) -> None:
    far.install()
    harness.plane.use_keypair(far.peer, far.local_index)


@pytest.mark.parametrize("count", [1, STAGED_PACKETS - 1, STAGED_PACKETS, STAGED_PACKETS + 1, 3 * STAGED_PACKETS])
def test_newest_128_are_kept_in_order(count: int) -> None:
    with PlaneHarness() as harness:
        far = Far(harness, session=False)
        packets = stage(harness, count)
        harness.heard(1, HANDSHAKE_WANTED)
        harness.counted(tx_staged_dropped=max(0, count - STAGED_PACKETS), tx_datagrams=0)
        assert far.is_silent()
        begin_session(harness, far)
        assert harness.plane.send_staged(1)
        kept = packets[-STAGED_PACKETS:]
        assert [far.receive() for _ in kept] == [far.expect(i, packet) for i, packet in enumerate(kept)]
        assert harness.plane.send_staged(1)  # nothing is left
        harness.write(raw_packet(99))
        assert far.receive() == far.expect(len(kept), raw_packet(99))


def test_keepalive_is_what_is_staged() -> None:
    """The kernel's wg_packet_send_keepalive: an empty packet only where nothing waits."""
    with PlaneHarness() as harness:
        far = Far(harness, session=False)
        packets = stage(harness, 3)
        begin_session(harness, far)
        assert harness.plane.send_keepalive(1)
        assert [far.receive() for _ in packets] == [far.expect(i, packet) for i, packet in enumerate(packets)]
        assert harness.plane.send_keepalive(1)
        assert far.receive() == far.expect(3, b"")


def test_next_packet_goes_behind_what_is_staged() -> None:
    with PlaneHarness() as harness:
        far = Far(harness, session=False)
        packets = stage(harness, 20)
        begin_session(harness, far)
        packets += [numbered(1000 + i) for i in range(5)]
        for packet in packets[20:]:
            harness.write(packet)
        assert [far.receive() for _ in packets] == [far.expect(i, packet) for i, packet in enumerate(packets)]


def test_superframe_goes_behind_what_is_staged() -> None:
    big = Tcp(payload=bytes(20000))
    with PlaneHarness() as harness:
        far = Far(harness, session=False)
        packets = stage(harness, 20)
        begin_session(harness, far)
        harness.write(big.unfinished(), gso_vnet(big, 1000))
        packets += cut(big, 1000)
        assert [far.receive() for _ in packets] == [far.expect(i, packet) for i, packet in enumerate(packets)]


@pytest.mark.parametrize(
    ("mtu", "staged", "behind", "superframe"),
    [(1420, [1008] * 128, [1008] + [1057] * 60, 64), (65000, [65000] * 2, [2000, 60000, 65000], 0)],
    ids=["many-small", "no-more-may-be-staged"],
)
def test_batch_has_room_for_what_is_read_behind_what_was_staged(
    mtu: int, staged: list[int], behind: list[int], superframe: int
) -> None:
    """Both fill one batch, in whose memory there is so much room and no more: a sanitizer watches its end.

    So much comes at once that the longest read from the TUN follows packets that were staged.
    """
    big = Udp(payload=bytes(superframe * 1023))
    with PlaneHarness(mtu=mtu, staged_bytes=131072) as harness:
        far = Far(harness, session=False)
        packets = [numbered(number, length) for number, length in enumerate(staged)]
        for packet in packets:
            harness.write(packet)
        harness.until(lambda: harness.counter("tx_packets") == len(staged), "all staged")
        harness.plane.detach_tun()
        begin_session(harness, far)
        for packet in (numbered(1000 + number, length) for number, length in enumerate(behind)):
            harness.write(packet)
            packets.append(packet)
        if superframe:
            harness.write(big.unfinished(), gso_vnet(big, 1023))
            packets += cut(big, 1023)
        # One packet is one too many to be staged: the oldest of so many goes, or the newest of so large ones.
        del packets[0 if mtu == 1420 else len(staged)]
        harness.plane.attach_tun(harness.tun_end.fileno(), vnet_hdr_len=harness.vnet_hdr_len, uso=True)
        harness.until(lambda: harness.counter("tx_packets") == len(staged) + len(behind) + bool(superframe), "all read")
        harness.counted(tx_datagrams=len(packets), tx_staged_dropped=1)
        arrived = 0
        while not far.is_silent():  # the socket's buffer may have been too small for some
            opened = far.open()
            assert opened.text == pad(packets[opened.counter], mtu)
            arrived += 1
        assert arrived > 0


def test_what_is_staged_asks_for_a_handshake_again_when_it_is_to_be_sent() -> None:
    with PlaneHarness() as harness:
        Far(harness, session=False)
        assert not harness.plane.send_staged(1)
        harness.drain()
        assert not harness.flags_of(1) & HANDSHAKE_WANTED, "nothing is staged"
        harness.write(raw_packet(60))
        harness.heard(1, HANDSHAKE_WANTED)
        harness.forget()
        assert not harness.plane.send_staged(1)
        harness.heard(1, HANDSHAKE_WANTED)


def test_superframe_is_staged_as_its_segments() -> None:
    big = Tcp(payload=bytes(range(256)) * 200)
    with PlaneHarness() as harness:
        far = Far(harness, session=False)
        packets = stage(harness, 100)
        harness.write(big.unfinished(), gso_vnet(big, 900))
        packets += cut(big, 900)
        harness.counted(tx_staged_dropped=len(packets) - STAGED_PACKETS)
        begin_session(harness, far)
        assert harness.plane.send_staged(1)
        kept = packets[-STAGED_PACKETS:]
        assert [far.receive() for _ in kept] == [far.expect(i, packet) for i, packet in enumerate(kept)]


def test_nothing_can_be_sent_without_a_session() -> None:
    with PlaneHarness() as harness:
        far = Far(harness, session=False)
        stage(harness, 2)
        assert not harness.plane.send_staged(1)
        assert not harness.plane.send_keepalive(1)
        far.install()
        assert not harness.plane.send_staged(1)  # it opens only: not confirmed, or not chosen yet
        assert far.is_silent()
        harness.plane.use_keypair(1, far.local_index)
        assert harness.plane.send_staged(1)
        assert far.open().counter == 0


def test_without_a_keypair_in_use_packets_wait_again() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        harness.plane.use_keypair(1, None)
        [packet] = stage(harness, 1)
        harness.heard(1, HANDSHAKE_WANTED)
        harness.plane.use_keypair(1, far.local_index)
        assert harness.plane.send_staged(1)
        assert far.receive() == far.expect(0, packet)


def until_wanted_again() -> int:
    """How many packets it takes. Not before 250 ms."""
    with PlaneHarness() as harness:
        Far(harness, session=False)
        before = now()
        stage(harness, 1)
        harness.heard(1, HANDSHAKE_WANTED)
        harness.forget()
        sent = 1
        while not harness.flags_of(1) & HANDSHAKE_WANTED:
            assert now() - before < 10
            stage(harness, 1, sent)
            sent += 1
            harness.drain()
        assert now() - before >= 0.25
        return sent


def test_handshake_is_wanted_again_only_after_250_ms() -> None:
    """Between two there is one that asks for none, unless the machine held the test up for as long: not each time."""
    assert any(until_wanted_again() > 2 for _ in range(20))


@pytest.mark.parametrize("change", ["endpoint", "keypair"])
def test_handshake_is_wanted_at_once_after_a_change(change: str) -> None:
    """What failed there may work here; and a session that ends has nothing to do with the one asked for before."""
    with PlaneHarness() as harness:
        Far(harness, session=False)
        stage(harness, 1)
        harness.heard(1, HANDSHAKE_WANTED)
        harness.forget()
        if change == "endpoint":
            harness.plane.set_endpoint(1, harness.plane.endpoint(1))
        else:
            harness.plane.use_keypair(1, None)
        stage(harness, 1)
        harness.heard(1, HANDSHAKE_WANTED)


def test_drop_staged_counts_and_empties() -> None:
    with PlaneHarness() as harness:
        far = Far(harness, session=False)
        stage(harness, 50)
        harness.plane.drop_staged(1)
        harness.counted(tx_staged_dropped=50)
        begin_session(harness, far)
        assert harness.plane.send_staged(1)
        harness.write(raw_packet(99))
        assert far.receive() == far.expect(0, raw_packet(99))
        harness.plane.drop_staged(1)
        harness.counted(tx_staged_dropped=50)


def test_removing_the_peer_drops_what_it_had_staged() -> None:
    with PlaneHarness() as harness:
        Far(harness, session=False)
        stage(harness, 50)
        harness.plane.remove_peer(1)
        harness.counted(tx_staged_dropped=50)


@pytest.mark.known_bug("Staged packets exhaust")
def test_peers_do_not_take_each_others_room() -> None:
    """Known bug elsewhere: staged packets of many peers exhausted a pool, and then nobody could send."""
    with PlaneHarness() as harness:
        fars = [Far(harness, peer, prefixes=[(bytes([10, 2, peer, 0]), 24)], session=False) for peer in range(50)]

        def to_peer(peer: int, number: int) -> bytes:
            return Raw(addresses=(bytes(4), bytes([10, 2, peer, 1])), payload=number.to_bytes(4, "big") * 40).build()

        for number in range(140):
            for peer in range(0, 50, 7):
                harness.write(to_peer(peer, number))
        lively = Far(harness, 99)
        harness.write(raw_packet(60))
        assert lively.receive() == lively.expect(0, raw_packet(60))
        harness.counted(tx_staged_dropped=12 * 8)
        for peer in range(0, 50, 7):
            begin_session(harness, fars[peer])
            assert harness.plane.send_staged(peer)
            kept = [fars[peer].receive() for _ in range(STAGED_PACKETS)]
            assert kept == [fars[peer].expect(i, to_peer(peer, 12 + i)) for i in range(STAGED_PACKETS)]


@pytest.mark.known_bug("Staged packets exhaust")
@pytest.mark.known_bug("Memory grows without bound under load")
@pytest.mark.parametrize("mib", [1, 16])
def test_memory_of_all_staged_packets_has_a_ceiling(mib: int) -> None:
    """Known bug elsewhere: memory grew without bound. So much for all; what does not fit is dropped and counted."""
    with PlaneHarness(mtu=65000, staged_bytes=mib << 20) as harness:
        assert harness.plane.memory()["staged_packets"] == mib << 20
        for peer in range(3):
            Far(harness, peer, prefixes=[(bytes([10, 3, peer, 0]), 24)], session=False)
        for peer in range(3):
            packet = Raw(addresses=(bytes(4), bytes([10, 3, peer, 1])), payload=bytes(60000)).build()
            for _ in range(STAGED_PACKETS):
                harness.write(packet)
        harness.until(lambda: harness.counter("tx_packets") == 3 * STAGED_PACKETS, "all written")
        fits = (mib << 20) // len(packet)
        assert harness.counter("tx_staged_dropped") == 3 * STAGED_PACKETS - fits
        far = Far(harness, 9)
        harness.write(raw_packet(60))
        assert far.receive() == far.expect(0, raw_packet(60))
        harness.plane.remove_peer(0)
        seen = harness.counter("tx_staged_dropped")
        harness.write(replace(Raw(payload=bytes(60000)), addresses=(bytes(4), bytes([10, 3, 2, 1]))).build())
        harness.until(lambda: harness.counter("tx_packets") == 3 * STAGED_PACKETS + 2, "one more")
        assert harness.counter("tx_staged_dropped") == seen  # there is room again
