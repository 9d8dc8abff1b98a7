"""Segmentation of superframes from the TUN. The contract of each function stands in segment.pxd.

A superframe is planned by the thread that reads it, and cut by the thread that seals it, some segments at a time, so
that they are still in the first-level cache when the cipher comes to them.

The segments are those that Linux' own segmentation makes (tcp_gso_segment, __udp_gso_segment): the IPv4 ID counts up,
the sequence number advances, FIN and PSH stay on the last segment only, CWR on the first only, and every checksum is
complete. virtio's `hdr_len` is a hint (virtio 1.2, 5.1.6.2) and is not read.

Where the packet that is cut is in a UDP tunnel (VXLAN, Geneve), each segment has the tunnel's headers too, as
__skb_udp_tunnel_segment writes them: a length and an IPv4 ID that count, a checksum where there is one. What stands
between the tunnel's UDP header and the packet is copied: it need not be known which tunnel it is.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from pywg.dataplane.sys.checks cimport c_assert
from pywg.dataplane.wire.checksum cimport csum_copy, csum_fold, csum_partial, csum_pseudo
from pywg.dataplane.wire.ip cimport IP6_LEN, PROTO_TCP, PROTO_UDP, TCP_CWR, TCP_FIN, TCP_PSH, UDP_LEN, Ip4Header
from pywg.dataplane.wire.ip cimport Ip6Header, IpView, TcpHeader, UdpHeader, htonl, htons, ip_addresses, ip_headers_len
from pywg.dataplane.wire.ip cimport ip_read, ntohl, ntohs
from pywg.dataplane.wire.run cimport RUN_MAX_DATAGRAMS, RUN_MAX_WIRE_LEN, Run
from pywg.dataplane.wire.virtio cimport VNET_F_NEEDS_CSUM, VNET_F_UDP_TUNNEL_CSUM, VNET_GSO_ECN, VNET_GSO_TCPV4
from pywg.dataplane.wire.virtio cimport VNET_GSO_TCPV6, VNET_GSO_UDP_L4, VNET_GSO_UDP_TUNNEL, VNET_GSO_UDP_TUNNEL_IPV4
from pywg.dataplane.wire.virtio cimport VNET_GSO_UDP_TUNNEL_IPV6, VNET_TUNNEL_HDR_LEN, VnetHdr, VnetTunnelHdr
from pywg.dataplane.wire.wireguard cimport TAG_LEN, WG_HEADER_LEN, padded_len


cdef int read_superframe(Superframe *s, const VnetHdr *hdr, int hdr_len, const IpView *ip) noexcept nogil:
    """Checks the frame and fills `s`. 0 or SEG_*."""
    cdef uint8_t tunnel = hdr.gso_type & VNET_GSO_UDP_TUNNEL
    cdef uint8_t gso_type = hdr.gso_type & ~<uint8_t>(VNET_GSO_ECN | VNET_GSO_UDP_TUNNEL)
    if gso_type != VNET_GSO_TCPV4 and gso_type != VNET_GSO_TCPV6 and gso_type != VNET_GSO_UDP_L4:
        return SEG_UNKNOWN_GSO
    if tunnel and hdr_len < VNET_TUNNEL_HDR_LEN:
        return SEG_UNKNOWN_GSO
    s.frame = ip.packet
    s.frame_len = ip.len
    s.ip = ip[0]
    s.front = 0
    if tunnel and not read_tunnel(s, <const VnetTunnelHdr *>hdr, ip):
        return SEG_MALFORMED
    s.header_len = ip_headers_len(&s.ip)
    if s.header_len == 0 or s.ip.fragment or hdr.gso_size == 0:
        return SEG_MALFORMED
    if s.ip.protocol != (PROTO_UDP if gso_type == VNET_GSO_UDP_L4 else PROTO_TCP):
        return SEG_MALFORMED
    if gso_type != VNET_GSO_UDP_L4 and s.ip.version != (4 if gso_type == VNET_GSO_TCPV4 else 6):
        return SEG_MALFORMED
    if hdr.flags & VNET_F_NEEDS_CSUM and hdr.csum_start != s.front + s.ip.l4_offset:
        return SEG_MALFORMED
    c_assert(s.header_len <= s.ip.total_len)
    c_assert(s.ip.total_len <= s.ip.len)
    c_assert(s.front + s.ip.len <= ip.len)
    s.payload_len = s.ip.total_len - s.header_len
    s.header_len += s.front
    s.gso_size = hdr.gso_size
    s.count = (s.payload_len + s.gso_size - 1) // s.gso_size if s.payload_len else 1
    s.cut = 0
    return 0


cdef bint read_tunnel(Superframe *s, const VnetTunnelHdr *hdr, const IpView *outer) noexcept nogil:
    """Checks a tunnel's own headers and finds the packet inside, `s.ip`. False: something contradicts.

    The kernel gives such a frame with a checksum to finish, and up to the end of the packet inside.
    """
    cdef uint8_t version = hdr.inner.gso_type & VNET_GSO_UDP_TUNNEL
    cdef uint32_t inner = hdr.inner_nh_offset
    cdef const UdpHeader *udp = <const UdpHeader *>(outer.packet + outer.l4_offset)
    if version != (VNET_GSO_UDP_TUNNEL_IPV4 if outer.version == 4 else VNET_GSO_UDP_TUNNEL_IPV6):
        return False
    if outer.l4_offset == 0 or hdr.outer_th_offset != outer.l4_offset:
        return False
    if not hdr.inner.flags & VNET_F_NEEDS_CSUM or outer.fragment or outer.protocol != PROTO_UDP:
        return False
    # An even number of bytes in between: checksums are sums of 16-bit words. Every tunnel's header is of such a length.
    if inner < outer.l4_offset + UDP_LEN or inner > outer.total_len or (inner - outer.l4_offset) & 1:
        return False
    if not ip_read(&s.ip, outer.packet + inner, outer.total_len - inner) or s.ip.total_len != s.ip.len:
        return False
    s.front = inner
    s.outer_version = outer.version
    s.outer_l4 = outer.l4_offset
    s.outer_check = hdr.inner.flags & VNET_F_UDP_TUNNEL_CSUM != 0
    return s.outer_check or udp.check == 0


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


cdef inline uint64_t sum_ip4(const uint8_t *packet, uint32_t header_len) noexcept nogil:
    """Of an IPv4 header. A field that differs is taken out by adding its complement (RFC 1624)."""
    cdef const Ip4Header *ip4 = <const Ip4Header *>packet
    return csum_partial(packet, header_len,
                        <uint64_t><uint16_t>~ip4.total_len + <uint16_t>~ip4.id + <uint16_t>~ip4.check)


cdef void sum_constants(Superframe *s) noexcept nogil:
    """Sums what all segments share."""
    cdef const TcpHeader *tcp = <const TcpHeader *>(s.ip.packet + s.ip.l4_offset)
    cdef const UdpHeader *udp = <const UdpHeader *>(s.ip.packet + s.ip.l4_offset)
    s.ip_sum = sum_ip4(s.ip.packet, s.ip.l4_offset) if s.ip.version == 4 else 0
    s.l4_sum = csum_pseudo(s.ip.source, 2 * s.ip.address_len, s.ip.protocol, 0)
    if s.ip.protocol == PROTO_TCP:
        s.l4_sum += csum_partial(<const uint8_t *>tcp, s.header_len - s.front - s.ip.l4_offset, 0)
        s.l4_sum += <uint32_t>~tcp.seq
        s.l4_sum += <uint16_t>~(<uint16_t>tcp.flags << 8)
        s.l4_sum += <uint16_t>~tcp.check
    else:
        s.l4_sum += <uint32_t>udp.source_port + udp.destination_port
    if s.front:
        sum_tunnel(s)


cdef void sum_tunnel(Superframe *s) noexcept nogil:
    """The same of a tunnel's headers.

    Its checksum needs no other pass over the payload: an IPv4 header with a right checksum adds nothing to a sum, and a
    transport header with a right one, with its payload, the complement of its pseudo header (RFC 1071).
    """
    cdef const UdpHeader *udp = <const UdpHeader *>(s.frame + s.outer_l4)
    cdef uint8_t version = s.outer_version
    s.outer_ip_sum = sum_ip4(s.frame, s.outer_l4) if version == 4 else 0
    if not s.outer_check:
        return
    s.outer_l4_sum = csum_pseudo(ip_addresses(s.frame, version), 8 if version == 4 else 32, PROTO_UDP, 0)
    s.outer_l4_sum += <uint32_t>udp.source_port + udp.destination_port
    s.outer_l4_sum += csum_partial(<const uint8_t *>(udp + 1), s.front - s.outer_l4 - UDP_LEN, 0)
    s.outer_l4_sum += csum_fold(csum_pseudo(s.ip.source, 2 * s.ip.address_len, s.ip.protocol, 0))
    if s.ip.version == 6:
        s.outer_l4_sum += csum_partial(s.ip.packet, s.ip.l4_offset, 0)
        s.outer_l4_sum += <uint16_t>~(<const Ip6Header *>s.ip.packet).payload_len


cdef inline void write_ip(uint8_t version, const uint8_t *whole, uint64_t ip_sum, uint8_t *packet, uint32_t packet_len,
                          uint32_t i) noexcept nogil:
    cdef Ip4Header *ip4 = <Ip4Header *>packet
    if version == 4:
        ip4.total_len = htons(packet_len)
        ip4.id = htons(ntohs((<const Ip4Header *>whole).id) + i)
        ip4.check = csum_fold(ip_sum + ip4.total_len + ip4.id)
    else:
        (<Ip6Header *>packet).payload_len = htons(packet_len - IP6_LEN)


cdef inline void write_tcp(const Superframe *s, TcpHeader *tcp, uint32_t i, uint64_t payload_sum) noexcept nogil:
    """`payload_sum`: of the payload and the segment's length in the pseudo header."""
    cdef const TcpHeader *whole = <const TcpHeader *>(s.ip.packet + s.ip.l4_offset)
    cdef uint8_t flags = whole.flags
    if i != 0:
        flags &= ~<uint8_t>TCP_CWR
    if i + 1 != s.count:
        flags &= ~<uint8_t>(TCP_FIN | TCP_PSH)
    tcp.seq = htonl(ntohl(whole.seq) + i * s.gso_size)
    tcp.flags = flags
    tcp.check = csum_fold(s.l4_sum + payload_sum + tcp.seq + (<uint64_t>flags << 8))


