"""Helpers beside the two threads: nothing overtakes, nothing is lost, and no change of the control plane meets one.

Both directions are filled while the plane may not read, and then let go: so that many batches are under way at once,
large ones before small ones, which are done sooner. The outer socket is a SOCK_SEQPACKET pair where nothing may be
lost: it takes the same calls, and says EAGAIN when it is full.
"""

import itertools
import random
import select
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pytest

from pywg._fastpath import CONFIRMED, now
from tests.fastpath.packets import Udp, cut, gso_vnet
from tests.fastpath.plane_harness import (
    PATIENCE,
    Far,
    PlaneHarness,
    Raw,
    inbound,
    key_of,
    pad,
    raw_packet,
    seal,
    tun_pair,
    unseal,
)

MANY = pytest.mark.parametrize("helpers", [1, 2, 3, 5, 8])
MANY_OUT = pytest.mark.parametrize(
    ("helpers", "turns"),
    [*((helpers, False) for helpers in (1, 2, 3, 5, 8)), *((helpers, True) for helpers in (1, 2, 5, 14))],
)
"""`turns`: each thread sends what it has sealed."""
PEERS = 5
PREFIX = bytes([10, 7])
GSO_SIZE = 1300


def address(peer: int) -> bytes:
    """The inner address of a peer."""
    return PREFIX + bytes([peer, 1])


def numbered(number: int, peer: int, length: int) -> Raw:
    """An outbound packet that says which one it is."""
    body = number.to_bytes(4, "big") + random.Random(number).randbytes(length)
    return Raw(addresses=(bytes([10, 0, 0, 1]), address(peer)), payload=body)


def superframe(number: int, peer: int, length: int) -> Udp:
    body = number.to_bytes(4, "big") + random.Random(number).randbytes(length)
    return Udp(addresses=(bytes([10, 0, 0, 1]), address(peer)), payload=body)


class Wire:
    """A harness with several peers, all behind one lossless outer socket, whose other end is `wire`."""

    def __init__(self, helpers: int, *, turns: bool, buffer_len: int = 1 << 20) -> None:
        self.harness = PlaneHarness(udp_gso=False, helpers=helpers, turns=turns)
        self.socket_end, self.wire = tun_pair(buffer_len)
        self.wire.settimeout(PATIENCE)
        self.fars = {
            peer: Far(self.harness, peer, prefixes=[(address(peer)[:3] + b"\0", 24)]) for peer in range(1, PEERS + 1)
        }
        self.attach()

    def attach(self) -> None:
        self.harness.plane.attach_sockets(self.socket_end.fileno(), -1)

    def pause(self) -> None:
        """The TUN is not read until `resume`."""
        self.harness.plane.detach_tun()

    def resume(self) -> None:
        self.harness.plane.attach_tun(self.harness.tun_end.fileno(), vnet_hdr_len=self.harness.vnet_hdr_len, uso=True)

    def is_full(self) -> bool:
        """Whether the TUN takes no more."""
        return not select.select([], [self.harness.tun], [], 0)[1]

    def close(self) -> None:
        self.harness.close()
        self.socket_end.close()
        self.wire.close()


@contextmanager
def wired(helpers: int, *, turns: bool, buffer_len: int = 1 << 20) -> Iterator[Wire]:
    one = Wire(helpers, turns=turns, buffer_len=buffer_len)
    try:
        yield one
    finally:
        one.close()


def load(seed: int, count: int) -> list[tuple[int, Raw | Udp]]:
    """(peer, frame): superframes of up to 60 KB, runs of small packets, and all sizes between, of several peers."""
    chance = random.Random(seed)
    frames: list[tuple[int, Raw | Udp]] = []
    while len(frames) < count:
        kind = chance.random()
        peer = chance.randrange(1, PEERS + 1)
        if kind < 0.3:
            frames.append((peer, superframe(len(frames), peer, chance.randrange(30_000, 60_000))))
        elif kind < 0.5:
            frames += [(peer, numbered(len(frames) + i, peer, 20)) for i in range(70)]
        else:
            frames.append((peer, numbered(len(frames), peer, chance.randrange(1, 1300))))
    return frames


def datagrams(frame: Raw | Udp) -> list[bytes]:
    """The inner packets that a frame stands for."""
    return cut(frame, GSO_SIZE) if isinstance(frame, Udp) else [frame.build()]


