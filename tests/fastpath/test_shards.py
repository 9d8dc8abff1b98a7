"""Shards: several threads read, and share peers, sessions and tables.

Each shard has a TUN and a socket of its own here, so the test says which thread gets what. What a kernel would never
steer so is what these tests do most: whoever gets a datagram, no counter seals or opens twice.
"""

import contextlib
import random
import select
import threading
import time
from collections import Counter, defaultdict

import pytest

from pywg._fastpath import HANDSHAKE_WANTED, Plane
from tests.fastpath.packets import Udp, gso_vnet
from tests.fastpath.plane_harness import (
    EVERYWHERE,
    MTU,
    PATIENCE,
    Far,
    Opened,
    PlaneHarness,
    addr_of,
    inbound,
    raw_packet,
    reply,
    unseal,
)
from tests.paper import REJECT_AFTER_MESSAGES

SHARDS = [2, 4]
HELPERS = [0, 2]
STAGED_MOST = 128
OTHERS = [(bytes([10, 8, 0, 0]), 16)]
both = pytest.mark.parametrize(("shards", "helpers"), [(2, 0), (2, 2), (4, 0), (8, 1)])


def numbered(number: int, length: int = 200) -> bytes:
    """An outbound packet that says which one it is."""
    packet = raw_packet(length)
    return packet[:-4] + number.to_bytes(4, "big")


def number_of(text: bytes, length: int = 200) -> int:
    return int.from_bytes(text[length - 4 : length], "big")


def everything(far: Far, count: int) -> list[Opened]:
    """The next `count` messages, each authentic."""
    return [far.open() for _ in range(count)]


@pytest.mark.parametrize("shards", [0, 3, 5, 16, -1])
def test_a_number_of_shards_that_there_is_not(shards: int) -> None:
    with pytest.raises(ValueError, match="1, 2, 4 or 8 shards"):
        Plane(shards=shards)


@both
def test_threads_of_all_shards_are_told(shards: int, helpers: int) -> None:
    with PlaneHarness(shards=shards, helpers=helpers) as harness:
        assert (harness.plane.shards, harness.plane.threads) == (shards, shards * (2 + helpers))
        first = harness.plane.heartbeats()
        assert len(first) == 2 * shards

        def beat() -> bool:
            return all(now > before for now, before in zip(harness.plane.heartbeats(), first, strict=True))

        harness.until(beat, "a round of each thread")
        one = Plane(helpers=helpers)
        buffers = one.memory()["tx_buffers"]
        one.close()
        assert (shards - 1) * buffers < harness.plane.memory()["tx_buffers"] <= shards * buffers


def test_another_number_of_descriptors_than_of_shards_changes_nothing() -> None:
    with PlaneHarness(shards=2) as harness:
        far = Far(harness)
        with pytest.raises(ValueError, match="3 descriptors for 2 shards"):
            harness.plane.attach_tun(harness.tun_end.fileno(), vnet_hdr_len=10, more=(0, 1))
        with pytest.raises(ValueError, match="1 queues for 2 shards"):
            harness.plane.attach_tun(harness.tun_end.fileno(), vnet_hdr_len=10)
        with pytest.raises(ValueError, match="3 descriptors for 2 shards"):
            harness.plane.attach_sockets(-1, -1, more=((0, 0), (1, 1)))
        with pytest.raises(TypeError):
            harness.plane.attach_tun(harness.tun_end.fileno(), vnet_hdr_len=10, more=("one",))  # type: ignore[arg-type]
        harness.write(numbered(1), shard=1)
        assert number_of(far.open().text) == 1


# ---- out


