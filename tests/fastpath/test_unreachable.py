"""Destination unreachable: what it says, to whom, and when nothing may be said (RFC 1122 3.2.2, RFC 4443 2.4 e)."""

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fastpath.packets import checksum
from tests.native.packets import unreachable

pytestmark = pytest.mark.dropin("19")

SRC4, DST4 = (ipaddress.ip_address(a).packed for a in ("10.0.0.1", "10.0.0.2"))
SRC6, DST6 = (ipaddress.ip_address(a).packed for a in ("fd00::1", "fd00::2"))
ERROR6, PING6 = b"\x01\x03" + bytes(30), b"\x80\x00" + bytes(30)


def ipv4(payload: bytes, *, proto: int = 17, src: bytes = SRC4, dst: bytes = DST4, offset: int = 0) -> bytes:
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 7, offset, 64, proto, 0) + src + dst + payload


def ipv6(payload: bytes, *, proto: int = 17, src: bytes = SRC6, dst: bytes = DST6) -> bytes:
    return struct.pack("!IHBB", 6 << 28, len(payload), proto, 64) + src + dst + payload


@pytest.mark.parametrize("size", [8, 100, 547, 548, 549, 1400, 65000])
def test_ipv4_host_unreachable(size: int) -> None:
    packet = ipv4(bytes(i & 255 for i in range(size)))
    reply = unreachable(packet)
    assert reply is not None
    assert len(reply) == min(28 + len(packet), 576)  # RFC 1812 section 4.3.2.3
    assert struct.unpack("!H", reply[2:4])[0] == len(reply)
    assert reply[9] == 1
    assert (reply[12:16], reply[16:20]) == (DST4, SRC4)
    assert checksum(reply[:20]) == 0
    assert (reply[20], reply[21]) == (3, 1)
    assert checksum(reply[20:]) == 0
    assert reply[28:] == packet[: len(reply) - 28]


@pytest.mark.parametrize("size", [8, 100, 1191, 1192, 1193, 1400, 65000])
def test_ipv6_address_unreachable(size: int) -> None:
    packet = ipv6(bytes(i & 255 for i in range(size)))
    reply = unreachable(packet)
    assert reply is not None
    assert len(reply) == min(48 + len(packet), 1280)  # RFC 4443 section 2.4 (c)
    assert struct.unpack("!H", reply[4:6])[0] == len(reply) - 40
    assert reply[6] == 58
    assert (reply[8:24], reply[24:40]) == (DST6, SRC6)
    assert (reply[40], reply[41]) == (1, 3)
    pseudo = DST6 + SRC6 + struct.pack("!II", len(reply) - 40, 58)
    assert checksum(pseudo + reply[40:]) == 0
    assert reply[48:] == packet[: len(reply) - 48]


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(ipv4(bytes(8), offset=185), id="a later fragment"),
        pytest.param(ipv4(b"\x03\x01" + bytes(30), proto=1), id="an ICMP error"),
        pytest.param(ipv4(b"\x0b\x00" + bytes(30), proto=1), id="time exceeded"),
        pytest.param(ipv4(bytes(8), dst=bytes([224, 0, 0, 1])), id="to a group"),
        pytest.param(ipv4(bytes(8), dst=b"\xff" * 4), id="to everybody"),
        pytest.param(ipv4(bytes(8), src=bytes(4)), id="from nobody"),
        pytest.param(ipv4(bytes(8), src=bytes([224, 0, 0, 1])), id="from a group"),
        pytest.param(ipv4(bytes(8), src=bytes([127, 0, 0, 1])), id="from the loopback"),
        pytest.param(ipv4(b"\x01\x04" + bytes(10) + b"\x03\x01" + bytes(30), proto=51), id="an error behind AH"),
        pytest.param(ipv4(bytes(7)), id="too short to quote"),
        pytest.param(ipv6(ERROR6, proto=58), id="an ICMPv6 error"),
        pytest.param(ipv6(b"\x89\x00" + bytes(38), proto=58), id="a redirect"),
        pytest.param(ipv6(b"\x3a\x04" + bytes(22) + ERROR6, proto=51), id="an ICMPv6 error behind AH"),
        pytest.param(ipv6(b"\x3a\x02\x00\x01" + bytes(20) + ERROR6, proto=43), id="behind a routing header in use"),
        pytest.param(ipv6(bytes(8), dst=b"\xff\x02" + bytes(14)), id="to an IPv6 group"),
        pytest.param(ipv6(bytes(8), src=bytes(16)), id="from ::"),
        pytest.param(ipv6(b"\x11\x00\x05\xa8" + bytes(12), proto=44), id="a later IPv6 fragment"),
        pytest.param(ipv6(b"\x3a\x00\x00\x01" + bytes(4) + ERROR6, proto=44), id="an ICMPv6 error's first fragment"),
        pytest.param(ipv6(b"\x3a\x00" + bytes(6) + ERROR6, proto=60), id="an ICMPv6 error behind options"),
        pytest.param(ipv6(b"\x2b\x00" + bytes(6) + b"\x3a\x00" + bytes(6) + ERROR6, proto=0), id="and behind two"),
        pytest.param(ipv6(b"\x3c\x00" + bytes(6), proto=60) + bytes(100), id="headers past the length"),
    ],
)
def test_what_must_not_be_answered(packet: bytes) -> None:
    assert unreachable(packet) is None


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(ipv4(b"\x08\x00" + bytes(30), proto=1), id="ping"),
        pytest.param(ipv4(bytes(8), offset=0x2000), id="a first fragment"),
        pytest.param(ipv6(PING6, proto=58), id="ping6"),
        pytest.param(ipv6(b"\x11\x00\x00\x01" + bytes(12), proto=44), id="a first IPv6 fragment"),
        pytest.param(ipv6(b"\x3a\x00" + bytes(6) + PING6, proto=60), id="ping6 behind options"),
        pytest.param(ipv6(b"\x3a\x00\x00\x01" + bytes(4) + PING6, proto=44), id="a ping6's first fragment"),
    ],
)
def test_what_is_answered(packet: bytes) -> None:
    assert unreachable(packet) is not None


@given(st.binary(min_size=40, max_size=100), st.sampled_from([0x45, 0x46, 0x4F, 0x60, 0x41]))
def test_any_bytes_give_a_bounded_answer_or_none(data: bytes, first: int) -> None:
    packet = bytes([first]) + data[1:]
    reply = unreachable(packet)
    assert reply is None or reply.endswith(packet)
