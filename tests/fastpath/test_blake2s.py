"""Keyed BLAKE2s in C, beside hashlib's, which is the reference implementation."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.native.admission import mac


def reference(key: bytes, data: bytes) -> bytes:
    return hashlib.blake2s(data, key=key, digest_size=16).digest()


@pytest.mark.parametrize("key_len", [1, 16, 31, 32])
def test_every_length_around_the_blocks(key_len: int) -> None:
    key = bytes(range(100, 100 + key_len))
    data = bytes(i * 7 & 0xFF for i in range(300))
    for length in range(1, len(data)):
        assert mac(key, data[:length]) == reference(key, data[:length]), length


@given(st.binary(min_size=1, max_size=32), st.binary(min_size=1, max_size=400))
def test_agrees_with_hashlib(key: bytes, data: bytes) -> None:
    assert mac(key, data) == reference(key, data)


@pytest.mark.parametrize(("key", "data"), [(b"", b"x"), (bytes(33), b"x"), (bytes(32), b"")])
def test_arguments(key: bytes, data: bytes) -> None:
    with pytest.raises(ValueError, match="1 to 32 bytes"):
        mac(key, data)