@both
def test_counters_of_one_peer_are_used_once(shards: int, helpers: int) -> None:
    """Superframes and packets for one peer from every TUN at once, each flow in its order."""
    rounds = 40
    with PlaneHarness(shards=shards, helpers=helpers) as harness:
        far = Far(harness, prefixes=EVERYWHERE)

        def feed(shard: int) -> None:
            for number in range(rounds):
                packet = Udp(payload=bytes([shard]) * 5 * 1000, ports=(shard, number))
                harness.write(packet.unfinished(), gso_vnet(packet, 1000), shard)
                harness.write(numbered(shard << 16 | number), shard=shard)

        feeders = [threading.Thread(target=feed, args=[shard]) for shard in range(shards)]
        for feeder in feeders:
            feeder.start()
        opened = everything(far, shards * rounds * 6)
        for feeder in feeders:
            feeder.join()
        assert sorted(one.counter for one in opened) == list(range(len(opened)))
        order: dict[int, list[int]] = defaultdict(list)
        for one in sorted(opened):
            if len(one.text) == 208:
                order[number_of(one.text) >> 16].append(number_of(one.text) & 0xFFFF)
        assert order == {shard: list(range(rounds)) for shard in range(shards)}
        assert far.is_silent()


def test_a_counter_that_is_used_twice_would_be_seen() -> None:
    """The control of the test above: the far end opens what it gets, whatever the counter."""
    with PlaneHarness(shards=2) as harness:
        far = Far(harness)
        harness.write(numbered(1), shard=1)
        datagram = far.receive()
        assert unseal(far.key, datagram) == unseal(far.key, datagram)


@both
def test_counters_of_all_shards_end_before_reject_after_messages(shards: int, helpers: int) -> None:
    """Each looks before it plans. What all have planned by then is sealed, each with a counter of its own."""
    first = REJECT_AFTER_MESSAGES - 8 * (2**12 + 128) - 600
    packet = Udp(payload=bytes(8 * 1000))
    rounds = 1280 // 8 // shards
    with PlaneHarness(shards=shards, helpers=helpers) as harness:
        far = Far(harness, prefixes=EVERYWHERE, session=False)
        far.install(first_counter=first)
        harness.plane.use_keypair(1, far.local_index)
        opened: list[Opened] = []

        def feed(shard: int) -> None:
            for _ in range(rounds):
                harness.write(packet.unfinished(), gso_vnet(packet, 1000), shard)

        def catch_up() -> None:
            while len(opened) < harness.counter("tx_datagrams"):
                opened.append(far.open())

        feeders = [threading.Thread(target=feed, args=[shard]) for shard in range(shards)]
        for feeder in feeders:
            feeder.start()
        while harness.counter("tx_packets") < shards * rounds:
            catch_up()
        for feeder in feeders:
            feeder.join()
        harness.plane.set_mtu(MTU)  # once it returns, helpers have sent what they had
        catch_up()
        harness.heard(1, HANDSHAKE_WANTED)
        assert 600 <= len(opened) < 1280
        assert sorted(one.counter for one in opened) == list(range(first, first + len(opened)))
        assert far.is_silent()


@both
def test_packets_staged_by_all_leave_once_and_none_is_left(shards: int, helpers: int) -> None:
    with PlaneHarness(shards=shards, helpers=helpers) as harness:
        far = Far(harness, session=False)
        each = STAGED_MOST // shards
        for number in range(STAGED_MOST):
            harness.write(numbered(number), shard=number % shards)
        harness.counted(tx_packets=STAGED_MOST)
        harness.heard(1, HANDSHAKE_WANTED)
        far.install()
        harness.plane.use_keypair(1, far.local_index)
        harness.until(lambda: harness.plane.send_staged(1), "sent")
        opened = everything(far, STAGED_MOST)
        assert sorted(number_of(one.text) for one in opened) == list(range(STAGED_MOST))
        by_shard: dict[int, list[int]] = defaultdict(list)
        for one in sorted(opened):
            by_shard[number_of(one.text) % shards].append(number_of(one.text))
        assert all(numbers == sorted(numbers) and len(numbers) == each for numbers in by_shard.values())
        assert far.is_silent()
        assert harness.counter("tx_staged_dropped") == 0


