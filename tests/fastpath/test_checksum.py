"""The Internet checksum against RFC 1071's example and a plain Python one."""

from hypothesis import example, given
from hypothesis import strategies as st

from tests.fastpath.packets import checksum
from tests.native.packets import internet_checksum


def test_rfc_1071_example() -> None:
    # Section 3: the sum is ddf2.
    assert internet_checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xDDF2 ^ 0xFFFF


def test_known_ip_header() -> None:
    header = bytearray.fromhex("45000073000040004011b861c0a80001c0a800c7")
    assert internet_checksum(header) == 0
    header[10:12] = b"\0\0"
    assert internet_checksum(header) == 0xB861


def test_nothing_sums_to_nothing() -> None:
    assert internet_checksum(b"") == 0xFFFF


def test_every_short_length_and_alignment() -> None:
    data = bytes((7 * i + 3) & 0xFF for i in range(96))
    for start in range(16):
        for end in range(start, len(data)):
            assert internet_checksum(memoryview(data)[start:end]) == checksum(data[start:end])


def test_carries_of_a_whole_superframe_of_ones() -> None:
    for length in (65534, 65535, 1 << 20):
        data = b"\xff" * length
        assert internet_checksum(data) == checksum(data)


@given(st.binary(max_size=3000))
@example(b"\x00\x00")
@example(b"\xff\xff")
@example(b"\x80" * 1421)
def test_as_in_python(data: bytes) -> None:
    assert internet_checksum(data) == checksum(data)


@given(st.binary(min_size=2, max_size=300), st.data())
def test_holds_with_its_own_field_and_not_with_a_flipped_bit(data: bytes, draw: st.DataObject) -> None:
    whole = bytearray(data + b"\0" * (len(data) % 2))
    whole[:2] = b"\0\0"
    whole[:2] = internet_checksum(bytes(whole)).to_bytes(2, "big")
    assert internet_checksum(bytes(whole)) == 0
    bit = draw.draw(st.integers(0, 8 * len(whole) - 1))
    whole[bit // 8] ^= 1 << bit % 8
    assert internet_checksum(bytes(whole)) != 0