cdef inline void write_udp(const Superframe *s, UdpHeader *udp, uint32_t l4_len, uint64_t payload_sum) noexcept nogil:
    """A UDP checksum of zero means that there is none: all ones stands for a sum of zero (RFC 768)."""
    cdef uint16_t check
    udp.len = htons(l4_len)
    check = csum_fold(s.l4_sum + payload_sum + udp.len)
    udp.check = check if check else 0xFFFF


cdef void write_tunnel(const Superframe *s, uint8_t *packet, uint32_t packet_len, uint32_t i) noexcept nogil:
    """The tunnel's headers before a segment that is finished."""
    cdef UdpHeader *udp = <UdpHeader *>(packet + s.outer_l4)
    cdef uint64_t sum = s.outer_l4_sum
    write_ip(s.outer_version, s.frame, s.outer_ip_sum, packet, packet_len, i)
    udp.len = htons(packet_len - s.outer_l4)
    if not s.outer_check:
        return
    sum += <uint64_t>udp.len + udp.len + <uint16_t>~htons(packet_len - s.front - s.ip.l4_offset)
    if s.ip.version == 6:
        sum += (<const Ip6Header *>(packet + s.front)).payload_len
    udp.check = csum_fold(sum)
    if udp.check == 0:
        udp.check = 0xFFFF


