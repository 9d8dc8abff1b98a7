"""ECN on the way out of the tunnel, against figure 4 of RFC 6040 typed again; where it says drop, against Linux."""

import ipaddress

import pytest

from tests.fastpath.packets import checksum
from tests.native.packets import decapsulate

pytestmark = pytest.mark.dropin("19", "ECN")

NOT_ECT, ECT1, ECT0, CE = 0, 1, 2, 3
UNMARKED = NOT_ECT  # the figure says drop; Linux's WireGuard ignores that answer of INET_ECN_decapsulate()
# rows: the inner field; columns: the outer one, in the order Not-ECT, ECT(0), ECT(1), CE
FIGURE_4 = {
    NOT_ECT: (NOT_ECT, NOT_ECT, NOT_ECT, UNMARKED),
    ECT0: (ECT0, ECT0, ECT1, CE),
    ECT1: (ECT1, ECT1, ECT1, CE),
    CE: (CE, CE, CE, CE),
}
CASES = [
    (inner, outer, expected)
    for inner, row in FIGURE_4.items()
    for outer, expected in zip((NOT_ECT, ECT0, ECT1, CE), row, strict=True)
]


def ipv4(tos: int, ident: int = 0x1234) -> bytes:
    """A 28-byte IPv4 packet whose header checksum holds."""
    addresses = ipaddress.ip_address("10.1.2.3").packed + ipaddress.ip_address("10.9.8.7").packed
    header = bytearray(
        b"\x45" + bytes([tos]) + b"\x00\x1c" + ident.to_bytes(2, "big") + b"\0\0\x40\x11\0\0" + addresses
    )
    header[10:12] = checksum(bytes(header)).to_bytes(2, "big")
    return bytes(header) + b"payload!"


def ipv6(traffic_class: int) -> bytes:
    """A 48-byte IPv6 packet with a flow label."""
    word = (6 << 28) | (traffic_class << 20) | 0xABCDE
    return word.to_bytes(4, "big") + b"\x00\x08\x11\x40" + bytes(range(32)) + b"payload!"


@pytest.mark.parametrize(("inner", "outer", "expected"), CASES)
@pytest.mark.parametrize("dscp", [0, 0b101110])
def test_ipv4_follows_figure_4_and_keeps_the_checksum(inner: int, outer: int, expected: int, dscp: int) -> None:
    for ident in (0, 1, 0x1234, 0xFFFF, 0xD9D4):
        packet = ipv4(dscp << 2 | inner, ident)
        got = decapsulate(packet, 0b11111100 | outer)
        assert got[1] == dscp << 2 | expected
        assert checksum(got[:20]) == 0
        assert got[2:10] + got[12:] == packet[2:10] + packet[12:]


@pytest.mark.parametrize(("inner", "outer", "expected"), CASES)
def test_ipv6_follows_figure_4(inner: int, outer: int, expected: int) -> None:
    got = decapsulate(ipv6(0b10111000 | inner), outer)
    assert got == ipv6(0b10111000 | expected)


def test_short_packets_are_refused() -> None:
    for packet in (b"", b"\x45" * 19, b"\x60" * 39):
        with pytest.raises(ValueError, match="shorter"):
            decapsulate(packet, CE)
