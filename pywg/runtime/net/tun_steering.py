"""A program of ours that chooses a flow's queue of a TUN (TUNSETSTEERINGEBPF), so that the flow stays in it.

Without, the kernel moves a flow to the queue by which its first answer was written, and again after 3 s of rest, and
what waits in the old queue may be overtaken: tun_automq_select_queue and tun_flow_update, drivers/net/tun.c.

The program hashes addresses and ports, which is all that it reads. What no port can be read of goes by its addresses:

- a fragment, the first one too, as by the kernel's own hash. So a flow of UDP some of whose datagrams are fragments has
  two queues. By addresses alone there would be one, but also one for all that two hosts send each other: QUIC, VXLAN.
- IPv6 with extension headers, fragments among them: any packet of a flow may have some.
- protocols without ports: ICMP, ESP, GRE. All of it between two hosts is in one queue.

The flow label is none of it, for it may change within a flow. In a tunnel such as VXLAN the outer header counts: its
source port is a hash of the flow inside.

An interface keeps its program until it is deleted. Linux tells nobody whether it has one. So an interface that another
program made is left as it is: one of theirs would be replaced, and none could be given back.
"""

import fcntl
import os
import socket
import struct

from pywg.runtime.base.ebpf import (
    Instruction,
    Listing,
    and_k,
    code,
    end,
    jump,
    jump_any_k,
    jump_equal_k,
    jump_unequal_k,
    load_byte,
    load_half,
    load_socket_filter,
    load_word,
    load_word_at,
    move,
    move_k,
    move_wide,
    multiply,
    shift_left_k,
    shift_right_k,
    xor,
)

TUNSETSTEERINGEBPF = 0x800454E0
FACTOR = 0x9E3779B97F4A7C15
"""2^64 divided by the golden ratio, and odd: what differs by one is far apart when multiplied by it."""
KEPT_BITS = 48
"""The hash ends with a shift by so much: the kernel takes 16 bits, modulo the number of queues."""
_NAME = "pywg_queue"

_R0, _SCRATCH, _CONTEXT, _HASH, _FACTOR, _PORTS_AT = 0, 1, 6, 7, 8, 9
_IPV4, _IPV6 = 4, 6
_IPV6_HEADER_LEN = 40
_MORE_FRAGMENTS_OR_OFFSET = 0x3FFF
_DCCP, _UDPLITE = 33, 136
_WITH_PORTS = (socket.IPPROTO_TCP, socket.IPPROTO_UDP, _DCCP, socket.IPPROTO_SCTP, _UDPLITE)


def _mix() -> list[Instruction]:
    """hash *= factor; hash ^= hash >> 32: so the low bits, too, depend on all."""
    high = [move(_SCRATCH, _HASH), shift_right_k(_SCRATCH, 32), xor(_HASH, _SCRATCH)]
    return [multiply(_HASH, _FACTOR), *high]


def _two_words(at: int) -> list[Instruction]:
    """hash ^= the packet's eight bytes there, mixed."""
    first = [load_word(at), shift_left_k(_R0, 32), xor(_HASH, _R0)]
    return [*first, load_word(at + 4), xor(_HASH, _R0), *_mix()]


def listing() -> Listing:
    """The program. It gets a packet that begins with the IP header, and no virtio header; what is no IP gives 0."""
    return [
        move(_CONTEXT, 1),
        *move_wide(_FACTOR, FACTOR),
        move_k(_HASH, 0),
        load_byte(0),
        move(_PORTS_AT, _R0),
        and_k(_PORTS_AT, 15),
        shift_left_k(_PORTS_AT, 2),
        shift_right_k(_R0, 4),
        jump_equal_k(_R0, _IPV4, "IPv4"),
        jump_unequal_k(_R0, _IPV6, "hashed"),
        move_k(_PORTS_AT, _IPV6_HEADER_LEN),
        *(instruction for at in (8, 16, 24, 32) for instruction in _two_words(at)),
        load_byte(6),
        jump("protocol"),
        "IPv4",
        *_two_words(12),
        load_half(6),
        jump_any_k(_R0, _MORE_FRAGMENTS_OR_OFFSET, "hashed"),
        load_byte(9),
        "protocol",
        *(jump_equal_k(_R0, protocol, "ports") for protocol in _WITH_PORTS),
        jump("hashed"),
        "ports",
        load_word_at(_PORTS_AT),
        xor(_HASH, _R0),
        "hashed",
        *_mix(),
        multiply(_HASH, _FACTOR),
        shift_right_k(_HASH, KEPT_BITS),
        move(_R0, _HASH),
        end(),
    ]


def load() -> int:
    """The program in the kernel, as a descriptor, which is the caller's. Raises OSError."""
    return load_socket_filter(code(listing()), _NAME)


def keep_flows(fd: int) -> None:
    """Has each flow of the TUN behind `fd` keep its queue, by whichever queue its answers come.

    Raises OSError: from `load`, and before Linux 4.16.
    """
    program = load()
    try:
        fcntl.ioctl(fd, TUNSETSTEERINGEBPF, struct.pack("i", program))
    finally:
        os.close(program)  # the interface has it