def give(harness: PlaneHarness, frames: Iterable[Raw | Udp]) -> None:
    for frame in frames:
        if isinstance(frame, Udp):
            harness.write(frame.unfinished(), gso_vnet(frame, GSO_SIZE))
        else:
            harness.write(frame.build())


# ---- outbound


@pytest.mark.known_bug("Several TUN readers")
@MANY_OUT
def test_what_is_sent_keeps_its_order_and_every_byte(helpers: int, turns: bool) -> None:
    """Of all peers together: the order is that of the TUN, and each peer's counters have no gap."""
    with wired(helpers, turns=turns) as one:
        frames = load(helpers, 3000)
        counters = {peer: itertools.count() for peer in one.fars}
        wanted = [(peer, inner) for peer, frame in frames for inner in datagrams(frame)]

        writer = threading.Thread(target=give, args=(one.harness, [frame for _, frame in frames]))
        one.pause()
        writer.start()
        for number, (peer, inner) in enumerate(wanted):
            if number % 1000 == 0:
                one.pause()
                one.harness.until(lambda: not writer.is_alive() or one.is_full(), "enough to read at once")
                one.resume()
            far = one.fars[peer]
            assert one.wire.recv(1 << 16) == far.expect(next(counters[peer]), inner)
        writer.join()
        one.harness.counted(tx_datagrams=len(wanted), tx_packets=len(frames), tx_send_error=0)
        assert one.harness.counter("tx_shared") > 0
        assert (one.harness.counter("tx_turns") > 0) == turns  # the first batch that is left to others waits, at least
        for peer, far in one.fars.items():
            sent = sum(len(far.expect(0, inner)) for to, inner in wanted if to == peer)
            assert one.harness.plane.peer_stats(peer)[0] == sent


@MANY_OUT
def test_full_socket_blocks_the_line_and_loses_nothing(helpers: int, turns: bool) -> None:
    """The socket holds a few datagrams: what is sealed waits in its place, and the TUN is read no further."""
    with wired(helpers, turns=turns, buffer_len=1) as one:
        one.pause()
        frames = [numbered(number, 1 + number % PEERS, number % 1300) for number in range(600)]
        writer = threading.Thread(target=give, args=(one.harness, frames))
        writer.start()
        one.resume()
        counters = {peer: itertools.count() for peer in one.fars}
        one.harness.until(lambda: one.harness.counter("tx_datagrams") > 0, "the first")
        for number, frame in enumerate(frames):
            peer = 1 + number % PEERS
            if number % 100 == 0:
                one.harness.plane.set_endpoint(peer, one.harness.plane.endpoint(peer))
            assert one.wire.recv(1 << 16) == one.fars[peer].expect(next(counters[peer]), frame.build())
        writer.join()
        one.harness.counted(tx_datagrams=len(frames), tx_send_error=0)


@MANY_OUT
def test_peer_is_removed_with_its_packets_on_their_way(helpers: int, turns: bool) -> None:
    """What was sealed is sent, nothing is sent twice, and what comes later has no peer."""
    for round_ in range(15):
        with wired(helpers, turns=turns, buffer_len=1 if round_ % 3 == 0 else 1 << 20) as one:
            one.pause()
            for number in range(120):
                give(one.harness, [numbered(number, 1 + number % PEERS, 700)])
            one.resume()
            one.harness.until(lambda: one.harness.counter("tx_packets") > 0, "on their way")
            gone = 1 + round_ % PEERS
            keys = {far.remote_index: far for far in one.fars.values()}
            one.harness.plane.remove_peer(gone)
            expected = dict.fromkeys(keys, 0)
            received = 0
            while received + one.harness.counter("tx_no_peer") < 120:
                if select.select([one.wire], [], [], 0.01)[0]:
                    datagram = one.wire.recv(1 << 16)
                    far = keys[int.from_bytes(datagram[4:8], "little")]
                    assert unseal(far.key, datagram).counter == expected[far.remote_index]
                    expected[far.remote_index] += 1
                    received += 1
            assert {expected[far.remote_index] for peer, far in one.fars.items() if peer != gone} == {24}
            assert expected[one.fars[gone].remote_index] + one.harness.counter("tx_no_peer") == 24


