"""The one reader of IP headers beside one typed from the RFCs (791, 8200, 9293, 768), over packets that lie."""

import random
import struct
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.fastpath.packets import DF, MF, TCP, UDP, Ip, Tcp, Udp
from tests.fuzz.mutate import mutate
from tests.native_build import build_module, load_module

SOURCE = Path(__file__).with_name("ip_view.pyx")
HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION = 0, 43, 44, 60
MOST_EXTENSIONS = 8
PADDING = bytes.fromhex("0104000000000000")[:6]


class View(NamedTuple):
    version: int
    tos: int
    protocol: int
    source: bytes
    destination: bytes
    total_len: int
    l4_offset: int
    fragment: bool
    headers_len: int


Reader = Callable[[bytes], View | None]


@pytest.fixture(scope="module")
def read() -> Reader:
    module = load_module(build_module(SOURCE))

    def read(packet: bytes) -> View | None:
        found = module.view(packet)
        return None if found is None else View(*found)

    return read


def expected(packet: bytes) -> View | None:
    if len(packet) >= 20 and packet[0] >> 4 == 4:
        found = _expected4(packet)
    elif len(packet) >= 40 and packet[0] >> 4 == 6:
        found = _expected6(packet)
    else:
        return None
    return found._replace(headers_len=_headers_len(packet[: found.total_len], found.protocol, found.l4_offset))


def _expected4(packet: bytes) -> View:
    words, tos, total, _, place, _, protocol, _, source, destination = struct.unpack_from("!BBHHHBBH4s4s", packet)
    header_len = words % 16 * 4
    honest = 20 <= total <= len(packet)
    found = honest and 20 <= header_len <= total and place % 0x2000 == 0
    fragment = place & MF != 0 or place % 0x2000 != 0
    at = header_len if found else 0
    return View(4, tos, protocol, source, destination, total if honest else 0, at, fragment, 0)


def _expected6(packet: bytes) -> View:
    word, length, protocol, _, source, destination = struct.unpack_from("!IHBB16s16s", packet)
    total = 40 + length
    if total > len(packet):
        return View(6, word >> 20 & 0xFF, protocol, source, destination, 0, 0, False, 0)
    protocol, at, fragment = _chain(packet[:total], protocol)
    return View(6, word >> 20 & 0xFF, protocol, source, destination, total, at, fragment, 0)


def _chain(packet: bytes, protocol: int) -> tuple[int, int, bool]:
    """Of the extension headers: what is behind them, where (0: nothing), and whether one was a fragment's."""
    at, fragment = 40, False
    for count in range(MOST_EXTENSIONS + 1):
        if protocol not in (HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION):
            return protocol, at, fragment
        if count == MOST_EXTENSIONS or len(packet) < at + 8:
            break
        if protocol == ROUTING and packet[at + 3]:
            return protocol, at, fragment
        if protocol == FRAGMENT:
            fragment = True
            if int.from_bytes(packet[at + 2 : at + 4], "big") >> 3:
                break
        length = 8 if protocol == FRAGMENT else 8 * packet[at + 1] + 8
        protocol, at = packet[at], at + length
        if at > len(packet):
            break
    return protocol, 0, fragment


def _headers_len(packet: bytes, protocol: int, at: int) -> int:
    rest = packet[at:]
    if at == 0 or protocol not in (TCP, UDP) or len(rest) < (20 if protocol == TCP else 8):
        return 0
    length = 8 if protocol == UDP else rest[12] // 16 * 4
    return at + length if (8 if protocol == UDP else 20) <= length <= len(rest) else 0


@st.composite
def extension_headers(draw: st.DrawFn) -> tuple[int, bytes]:
    """The first one's number, and the chain: as many as are looked behind, and more."""
    extensions = st.sampled_from([HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION])
    kinds = draw(st.lists(extensions, max_size=MOST_EXTENSIONS + 2))
    protocols = [*kinds, draw(st.sampled_from([TCP, UDP, 59]))]
    chain = b""
    for kind, following in pairwise(protocols):
        if kind == FRAGMENT:
            place = draw(st.sampled_from([0, 0, 1, 1, 8, 0xFFF9]))
            chain += struct.pack("!BBHI", following, draw(st.integers(0, 255)), place, 7)
        else:
            units = draw(st.sampled_from([0, 0, 0, 1, 5, 255]))
            left = draw(st.sampled_from([0, 0, 0, 1])) if kind == ROUTING else 0
            chain += bytes([following, units, 0, left]) + bytes(4 + 8 * min(units, 5))
    return protocols[0], chain


@st.composite
def packets(draw: st.DrawFn) -> bytes:
    kind = draw(st.sampled_from([Tcp(), Udp()]))
    one: Ip = replace(kind, payload=draw(st.binary(max_size=40)), tos=draw(st.integers(0, 255)))
    one = replace(one, ip_len_error=draw(st.sampled_from([0, 0, 0, 0, -1, 1, -8, 20])))
    if isinstance(one, Tcp):
        one = replace(one, data_offset=draw(st.sampled_from([None, None, None, 0, 4, 5, 6, 15])))
    if draw(st.booleans()):
        one = replace(one, options=bytes(4 * draw(st.integers(0, 10))), fragment=draw(st.sampled_from([0, DF, MF, 1])))
        one = replace(one, ip_len_error=draw(st.sampled_from([one.ip_len_error, -20, -21])))
    else:
        first, chain = draw(extension_headers())
        one = replace(one, version=6, options=chain, first_header=first)
        within = -min(12, len(chain) + 8)  # UDP's header and half an extension header
        one = replace(one, ip_len_error=draw(st.sampled_from([one.ip_len_error, within])))
    packet = one.build()
    if draw(st.booleans()):
        packet = mutate(random.Random(draw(st.integers(0, 2**32))), packet)
    return packet + draw(st.sampled_from([b"", b"", bytes(3)]))


@settings(max_examples=1500)
@given(packets() | st.binary(max_size=80).map(lambda rest: b"\x45" + rest) | st.binary(max_size=80))
@example(b"")
@example(b"\x45" * 19)
@example(b"\x60" * 39)
def test_agrees_with_a_reader_that_was_typed_from_the_rfcs(read: Reader, packet: bytes) -> None:
    assert read(packet) == expected(packet)


@pytest.mark.parametrize("one", [Tcp(), Udp(), Tcp(version=6), Udp(version=6)], ids=lambda one: repr(one)[:20])
def test_agrees_with_the_builder_of_packets(read: Reader, one: Ip) -> None:
    one = replace(one, payload=bytes(9), tos=0b10111001)
    packet = one.build()
    found = read(packet + b"padding")
    assert found is not None
    assert (found.version, found.tos, found.protocol) == (one.version, one.tos, one.protocol)
    assert found.source + found.destination == one.source_and_destination()
    assert (found.total_len, found.l4_offset, found.fragment) == (len(packet), one.l4_offset(), False)
    assert found.headers_len == len(packet) - 9


@pytest.mark.parametrize("count", [1, MOST_EXTENSIONS, MOST_EXTENSIONS + 1])
def test_number_of_extension_headers(read: Reader, count: int) -> None:
    chain = bytes([DESTINATION, 0, *PADDING]) * (count - 1) + bytes([UDP, 0, *PADDING])
    found = read(Udp(version=6, options=chain, first_header=DESTINATION).build())
    assert found is not None
    assert found.l4_offset == (40 + len(chain) if count <= MOST_EXTENSIONS else 0)
