"""TCP segments in UDP tunnels joined by the data plane: what may be one superframe, and that it can be undone."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fastpath.coalesce_driver import TIMESTAMPS, payload
from tests.fastpath.packets import ACK, ADDRESSES4, ADDRESSES6, CWR, DF, ECE, FIN, MF, PSH, Ip, Tcp, Udp, Vnet
from tests.fastpath.tunnels import (
    GENEVE_PORT,
    VXLAN_PORT,
    Tunnel,
    TunnelVnet,
    ethernet,
    geneve,
    tunnel_vnet,
    vxlan,
)
from tests.native.packets import coalesce, segment

MTU = 1420
ETHERNET_LEN = 14
PORT = 50000
OUTER = [
    Udp(ports=(PORT, VXLAN_PORT), version=version, check=check, fragment=0) for version in (4, 6) for check in (0, None)
]
INNER = [Tcp(tcp_options=TIMESTAMPS), Tcp(version=6)]
ENDS = [(addresses[1], port) for addresses in (ADDRESSES4, ADDRESSES6) for port in (VXLAN_PORT, GENEVE_PORT)]
USUAL = Tunnel(replace(INNER[0], payload=payload(1000)), OUTER[0])


def packets_of(tunnel: Tunnel, count: int, size: int = 100, last: int | None = None) -> list[bytes]:
    length = size * (count - 1) + (size if last is None else last)
    return replace(tunnel, inner=replace(tunnel.inner, payload=payload(length))).cut(size)


def merged(packets: list[bytes], **options: Any) -> list[tuple[bytes, bytes]]:
    return coalesce(packets, vnet_hdr_len=24, **{"tunnels": ENDS, **options})


def cut_again(vnet: bytes, frame: bytes) -> list[bytes]:
    """As the kernel cuts it. In what pywg writes, the UDP header's place has to be behind an Ethernet header."""
    header = TunnelVnet.parse(vnet)
    if header.gso_type == 0:
        return [frame]
    if header.gso_type & 0x60:
        header = replace(header, outer_th=header.outer_th - ETHERNET_LEN)
    return segment(header.build(), frame, MTU)


def counts(frames: list[tuple[bytes, bytes]]) -> list[int]:
    return [len(cut_again(*frame)) for frame in frames]


def assert_apart(first: Tunnel, second: Tunnel) -> None:
    """Neither is merged with the other, and both pass unchanged."""
    pair = [first.build(), second.build()]
    assert merged(pair) == [(bytes(24), one) for one in pair]


def follows(first: Tunnel, outer: dict[str, Any] | None = None, front: bytes | None = None, **inner: Any) -> Tunnel:
    """The packet that would join `first`, but for the changes."""
    assert isinstance(first.inner, Tcp)
    following = replace(first.inner, ident=first.inner.ident + 1, seq=first.inner.seq + len(first.inner.payload))
    return Tunnel(
        replace(following, **inner),
        replace(first.outer, **{"ident": first.outer.ident + 1, **(outer or {})}),
        first.front if front is None else front,
    )


@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize(("count", "last"), [(2, 100), (2, 1), (3, 99), (64, 100)])
def test_superframe_is_what_the_kernel_would_hand_over(outer: Udp, inner: Ip, count: int, last: int) -> None:
    tunnel = Tunnel(replace(inner, payload=payload(100 * (count - 1) + last)), outer)
    ((vnet, frame),) = merged(tunnel.cut(100))
    usual = tunnel_vnet(tunnel, 100)
    assert TunnelVnet.parse(vnet) == replace(usual, outer_th=usual.outer_th + ETHERNET_LEN)
    assert vnet == replace(usual, outer_th=usual.outer_th + ETHERNET_LEN).build()
    assert frame == tunnel.unfinished()
    assert cut_again(vnet, frame) == tunnel.cut(100)


@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize(
    "front", [geneve() + ethernet(4), geneve(options=bytes.fromhex("0102000401020304")) + ethernet(4)]
)
def test_geneve(outer: Udp, front: bytes) -> None:
    tunnel = Tunnel(INNER[0], replace(outer, ports=(PORT, GENEVE_PORT)), front)
    packets = packets_of(tunnel, 10)
    ((vnet, frame),) = merged(packets)
    assert cut_again(vnet, frame) == packets


@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize("inner", INNER)
def test_undone_they_are_what_came(outer: Udp, inner: Tcp) -> None:
    """As where the TUN refuses the superframe."""
    packets = packets_of(Tunnel(replace(inner, flags=ACK | PSH), outer), 10, last=7)
    assert counts(merged(packets)) == [10]
    assert merged(packets, apart=True) == [(bytes(24), one) for one in packets]


