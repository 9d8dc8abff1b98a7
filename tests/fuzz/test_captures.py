"""A frame of a TUN becomes an input that its target reads as that frame."""

import struct
from pathlib import Path

import pytest

from tests.fuzz import corpus
from tests.fuzz.captures import GSO_TUNNEL, PREFIX, Frame, inputs, ip_input, keep, segment_input
from tests.fuzz.native.runner import KEPT_LEN
from tests.native.packets import segment

HEADERS = bytes([0x45]) + bytes(8) + bytes([6]) + bytes(10) + bytes(12) + bytes([0x50, 0x18]) + bytes(6)
"""IPv4 and TCP."""


def frame(*, gso: int, packet: bytes, outer: int = 0, inner: int = 0, start: int = 20) -> Frame:
    return Frame(struct.pack("<BBHHHH10xHH", 1, gso, 40, 1000, start, 16, outer, inner) + packet)


def test_a_superframe_is_its_headers_and_the_length_of_its_payload() -> None:
    captured = frame(gso=1, packet=HEADERS + bytes(2500))
    assert captured.kind == "tcp4-short"
    shape, mtu, _, _, *_ = struct.unpack_from("<BHBB", data := segment_input(captured))
    assert (shape, mtu) == (1, 1420)
    assert data[5:15] == captured.header[:10]
    assert struct.unpack_from("<H", data, 15) == (2500,)
    assert data[17:] == HEADERS


def test_that_of_a_tunnel_has_both_offsets() -> None:
    front = bytes([0x45]) + bytes(19 + 8 + 8 + 14)
    captured = frame(gso=0x21, packet=front + HEADERS + bytes(2000), outer=20, inner=50, start=70)
    assert captured.kind == "tcp4-in-udp4-whole"
    data = segment_input(captured)
    assert data[15:17] == bytes([20, 30])
    assert data[19:] == front + HEADERS
    assert captured.written()[20:24] == struct.pack("<HH", 34, 50), "a TUN takes it as if behind an Ethernet header"


def test_a_packet_is_there_whole() -> None:
    captured = frame(gso=0, packet=HEADERS)
    assert ip_input(captured) == struct.pack("<BHB", 0, 20, 16) + HEADERS
    found = inputs({captured.kind: captured, "long": frame(gso=0, packet=HEADERS + bytes(1000))})
    assert found["unreachable"] == {f"{PREFIX}ip4-6-24-unfinished": HEADERS}


def test_kept_ones_are_short_and_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for target, least in (("segment", 16), ("ip", 10), ("unreachable", 10)):
        there = {name: data for name, data in corpus.kept(target).items() if name.startswith(PREFIX)}
        assert len(there) >= least
        assert max(map(len, there.values())) <= KEPT_LEN
    file = tmp_path / "ip.txt"
    file.write_text(corpus.form({f"{PREFIX}old": b"1", corpus.sha1(b"2"): b"2"}))
    monkeypatch.setattr(corpus, "packed", lambda target: file)
    assert keep("ip", {f"{PREFIX}new": b"3"}) == 2
    assert corpus.kept("ip") == {f"{PREFIX}new": b"3", corpus.sha1(b"2"): b"2"}


def test_each_kept_superframe_is_one_that_is_cut() -> None:
    captures = {name: data for name, data in corpus.kept("segment").items() if name.startswith(PREFIX)}
    for name, data in captures.items():
        header, rest = data[5:15], data[15:]
        gso, gso_size = header[1], int.from_bytes(header[4:6], "little")
        if gso & GSO_TUNNEL:
            header = struct.pack("<10s10xHH", header, rest[0], rest[0] + rest[1])
            rest = rest[2:]
        payload, headers = int.from_bytes(rest[:2], "little"), rest[2:]
        packets = segment(bytearray(header), headers + bytes(payload), 1420)
        assert len(packets) == -(-payload // gso_size) > 1, name
        assert sum(map(len, packets)) == payload + len(packets) * len(headers)
