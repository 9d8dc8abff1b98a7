"""Superframes from the TUN become datagrams ready to be sealed. The contract of each function stands in segment.pxd.

The segments are those that Linux' own segmentation makes (tcp_gso_segment, __udp_gso_segment): the IPv4 ID counts up,
the sequence number advances, FIN and PSH stay on the last segment only, CWR on the first only, and every checksum is
complete. virtio's `hdr_len` is a hint (virtio 1.2, 5.1.6.2) and is not read.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from pywg._native.checks cimport c_assert
from pywg._native.checksum cimport csum_copy, csum_fold, csum_partial, csum_pseudo4, csum_pseudo6
from pywg._native.ip cimport IP4_LEN, IP4_MF_OR_OFFSET, IP6_LEN, PROTO_DESTINATION, PROTO_HOP_BY_HOP, PROTO_ROUTING
from pywg._native.ip cimport PROTO_TCP, PROTO_UDP, TCP_CWR, TCP_FIN, TCP_LEN, TCP_PSH, UDP_LEN, Ip4Header, Ip6Header
from pywg._native.ip cimport TcpHeader, UdpHeader, htonl, htons, ntohl, ntohs, tcp_header_len
from pywg._native.run cimport RUN_MAX_DATAGRAMS, RUN_MAX_WIRE_LEN, Run
from pywg._native.wire cimport TAG_LEN, VNET_F_NEEDS_CSUM, VNET_GSO_ECN, VNET_GSO_TCPV4, VNET_GSO_TCPV6, VNET_GSO_UDP_L4
from pywg._native.wire cimport VNET_HDR_LEN, WG_HEADER_LEN, VnetHdr, padded_len

cdef enum:
    MAX_EXTENSION_HEADERS = 8


cdef struct Superframe:
    const uint8_t *packet
    uint32_t l4_offset
    uint32_t header_len   # IP and transport headers: what every segment repeats
    uint32_t payload_len
    uint32_t gso_size
    uint32_t count        # segments
    uint8_t version
    uint8_t protocol
    uint64_t ip_sum       # of the IPv4 header without the fields that differ from segment to segment
    uint64_t l4_sum       # of the pseudo and transport headers, likewise


cdef int walk_ip4(Superframe *s, uint32_t packet_len) noexcept nogil:
    """Finds the transport header; returns the IP length, 0 when malformed or a fragment."""
    if packet_len < IP4_LEN:
        return 0
    cdef const Ip4Header *ip = <const Ip4Header *>s.packet
    cdef uint32_t total_len = ntohs(ip.total_len)
    s.l4_offset = (ip.version_ihl & 15) * 4
    if s.l4_offset < IP4_LEN or total_len > packet_len or total_len < s.l4_offset:
        return 0
    if ntohs(ip.flags_offset) & IP4_MF_OR_OFFSET:
        return 0
    s.protocol = ip.protocol
    return total_len


cdef int walk_ip6(Superframe *s, uint32_t packet_len) noexcept nogil:
    """As walk_ip4(), stepping over extension headers. A routing header that is not used up yet counts as malformed: the
    transport checksum is then over another destination than the IP header's (RFC 8200, 8.1)."""
    if packet_len < IP6_LEN:
        return 0
    cdef const Ip6Header *ip = <const Ip6Header *>s.packet
    cdef uint32_t total_len = IP6_LEN + ntohs(ip.payload_len)
    cdef uint32_t offset = IP6_LEN
    cdef uint8_t following = ip.next_header
    cdef const uint8_t *extension
    cdef int _i
    if total_len > packet_len:
        return 0
    for _i in range(MAX_EXTENSION_HEADERS):
        if following != PROTO_HOP_BY_HOP and following != PROTO_ROUTING and following != PROTO_DESTINATION:
            break
        if offset + 8 > total_len:
            return 0
        extension = s.packet + offset
        if following == PROTO_ROUTING and extension[3] != 0:
            return 0
        following = extension[0]
        offset += (extension[1] + <uint32_t>1) * 8
    if offset > total_len:
        return 0
    s.l4_offset = offset
    s.protocol = following
    return total_len


