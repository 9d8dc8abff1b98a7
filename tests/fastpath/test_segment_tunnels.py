"""Superframes in UDP tunnels cut by the data plane, against packets built one by one; headers that contradict them."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fastpath.packets import ACK, CWR, FIN, GSO_ECN, GSO_NONE, GSO_UDP, MF, NEEDS_CSUM, PSH, Ip, Tcp, Udp
from tests.fastpath.tunnels import (
    GENEVE_PORT,
    GSO_TUNNEL4,
    GSO_TUNNEL6,
    VXLAN_PORT,
    Tunnel,
    TunnelVnet,
    ethernet,
    geneve,
    tunnel_vnet,
    vxlan,
)
from tests.native.packets import segment

MTU = 1420
TIMESTAMPS = bytes.fromhex("0101080a0102030405060708")
HOP_BY_HOP = bytes.fromhex("1100010400000000")
INNER = [Tcp(), Tcp(version=6), Udp(), Udp(version=6)]
OUTER = [Udp(ports=(50000, VXLAN_PORT), version=version, check=check) for version in (4, 6) for check in (0, None)]


def payload(length: int) -> bytes:
    return bytes((i * i + 11 * i) & 0xFF for i in range(length))


def segments(tunnel: Tunnel, gso_size: int) -> list[bytes]:
    return segment(tunnel_vnet(tunnel, gso_size).build(), tunnel.unfinished(), MTU)


fronts = st.one_of(
    st.none(),
    st.builds(lambda vni, vlan: vxlan(vni) + ethernet(4, vlan), st.integers(0, 0xFFFFFF), st.integers(0, 4095)),
    st.builds(lambda words: geneve(options=words * 4) + ethernet(6), st.binary(max_size=63)),
    st.binary(max_size=100).map(lambda data: data * 2),  # a tunnel that nobody knows
)
tunnels = st.builds(
    lambda inner, outer, front, data, idents, ports, tos, options, seq, flags: Tunnel(
        inner=(
            replace(inner, payload=data, ident=idents[0], tos=tos[0])
            if isinstance(inner, Udp)
            else replace(inner, payload=data, ident=idents[0], tos=tos[0], tcp_options=options, seq=seq, flags=flags)
        ),
        outer=replace(outer, ident=idents[1], tos=tos[1], ports=ports),
        front=front,
    ),
    st.sampled_from(INNER),
    st.sampled_from(OUTER),
    fronts,
    st.binary(min_size=1, max_size=5000),
    st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF)),
    st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF)),
    st.tuples(st.integers(0, 0xFF), st.integers(0, 0xFF)),
    st.sampled_from([b"", TIMESTAMPS, bytes(40)]),
    st.integers(0, 0xFFFFFFFF),
    st.integers(0, 0xFF),
)


@given(tunnels, st.integers(10, 5001))
def test_the_same_as_packets_built_one_by_one(tunnel: Tunnel, gso_size: int) -> None:
    assert segments(tunnel, gso_size) == tunnel.cut(gso_size)


@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize("inner", INNER)
def test_a_frame_of_the_greatest_length(outer: Udp, inner: Ip) -> None:
    most = 65535 - len(Tunnel(inner, outer).build())
    tunnel = Tunnel(replace(inner, payload=payload(most)), outer)
    assert len(tunnel.build()) == 65535
    for gso_size in (1318, most - 1, most, 65535):
        assert segments(tunnel, gso_size) == tunnel.cut(gso_size)


def test_flags_and_numbers() -> None:
    inner = Tcp(payload=payload(3000), flags=ACK | PSH | FIN | CWR, seq=0xFFFFFF00, ident=0xFFFF)
    tunnel = Tunnel(inner, replace(OUTER[0], ident=0xFFFE))
    vnet = tunnel_vnet(tunnel, 1000)
    vnet = replace(vnet, gso_type=vnet.gso_type | GSO_ECN)
    found = segment(vnet.build(), tunnel.unfinished(), MTU)
    assert found == tunnel.cut(1000)
    assert [one[50 + 33] for one in found] == [ACK | CWR, ACK, ACK | PSH | FIN]
    assert [int.from_bytes(one[4:6]) for one in found] == [0xFFFE, 0xFFFF, 0]
    assert [int.from_bytes(one[54:56]) for one in found] == [0xFFFF, 0, 1]


@pytest.mark.parametrize("outer", OUTER)
def test_options_and_extension_headers(outer: Udp) -> None:
    """In both headers, and of the tunnel."""
    outer = replace(outer, ports=(50000, GENEVE_PORT))
    front = geneve(options=bytes.fromhex("0102000401020304")) + ethernet(6, vlan=5)
    inner = Tcp(version=6, options=bytes([6, *HOP_BY_HOP[1:]]), first_header=0, tcp_options=TIMESTAMPS)
    if outer.version == 4:
        outer = replace(outer, options=bytes([1, 1, 1, 0]))
    else:
        outer = replace(outer, options=HOP_BY_HOP, first_header=0)
    tunnel = Tunnel(replace(inner, payload=payload(3000)), outer, front)
    assert segments(tunnel, 999) == tunnel.cut(999)
    tunnel = replace(tunnel, inner=Tcp(payload=payload(3000), options=bytes([1, 1, 1, 0])))
    assert segments(tunnel, 999) == tunnel.cut(999)


@pytest.mark.parametrize("version", [4, 6])
def test_a_tunnels_checksum_is_never_zero(version: int) -> None:
    """A sum of zero is written as all ones (RFC 768): a VNI makes it so, here."""
    outer = Udp(ports=(50000, VXLAN_PORT), version=version, check=None)
    blank = Tunnel(Tcp(payload=b"\0\0\0\0"), outer, vxlan(0) + ethernet(4))
    check = replace(outer, payload=blank.between() + blank.inner.build()).right_checksum()
    tunnel = replace(blank, front=vxlan(check << 8) + ethernet(4))
    (found,) = segments(tunnel, 4)
    assert found == tunnel.build()
    l4 = 20 if version == 4 else 40
    assert found[l4 + 6 : l4 + 8] == b"\xff\xff"


def test_bytes_behind_the_packet_are_left_out() -> None:
    tunnel = Tunnel(Tcp(payload=payload(3000)))
    vnet = tunnel_vnet(tunnel, 1000).build()
    assert segment(vnet, tunnel.unfinished() + b"trailer", MTU) == tunnel.cut(1000)


@pytest.mark.parametrize("length", [10, 12, 20, 23])
def test_a_header_without_the_tunnels_fields(length: int) -> None:
    """Behind it is something else, which is not read."""
    tunnel = Tunnel(Tcp(payload=payload(3000)))
    with pytest.raises(ValueError, match="unknown GSO type"):
        segment(tunnel_vnet(tunnel, 1000).build()[:length], tunnel.unfinished(), MTU)


@pytest.mark.parametrize("gso_type", [GSO_NONE, 2, GSO_UDP, 6, 0x10, 0x11])
def test_unknown_gso_types(gso_type: int) -> None:
    tunnel = Tunnel(Tcp(payload=payload(3000)))
    vnet = replace(tunnel_vnet(tunnel, 1000), gso_type=gso_type | GSO_TUNNEL4)
    with pytest.raises(ValueError, match="unknown GSO type"):
        segment(vnet.build(), tunnel.unfinished(), MTU)


TCP4 = Tunnel()
MALFORMED: dict[str, tuple[Tunnel, dict[str, int]]] = {
    "IPv6, and is IPv4": (TCP4, {"gso_type": 1 | GSO_TUNNEL6}),
    "IPv4, and is IPv6": (Tunnel(outer=OUTER[2]), {"gso_type": 1 | GSO_TUNNEL4}),
    "IPv4 and IPv6": (TCP4, {"gso_type": 1 | GSO_TUNNEL4 | GSO_TUNNEL6}),
    "no checksum to finish": (TCP4, {"flags": 0}),
    "no checksum, and has one": (Tunnel(outer=OUTER[1]), {"flags": NEEDS_CSUM}),
    "the tunnel's UDP elsewhere": (TCP4, {"outer_th": 24}),
    "the tunnel's UDP outside": (TCP4, {"outer_th": 0xFFFF}),
    "inside, before the tunnel's end": (TCP4, {"inner_nh": 26}),
    "inside, elsewhere": (TCP4, {"inner_nh": 52}),
    "inside, at an odd place": (Tunnel(front=vxlan() + b"\0" + ethernet(4)), {}),
    "inside, outside": (TCP4, {"inner_nh": 0xFFFE}),
    "inside, IPv6, and is IPv4": (TCP4, {"gso_type": 4 | GSO_TUNNEL4}),
    "inside, TCP, and is UDP": (Tunnel(Udp()), {"gso_type": 1 | GSO_TUNNEL4}),
    "inside, a checksum elsewhere": (TCP4, {"csum_start": 20}),
    "inside, a fragment": (Tunnel(Udp(fragment=MF)), {}),
    "inside, longer than the tunnel": (Tunnel(Tcp(ip_len_error=1)), {}),
    "inside, shorter than the tunnel": (Tunnel(Tcp(ip_len_error=-1)), {}),
    "longer than the frame": (Tunnel(outer=replace(OUTER[0], ip_len_error=1)), {}),
    "a fragment": (Tunnel(outer=replace(OUTER[0], fragment=MF)), {}),
    "no UDP": (Tunnel(outer=replace(OUTER[0], protocol=47)), {}),
    "gso_size 0": (TCP4, {"gso_size": 0}),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(name: str) -> None:
    tunnel, changes = MALFORMED[name]
    tunnel = replace(tunnel, inner=replace(tunnel.inner, payload=payload(3000)))
    vnet = replace(tunnel_vnet(tunnel, 1000), **changes)
    with pytest.raises(ValueError, match="malformed"):
        segment(vnet.build(), tunnel.unfinished(), MTU)


@pytest.mark.parametrize("outer", OUTER)
def test_every_truncation(outer: Udp) -> None:
    tunnel = Tunnel(Tcp(payload=payload(200)), outer)
    whole = tunnel.unfinished()
    for length in range(len(whole)):
        with pytest.raises(ValueError, match="malformed"):
            segment(tunnel_vnet(tunnel, 100).build(), whole[:length], MTU)


@pytest.mark.parametrize("lengthen", [lambda length: length, lambda length: length + 8])
def test_every_truncation_whose_lengths_agree(lengthen: Callable[[int], int]) -> None:
    """The IP headers say what there is, or too much: nothing is read past the end."""
    tunnel = Tunnel(Tcp(payload=payload(40)), OUTER[0])
    for length in range(20, len(tunnel.unfinished())):
        cut = bytearray(tunnel.unfinished()[:length])
        cut[2:4] = length.to_bytes(2)
        if length >= 54:
            cut[52:54] = lengthen(length - 50).to_bytes(2)
        try:
            found = segment(tunnel_vnet(tunnel, 7).build(), bytes(cut), MTU)
        except ValueError as problem:
            reason = str(problem)
        else:
            reason = "" if length >= 90 else "more than there is"
            assert b"".join(one[90:] for one in found) == bytes(cut)[90:]
        assert reason in ("", "malformed")


vnets = st.builds(
    TunnelVnet,
    flags=st.integers(0, 15),
    gso_type=st.builds(lambda kind, tunnel: kind | tunnel, st.sampled_from([1, 4, 5]), st.sampled_from([0x20, 0x40])),
    gso_size=st.integers(0, 2000),
    csum_start=st.sampled_from([20, 70, 90, 110, 0xFFFF]),
    csum_offset=st.sampled_from([6, 16, 0xFFFF]),
    outer_th=st.sampled_from([0, 20, 40, 0xFFFF]),
    inner_nh=st.sampled_from([0, 28, 48, 50, 70, 0xFFFF]),
)


@given(vnets, st.sampled_from([Tunnel(inner, outer).unfinished() for inner in INNER for outer in OUTER]), st.data())
def test_hostile_bytes_give_packets_or_a_reason(vnet: TunnelVnet, data: bytes, draw: st.DataObject) -> None:
    hostile = bytearray(data)
    for _ in range(draw.draw(st.integers(0, 4))):
        hostile[draw.draw(st.integers(0, len(hostile) - 1))] = draw.draw(st.integers(0, 255))
    try:
        found = segment(vnet.build(), bytes(hostile), MTU)
    except ValueError as problem:
        reason = str(problem)
    else:
        reason = ""
        assert all(len(one) <= len(hostile) for one in found)
    assert reason in ("", "malformed", "no room")