cdef inline void write_segment(const Superframe *s, uint8_t *packet, uint32_t i, uint32_t payload_len) noexcept nogil:
    """Writes segment `i`, with `payload_len` bytes of payload, to `packet`."""
    cdef uint32_t packet_len = s.header_len + payload_len, l4 = s.front + s.ip.l4_offset
    cdef const uint8_t *payload = s.frame + s.header_len + i * s.gso_size
    cdef uint64_t payload_sum
    c_assert(s.header_len + i * s.gso_size + payload_len <= s.frame_len)
    payload_sum = csum_copy(packet + s.header_len, payload, payload_len, htons(packet_len - l4))
    memcpy(packet, s.frame, s.header_len)
    write_ip(s.ip.version, s.ip.packet, s.ip_sum, packet + s.front, packet_len - s.front, i)
    if s.ip.protocol == PROTO_TCP:
        write_tcp(s, <TcpHeader *>(packet + l4), i, payload_sum)
    else:
        write_udp(s, <UdpHeader *>(packet + l4), packet_len - l4, payload_sum)
    if s.front:
        write_tunnel(s, packet, packet_len, i)


cdef int segment_plan(
    Superframe *s, const VnetHdr *hdr, int hdr_len, const IpView *ip, uint32_t mtu, uint8_t *out, uint32_t out_room,
    Run *runs, int max_runs,
) noexcept nogil:
    cdef int status = read_superframe(s, hdr, hdr_len, ip)
    return status if status < 0 else plan_runs(s, mtu, out, out_room, runs, max_runs)


cdef void segment_cut(Superframe *s, const Run *run, uint32_t first, uint32_t n) noexcept nogil:
    cdef uint32_t i, inner_len, wire
    cdef uint8_t *packet
    c_assert(s.cut + n <= s.count)
    c_assert(first + n <= run.count)
    if s.cut == 0:
        sum_constants(s)
    for i in range(first, first + n):
        inner_len = run.inner_len if i + 1 < run.count else run.last_len
        wire = run.stride if i + 1 < run.count else run.last_wire
        packet = run.base + i * run.stride + WG_HEADER_LEN
        write_segment(s, packet, s.cut, inner_len - s.header_len)
        memset(packet + inner_len, 0, wire - WG_HEADER_LEN - inner_len - TAG_LEN)
        s.cut += 1


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