cdef int walk_l4(Superframe *s, uint32_t total_len) noexcept nogil:
    """Sets header_len and payload_len of a TCP or UDP packet."""
    cdef uint32_t l4_len = total_len - s.l4_offset
    cdef uint32_t header_len
    if s.protocol == PROTO_TCP:
        if l4_len < TCP_LEN:
            return SEG_MALFORMED
        header_len = tcp_header_len(<const TcpHeader *>(s.packet + s.l4_offset))
        if header_len < TCP_LEN:
            return SEG_MALFORMED
    else:
        header_len = UDP_LEN
    if header_len > l4_len:
        return SEG_MALFORMED
    s.header_len = s.l4_offset + header_len
    s.payload_len = l4_len - header_len
    return 0


cdef int read_superframe(Superframe *s, const VnetHdr *hdr, const uint8_t *packet, uint32_t packet_len) noexcept nogil:
    """Everything about the frame, checked. 0 or SEG_*."""
    cdef uint8_t gso_type = hdr.gso_type & ~<uint8_t>VNET_GSO_ECN
    cdef uint32_t total_len
    if gso_type != VNET_GSO_TCPV4 and gso_type != VNET_GSO_TCPV6 and gso_type != VNET_GSO_UDP_L4:
        return SEG_UNKNOWN_GSO
    if packet_len == 0 or hdr.gso_size == 0:
        return SEG_MALFORMED
    s.packet = packet
    s.version = packet[0] >> 4
    if s.version == 4 and gso_type != VNET_GSO_TCPV6:
        total_len = walk_ip4(s, packet_len)
    elif s.version == 6 and gso_type != VNET_GSO_TCPV4:
        total_len = walk_ip6(s, packet_len)
    else:
        return SEG_MALFORMED
    if total_len == 0 or s.protocol != (PROTO_UDP if gso_type == VNET_GSO_UDP_L4 else PROTO_TCP):
        return SEG_MALFORMED
    if hdr.flags & VNET_F_NEEDS_CSUM and hdr.csum_start != s.l4_offset:
        return SEG_MALFORMED
    if walk_l4(s, total_len) < 0:
        return SEG_MALFORMED
    s.gso_size = hdr.gso_size
    s.count = (s.payload_len + s.gso_size - 1) // s.gso_size if s.payload_len else 1
    return 0


cdef int plan_runs(
    const Superframe *s, uint32_t mtu, uint8_t *out, uint32_t out_room, Run *runs, int max_runs,
) noexcept nogil:
    """Lays the datagrams out in `out`; writes `runs` only. The number of runs, or SEG_NO_ROOM."""
    cdef uint32_t inner_len = s.header_len + (s.gso_size if s.count > 1 else s.payload_len)
    cdef uint32_t last_len = s.header_len + s.payload_len - (s.count - 1) * s.gso_size
    cdef uint32_t stride = WG_HEADER_LEN + padded_len(inner_len, mtu) + TAG_LEN
    cdef uint32_t last_wire = WG_HEADER_LEN + padded_len(last_len, mtu) + TAG_LEN
    cdef uint32_t per_run = RUN_MAX_WIRE_LEN // stride
    cdef uint32_t left = s.count
    cdef int run = 0
    per_run = min(max(per_run, 1), RUN_MAX_DATAGRAMS)
    if <uint64_t>stride * (s.count - 1) + last_wire > out_room or s.count > <uint64_t>per_run * max_runs:
        return SEG_NO_ROOM
    while left:
        c_assert(run < max_runs)
        runs[run].base = out
        runs[run].count = min(left, per_run)
        left -= runs[run].count
        runs[run].inner_len = inner_len
        runs[run].stride = stride
        runs[run].last_len = inner_len if left else last_len
        runs[run].last_wire = stride if left else last_wire
        out += stride * runs[run].count
        run += 1
    return run


cdef void sum_constants(Superframe *s) noexcept nogil:
    """Sums what all segments share. A field that differs is taken out by adding its complement (RFC 1624)."""
    cdef const Ip4Header *ip4 = <const Ip4Header *>s.packet
    cdef const Ip6Header *ip6 = <const Ip6Header *>s.packet
    cdef const TcpHeader *tcp = <const TcpHeader *>(s.packet + s.l4_offset)
    cdef const UdpHeader *udp = <const UdpHeader *>(s.packet + s.l4_offset)
    if s.version == 4:
        s.ip_sum = csum_partial(s.packet, s.l4_offset, 0)
        s.ip_sum += <uint16_t>~ip4.total_len
        s.ip_sum += <uint16_t>~ip4.id
        s.ip_sum += <uint16_t>~ip4.check
        s.l4_sum = csum_pseudo4(ip4.addresses, s.protocol, 0)
    else:
        s.l4_sum = csum_pseudo6(ip6.addresses, s.protocol, 0)
    if s.protocol == PROTO_TCP:
        s.l4_sum += csum_partial(<const uint8_t *>tcp, s.header_len - s.l4_offset, 0)
        s.l4_sum += <uint32_t>~tcp.seq
        s.l4_sum += <uint16_t>~(<uint16_t>tcp.flags << 8)
        s.l4_sum += <uint16_t>~tcp.check
    else:
        s.l4_sum += udp.ports


