"""Many peers against one: their packets differ in addresses alone, and every superframe arrives."""

import itertools
import struct

from bench.stages import peers


def _fold(total: int) -> int:
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def test_the_packets_of_all_peers_have_the_same_checksums() -> None:
    pairs = [peers.addresses(number) for number in range(10_000)]
    assert len({address for pair in pairs for address in pair}) == 2 * len(pairs)
    assert len({_fold(sum(struct.unpack("!4H", b"".join(pair)))) for pair in pairs}) == 1


def test_each_peer_has_its_turn_before_any_has_another() -> None:
    turns = peers._turns(7, 5)
    first = list(itertools.chain.from_iterable(next(turns) for _ in range(7)))
    assert all(sorted(first[at : at + 7]) == list(range(7)) for at in range(0, 35, 7))
    assert first[:7] != list(range(7))


def test_all_superframes_arrive() -> None:
    found = peers.measure(peers=40, rounds=3, frames=60)
    assert {name: len(values) for name, values in found.items()} == dict.fromkeys(peers.COLUMNS, 2)
    assert all(value > 0 for values in found.values() for value in values)
