"""What one inner packet says to whoever wants to merge it: its flow, its layout, whether it may stand in a superframe.

Plain TCP and UDP only: no IP options, extension headers or fragments. Whatever the headers say, nothing is read past
the packet's length.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from pywg._native.checksum cimport csum_fold, csum_partial, csum_pseudo4, csum_pseudo6
from pywg._native.ip cimport IP4_LEN, IP4_MF_OR_OFFSET, IP6_LEN, PROTO_TCP, PROTO_UDP, TCP_ACK, TCP_ECE, TCP_LEN
from pywg._native.ip cimport TCP_PSH, UDP_LEN, Ip4Header, Ip6Header, TcpHeader, UdpHeader, ntohs, tcp_header_len


cdef struct Packet:
    uint8_t *data
    uint32_t len
    uint8_t version       # 4 or 6, and the whole IP header is there; else 0
    uint8_t protocol
    uint8_t l4_offset
    bint mergeable        # its own headers allow it; below here is for mergeable packets only
    bint push             # TCP's PSH: nothing may follow it in a superframe
    uint64_t tag          # ports, protocol, IP version; 0 when the ports can't be told. With the addresses, the flow
    uint32_t header_len   # IP and transport headers
    uint32_t payload_len  # never 0


cdef inline const uint8_t *packet_addresses(const uint8_t *data, uint8_t version) noexcept nogil:
    """Source and destination as they stand in the header: 8 bytes for version 4, 32 for 6."""
    return data + (12 if version == 4 else 8)


cdef inline bint read_ip(Packet *p) noexcept nogil:
    """Finds the transport header; whether it directly follows an IP header whose length is the packet's."""
    cdef const Ip4Header *ip4 = <const Ip4Header *>p.data
    cdef const Ip6Header *ip6 = <const Ip6Header *>p.data
    p.version = p.data[0] >> 4 if p.len else 0
    if p.version == 4 and p.len >= IP4_LEN:
        p.l4_offset = IP4_LEN
        p.protocol = ip4.protocol
        return (
            ip4.version_ihl == 0x45 and ntohs(ip4.total_len) == p.len and not ntohs(ip4.flags_offset) & IP4_MF_OR_OFFSET
        )
    if p.version == 6 and p.len >= IP6_LEN:
        p.l4_offset = IP6_LEN
        p.protocol = ip6.next_header
        return ntohs(ip6.payload_len) + <uint32_t>IP6_LEN == p.len
    p.version = 0
    return False


cdef inline void read_tcp(Packet *p) noexcept nogil:
    """A segment with data and no flag but ACK, PSH and ECE may be merged."""
    cdef const TcpHeader *tcp = <const TcpHeader *>(p.data + p.l4_offset)
    p.header_len = p.l4_offset + tcp_header_len(tcp)
    p.push = tcp.flags & TCP_PSH != 0
    p.mergeable = (
        tcp_header_len(tcp) >= TCP_LEN and p.header_len < p.len and tcp.flags & ~<uint8_t>(TCP_PSH | TCP_ECE) == TCP_ACK
    )


cdef inline void read_udp(Packet *p) noexcept nogil:
    """A datagram with data and a checksum may be merged: segmentation would invent the checksum that was left out."""
    cdef const UdpHeader *udp = <const UdpHeader *>(p.data + p.l4_offset)
    p.header_len = p.l4_offset + UDP_LEN
    p.push = False
    p.mergeable = p.header_len < p.len and ntohs(udp.len) == p.len - p.l4_offset and udp.check != 0


cdef inline void read_packet(Packet *p, uint8_t *data, uint32_t len) noexcept nogil:
    cdef uint32_t l4_min
    p.data = data
    p.len = len
    p.tag = 0
    p.mergeable = False
    if not read_ip(p) or p.protocol != PROTO_TCP and p.protocol != PROTO_UDP:
        return
    l4_min = TCP_LEN if p.protocol == PROTO_TCP else UDP_LEN
    if len - p.l4_offset < l4_min:
        return
    p.tag = (<uint64_t>(<const UdpHeader *>(data + p.l4_offset)).ports << 16) | (p.protocol << 8) | p.version
    if p.protocol == PROTO_TCP:
        read_tcp(p)
    else:
        read_udp(p)
    p.payload_len = len - p.header_len if p.mergeable else 0


cdef inline bint checksums_hold(const uint8_t *data, uint32_t len, uint32_t l4_offset, uint8_t protocol) noexcept nogil:
    """Whether the IPv4 header's (if it is one) and the transport's checksum are right, in a packet read as above."""
    cdef uint32_t l4_len = len - l4_offset
    cdef uint64_t pseudo
    if l4_offset == IP4_LEN:
        if csum_fold(csum_partial(data, IP4_LEN, 0)) != 0:
            return False
        pseudo = csum_pseudo4(packet_addresses(data, 4), protocol, l4_len)
    else:
        pseudo = csum_pseudo6(packet_addresses(data, 6), protocol, l4_len)
    return csum_fold(csum_partial(data + l4_offset, l4_len, pseudo)) == 0