cdef inline void write_ip(const Superframe *s, uint8_t *packet, uint32_t packet_len, uint32_t i) noexcept nogil:
    cdef Ip4Header *ip4 = <Ip4Header *>packet
    if s.version == 4:
        ip4.total_len = htons(packet_len)
        ip4.id = htons(ntohs((<const Ip4Header *>s.packet).id) + i)
        ip4.check = csum_fold(s.ip_sum + ip4.total_len + ip4.id)
    else:
        (<Ip6Header *>packet).payload_len = htons(packet_len - IP6_LEN)


cdef inline void write_tcp(const Superframe *s, TcpHeader *tcp, uint32_t i, uint64_t payload_sum) noexcept nogil:
    """`payload_sum`: of the payload and the segment's length in the pseudo header."""
    cdef const TcpHeader *whole = <const TcpHeader *>(s.packet + s.l4_offset)
    cdef uint8_t flags = whole.flags
    if i != 0:
        flags &= ~<uint8_t>TCP_CWR
    if i + 1 != s.count:
        flags &= ~<uint8_t>(TCP_FIN | TCP_PSH)
    tcp.seq = htonl(ntohl(whole.seq) + i * s.gso_size)
    tcp.flags = flags
    tcp.check = csum_fold(s.l4_sum + payload_sum + tcp.seq + (<uint64_t>flags << 8))


cdef inline void write_udp(const Superframe *s, UdpHeader *udp, uint32_t l4_len, uint64_t payload_sum) noexcept nogil:
    """A UDP checksum of zero would say that there is none: all ones stands for it (RFC 768)."""
    cdef uint16_t check
    udp.len = htons(l4_len)
    check = csum_fold(s.l4_sum + payload_sum + udp.len)
    udp.check = check if check else 0xFFFF


cdef inline void write_segment(const Superframe *s, uint8_t *packet, uint32_t i, uint32_t payload_len) noexcept nogil:
    """Segment `i`, with `payload_len` bytes of payload, to `packet`."""
    cdef uint32_t packet_len = s.header_len + payload_len
    cdef uint32_t l4_len = packet_len - s.l4_offset
    cdef uint64_t payload_sum = htons(l4_len)
    memcpy(packet, s.packet, s.header_len)
    payload_sum = csum_copy(packet + s.header_len, s.packet + s.header_len + i * s.gso_size, payload_len, payload_sum)
    write_ip(s, packet, packet_len, i)
    if s.protocol == PROTO_TCP:
        write_tcp(s, <TcpHeader *>(packet + s.l4_offset), i, payload_sum)
    else:
        write_udp(s, <UdpHeader *>(packet + s.l4_offset), l4_len, payload_sum)


cdef int segment_frame(
    const VnetHdr *hdr, const uint8_t *packet, uint32_t packet_len, uint32_t mtu,
    uint8_t *out, uint32_t out_room, Run *runs, int max_runs,
) noexcept nogil:
    cdef Superframe s
    cdef int status = read_superframe(&s, hdr, packet, packet_len)
    if status < 0:
        return status
    cdef int run_count = plan_runs(&s, mtu, out, out_room, runs, max_runs)
    if run_count < 0:
        return run_count
    sum_constants(&s)
    cdef uint32_t left = s.payload_len
    cdef uint32_t payload_len, padding
    cdef uint32_t i
    for i in range(s.count):
        payload_len = min(left, s.gso_size)
        left -= payload_len
        padding = padded_len(s.header_len + payload_len, mtu) - (s.header_len + payload_len)
        write_segment(&s, out + WG_HEADER_LEN, i, payload_len)
        out += WG_HEADER_LEN + s.header_len + payload_len
        memset(out, 0, padding)
        out += padding + TAG_LEN
    # What was written is what plan_runs() found room for.
    c_assert(out == runs[run_count - 1].base + (runs[run_count - 1].count - 1) * runs[run_count - 1].stride
             + runs[run_count - 1].last_wire)
    return run_count


