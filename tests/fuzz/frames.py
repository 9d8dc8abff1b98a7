"""Segmentation and coalescing: each undoes the other, whatever comes, and nothing overtakes its own flow."""

import random
from dataclasses import replace
from typing import Any

from tests.fastpath.packets import ACK, DF, FIN, GSO_UDP, MF, PSH, Ip, Tcp, Udp, Vnet, cut, gso_vnet
from tests.fuzz.engine import Attempt
from tests.fuzz.mutate import mutate
from tests.native.packets import coalesce, segment

KINDS = (Tcp(), Tcp(version=6), Udp(), Udp(version=6), Tcp(tcp_options=bytes.fromhex("0101080a0102030405060708")))
LONGEST = 65535
REASONS = ("malformed", "no room", "unknown GSO type")


def cut_again(frames: list[tuple[bytes, bytes]]) -> list[bytes]:
    found: list[bytes] = []
    for vnet, frame in frames:
        found += segment(vnet, frame, LONGEST) if Vnet.parse(vnet).gso_type else [frame]
    return found


def change(chance: random.Random, packet: Ip) -> Ip:
    """What a network or a hostile peer may do to a packet of a flow."""
    changes: dict[str, Any] = chance.choice(
        [
            {"payload": b""},
            {"payload": chance.randbytes(chance.randrange(1500))},
            {"tos": chance.getrandbits(8)},
            {"ttl": chance.getrandbits(8)},
            {"fragment": chance.choice([0, DF, MF, 1])},
            {"ident": chance.getrandbits(16)},
            {"check": chance.choice([0, 0xFFFF, chance.getrandbits(16)])},
            {"ip_len_error": chance.randint(-3, 3)},
        ]
    )
    if isinstance(packet, Tcp) and chance.random() < 0.5:
        changes = chance.choice(
            [
                {"flags": chance.choice([ACK | PSH, ACK | FIN, chance.getrandbits(8)])},
                {"seq": chance.getrandbits(32)},
                {"window": chance.getrandbits(16)},
                {"ack": chance.getrandbits(32)},
                {"data_offset": chance.randrange(16)},
                {"tcp_options": bytes(4 * chance.randrange(10))},
            ]
        )
    return replace(packet, **changes)


def join(attempt: Attempt) -> None:
    """Some flows side by side, most of them in order: all of it comes out, unchanged, in order within each flow."""
    chance = attempt.random
    size = chance.choice([1, 8, 100, 1380, 1400])
    at = [
        replace(chance.choice(KINDS), ports=(number, 1), ident=chance.getrandbits(16))
        for number in range(chance.randint(1, 20))
    ]
    noise = chance.choice([0.0, 0.05, 0.5])
    sent: list[bytes] = []
    flows: dict[int, list[bytes]] = {}
    for number in range(chance.randint(1, 200)):
        flow = chance.randrange(len(at))
        one = replace(at[flow], payload=number.to_bytes(2, "big") * ((size + 1) // 2))
        following = replace(one, ident=one.ident + 1)
        at[flow] = replace(following, seq=following.seq + len(one.payload)) if isinstance(following, Tcp) else following
        packet = (change(chance, one) if chance.random() < noise else one).build()
        if chance.random() < noise / 4:
            packet = mutate(chance, packet)
        else:
            flows.setdefault(flow, []).append(packet)
        sent.append(packet)
    attempt.inputs["packets"] = sent
    out = cut_again(coalesce(sent, chance.random() < 0.9, chance.random() < 0.9))
    assert sorted(out) == sorted(sent)
    for packets in flows.values():
        mine = set(packets)
        # A mutated packet may be one of them, byte for byte.
        assert [one for one in out if one in mine] == [one for one in sent if one in mine]


def split(attempt: Attempt) -> None:
    """A superframe becomes the packets that Linux would make of it, and coalescing those gives the superframe."""
    chance = attempt.random
    size = chance.choice([1, 7, 512, 1380])
    payload = chance.randbytes(chance.randint(1, min(60_000, size * 60)))
    whole = replace(chance.choice(KINDS), payload=payload, ident=chance.getrandbits(16))
    attempt.inputs |= {"size": size, "whole": whole.build()}
    packets = segment(gso_vnet(whole, size).build(), whole.unfinished(), LONGEST)
    assert packets == cut(whole, size)
    ((vnet, frame),) = coalesce(packets)
    assert (segment(vnet, frame, LONGEST) if len(packets) > 1 else [frame]) == packets


def hostile(attempt: Attempt) -> None:
    """Any virtio header over any bytes: packets no longer than the frame, or a reason."""
    chance = attempt.random
    whole = replace(chance.choice(KINDS), payload=chance.randbytes(chance.randrange(4000)))
    vnet = gso_vnet(whole, chance.choice([1, 100, 1380])).build()
    frame = whole.unfinished()
    if chance.random() < 0.8:
        frame = mutate(chance, frame)
    if chance.random() < 0.8:
        changed = bytearray(vnet)
        changed[chance.randrange(len(vnet))] = chance.choice([0, 1, GSO_UDP, 5, 0x80, 0xFF, chance.getrandbits(8)])
        vnet = bytes(changed)
    attempt.inputs |= {"vnet": vnet, "frame": frame}
    try:
        packets = segment(vnet, frame, chance.choice([68, 1280, 1420, LONGEST]))
    except ValueError as problem:
        reason = str(problem)
    else:
        reason = ""
        assert all(0 < len(one) <= len(frame) for one in packets)
    assert reason in ("", *REASONS)


def case(attempt: Attempt) -> None:
    attempt.random.choice([join, split, hostile])(attempt)
