"""Every backend of the AEAD that this processor has seals and opens what the oracle does, in batches of every size."""

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pywg._fastpath import (
    available_aeads,
    bench_evp,
    bench_open,
    bench_seal,
    open_batch,
    seal_batch,
    select_aead,
    selected_aead,
)
from pywg.dataplane.crypto.aead_select import NAMES
from pywg.dataplane.crypto.chacha20poly1305 import levels
from tests.fastpath.plane_harness import Far, PlaneHarness, pad, raw_packet, reply, seal

ROOT = Path(__file__).parents[2]
KEY = bytes(range(32))
HERE = available_aeads()
ONE_BY_ONE = {"evp", "libcrypto", "ipsec-mb"}


@pytest.fixture(params=HERE)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each backend in turn; afterwards the choice is the module's own again."""
    assert select_aead(request.param) == request.param
    yield request.param
    select_aead("auto")


@pytest.mark.parametrize("size", [1, 2, 3, 15, 16, 17, 31, 33, 63, 64, 65, 130])
def test_batches_of_mixed_lengths(backend: str, size: int) -> None:
    chance = random.Random(size)
    packets = [chance.randbytes(16 * chance.choice([0, 1, 2, 4, 5, 16, 88, 128])) for _ in range(size)]
    sealed = seal_batch(KEY, 2**32 - 7, packets, 5)
    assert sealed == [seal(KEY, 5, 2**32 - 7 + i, packet) for i, packet in enumerate(packets)]
    assert open_batch(KEY, sealed) == packets

    forged = {chance.randrange(size) for _ in range(3)}
    damaged = [bytearray(datagram) for datagram in sealed]
    for i in forged:
        damaged[i][chance.randrange(16, len(damaged[i]))] ^= 1 << chance.randrange(8)
    opened = open_batch(KEY, [bytes(datagram) for datagram in damaged])
    assert opened == [None if i in forged else packet for i, packet in enumerate(packets)]


def test_every_backend_of_the_processor_is_here() -> None:
    assert {name for name, level in NAMES.items() if level in levels()} == set(HERE) - ONE_BY_ONE
    assert {"evp", "libcrypto"} <= set(HERE)  # of OpenSSL 3, which is what distributions have


@pytest.mark.parametrize("batch", [1, 64])
def test_benchmarks_take_some_time(backend: str, batch: int) -> None:
    """bench_open also looks at what it opens, and raises when something is not authentic."""
    assert bench_seal(1420, batch, 2) > 0
    assert bench_open(1420, batch, 2) > 0
    assert bench_evp(1420, batch, 2) > 0


@pytest.mark.parametrize("batch", [0, 65])
def test_benchmarks_of_no_batch(batch: int) -> None:
    for bench in (bench_seal, bench_open):
        with pytest.raises(ValueError, match="1 to 64"):
            bench(1420, batch, 1)


def test_a_key_outlives_its_backend(backend: str) -> None:
    """What was selected since is for the batches to come."""
    with PlaneHarness() as harness:
        far = Far(harness)
        for other in (*HERE, "auto"):
            select_aead(other)
            harness.write(raw_packet(60))
            assert far.open().text == pad(raw_packet(60))
            far.send(reply(1))
            assert harness.read(1) == [reply(1)]


def test_by_itself_the_optional_library_is_not_loaded() -> None:
    code = "import pywg._fastpath as f; f.select_aead('auto'); f.Plane().close(); print(open('/proc/self/maps').read())"
    maps = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert "libcrypto" in maps
    assert "libIPSec_MB" not in maps


def test_what_is_chosen_alone_is_one_that_is_here() -> None:
    assert select_aead("auto") in HERE
    assert selected_aead() in HERE


def test_a_backend_that_is_not_here_is_refused_and_changes_nothing() -> None:
    before = selected_aead()
    with pytest.raises(ValueError, match=r"no AEAD backend 'aes'.*choose one of auto, evp"):
        select_aead("aes")
    assert selected_aead() == before