cdef int finish_checksum(const VnetHdr *hdr, uint8_t *packet, uint32_t packet_len) noexcept nogil:
    cdef uint32_t start = hdr.csum_start
    cdef uint32_t field = start + hdr.csum_offset
    cdef uint16_t check
    if not hdr.flags & VNET_F_NEEDS_CSUM:
        return 0
    if field + 2 > packet_len:
        return SEG_MALFORMED
    # The field holds the pseudo header's sum. Zero becomes all ones, as in skb_checksum_help(): UDP's zero means none.
    check = csum_fold(csum_partial(packet + start, packet_len - start, 0))
    if check == 0:
        check = 0xFFFF
    memcpy(packet + field, &check, 2)
    return 0


REASONS = {SEG_UNKNOWN_GSO: "unknown GSO type", SEG_MALFORMED: "malformed", SEG_NO_ROOM: "no room"}


cdef VnetHdr read_vnet(const uint8_t[::1] vnet_hdr) except *:
    cdef VnetHdr hdr
    if vnet_hdr.shape[0] < VNET_HDR_LEN:
        raise ValueError(f"a virtio header has {VNET_HDR_LEN} bytes, not {vnet_hdr.shape[0]}")
    memcpy(&hdr, &vnet_hdr[0], sizeof(VnetHdr))
    return hdr


def datagrams(vnet_hdr, packet, mtu, *, room=200_000, max_runs=16):
    """Cuts a superframe; returns each run as a list of (wire bytes, inner length).

    The wire bytes hold 0xEE where nothing was written: the 16 bytes before and the 16 after the padded inner packet.
    Raises ValueError, with the reason, for a frame that can't be cut.
    """
    cdef VnetHdr hdr = read_vnet(vnet_hdr)
    cdef uint32_t out_room = room
    cdef int run_room = max_runs
    # Exact copies on the heap, so that a memory checker sees a step outside.
    cdef uint32_t packet_len = len(packet)
    cdef uint8_t *whole = <uint8_t *>malloc(packet_len or 1)
    cdef uint8_t *out = <uint8_t *>malloc(out_room or 1)
    cdef Run *runs = <Run *>malloc(sizeof(Run) * (run_room or 1))
    cdef int count
    try:
        if whole == NULL or out == NULL or runs == NULL:
            raise MemoryError
        memcpy(whole, <const uint8_t *><const char *>packet, packet_len)
        memset(out, 0xEE, out_room)
        count = segment_frame(&hdr, whole, packet_len, mtu, out, out_room, runs, run_room)
        if count < 0:
            raise ValueError(REASONS[count])
        return [run_datagrams(&runs[i]) for i in range(count)]
    finally:
        free(whole)
        free(out)
        free(runs)


cdef list run_datagrams(const Run *run):
    last = run.base + (run.count - 1) * run.stride
    found = [((run.base + i * run.stride)[:run.stride], run.inner_len) for i in range(run.count - 1)]
    return [*found, (last[:run.last_wire], run.last_len)]


def segment(vnet_hdr, packet, mtu):
    """The inner packets, without padding, that a superframe becomes. Raises ValueError as datagrams() does."""
    runs = datagrams(vnet_hdr, packet, mtu)
    return [wire[WG_HEADER_LEN:WG_HEADER_LEN + inner_len] for run in runs for wire, inner_len in run]


def finish(vnet_hdr, packet):
    """A copy of `packet` with its checksum finished. Raises ValueError if the field lies outside the packet."""
    cdef VnetHdr hdr = read_vnet(vnet_hdr)
    copy = bytearray(packet)
    if finish_checksum(&hdr, <uint8_t *><char *>copy, len(copy)) < 0:
        raise ValueError(REASONS[SEG_MALFORMED])
    return bytes(copy)


def internet_checksum(const uint8_t[::1] data):
    """The checksum field (RFC 1071), as a big-endian number, for `data`; 0 over data that holds a right one."""
    return ntohs(csum_fold(csum_partial(&data[0], data.shape[0], 0))) if data.shape[0] else 0xFFFF