@pytest.mark.parametrize("shards", SHARDS)
def test_all_shards_together_stage_no_more_than_they_may(shards: int) -> None:
    length, room = 1000, 20
    with PlaneHarness(shards=shards, staged_bytes=length * room) as harness:
        for peer in range(4):
            Far(harness, peer, session=False, prefixes=[(bytes([10, 9, 0, peer]), 32)])
        sent = 0
        for number in range(4 * room):
            packet = bytearray(raw_packet(length))
            packet[16:20] = bytes([10, 9, 0, number % 4])
            harness.write(bytes(packet), shard=number % shards)
            sent += 1
        harness.counted(tx_packets=sent)
        harness.until(lambda: harness.counter("tx_staged_dropped") == sent - room, "dropped")


# ---- in


@both
def test_a_message_opens_once_whoever_gets_it(shards: int, helpers: int) -> None:
    """The same messages to every shard, at once and in another order to each."""
    count = 300
    with PlaneHarness(shards=shards, helpers=helpers) as harness:
        far = Far(harness)
        messages = [far.message(reply(number)) for number in range(count)]

        def feed(shard: int) -> None:
            mine = list(messages)
            random.Random(shard).shuffle(mine)
            for number, message in enumerate(mine):
                far.send_datagram(message, shard)
                if number % 16 == 15:  # no more than a socket's buffer holds
                    time.sleep(0.001)

        feeders = [threading.Thread(target=feed, args=[shard]) for shard in range(shards)]
        for feeder in feeders:
            feeder.start()
        came: Counter[bytes] = Counter()
        deadline = time.monotonic() + PATIENCE
        while came.total() < count:
            ready = select.select(harness.tuns, [], [], deadline - time.monotonic())[0]
            assert ready, f"{came.total()} of {count}: {harness.nonzero()}"
            for tun in ready:
                came.update(harness.read_packets(harness.tuns.index(tun)))
        for feeder in feeders:
            feeder.join()
        harness.counted(rx_replayed=(shards - 1) * count, rx_packets=count)
        assert set(came.values()) == {1}
        assert all(harness.tun_is_empty(shard) for shard in range(shards))


@pytest.mark.parametrize("helpers", HELPERS)
def test_each_shard_writes_to_its_own_queue(helpers: int) -> None:
    with PlaneHarness(shards=4, helpers=helpers) as harness:
        far = Far(harness)
        for shard in range(4):
            far.send_datagram(far.message(reply(shard)), shard)
            assert harness.read_packets(shard) == [reply(shard)]
        assert harness.counter("rx_datagrams") == 4


@pytest.mark.parametrize("helpers", HELPERS)
def test_a_session_is_confirmed_once_by_any_shard(helpers: int) -> None:
    """A responder's session, whose first messages come to all shards at once."""
    with PlaneHarness(shards=4, helpers=helpers) as harness:
        far = Far(harness, session=False)
        far.install(initiator=False, confirmed=False)
        harness.drain()
        for shard in range(4):
            far.send_datagram(far.message(reply(shard)), shard)
        harness.counted(rx_packets=4)
        harness.heard(1, 4)
        assert [index for peer, flags, index in harness.happened if flags & 4] == [far.local_index]
        harness.write(numbered(7), shard=3)
        assert number_of(far.open().text) == 7


def test_a_shard_without_sockets_sends_by_the_first_ones() -> None:
    with PlaneHarness(shards=4, pairs=1) as harness:
        far = Far(harness)
        for shard in range(4):
            harness.write(numbered(shard), shard=shard)
            datagram, source = far.sock.recvfrom(1 << 16)
            assert number_of(unseal(far.key, datagram).text) == shard
            assert source[1] == harness.sockets.port
        for number in range(20):
            far.send(reply(number))
        harness.counted(rx_packets=20)
        assert harness.read(20) == [reply(number) for number in range(20)]
        assert all(harness.tun_is_empty(shard) for shard in range(1, 4))


# ---- while it changes


