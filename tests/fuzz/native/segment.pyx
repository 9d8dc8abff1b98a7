"""Fuzz target: any virtio header over any packet, also in a UDP tunnel, cut into datagrams, beside cut_plain.h: bytes,
layout and room."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memset

from pywg.dataplane.send.segment cimport Superframe, segment_cut, segment_plan
from pywg.dataplane.wire.ip cimport IpView, ip_read
from pywg.dataplane.wire.run cimport Run, run_len
from pywg.dataplane.wire.virtio cimport VNET_GSO_UDP_TUNNEL, VNET_HDR_LEN, VNET_TUNNEL_HDR_LEN, VnetTunnelHdr

from tests.fuzz.native.common cimport need, need_equal
from tests.fuzz.native.input cimport Input, input8, input16, input_bytes, input_left, input_start

cdef extern from "cut_plain.h" nogil:
    enum:
        CUT_NO_ROOM
    struct Cut "cut":
        uint32_t header
        uint32_t payload
        uint32_t gso_size
        uint32_t pieces
    int cut_start(Cut *c, const uint8_t *vnet, uint32_t vnet_len, const uint8_t *packet, uint32_t len)
    uint32_t cut_len(const Cut *c, uint32_t i)
    uint32_t cut_piece(const Cut *c, uint32_t i, uint8_t *to)
    uint32_t cut_padded(uint32_t len, uint32_t mtu)
    void plain_put16(uint8_t *at, uint32_t value)

cdef enum:
    LONGEST = 65535
    MOST_ROOM = 200000
    RUNS = 16
    UNTOUCHED = 0xEE
    BEFORE = 16                 # of each datagram: WireGuard's header
    BEHIND = 16                 # the tag
    RUN_DATAGRAMS = 64          # that one send can carry,
    RUN_BYTES = 65000           # and their bytes

cdef uint8_t[LONGEST] packet
cdef uint8_t[LONGEST] piece


cdef uint32_t read_vnet(Input *input, uint32_t shape, VnetTunnelHdr *hdr) noexcept nogil:
    """Virtio's header; how much of it there is. The rest is no zeros."""
    memset(hdr, UNTOUCHED, sizeof(VnetTunnelHdr))
    input_bytes(input, <uint8_t *>hdr, VNET_HDR_LEN)
    if hdr.inner.gso_type & VNET_GSO_UDP_TUNNEL == 0:
        return VNET_HDR_LEN
    hdr.outer_th_offset = <uint16_t>input8(input)
    hdr.inner_nh_offset = hdr.outer_th_offset + <uint16_t>input8(input)
    if shape & 8:
        hdr.inner.csum_start += hdr.inner_nh_offset
    return VNET_HDR_LEN if shape & 4 else VNET_TUNNEL_HDR_LEN


cdef void set_ip_len(uint8_t *at, uint32_t len) noexcept nogil:
    if len >= 40:
        plain_put16(at + (2 if at[0] >> 4 == 4 else 4), len if at[0] >> 4 == 4 else len - 40)


cdef uint32_t read_packet(Input *input, uint32_t shape, uint32_t inner) noexcept nogil:
    """What is left of the input, or that with a payload behind it, and its lengths set. Its length.

    `inner`: where a packet in a tunnel begins.
    """
    cdef uint32_t more = 0, len
    cdef uint32_t i
    if shape & 1:
        more = input16(input)
        more = more % 4096 if shape & 0xF0 else more
    len = <uint32_t>min(input_left(input), <size_t>4096)
    input_bytes(input, packet, len)
    more = min(more, LONGEST - len)
    for i in range(more):
        packet[len + i] = <uint8_t>(i * 7)
    len += more
    if shape & 2:
        set_ip_len(packet, len)
    if shape & 8 and inner < len:
        set_ip_len(packet + inner, len - inner)
    return len


