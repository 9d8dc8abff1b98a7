"""One batch to send, from frames to queue: what is sealed together, and what of it a failing cipher lets out."""

import random

import pytest

from tests.aead import USUAL, every_backend
from tests.fastpath.packets import Ip, Tcp, Udp, cut, gso_vnet
from tests.native.aead import open_batch
from tests.native.outward import seal_all

MTU = 1420
TOGETHER = 64
"""Datagrams of one call of the cipher, at most."""
PAYLOAD = random.Random(1).randbytes(65000)

Frame = tuple[int, Ip, int]
"""A peer, a packet, and a segment's payload; 0: it is no superframe."""


def frame(peer: int, count: int, size: int = 1380, kind: type[Ip] = Tcp) -> Frame:
    return peer, kind(payload=PAYLOAD[: count * size]), size


def seal(frames: list[Frame], failing: int = -1, aead: str = USUAL) -> tuple[list[list[bytes]], int, int]:
    return seal_all(
        aead,
        [
            (peer, gso_vnet(packet, size).build() if size else b"", packet.unfinished() if size else packet.build())
            for peer, packet, size in frames
        ],
        MTU,
        failing,
    )


def counter(datagram: bytes) -> int:
    return int.from_bytes(datagram[8:16], "little")


def opened(runs: list[list[bytes]], aead: str = USUAL) -> dict[int, dict[int, bytes]]:
    """By peer, who is named by the index, and by counter: each text, which has to be authentic."""
    found: dict[int, dict[int, bytes]] = {}
    for run in runs:
        peer = int.from_bytes(run[0][4:8], "little")
        for first in range(0, len(run), TOGETHER):
            part = run[first : first + TOGETHER]
            for datagram, text in zip(part, open_batch(aead, bytes([peer]) * 32, part), strict=True):
                assert text is not None, (peer, counter(datagram))
                assert found.setdefault(peer, {}).setdefault(counter(datagram), text) is text, "a counter twice"
    return found


def sent(frames: list[Frame]) -> dict[int, list[bytes]]:
    """By peer: the inner packets that must arrive."""
    packets: dict[int, list[bytes]] = {}
    for peer, packet, size in frames:
        packets.setdefault(peer, []).extend(cut(packet, size) if size else [packet.build()])
    return packets


def all_is_there(frames: list[Frame], runs: list[list[bytes]], aead: str = USUAL) -> None:
    found = opened(runs, aead)
    for peer, packets in sent(frames).items():
        texts = [found[peer][number] for number in range(len(packets))]
        assert [text[: len(packet)] for text, packet in zip(texts, packets, strict=True)] == packets
        assert not any(any(text[len(packet) :]) for text, packet in zip(texts, packets, strict=True)), "padding"
        assert len(found[peer]) == len(packets)


def chance_frames(seed: int) -> list[Frame]:
    chance = random.Random(seed)
    frames: list[Frame] = []
    for _ in range(chance.randrange(1, 7)):
        size = chance.choice([0, 0, 1, 100, 536, 1379, 1380])
        count = 1 if size == 0 else chance.randrange(1, min(80, 6000 // size) + 1)
        kind = chance.choice([Tcp, Udp])
        payload = PAYLOAD[: count * size - chance.randrange(size) if size else chance.randrange(1380)]
        frames.append((chance.randrange(4), kind(version=chance.choice([4, 6]), payload=payload), size))
    return [(peer, packet, min(size, 1352)) for peer, packet, size in frames]


@every_backend
@pytest.mark.parametrize("seed", range(3))
def test_packets_and_superframes_of_several_peers(aead: str, seed: int) -> None:
    frames = chance_frames(seed)
    runs, failed, _calls = seal(frames, aead=aead)
    assert failed == 0
    all_is_there(frames, runs, aead)


@pytest.mark.parametrize(
    ("frames", "calls"),
    [
        ([frame(0, 46)], 1),
        ([frame(0, 46), frame(0, 46)], 2),
        ([frame(0, 32), frame(0, 32)], 1),
        ([frame(0, 20), frame(1, 20), frame(0, 20)], 3),
        ([frame(0, 20), (0, Udp(payload=b"between"), 0), frame(0, 20, kind=Udp)], 1),
    ],
    ids=["two runs", "over a frame's border", "to the last one", "of two peers", "with a packet between"],
)
def test_neighbours_of_one_keypair_are_sealed_by_one_call(frames: list[Frame], calls: int) -> None:
    runs, failed, called = seal(frames)
    assert (failed, called) == (0, calls)
    assert len(runs) >= len(frames)
    all_is_there(frames, runs)


FAILING = [frame(0, 70, 400), frame(0, 70, 400), frame(1, 3, 400), frame(0, 5, 400)]
"""Runs of 64, 6, 64, 6, 3 and 5; calls of 64, 6 and 58, 6 and 6, 3, 5."""


@pytest.mark.parametrize(
    ("failing", "lengths"),
    [
        (-1, [64, 6, 64, 6, 3, 5]),
        (0, [6, 64, 6, 3, 5]),
        (1, [64, 6, 3, 5]),
        (2, [64, 6, 3, 5]),
        (3, [64, 6, 64, 6, 5]),
        (4, [64, 6, 64, 6, 3]),
    ],
)
def test_a_run_of_which_a_part_could_not_be_sealed_is_not_sent(failing: int, lengths: list[int]) -> None:
    """Else plain text would leave. The others go, with the counters that were theirs."""
    runs, failed, calls = seal(FAILING, failing)
    assert [len(run) for run in runs] == lengths
    assert (failed, calls) == (6 - len(lengths), 5)
    assert sum(len(texts) for texts in opened(runs).values()) == sum(lengths)
    starts = {64: {0, 70}, 6: {64, 134}, 3: {0}, 5: {140}}
    assert all(counter(run[0]) in starts[len(run)] for run in runs)
