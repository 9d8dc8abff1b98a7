"""Sealing and opening batches of packets, beside libcrypto's EVP in a C loop and `cryptography` called per packet."""

import os

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from pytest_benchmark.fixture import BenchmarkFixture

from pywg._fastpath import bench_seal, choose_aead
from tests.native.aead import bench_evp, open_batch, seal_batch

BATCH = 64
ROUNDS = 50
KEY = bytes(range(32))
AEAD = choose_aead("auto")
SIZES = pytest.mark.parametrize("size", [64, 256, 1420])


def _packets(size: int) -> list[bytes]:
    return [os.urandom(size) for _ in range(BATCH)]


@SIZES
def bench_seal_batch(benchmark: BenchmarkFixture, size: int) -> None:
    """64 packets a call, from Python."""
    benchmark.extra_info["packets"] = BATCH
    packets = _packets(size)
    sealed = benchmark(seal_batch, AEAD, KEY, 0, packets)
    assert len(sealed) == BATCH


@SIZES
def bench_open_batch(benchmark: BenchmarkFixture, size: int) -> None:
    """64 datagrams a call, from Python."""
    benchmark.extra_info["packets"] = BATCH
    packets = _packets(size)
    datagrams = seal_batch(AEAD, KEY, 0, packets)
    opened = benchmark(open_batch, AEAD, KEY, datagrams)
    assert all(one is not None and one.startswith(packet) for one, packet in zip(opened, packets, strict=True))


@SIZES
def bench_cryptography_seal(benchmark: BenchmarkFixture, size: int) -> None:
    """64 packets, one call of `cryptography` each: what a tunnel in Python alone would pay."""
    benchmark.extra_info["packets"] = BATCH
    packets = _packets(size)
    aead = ChaCha20Poly1305(KEY)
    nonces = [bytes(4) + counter.to_bytes(8, "little") for counter in range(BATCH)]

    def seal_all() -> list[bytes]:
        return [aead.encrypt(nonce, packet, None) for nonce, packet in zip(nonces, packets, strict=True)]

    assert len(benchmark(seal_all)) == BATCH


@SIZES
def bench_data_plane_seal(benchmark: BenchmarkFixture, size: int) -> None:
    """What the data plane pays: 50 batches of 64 packets in place, without Python."""
    benchmark.extra_info["packets"] = BATCH * ROUNDS
    benchmark(bench_seal, AEAD, size, BATCH, ROUNDS)


@SIZES
def bench_evp_loop(benchmark: BenchmarkFixture, size: int) -> None:
    """The same work in a plain C loop over libcrypto's EVP: the yardstick."""
    benchmark.extra_info["packets"] = BATCH * ROUNDS
    benchmark(bench_evp, size, BATCH, ROUNDS)
