"""Packets for the coalescer, what would join them, and what came out."""

from dataclasses import replace
from typing import Any

from tests.fastpath.packets import (
    Ip,
    Tcp,
    Udp,
    Vnet,
    cut,
)
from tests.native.packets import coalesce, segment

MTU = 1420
KINDS = [Tcp(), Tcp(version=6), Udp(), Udp(version=6)]
TIMESTAMPS = bytes.fromhex("0101080a0102030405060708")
OTHER4, OTHER6 = bytes([10, 0, 0, 9]), bytes.fromhex("fd00" + "00" * 13 + "09")


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