@MANY_OUT
def test_new_sockets_take_what_waits(helpers: int, turns: bool) -> None:
    """Swapped again and again under load: each datagram leaves once, by one socket, in order."""
    with wired(helpers, turns=turns, buffer_len=1) as one:
        frames = [numbered(number, 1, 900) for number in range(800)]
        writer = threading.Thread(target=give, args=(one.harness, frames))
        one.pause()
        writer.start()
        one.resume()
        number = 0
        while number < len(frames):
            for _ in range(random.Random(number).randrange(1, 60)):
                if number < len(frames):
                    assert one.wire.recv(1 << 16) == one.fars[1].expect(number, frames[number].build())
                    number += 1
            old = one.socket_end, one.wire
            one.socket_end, one.wire = tun_pair(1)
            one.wire.settimeout(PATIENCE)
            one.attach()
            old[0].close()
            while number < len(frames) and select.select([old[1]], [], [], 0)[0] and (datagram := old[1].recv(1 << 16)):
                assert datagram == one.fars[1].expect(number, frames[number].build())
                number += 1
            old[1].close()
        writer.join()
        one.harness.counted(tx_datagrams=len(frames), tx_send_error=0)


@MANY_OUT
def test_keys_are_changed_in_mid_stream(helpers: int, turns: bool) -> None:
    """Counters of each key start at 0 and have no gap; no packet goes out under a key that was left."""
    with wired(helpers, turns=turns) as one:
        far = one.fars[1]
        keys = {far.remote_index: far.key}
        frames = [numbered(number, 1, 1000) for number in range(2000)]
        writer = threading.Thread(target=give, args=(one.harness, frames))
        received: list[tuple[int, int, bytes]] = []

        def read() -> None:
            while len(received) < len(frames):
                datagram = one.wire.recv(1 << 16)
                index = int.from_bytes(datagram[4:8], "little")
                opened = unseal(keys[index], datagram)
                received.append((index, opened.counter, opened.text))

        reader = threading.Thread(target=read)
        writer.start()
        reader.start()
        indices = [far.remote_index]
        for number in range(30):
            local, remote, key = 0x500 + number, 0x900 + number, key_of("switch", number)
            keys[remote] = key
            one.harness.plane.install_keypair(
                1, local, remote, key, key_of(number), initiator=True, created_at=now(), confirmed=True
            )
            one.harness.plane.use_keypair(1, local)
            one.harness.plane.retire_keypair(local - 1 if number else far.local_index)
            indices.append(remote)
            one.harness.until(lambda: len(received) >= len(frames) * len(indices) // 40, "traffic")
        writer.join()
        reader.join()
        assert [text for _, _, text in received] == [pad(frame.build()) for frame in frames]
        assert [index for index, _ in itertools.groupby(received, key=lambda one: one[0])] == [
            index for index in indices if any(one[0] == index for one in received)
        ]
        for index in indices:
            counters = [counter for its, counter, _ in received if its == index]
            assert counters == list(range(len(counters)))


# ---- inbound


def by_peer(packets: Iterable[bytes]) -> dict[bytes, list[bytes]]:
    """Packets by their source: a flow each. Flows may take different lanes to the TUN."""
    found: dict[bytes, list[bytes]] = {}
    for packet in packets:
        found.setdefault(packet[12:16], []).append(packet)
    return found


@pytest.mark.known_bug("Several TUN readers")
@MANY
@pytest.mark.parametrize("trains", [False, True])
def test_what_is_received_keeps_its_order_and_every_byte(helpers: int, trains: bool) -> None:
    """Sent while the sockets are detached, so that one batch follows the other; replays and forgeries in between."""
    with PlaneHarness(helpers=helpers) as harness:
        fars = {peer: Far(harness, peer, prefixes=[(address(peer)[:3] + b"\0", 24)]) for peer in range(1, PEERS + 1)}
        chance = random.Random(helpers)
        number = forged = replayed = 0
        for _ in range(25):
            harness.plane.detach_sockets()
            packets: list[bytes] = []
            while len(packets) < (240 if trains else 120):
                peer = chance.randrange(1, PEERS + 1)
                size = chance.choice([20, 600, 1300])
                some = [inbound(numbered(number + i, peer, size)).build() for i in range(4 if trains else 1)]
                number += len(some)
                messages = [fars[peer].message(packet) for packet in some]
                if trains:
                    fars[1].send_train(messages)
                else:
                    fars[1].send_datagram(messages[0])
                packets += some
                if chance.random() < 0.1:
                    fars[1].send_datagram(messages[0])
                    replayed += 1
                if chance.random() < 0.1:
                    fars[1].send_datagram(messages[0][:-1] + bytes([messages[0][-1] ^ 1]))
                    forged += 1
            harness.plane.attach_sockets(harness.sockets.fd4, harness.sockets.fd6)
            assert by_peer(harness.read(len(packets))) == by_peer(packets)
        # A forged replay may be refused for either reason: helpers look at the tag first.
        harness.dropped(forged + replayed)
        harness.counted(rx_packets=number, rx_tun_error=0)
        assert harness.counter("rx_replayed") >= replayed
        assert harness.counter("rx_shared") > 0
        assert harness.tun_is_empty()


@pytest.mark.known_bug("Replay-counter data race")
@MANY
def test_a_replayed_burst_is_refused_to_the_last_message(helpers: int) -> None:
    """Every message three times, all of them on their way at once: each gets through once."""
    with PlaneHarness(helpers=helpers) as harness:
        far = Far(harness)
        wanted = [inbound(Raw(payload=number.to_bytes(4, "big") + bytes(300))).build() for number in range(150)]
        messages = [far.message(packet) for packet in wanted]
        harness.plane.detach_sockets()
        for datagram in messages + messages + messages:
            far.send_datagram(datagram)
        harness.plane.attach_sockets(harness.sockets.fd4, harness.sockets.fd6)
        assert harness.read(len(wanted)) == wanted
        harness.counted(rx_replayed=300, rx_packets=150, rx_forged=0)
        assert harness.tun_is_empty()


@MANY
def test_keypairs_and_peers_go_while_messages_of_theirs_are_opened(helpers: int) -> None:
    """Nothing is used after it was freed, and what is delivered is in order."""
    with PlaneHarness(helpers=helpers) as harness:
        for round_ in range(40):
            sent = harness.counter("rx_datagrams") + 100
            far = Far(harness, round_)
            harness.plane.detach_sockets()
            packets = [inbound(Raw(payload=n.to_bytes(4, "big") + bytes(1000))).build() for n in range(100)]
            for packet in packets:
                far.send(packet)
            harness.plane.attach_sockets(harness.sockets.fd4, harness.sockets.fd6)
            if round_ % 2:
                harness.plane.retire_keypair(far.local_index)
            harness.plane.remove_peer(round_)
            harness.counted(rx_datagrams=sent)
            harness.plane.set_mtu(1420)  # what was received is delivered when this returns
            assert harness.counter("rx_packets") + harness.counter("rx_unknown_index") == sent
            came: list[bytes] = []
            while not harness.tun_is_empty():
                came += harness.read_packets()
            assert came == packets[: len(came)]
            far.sock.close()
            harness.fars.remove(far)


@MANY
def test_answer_to_the_confirming_message_goes_out_under_the_new_key(helpers: int) -> None:
    """The message comes in a burst that helpers open; whoever sees its packet on the TUN may rely on the new key."""
    with PlaneHarness(helpers=helpers) as harness:
        far = Far(harness)
        for number in range(20):
            key, send_key = key_of("new", number), key_of("new back", number)
            local, remote = 0x700 + number, 0xB00 + number
            harness.plane.install_keypair(
                1, local, remote, key, send_key, initiator=False, created_at=now(), confirmed=False
            )
            packets = [inbound(Raw(payload=n.to_bytes(4, "big") + bytes(900))).build() for n in range(80)]
            harness.plane.detach_sockets()
            for counter, packet in enumerate(packets):
                far.send_datagram(seal(send_key, local, counter, pad(packet)))
            harness.plane.attach_sockets(harness.sockets.fd4, harness.sockets.fd6)
            first = harness.read_packets()
            harness.write(raw_packet(60))
            assert unseal(key, far.receive()).receiver_index == remote
            assert first + harness.read(len(packets) - len(first)) == packets
            harness.heard(1, CONFIRMED)
            harness.forget()
