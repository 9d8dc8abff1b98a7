"""Each reason not to join two packets, and that such a packet passes unchanged."""

from dataclasses import replace
from typing import Any

import pytest

from tests.fastpath.coalesce_driver import (
    KINDS,
    OTHER4,
    OTHER6,
    TIMESTAMPS,
    assert_apart,
    counts,
    cut_again,
    follows,
    packets_of,
    payload,
)
from tests.fastpath.packets import (
    ACK,
    CWR,
    DF,
    ECE,
    FIN,
    MF,
    PSH,
    RST,
    SYN,
    URG,
    Ip,
    Tcp,
    Udp,
    Vnet,
)
from tests.native.packets import coalesce

SACK = bytes.fromhex("0101050a0000000100000002")


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
