"""Packets for the benchmarks, and what a result depends on beside the processor."""

import random
import struct

import pytest

from pywg._fastpath import choose_aead

IP_LEN, TCP_LEN = 20, 20
GSO_TCPV4, NEEDS_CSUM = 1, 1


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, object]) -> None:
    """The AEAD's backend goes into the JSON."""
    machine_info["aead"] = choose_aead("auto")


def _superframe(payload_len: int, gso_size: int) -> tuple[bytes, bytes]:
    """A virtio header and the TCP/IPv4 superframe below it, as a TUN with TSO hands it out."""
    addresses = bytes([10, 0, 0, 1, 10, 0, 0, 2])
    ip = struct.pack("!BBHHHBBH", 0x45, 0, IP_LEN + TCP_LEN + payload_len, 1, 0x4000, 64, 6, 0) + addresses
    pseudo = addresses + struct.pack("!BBH", 0, 6, TCP_LEN + payload_len)
    partial = sum(struct.unpack("!6H", pseudo))
    partial = (partial & 0xFFFF) + (partial >> 16)
    tcp = struct.pack("!HHIIBBHHH", 1000, 2000, 1, 1, 5 << 4, 0x10, 65535, partial, 0)
    header = struct.pack("<BBHHHH", NEEDS_CSUM, GSO_TCPV4, IP_LEN + TCP_LEN, gso_size, IP_LEN, 16)
    return header, ip + tcp + random.Random(payload_len).randbytes(payload_len)


@pytest.fixture(scope="session")
def superframe() -> tuple[bytes, bytes]:
    """45 segments of 1380 bytes: what one read of the TUN brings at an MTU of 1420."""
    return _superframe(45 * 1380, 1380)