cdef int expected_runs(const Cut *c, uint32_t mtu, uint64_t room, int most, uint64_t *used) noexcept nogil:
    """How many runs there have to be, or CUT_NO_ROOM. `used`: bytes of all datagrams."""
    cdef uint32_t stride = BEFORE + cut_padded(cut_len(c, 0), mtu) + BEHIND
    cdef uint32_t datagrams = 1
    cdef uint64_t last = BEFORE + cut_padded(cut_len(c, c.pieces - 1), mtu) + BEHIND
    while datagrams < RUN_DATAGRAMS and (datagrams + 1) * stride <= RUN_BYTES:
        datagrams += 1
    used[0] = <uint64_t>stride * (c.pieces - 1) + last
    if used[0] > room or <uint64_t>datagrams * <uint64_t>most < c.pieces:
        return CUT_NO_ROOM
    return <int>((c.pieces + datagrams - 1) // datagrams)


cdef void only(const uint8_t *at, uint32_t len, uint8_t value, const char *what) noexcept nogil:
    """All of these bytes have one value."""
    need(len == 0 or (at[0] == value and memcmp(at, at + 1, len - 1) == 0), what)


cdef void datagram_is_plain(const Cut *c, uint32_t i, const uint8_t *at, uint32_t wire, uint32_t inner,
                            uint32_t mtu) noexcept nogil:
    cdef uint32_t len = cut_piece(c, i, piece)
    need_equal(inner, len, b"the length of a packet")
    need_equal(wire, BEFORE + cut_padded(len, mtu) + BEHIND, b"the length of a datagram")
    only(at, BEFORE, UNTOUCHED, b"bytes in the place of a header")
    need(memcmp(at + BEFORE, piece, len) == 0, b"another packet")
    only(at + BEFORE + len, wire - BEFORE - len - BEHIND, 0, b"padding that is not zeros")
    only(at + wire - BEHIND, BEHIND, UNTOUCHED, b"bytes in the place of a tag")


cdef void runs_are_plain(const Cut *c, const Run *runs, int count, const uint8_t *out, uint32_t mtu) noexcept nogil:
    """Datagram after datagram, back to back."""
    cdef uint32_t i = 0, k
    cdef bint last
    cdef int run
    for run in range(count):
        need(runs[run].base == out, b"a run elsewhere")
        need(0 < runs[run].count and runs[run].count <= RUN_DATAGRAMS, b"so many datagrams in a run")
        need(runs[run].count == 1 or run_len(&runs[run]) <= RUN_BYTES, b"so many bytes in a run")
        need(runs[run].last_wire <= runs[run].stride, b"a last datagram that is longer")
        for k in range(runs[run].count):
            last = k + 1 == runs[run].count
            datagram_is_plain(c, i, out, runs[run].last_wire if last else runs[run].stride,
                              runs[run].last_len if last else runs[run].inner_len, mtu)
            out += runs[run].last_wire if last else runs[run].stride
            i += 1
    need_equal(i, c.pieces, b"packets of a superframe")


cdef void cut_in_steps(Superframe *s, const Run *runs, int count, uint32_t step) noexcept nogil:
    """So many segments at a time, as they come to the cipher."""
    cdef uint32_t first
    cdef int i
    for i in range(count):
        first = 0
        while first < runs[i].count:
            segment_cut(s, &runs[i], first, min(step, runs[i].count - first))
            first += step


cdef int one(const uint8_t *data, size_t size) noexcept nogil:
    """A byte for the packet's shape, two for the MTU, one each for runs and room; virtio's header, the packet."""
    cdef Input input
    cdef IpView ip
    cdef VnetTunnelHdr hdr
    cdef Superframe frame
    cdef Cut c
    cdef Run runs[RUNS]
    cdef uint8_t *out
    cdef uint32_t shape, mtu, slack, vnet_len, len
    cdef uint64_t room, used = 0
    cdef int most, status, expected
    input_start(&input, data, size)
    shape = input8(&input)
    mtu = input16(&input)
    most = <int>(input8(&input) % (RUNS + 1))
    slack = input8(&input)
    vnet_len = read_vnet(&input, shape, &hdr)
    len = read_packet(&input, shape, hdr.inner_nh_offset if vnet_len == VNET_TUNNEL_HDR_LEN else LONGEST)
    expected = cut_start(&c, <const uint8_t *>&hdr, vnet_len, packet, len)
    room = slack
    if expected == 0:
        expected_runs(&c, mtu, MOST_ROOM, most, &used)
        room = min(used + slack % 8, <uint64_t>MOST_ROOM)   # just as much as it takes, or some bytes more or less
        room = max(room, <uint64_t>2) - 2 if slack & 0x80 else room
        expected = expected_runs(&c, mtu, room, most, &used)
    out = <uint8_t *>malloc(room)
    memset(out, UNTOUCHED, room)
    ip_read(&ip, packet, len)
    status = segment_plan(&frame, &hdr.inner, <int>vnet_len, &ip, mtu, out, <uint32_t>room, runs, most)
    only(out, <uint32_t>room, UNTOUCHED, b"bytes of a superframe that is not cut yet")
    need_equal(<uint64_t>(status + 4), <uint64_t>(expected + 4), b"what becomes of a superframe (and 4)")
    if status >= 0:
        cut_in_steps(&frame, runs, status, 1 + slack % 64)
        runs_are_plain(&c, runs, status, out, mtu)
        only(out + used, <uint32_t>(room - used), UNTOUCHED, b"bytes behind the last datagram")
    free(out)
    return 0


def address(str _aead: str) -> int:
    """Where the target is."""
    return <uintptr_t>&one
