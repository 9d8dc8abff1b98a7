"""Superframes cut by the data plane, against packets built one by one; hostile frames; the layout for UDP_SEGMENT."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fastpath.packets import (
    ACK,
    CWR,
    ECE,
    FIN,
    GSO_ECN,
    GSO_NONE,
    GSO_TCPV4,
    GSO_TCPV6,
    GSO_UDP,
    GSO_UDP_L4,
    MF,
    NEEDS_CSUM,
    PSH,
    Ip,
    Tcp,
    Udp,
    Vnet,
    cut,
    gso_vnet,
)
from tests.native.packets import datagrams, finish, segment

MTU = 1420
HEADER = TAG = 16
TIMESTAMPS = bytes.fromhex("0101080a0102030405060708")
HOP_BY_HOP = bytes.fromhex("1100010400000000")  # next header 17, or replaced by the test; PadN
ALL_KINDS = [Tcp(), Tcp(version=6), Udp(), Udp(version=6)]


def payload(length: int) -> bytes:
    return bytes((i * i + 11 * i) & 0xFF for i in range(length))


def padded(inner_len: int, mtu: int) -> int:
    """Paper section 5.4.6: to a multiple of 16; pywg never pads past the MTU."""
    return max(inner_len, min((inner_len + 15) // 16 * 16, mtu))


packets = st.builds(
    lambda kind, data, ident, ports, tos, options, seq, flags: (
        replace(kind, payload=data, ident=ident, ports=ports, tos=tos)
        if isinstance(kind, Udp)
        else replace(kind, payload=data, ident=ident, ports=ports, tos=tos, tcp_options=options, seq=seq, flags=flags)
    ),
    st.sampled_from(ALL_KINDS),
    st.binary(min_size=1, max_size=5000),
    st.integers(0, 0xFFFF),
    st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF)),
    st.integers(0, 0xFF),
    st.sampled_from([b"", TIMESTAMPS, bytes(40)]),
    st.integers(0, 0xFFFFFFFF),
    st.integers(0, 0xFF),
)


@given(packets, st.integers(1, 5001))
def test_the_same_as_packets_built_one_by_one(packet: Ip, gso_size: int) -> None:
    if len(packet.payload) // gso_size > 900:
        gso_size += 10
    vnet = gso_vnet(packet, gso_size).build()
    expected = cut(packet, gso_size)
    assert segment(vnet, packet.unfinished(), MTU) == expected


@pytest.mark.parametrize("packet", ALL_KINDS)
@pytest.mark.parametrize("length", [1, 1379, 1380, 1381, 2760, 2761, 65535 - 60])
def test_edges_of_gso_size(packet: Ip, length: int) -> None:
    whole = replace(packet, payload=payload(length))
    for gso_size in (1380, length, max(length - 1, 1), length + 1, 65535):
        assert segment(gso_vnet(whole, gso_size).build(), whole.unfinished(), MTU) == cut(whole, gso_size)


def test_flags_stand_where_they_belong() -> None:
    packet = Tcp(payload=payload(3000), flags=ACK | PSH | FIN | ECE | CWR)
    vnet = replace(gso_vnet(packet, 1000), gso_type=GSO_TCPV4 | GSO_ECN)
    flags = [one[33] for one in segment(vnet.build(), packet.unfinished(), MTU)]
    assert flags == [ACK | ECE | CWR, ACK | ECE, ACK | ECE | PSH | FIN]


def test_numbers_wrap() -> None:
    packet = Tcp(payload=payload(3000), seq=0xFFFFFFFF - 500, ident=0xFFFF)
    assert segment(gso_vnet(packet, 1000).build(), packet.unfinished(), MTU) == cut(packet, 1000)


def test_udp_checksum_is_never_zero() -> None:
    # The two payload bytes that make the checksum come out as zero, which RFC 768 sends as all ones.
    blank = Udp(payload=b"\0\0")
    whole = replace(blank, payload=blank.right_checksum().to_bytes(2, "big") + b"\0\0")
    first = segment(gso_vnet(whole, 2).build(), whole.unfinished(), MTU)[0]
    assert first[26:28] == b"\xff\xff"


def test_hdr_len_is_only_a_hint() -> None:
    packet = Tcp(payload=payload(3000), tcp_options=TIMESTAMPS)
    for hint in (0, 20, 40, 0xFFFF):
        vnet = replace(gso_vnet(packet, 1000), hdr_len=hint)
        assert segment(vnet.build(), packet.unfinished(), MTU) == cut(packet, 1000)


@pytest.mark.parametrize("kind", [Tcp(version=6), Udp(version=6)])
def test_ip6_extension_headers(kind: Ip) -> None:
    destination = bytes([kind.protocol, 1]) + bytes(14)
    packet = replace(kind, options=bytes([60]) + HOP_BY_HOP[1:] + destination, first_header=0, payload=payload(3000))
    assert segment(gso_vnet(packet, 1000).build(), packet.unfinished(), MTU) == cut(packet, 1000)


def test_ip4_options() -> None:
    packet = Tcp(options=bytes([1, 1, 1, 0]), payload=payload(3000))
    assert segment(gso_vnet(packet, 1000).build(), packet.unfinished(), MTU) == cut(packet, 1000)


def test_bytes_behind_the_packet_are_left_out() -> None:
    packet = Tcp(payload=payload(3000))
    assert segment(gso_vnet(packet, 1000).build(), packet.unfinished() + b"trailer", MTU) == cut(packet, 1000)


@pytest.mark.parametrize("mtu", [1280, 1400, 1420, 1425, 9000])
def test_layout_and_padding(mtu: int) -> None:
    packet = Tcp(payload=payload(20 * 1371 + 5))
    (run,) = datagrams(gso_vnet(packet, 1371).build(), packet.unfinished(), mtu)
    expected = cut(packet, 1371)
    assert [inner_len for _, inner_len in run] == [len(one) for one in expected]
    assert len({len(wire) for wire, _ in run[:-1]}) == 1
    for (wire, inner_len), one in zip(run, expected, strict=True):
        room = padded(inner_len, mtu)
        assert len(wire) == HEADER + room + TAG
        assert wire[:HEADER] == wire[HEADER + room :] == b"\xee" * 16
        assert wire[HEADER : HEADER + room] == one + bytes(room - inner_len)


@pytest.mark.parametrize(
    ("length", "gso_size", "expected"),
    [
        (64 * 100, 100, [64]),
        (64 * 100 + 1, 100, [64, 1]),
        (130 * 100, 100, [64, 64, 2]),
        (45 * 1380, 1380, [44, 1]),  # 44 x 1,452 wire bytes are 63,888; one more would pass 65,000
        (65000, 60000, [1, 1]),
        (65000, 65000, [1]),
    ],
)
def test_a_run_ends_at_64_datagrams_or_65000_bytes(length: int, gso_size: int, expected: list[int]) -> None:
    packet = Tcp(payload=payload(length))
    runs = datagrams(gso_vnet(packet, gso_size).build(), packet.unfinished(), MTU)
    assert [len(run) for run in runs] == expected
    inner = [wire[HEADER : HEADER + inner_len] for run in runs for wire, inner_len in run]
    assert inner == cut(packet, gso_size)
    for run in runs:
        assert sum(len(wire) for wire, _ in run) <= 65000 or len(run) == 1


def test_no_room() -> None:
    packet = Tcp(payload=payload(5000))
    vnet, whole = gso_vnet(packet, 1000).build(), packet.unfinished()
    wire_len = sum(len(wire) for wire, _ in datagrams(vnet, whole, MTU)[0])
    assert len(datagrams(vnet, whole, MTU, room=wire_len)[0]) == 5
    with pytest.raises(ValueError, match="no room"):
        datagrams(vnet, whole, MTU, room=wire_len - 1)
    with pytest.raises(ValueError, match="no room"):
        datagrams(vnet, whole, MTU, max_runs=0)


def test_one_byte_segments_can_not_blow_up() -> None:
    packet = Tcp(payload=payload(65000))
    with pytest.raises(ValueError, match="no room"):
        segment(gso_vnet(packet, 1).build(), packet.unfinished(), MTU)


@pytest.mark.known_bug("An unknown virtio GSO type")
@pytest.mark.parametrize("gso_type", [GSO_NONE, 2, GSO_UDP, 6, 0x40, GSO_ECN, 0x7F])
def test_unknown_gso_types(gso_type: int) -> None:
    packet = Tcp(payload=payload(3000))
    with pytest.raises(ValueError, match="unknown GSO type"):
        segment(replace(gso_vnet(packet, 1000), gso_type=gso_type).build(), packet.unfinished(), MTU)


ROUTING = bytes([6, 0, 4, 1]) + bytes(4)
MALFORMED: dict[str, tuple[Ip, dict[str, int]]] = {
    "gso_size 0": (Tcp(), {"gso_size": 0}),
    "TCPV4 on IPv6": (Tcp(version=6), {"gso_type": GSO_TCPV4}),
    "TCPV6 on IPv4": (Tcp(), {"gso_type": GSO_TCPV6}),
    "TCPV4 on UDP": (Udp(), {"gso_type": GSO_TCPV4}),
    "UDP_L4 on TCP": (Tcp(), {"gso_type": GSO_UDP_L4}),
    "csum_start elsewhere": (Tcp(), {"csum_start": 24}),
    "csum_start outside": (Tcp(version=6), {"csum_start": 0xFFFF}),
    "IP length past the packet": (Tcp(ip_len_error=1), {}),
    "IPv6 length past the packet": (Udp(version=6, ip_len_error=1), {}),
    "TCP data offset too small": (Tcp(data_offset=4), {}),
    "fragment": (Udp(fragment=MF), {}),
    "later fragment": (Udp(fragment=8), {}),
    "IPv6 fragment header": (Udp(version=6, first_header=44, options=bytes([17, 0, 0, 1, 0, 0, 0, 0])), {}),
    "routing header not used up": (Tcp(version=6, first_header=43, options=ROUTING), {}),
    "endless extension headers": (Tcp(version=6, first_header=60, options=bytes([60, 0] + [0] * 6) * 40), {}),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(name: str) -> None:
    packet, changes = MALFORMED[name]
    packet = replace(packet, payload=payload(3000))
    with pytest.raises(ValueError, match="malformed"):
        segment(replace(gso_vnet(packet, 1000), **changes).build(), packet.unfinished(), MTU)


@pytest.mark.parametrize(
    "packet",
    [
        Tcp(data_offset=6),
        Tcp(version=6, data_offset=15),
        Udp(version=6, first_header=60, options=bytes([17, 255, 1, 4, 0, 0, 0, 0])),
        Tcp(version=6, first_header=0, options=bytes([6, 2, 1, 4, 0, 0, 0, 0])),
    ],
)
def test_headers_that_reach_past_the_packet(packet: Ip) -> None:
    vnet = replace(gso_vnet(packet, 1000), flags=0)
    with pytest.raises(ValueError, match="malformed"):
        segment(vnet.build(), packet.unfinished(), MTU)


@pytest.mark.parametrize("first_byte", [0x00, 0x40, 0x44, 0x55, 0xF5])
def test_no_such_ip_header(first_byte: int) -> None:
    # Read 4 bytes too early, this acknowledgement would be a good TCP data offset.
    packet = Tcp(payload=payload(3000), ack=0x50000000)
    whole = bytes([first_byte]) + packet.unfinished()[1:]
    with pytest.raises(ValueError, match="malformed"):
        segment(replace(gso_vnet(packet, 1000), flags=0).build(), whole, MTU)


@pytest.mark.parametrize("packet", ALL_KINDS)
def test_every_truncation(packet: Ip) -> None:
    packet = replace(packet, payload=payload(200))
    whole = packet.unfinished()
    for length in range(len(whole)):
        with pytest.raises(ValueError, match="malformed"):
            segment(gso_vnet(packet, 100).build(), whole[:length], MTU)


vnets = st.builds(
    Vnet,
    flags=st.integers(0, 3),
    gso_type=st.sampled_from([GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, GSO_TCPV4 | GSO_ECN]),
    hdr_len=st.integers(0, 0xFFFF),
    gso_size=st.integers(0, 2000),
    csum_start=st.sampled_from([0, 20, 24, 40, 48, 0xFFFF]),
    csum_offset=st.sampled_from([6, 16, 0xFFFF]),
)


@given(vnets, st.one_of(st.binary(max_size=300), st.sampled_from(ALL_KINDS).map(Ip.unfinished)), st.data())
def test_hostile_bytes_give_packets_or_a_reason(vnet: Vnet, data: bytes, draw: st.DataObject) -> None:
    hostile = bytearray(data)
    for at in draw.draw(st.lists(st.integers(0, max(len(data) - 1, 0)), max_size=4)) if data else []:
        hostile[at] = draw.draw(st.integers(0, 255))
    for check in (segment, lambda *arguments: [finish(*arguments[:2])]):
        try:
            found = check(vnet.build(), bytes(hostile), MTU)
        except ValueError as problem:
            reason = str(problem)
        else:
            reason = ""
            assert all(len(one) <= len(hostile) for one in found)
        assert reason in ("", "malformed", "no room")


@pytest.mark.parametrize("packet", ALL_KINDS)
@pytest.mark.parametrize("length", [0, 1, 2, 99, 1380])
def test_finish_checksum(packet: Ip, length: int) -> None:
    packet = replace(packet, payload=payload(length))
    vnet = replace(gso_vnet(packet, 0), gso_type=GSO_NONE)
    assert finish(vnet.build(), packet.unfinished()) == packet.build()
    assert finish(replace(vnet, flags=0).build(), packet.unfinished()) == packet.unfinished()


def test_finish_checksum_that_comes_out_as_zero() -> None:
    blank = Udp(payload=b"\0\0")
    packet = replace(blank, payload=blank.right_checksum().to_bytes(2, "big"))
    vnet = replace(gso_vnet(packet, 0), gso_type=GSO_NONE)
    assert finish(vnet.build(), packet.unfinished())[26:28] == b"\xff\xff"


@pytest.mark.parametrize(
    ("start", "offset"), [(28, 0), (27, 0), (0xFFFF, 0), (0, 0xFFFF), (20, 7), (0xFFFF, 0xFFFF), (0, 27)]
)
def test_finish_checksum_outside_the_packet(start: int, offset: int) -> None:
    with pytest.raises(ValueError, match="malformed"):
        finish(Vnet(NEEDS_CSUM, csum_start=start, csum_offset=offset).build(), Udp().build())
