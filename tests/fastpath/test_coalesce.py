"""Packets joined by the data plane: cut again they are what went in, and in order within a flow."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fastpath.coalesce_driver import (
    KINDS,
    TIMESTAMPS,
    counts,
    cut_again,
    follows,
    packets_of,
    payload,
)
from tests.fastpath.packets import (
    ACK,
    ECE,
    FIN,
    GSO_TCPV4,
    GSO_TCPV6,
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
from tests.native.packets import coalesce


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("count", "last"), [(2, 100), (2, 1), (3, 99), (64, 100)])
def test_superframe_is_what_the_kernel_would_hand_over(kind: Ip, count: int, last: int) -> None:
    whole = replace(kind, payload=payload(100 * (count - 1) + last))
    ((vnet, frame),) = coalesce(cut(whole, 100))
    assert Vnet.parse(vnet) == gso_vnet(whole, 100)
    assert frame == whole.unfinished()


@pytest.mark.parametrize(
    ("kind", "gso_type", "csum_start", "csum_offset", "hdr_len"),
    [
        (Tcp(), GSO_TCPV4, 20, 16, 40),
        (Tcp(version=6, tcp_options=TIMESTAMPS), GSO_TCPV6, 40, 16, 72),
        (Udp(), GSO_UDP_L4, 20, 6, 28),
        (Udp(version=6), GSO_UDP_L4, 40, 6, 48),
    ],
)
def test_virtio_header(kind: Ip, gso_type: int, csum_start: int, csum_offset: int, hdr_len: int) -> None:
    ((vnet, _),) = coalesce(packets_of(kind, 3, 700))
    assert Vnet.parse(vnet) == Vnet(NEEDS_CSUM, gso_type, hdr_len, 700, csum_start, csum_offset)


@pytest.mark.parametrize("vnet_hdr_len", [10, 12])
def test_length_of_the_virtio_header(vnet_hdr_len: int) -> None:
    ((vnet, _),) = coalesce(packets_of(Tcp(), 3), vnet_hdr_len=vnet_hdr_len)
    assert len(vnet) == vnet_hdr_len
    assert vnet[10:] == bytes(vnet_hdr_len - 10)


@pytest.mark.parametrize("kind", KINDS)
def test_without_virtio_header_nothing_is_merged(kind: Ip) -> None:
    packets = packets_of(kind, 3)
    assert coalesce(packets, vnet_hdr_len=0) == [(b"", one) for one in packets]


@pytest.mark.parametrize("kind", KINDS)
def test_features(kind: Ip) -> None:
    packets = packets_of(kind, 3)
    merged = {(tcp, udp): len(coalesce(packets, tcp, udp)) == 1 for tcp in (False, True) for udp in (False, True)}
    assert merged == {(tcp, udp): tcp if isinstance(kind, Tcp) else udp for tcp, udp in merged}


@pytest.mark.parametrize("kind", KINDS)
def test_at_most_64_packets(kind: Ip) -> None:
    packets = packets_of(kind, 130)
    frames = coalesce(packets)
    assert counts(frames) == [64, 64, 2]
    assert cut_again(frames) == packets


@pytest.mark.parametrize("kind", KINDS)
def test_at_most_65535_bytes(kind: Ip) -> None:
    for size in (1380, 16000, 32000, 32766, 40000, 65475):
        packets = packets_of(kind, 50, size)
        frames = coalesce(packets)
        headers = len(packets[0]) - size
        assert counts(frames)[0] == (65535 - headers) // size
        assert all(len(frame) <= 65535 for _, frame in frames)
        assert cut_again(frames) == packets
    for total, expected in ((65534, [2]), (65535, [2]), (65536, [1, 1])):
        size = (total - headers + 1) // 2
        assert counts(coalesce(packets_of(kind, 2, size, total - headers - size))) == expected


def test_ece_is_kept_when_all_have_it() -> None:
    packets = packets_of(Tcp(flags=ACK | ECE), 3)
    frames = coalesce(packets)
    assert counts(frames) == [3]
    assert cut_again(frames) == packets


def test_ip4_id_wraps() -> None:
    packets = packets_of(Tcp(ident=0xFFFF, fragment=0), 3)
    assert counts(coalesce(packets)) == [3]


def test_sequence_number_wraps() -> None:
    packets = packets_of(Tcp(seq=2**32 - 150), 3)
    frames = coalesce(packets)
    assert counts(frames) == [3]
    assert cut_again(frames) == packets


def test_flows_side_by_side() -> None:
    kinds = [replace(kind, ports=(port, 53)) for kind in KINDS for port in (1, 2)]
    flows = [packets_of(kind, 5) for kind in kinds]
    frames = coalesce([flow[i] for i in range(5) for flow in flows])
    assert counts(frames) == [5] * len(kinds)
    assert [frame[:40] for _, frame in frames] == [coalesce(flow)[0][1][:40] for flow in flows]


def test_more_flows_than_places() -> None:
    flows = [packets_of(Tcp(ports=(port, 80)), 4) for port in range(40)]
    frames = coalesce([flow[i] for i in range(4) for flow in flows])
    assert sorted(cut_again(frames)) == sorted(one for flow in flows for one in flow)
    one_by_one = coalesce([one for flow in flows for one in flow])
    assert counts(one_by_one) == [4] * 40


def test_a_full_batch_is_refused() -> None:
    packets = packets_of(Udp(), 5)
    assert len(coalesce(packets, max_packets=5)) == 1
    with pytest.raises(ValueError, match="full"):
        coalesce(packets, max_packets=4)


steps = st.tuples(
    st.integers(0, 5),
    st.sampled_from(["next"] * 6 + ["short", "push", "gap", "empty", "tos", "bad", "fin", "fragment", "zero"]),
)


@given(st.lists(steps, max_size=60), st.booleans(), st.booleans())
def test_any_mixture_comes_out_complete_and_in_order_per_flow(
    mixture: list[tuple[int, str]], tcp: bool, udp: bool
) -> None:
    at: dict[int, Ip] = {
        number: replace(KINDS[number % 4], payload=payload(90), ports=(number, 1)) for number in range(6)
    }
    flows: dict[int, list[bytes]] = {number: [] for number in at}
    sent: list[bytes] = []
    for number, step in mixture:
        one = variant(at[number], step)
        at[number] = follows(at[number], payload=payload(90))
        flows[number].append(one.build())
        sent.append(flows[number][-1])
    out = cut_again(coalesce(sent, tcp, udp))
    assert len(out) == len(sent)
    for packets in flows.values():
        mine = set(packets)
        assert [one for one in out if one in mine] == packets


def variant(packet: Ip, step: str) -> Ip:
    changes: dict[str, dict[str, Any]] = {
        "short": {"payload": payload(40)},
        "push": {"flags": ACK | PSH},
        "gap": {"seq": 12345},
        "empty": {"payload": b""},
        "tos": {"tos": 3},
        "bad": {"check": 0x1234},
        "fin": {"flags": ACK | FIN},
        "fragment": {"fragment": MF},
        "zero": {"check": 0},
    }
    if not isinstance(packet, Tcp) and step in ("push", "gap", "fin"):
        return packet
    return replace(packet, **changes.get(step, {}))


@given(st.lists(st.one_of(st.binary(max_size=100), st.sampled_from(KINDS).map(Ip.build)), max_size=20), st.data())
def test_hostile_bytes_pass_unchanged_or_merge_rightly(packets: list[bytes], draw: st.DataObject) -> None:
    hostile = [bytearray(one) for one in packets]
    for one in hostile:
        if one and draw.draw(st.booleans()):
            one[draw.draw(st.integers(0, len(one) - 1))] = draw.draw(st.integers(0, 255))
    sent = [bytes(one) for one in hostile]
    assert sorted(cut_again(coalesce(sent))) == sorted(sent)


@pytest.mark.parametrize("kind", KINDS)
def test_every_truncation(kind: Ip) -> None:
    first, second = packets_of(kind, 2)
    for length in range(len(second)):
        sent = [first, second[:length], first[:length]]
        assert [frame for _, frame in coalesce(sent)] == sent