@pytest.mark.parametrize("options", [{"tunnels": []}, {"vnet_hdr_len": 12}, {"vnet_hdr_len": 10}])
def test_without_an_end_that_is_known(options: dict[str, Any]) -> None:
    """A program that serves this port gets the datagrams that were sent."""
    packets = packets_of(USUAL, 5)
    length = options.get("vnet_hdr_len", 24)
    assert coalesce(packets, **{"vnet_hdr_len": 24, "tunnels": ENDS, **options}) == [
        (bytes(length), one) for one in packets
    ]


@pytest.mark.parametrize("end", [(ADDRESSES4[1], 4790), (ADDRESSES4[0], VXLAN_PORT), (ADDRESSES6[1], VXLAN_PORT)])
def test_to_another_end(end: tuple[bytes, int]) -> None:
    packets = packets_of(USUAL, 5)
    assert len(merged(packets, tunnels=[end])) == 5
    assert len(merged(packets, tunnels=[end, ENDS[0]])) == 1


def test_at_most_65535_bytes() -> None:
    for size in (1318, 16000, 32000):
        packets = packets_of(USUAL, 50, size)
        frames = merged(packets)
        assert counts(frames)[0] == (65535 - (len(packets[0]) - size)) // size
        assert [one for frame in frames for one in cut_again(*frame)] == packets


INSIDE: dict[str, dict[str, Any]] = {
    "out of sequence": {"seq": 0},
    "an ID that jumps": {"ident": 99},
    "another acknowledgement": {"ack": 1},
    "another window": {"window": 1},
    "other options": {"tcp_options": TIMESTAMPS[:-1] + b"\xff"},
    "no options": {"tcp_options": b""},
    "another TTL": {"ttl": 1},
    "another TOS": {"tos": 1},
    "no DF": {"fragment": 0},
    "a fragment": {"fragment": MF},
    "FIN": {"flags": ACK | FIN},
    "CWR": {"flags": ACK | CWR},
    "ECE": {"flags": ACK | ECE},
    "a longer one": {"payload": payload(1001)},
    "no payload": {"payload": b""},
    "another port": {"ports": (1000, 2001)},
    "other addresses": {"addresses": (ADDRESSES4[0], bytes([10, 0, 0, 9]))},
    "IP options": {"options": bytes([1, 1, 1, 0])},
    "a wrong checksum": {"check": 1},
    "a length past the packet": {"ip_len_error": 1},
    "a length short of the packet": {"ip_len_error": -1},
}


@pytest.mark.parametrize("name", INSIDE)
def test_what_is_inside_keeps_them_apart(name: str) -> None:
    assert counts(merged([USUAL.build(), follows(USUAL).build()])) == [2]
    assert_apart(USUAL, follows(USUAL, **INSIDE[name]))