class Traffic:
    """Packets of every shard in both directions, as fast as they go, for two peers, until the block ends."""

    def __init__(self, harness: PlaneHarness) -> None:
        self.harness = harness
        self.far = Far(harness, prefixes=EVERYWHERE)
        self.other = Far(harness, 2, prefixes=OTHERS)
        self._stop = threading.Event()
        self._numbers = threading.Lock()
        self._threads = [threading.Thread(target=self._feed, args=[shard]) for shard in range(harness.plane.shards)]
        self._threads += [threading.Thread(target=self._sink, args=[one]) for one in (self.far, self.other)]

    def __enter__(self) -> "Traffic":
        for tun in self.harness.tuns:
            tun.settimeout(0.05)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _feed(self, shard: int) -> None:
        to_other = bytearray(raw_packet(700))
        to_other[16:20] = bytes([10, 8, 0, 1])
        number = 0
        while not self._stop.is_set():
            number += 1
            with contextlib.suppress(TimeoutError):
                self.harness.write(raw_packet(900), shard=shard)
                self.harness.write(bytes(to_other), shard=shard)
            with self._numbers:
                message = self.far.message(reply(number, 300))
            self.far.send_datagram(message, shard)
            while not self.harness.tun_is_empty(shard):
                self.harness.read_packets(shard)

    def _sink(self, one: Far) -> None:
        one.sock.settimeout(0.05)
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                unseal(one.key, one.receive())

    def goes_on(self) -> None:
        """Until packets have gone both ways since now."""
        sent, received = (self.harness.counter(name) for name in ("tx_datagrams", "rx_packets"))
        self.harness.until(
            lambda: self.harness.counter("tx_datagrams") > sent and self.harness.counter("rx_packets") > received,
            "packets both ways after a change",
        )

    def renew_other(self) -> None:
        """The second peer goes, and comes with another session."""
        plane = self.harness.plane
        plane.remove_peer(2)
        plane.add_peer(2)
        plane.allow_many(2, OTHERS)
        plane.set_endpoint(2, addr_of(self.other.sock))
        self.other.local_index += 1
        self.other.install()
        plane.use_keypair(2, self.other.local_index)


@both
def test_all_changes_while_all_shards_move_packets(shards: int, helpers: int) -> None:
    with PlaneHarness(shards=shards, helpers=helpers) as harness, Traffic(harness) as packets:
        plane = harness.plane
        for turn in range(24):
            plane.set_mtu(1280 + turn)
            plane.allow_many(1, [(bytes([10, 7, turn, 0]), 24)])
            plane.disallow(1, bytes([10, 7, turn, 0]), 24)
            plane.send_keepalive(1)
            packets.renew_other()
            if turn % 4 == 0:
                plane.attach_tun(-1, vnet_hdr_len=12)  # for which each shard has to have other buffers
                more = [end.fileno() for end in harness.tun_ends[1:]]
                plane.attach_tun(harness.tun_end.fileno(), vnet_hdr_len=10, uso=True, more=more)
            elif turn % 4 == 1:
                plane.detach_sockets()
                harness.attach_sockets()
            harness.drain()
            packets.goes_on()
        assert harness.counter("rx_forged") == harness.counter("tx_seal_failed") == 0


@pytest.mark.parametrize("shards", SHARDS)
def test_a_frozen_plane_has_every_shards_counters(shards: int) -> None:
    """What another plane would go on with is behind all that any shard has used."""
    with PlaneHarness(shards=shards) as harness:
        far = Far(harness)
        for number in range(8 * shards):
            harness.write(numbered(number), shard=number % shards)
            far.send_datagram(far.message(inbound(Udp(payload=b"x")).build()), number % shards)
        everything(far, 8 * shards)
        harness.counted(rx_packets=8 * shards)
        harness.plane.detach_tun()
        harness.plane.attach_sockets(-1, -1)
        harness.plane.freeze()
        (state,) = harness.plane.carried_keypairs(1)
        assert state[6] == 8 * shards
        sent, received = harness.plane.peer_stats(1)
        assert sent > 0
        assert received > 0
