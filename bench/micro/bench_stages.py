"""The stages around the AEAD: segment, coalesce, checksum, replay window, allowed-IPs trie. All called from Python."""

import random

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.native import inward, outward
from tests.native.packets import coalesce, internet_checksum, segment
from tests.native.state import Table, Window

MTU = 1420
ROUNDS = 50


def bench_segment(benchmark: BenchmarkFixture, superframe: tuple[bytes, bytes]) -> None:
    """One superframe into 45 packets."""
    assert len(benchmark(segment, *superframe, MTU)) == 45


def bench_segment_and_seal(benchmark: BenchmarkFixture, superframe: tuple[bytes, bytes]) -> None:
    """50 superframes, two a batch, into 45 sealed datagrams each: what the outbound thread does between its calls."""
    benchmark(outward.bench_superframe, "auto", *superframe, MTU, ROUNDS // 2)


def bench_receive(benchmark: BenchmarkFixture, superframe: tuple[bytes, bytes]) -> None:
    """50 times 45 datagrams from the receive buffers to the TUN's system call: what the thread itself does."""
    benchmark(inward.bench_superframe, "auto", *superframe, MTU, ROUNDS)


def bench_coalesce(benchmark: BenchmarkFixture, superframe: tuple[bytes, bytes]) -> None:
    """45 packets into one superframe, checksums verified."""
    packets = segment(*superframe, MTU)
    assert len(benchmark(coalesce, packets)) == 1


def bench_checksum(benchmark: BenchmarkFixture) -> None:
    """1420 bytes."""
    benchmark(internet_checksum, random.Random(1).randbytes(MTU))


def bench_replay_in_order(benchmark: BenchmarkFixture) -> None:
    """1,000 counters in order."""
    counters = range(1, 1001)

    def accept_all() -> int:
        window = Window()
        return sum(map(window.accept, counters))

    assert benchmark(accept_all) == 1000


def bench_replay_reordered(benchmark: BenchmarkFixture) -> None:
    """1,000 counters, shuffled within the window."""
    counters = list(range(1, 1001))
    random.Random(1).shuffle(counters)

    def accept_all() -> int:
        window = Window()
        return sum(map(window.accept, counters))

    assert benchmark(accept_all) == 1000


@pytest.mark.parametrize("prefixes", [1, 1000, 131_072])
def bench_trie_lookup(benchmark: BenchmarkFixture, prefixes: int) -> None:
    """1,000 lookups of random addresses among that many /24 prefixes."""
    chance = random.Random(1)
    table = Table()
    for number in range(prefixes):
        table.insert((number << 8 | 10 << 24).to_bytes(4, "big"), 24, number)
    addresses = [(chance.randrange(prefixes) << 8 | 10 << 24 | 7).to_bytes(4, "big") for _ in range(1000)]

    def look_up_all() -> int:
        return sum(table.lookup(address) is not None for address in addresses)

    assert benchmark(look_up_all) == 1000


def bench_trie_insert(benchmark: BenchmarkFixture) -> None:
    """1,000 prefixes into an empty table."""
    prefixes = [(number << 8 | 10 << 24).to_bytes(4, "big") for number in range(1000)]

    def fill() -> int:
        table = Table()
        for prefix in prefixes:
            table.insert(prefix, 24, 1)
        return len(table)

    assert benchmark(fill) == 1000