OUTSIDE: dict[str, dict[str, Any]] = {
    "an ID that jumps": {"ident": 99},
    "an ID that stands still, without DF": {"ident": USUAL.outer.ident},
    "another TTL": {"ttl": 1},
    "another TOS": {"tos": 2},
    "DF": {"fragment": DF},
    "another source port": {"ports": (PORT + 1, VXLAN_PORT)},
    "a checksum": {"check": None},
    "a wrong checksum": {"check": 1},
    "a UDP length of another": {"udp_len": 9},
    "another source": {"addresses": (bytes([10, 0, 0, 9]), ADDRESSES4[1])},
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_the_tunnels_headers_keep_them_apart(name: str) -> None:
    assert_apart(USUAL, follows(USUAL, OUTSIDE[name]))


@pytest.mark.parametrize("which", [0, 1])
def test_a_tunnels_wrong_checksum_keeps_them_apart(which: int) -> None:
    first = replace(USUAL, outer=replace(USUAL.outer, check=None))
    pair = [first, follows(first)]
    assert counts(merged([one.build() for one in pair])) == [2]
    pair[which] = replace(pair[which], outer=replace(pair[which].outer, check=1))
    assert_apart(*pair)


FRONTS: dict[str, bytes] = {
    "another VNI": vxlan(8) + ethernet(4),
    "other flags": vxlan(flags=0x0C) + ethernet(4),
    "another reserved byte": vxlan()[:-1] + b"\1" + ethernet(4),
    "another Ethernet source": vxlan() + bytes(6) + ethernet(4)[6:],
    "Geneve": geneve() + ethernet(4),
    "a VLAN": vxlan() + ethernet(4, vlan=5),
    "the ethertype of IPv6": vxlan() + ethernet(6),
}


@pytest.mark.parametrize("name", FRONTS)
def test_what_stands_between_keeps_them_apart(name: str) -> None:
    assert_apart(USUAL, follows(USUAL, front=FRONTS[name]))


NO_TUNNELS: dict[str, bytes] = {
    "no VNI": vxlan(flags=0) + ethernet(4),
    "VXLAN-GPE": vxlan(flags=0x0C) + ethernet(4),
    "Geneve's control packets": geneve()[:1] + b"\x80" + geneve()[2:] + ethernet(4),
    "Geneve of no Ethernet": geneve(protocol=0x0800) + ethernet(4),
    "a VLAN": vxlan() + ethernet(4, vlan=5),
    "no IP": vxlan() + ethernet(4)[:-2] + b"\x88\xb5",
    "options past the packet": b"\x3f" + geneve()[1:] + ethernet(4),
    "nothing": b"",
}


@pytest.mark.parametrize("name", NO_TUNNELS)
def test_other_headers_are_left_alone(name: str) -> None:
    tunnel = replace(USUAL, front=NO_TUNNELS[name])
    packets = packets_of(tunnel, 4)
    assert merged(packets) == [(bytes(24), one) for one in packets]


def test_ids_that_stand_still_under_df() -> None:
    first = replace(USUAL, outer=replace(USUAL.outer, fragment=DF))
    packets = [first]
    for _ in range(3):
        packets.append(follows(packets[-1], {"ident": first.outer.ident}, ident=USUAL.inner.ident))
    assert len(merged([one.build() for one in packets])) == 1


def test_nothing_follows_a_push_or_a_shorter_one() -> None:
    second = follows(USUAL, flags=ACK | PSH)
    third = follows(second)
    assert counts(merged([one.build() for one in (USUAL, second, third)])) == [2, 1]
    second = follows(USUAL, payload=payload(999))
    assert counts(merged([one.build() for one in (USUAL, second, follows(second))])) == [2, 1]


def test_a_packet_of_the_flow_is_not_overtaken() -> None:
    """One that may not join is of the same flow: what comes behind it begins anew."""
    plain = replace(USUAL.outer, ident=50, payload=b"plain")
    packets = [USUAL.build(), plain.build(), follows(USUAL).build()]
    assert merged(packets) == [(bytes(24), one) for one in packets]


@pytest.mark.parametrize("length", [0, 1, 7, 8, 15, 16, 21, 22, 23, 41, 42, 43, 61, 62])
def test_short_datagrams(length: int) -> None:
    """To an end that is known, of every length up to a packet's headers."""
    whole = USUAL.between() + USUAL.inner.build()
    packets = [replace(USUAL.outer, ident=number, payload=whole[:length]).build() for number in range(3)]
    assert merged(packets) == [(bytes(24), one) for one in packets]


variants = st.builds(
    lambda outer, inner, front, size, flags: Tunnel(
        replace(inner, flags=flags, payload=payload(size)), outer, front(inner.version)
    ),
    st.sampled_from(OUTER),
    st.sampled_from(INNER),
    st.sampled_from([lambda version: None, lambda version: geneve(options=bytes(8)) + ethernet(version)]),
    st.sampled_from([1, 99, 100]),
    st.sampled_from([ACK, ACK, ACK | PSH, ACK | ECE, ACK | FIN]),
)
changes: list[Callable[[bytes], bytes]] = [
    lambda packet: packet,
    lambda packet: packet,
    lambda packet: packet[:-1],
    lambda packet: packet[:60] + bytes([packet[60] ^ 1]) + packet[61:],
    lambda packet: packet[:29] + bytes([packet[29] ^ 1]) + packet[30:],
]


@given(st.lists(st.tuples(variants, st.integers(1, 5), st.sampled_from(changes)), max_size=12), st.booleans())
def test_every_packet_comes_out_once_and_unchanged(
    runs: list[tuple[Tunnel, int, Callable[[bytes], bytes]]], apart: bool
) -> None:
    packets = [change(one) for tunnel, count, change in runs for one in packets_of(tunnel, count)]
    frames = merged(packets, apart=apart)
    assert sorted(one for frame in frames for one in cut_again(*frame)) == sorted(packets)
    assert not apart or all(Vnet.parse(vnet) == Vnet() or not vnet[1] & 0x60 for vnet, _ in frames)
