"""Packets joined by the data plane: cut again they are what went in; each reason not to merge; order within a flow."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywg._native.coalesce import coalesce
from pywg._native.segment import segment
from tests.fastpath.packets import (
    ACK,
    CWR,
    DF,
    ECE,
    FIN,
    GSO_TCPV4,
    GSO_TCPV6,
    GSO_UDP_L4,
    MF,
    NEEDS_CSUM,
    PSH,
    RST,
    SYN,
    URG,
    Ip,
    Tcp,
    Udp,
    Vnet,
    cut,
    gso_vnet,
)

MTU = 1420
KINDS = [Tcp(), Tcp(version=6), Udp(), Udp(version=6)]
TIMESTAMPS = bytes.fromhex("0101080a0102030405060708")
SACK = bytes.fromhex("0101050a0000000100000002")


def payload(length: int) -> bytes:
    return bytes((i * i + 11 * i) & 0xFF for i in range(length))


def packets_of(kind: Ip, count: int, size: int = 100, last: int | None = None) -> list[bytes]:
    """`count` packets in sequence, `size` payload bytes each; the last has `last` of them."""
    return cut(replace(kind, payload=payload(size * (count - 1) + (size if last is None else last))), size)


def cut_again(frames: list[tuple[bytes, bytes]]) -> list[bytes]:
    found: list[bytes] = []
    for vnet, frame in frames:
        found += segment(vnet, frame, MTU) if Vnet.parse(vnet).gso_type else [frame]
    return found


def counts(frames: list[tuple[bytes, bytes]]) -> list[int]:
    return [len(cut_again([frame])) for frame in frames]


def assert_apart(first: Ip, second: Ip) -> None:
    """Neither is merged with the other, and both pass unchanged."""
    pair = [first.build(), second.build()]
    assert coalesce(pair) == [(Vnet().build(), one) for one in pair]


def follows(first: Ip, **changes: Any) -> Ip:
    """The packet that would join `first`, but for `changes`."""
    following = replace(first, ident=first.ident + 1)
    if isinstance(following, Tcp):
        following = replace(following, seq=following.seq + len(first.payload))
    return replace(following, **changes)


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


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_follows_a_shorter_packet(kind: Ip) -> None:
    first = replace(kind, payload=payload(100))
    second = follows(first, payload=payload(99))
    third, fourth = follows(second), follows(follows(second))
    packets = [one.build() for one in (first, second, third, fourth)]
    frames = coalesce(packets)
    assert counts(frames) == [2, 2]
    assert cut_again(frames) == packets


@pytest.mark.parametrize("kind", KINDS)
def test_a_longer_packet_does_not_join(kind: Ip) -> None:
    first = replace(kind, payload=payload(100))
    assert_apart(first, follows(first, payload=payload(101)))


def test_push_ends_a_frame_and_is_kept() -> None:
    packets = [one.build() for one in push_in_the_middle()]
    frames = coalesce(packets)
    assert counts(frames) == [3, 2]
    assert frames[0][1][33] == ACK | PSH
    assert frames[1][1][33] == ACK
    assert cut_again(frames) == packets


def push_in_the_middle() -> list[Ip]:
    found: list[Ip] = [Tcp(payload=payload(100))]
    for flags in (ACK, ACK | PSH, ACK, ACK):
        found.append(follows(found[-1], flags=flags))
    return found


def test_nothing_follows_a_push() -> None:
    first = Tcp(payload=payload(100), flags=ACK | PSH)
    assert_apart(first, follows(first))
    assert_apart(first, follows(first, flags=ACK))


@pytest.mark.parametrize("flag", [FIN, SYN, RST, URG, CWR])
def test_flags_that_are_never_merged(flag: int) -> None:
    first = Tcp(payload=payload(100))
    assert_apart(first, follows(first, flags=ACK | flag))
    assert_apart(replace(first, flags=ACK | flag), follows(first))
    assert_apart(replace(first, flags=ACK | flag), follows(first, flags=ACK | flag))


def test_without_ack_nothing_is_merged() -> None:
    first = Tcp(payload=payload(100), flags=0)
    assert_apart(first, follows(first))


def test_ece_is_kept_when_all_have_it() -> None:
    packets = packets_of(Tcp(flags=ACK | ECE), 3)
    frames = coalesce(packets)
    assert counts(frames) == [3]
    assert cut_again(frames) == packets


OTHER4, OTHER6 = bytes([10, 0, 0, 9]), bytes.fromhex("fd00" + "00" * 13 + "09")
DIFFERENCES: dict[str, dict[str, Any]] = {
    "source port": {"ports": (1001, 2000)},
    "destination port": {"ports": (1000, 2001)},
    "TOS": {"tos": 1},
    "TTL": {"ttl": 63},
}
TCP_DIFFERENCES: dict[str, dict[str, Any]] = {
    "gap": {"seq": 201},
    "overlap": {"seq": 199},
    "retransmission": {"seq": 100},
    "acknowledgement": {"ack": 201},
    "window": {"window": 513},
    "urgent pointer": {"urgent": 1},
    "ECE": {"flags": ACK | ECE},
    "no ACK": {"flags": 0},
    "reserved bits": {"reserved": 1},
    "options": {"tcp_options": TIMESTAMPS},
}
IP4_DIFFERENCES: dict[str, dict[str, Any]] = {
    "ID gap": {"ident": 9},
    "ID going down": {"ident": 6},
    "no DF": {"fragment": 0},
    "reserved flag": {"fragment": DF | 0x8000},
    "more fragments": {"fragment": MF},
    "fragment offset": {"fragment": 1},
    "IP options": {"options": bytes([1, 1, 1, 0])},
    "source address": {"addresses": (OTHER4, Tcp().source_and_destination()[4:])},
    "destination address": {"addresses": (Tcp().source_and_destination()[:4], OTHER4)},
}
IP6_DIFFERENCES: dict[str, dict[str, Any]] = {
    "flow label": {"flow_label": 1},
    "extension header": {"first_header": 60, "options": bytes([6, 0, 1, 4, 0, 0, 0, 0])},
    "source address": {"addresses": (OTHER6, Tcp(version=6).source_and_destination()[16:])},
    "destination address": {"addresses": (Tcp(version=6).source_and_destination()[:16], OTHER6)},
}


@pytest.mark.parametrize("name", DIFFERENCES)
@pytest.mark.parametrize("kind", KINDS)
def test_differences_keep_packets_apart(kind: Ip, name: str) -> None:
    first = replace(kind, payload=payload(100))
    assert_apart(first, follows(first, **DIFFERENCES[name]))


@pytest.mark.parametrize("name", TCP_DIFFERENCES)
@pytest.mark.parametrize("version", [4, 6])
def test_tcp_differences_keep_packets_apart(version: int, name: str) -> None:
    first = Tcp(version=version, payload=payload(100))
    assert_apart(first, follows(first, **TCP_DIFFERENCES[name]))


@pytest.mark.parametrize("name", IP4_DIFFERENCES)
@pytest.mark.parametrize("kind", [Tcp(), Udp()])
def test_ip4_differences_keep_packets_apart(kind: Ip, name: str) -> None:
    first = replace(kind, payload=payload(100))
    assert_apart(first, follows(first, **IP4_DIFFERENCES[name]))


@pytest.mark.parametrize("name", IP6_DIFFERENCES)
@pytest.mark.parametrize("kind", [Tcp(version=6), Udp(version=6)])
def test_ip6_differences_keep_packets_apart(kind: Ip, name: str) -> None:
    first = replace(kind, payload=payload(100))
    assert_apart(first, follows(first, **IP6_DIFFERENCES[name]))


def test_tcp_options_of_equal_length_but_other_bytes() -> None:
    first = Tcp(payload=payload(100), tcp_options=TIMESTAMPS)
    assert_apart(first, follows(first, tcp_options=TIMESTAMPS[:-1] + b"\x09"))
    assert_apart(first, follows(first, tcp_options=SACK))
    assert counts(coalesce([first.build(), follows(first).build()])) == [2]


@pytest.mark.parametrize("fragment", [0, DF])
def test_ip4_id_stands_still_only_under_df(fragment: int) -> None:
    first = Udp(payload=payload(100), fragment=fragment)
    second = replace(first)
    assert counts(coalesce([first.build(), second.build()])) == ([2] if fragment else [1, 1])


def test_ip4_id_keeps_the_step_it_began_with() -> None:
    first = Udp(payload=payload(100))
    standing = [first, first, follows(first)]
    counting = [first, follows(first), follows(first)]
    assert counts(coalesce([one.build() for one in standing])) == [2, 1]
    assert counts(coalesce([one.build() for one in counting])) == [2, 1]


def test_ip4_id_wraps() -> None:
    packets = packets_of(Tcp(ident=0xFFFF, fragment=0), 3)
    assert counts(coalesce(packets)) == [3]


def test_sequence_number_wraps() -> None:
    packets = packets_of(Tcp(seq=2**32 - 150), 3)
    frames = coalesce(packets)
    assert counts(frames) == [3]
    assert cut_again(frames) == packets


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrong", [0, 1, 2])
def test_every_members_checksum_is_verified(kind: Ip, wrong: int) -> None:
    packets = [bytearray(one) for one in packets_of(kind, 3)]
    packets[wrong][-1] ^= 1
    frames = coalesce([bytes(one) for one in packets])
    assert counts(frames) == {0: [1, 2], 1: [1, 1, 1], 2: [2, 1]}[wrong]
    assert [frame for _, frame in frames if len(frame) == len(packets[0])].count(bytes(packets[wrong])) == 1


@pytest.mark.parametrize("wrong", [0, 1])
@pytest.mark.parametrize("kind", [Tcp(), Udp()])
def test_ip4_header_checksum_is_verified(kind: Ip, wrong: int) -> None:
    packets = [bytearray(one) for one in packets_of(kind, 2)]
    packets[wrong][10] ^= 1
    assert coalesce([bytes(one) for one in packets]) == [(Vnet().build(), bytes(one)) for one in packets]


@pytest.mark.parametrize("version", [4, 6])
def test_udp_without_checksum(version: int) -> None:
    first = Udp(version=version, payload=payload(100), check=0)
    assert_apart(first, follows(first))
    assert_apart(first, follows(first, check=None))
    assert_apart(replace(first, check=None), follows(first))


@pytest.mark.parametrize("version", [4, 6])
def test_udp_zero_that_would_verify(version: int) -> None:
    blank = Udp(version=version, payload=bytes(100))
    first = replace(blank, payload=blank.right_checksum().to_bytes(2, "big") + bytes(98))
    assert first.right_checksum() == 0xFFFF
    zero = replace(first, check=0)
    assert counts(coalesce([first.build(), follows(first).build()])) == [2]
    assert_apart(zero, follows(zero))


@pytest.mark.parametrize("udp_len", [0, 7, 107, 109, 0xFFFF])
def test_udp_length_that_differs_from_ips(udp_len: int) -> None:
    first = Udp(payload=payload(100))
    assert_apart(first, follows(first, udp_len=udp_len))
    assert_apart(replace(first, udp_len=udp_len), follows(first))


@pytest.mark.parametrize("kind", KINDS)
def test_empty_packets(kind: Ip) -> None:
    first = replace(kind, payload=payload(100))
    assert_apart(first, follows(first, payload=b""))
    empty = replace(kind, payload=b"")
    assert_apart(empty, follows(empty))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", [-1, 1, 64])
def test_ip_length_other_than_the_packets(kind: Ip, error: int) -> None:
    first = replace(kind, payload=payload(100))
    assert_apart(first, follows(first, ip_len_error=error))
    wrong = replace(first, ip_len_error=error)
    assert_apart(wrong, follows(wrong))


@pytest.mark.parametrize("data_offset", [0, 4, 15])
def test_tcp_data_offset_outside_the_segment(data_offset: int) -> None:
    first = Tcp(payload=payload(30), data_offset=data_offset)
    assert_apart(first, follows(first))


@pytest.mark.parametrize("kind", [Tcp(), Udp()])
@pytest.mark.parametrize("fragment", [MF, 1])
def test_fragments_that_look_alike(kind: Ip, fragment: int) -> None:
    first = replace(kind, payload=payload(100), fragment=fragment)
    assert_apart(first, follows(first))


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


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_ack_in_between_closes_the_flow(kind: Ip) -> None:
    first = replace(kind, payload=payload(100))
    packets = [one.build() for one in (first, replace(kind, payload=b""), follows(first))]
    assert coalesce(packets) == [(Vnet().build(), one) for one in packets]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["fragment", "options"])
def test_a_packet_whose_ports_are_not_known_closes_its_flow(kind: Ip, how: str) -> None:
    first = replace(kind, payload=payload(100))
    if kind.version == 4:
        odd = {"fragment": Udp(fragment=100), "options": Udp(options=bytes(4))}[how]
        between = replace(kind, ports=(7, 8), fragment=odd.fragment, options=odd.options)
    else:
        header = {"fragment": 44, "options": 60}[how]
        between = replace(kind, first_header=header, options=bytes([kind.protocol, 0, 0, 8, 0, 0, 0, 1]))
    stranger = replace(first, ports=(5, 6), addresses=((OTHER4, OTHER4) if kind.version == 4 else (OTHER6, OTHER6)))
    packets = [one.build() for one in (first, stranger, between, follows(first), follows(stranger))]
    assert counts(coalesce(packets)) == [1, 2, 1, 1]


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
