"""Rules for merging: whether a packet's headers continue those of another, and whether its checksums hold.

They are those of Linux' GRO (tcp_gro_receive, udp_gro_receive, inet_gro_receive), made stricter until cutting the
superframe again gives back what came in. All headers here are whole and plain: no IPv4 options, no extension headers.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp

from pywg.dataplane.wire.checksum cimport csum_fold, csum_partial, csum_pseudo
from pywg.dataplane.wire.ip cimport IP4_DF, IP4_LEN, PROTO_TCP, PROTO_UDP, TCP_ACK, TCP_ECE, TCP_LEN, TCP_PSH, UDP_LEN
from pywg.dataplane.wire.ip cimport Ip4Header, Ip6Header, TcpHeader, UdpHeader, ip_addresses, ip_version, ntohl, ntohs


cdef inline bint has_plain_flags(const TcpHeader *tcp) noexcept nogil:
    """No flag but ACK, PSH and ECE."""
    return tcp.flags & ~<uint8_t>(TCP_PSH | TCP_ECE) == TCP_ACK


cdef inline uint64_t pseudo_sum(const uint8_t *packet, uint32_t l4_offset, uint8_t protocol,
                                uint32_t l4_len) noexcept nogil:
    """Of the pseudo header of a packet whose IP header has `l4_offset` bytes."""
    if l4_offset == IP4_LEN:
        return csum_pseudo(ip_addresses(packet, 4), 8, protocol, l4_len)
    return csum_pseudo(ip_addresses(packet, 6), 32, protocol, l4_len)


cdef inline bint checksums_hold(const uint8_t *data, uint32_t len, uint32_t l4_offset, uint8_t protocol) noexcept nogil:
    """Whether the checksums of the IPv4 header (if it is one) and of the transport hold."""
    cdef uint32_t l4_len = len - l4_offset
    if l4_offset == IP4_LEN and csum_fold(csum_partial(data, IP4_LEN, 0)) != 0:
        return False
    return csum_fold(csum_partial(data + l4_offset, l4_len, pseudo_sum(data, l4_offset, protocol, l4_len))) == 0


cdef inline bint tunnel_checksums_hold(const uint8_t *data, uint32_t len, uint32_t l4_offset, uint32_t inner,
                                       uint32_t inner_l4) noexcept nogil:
    """The same of a TCP segment in a UDP tunnel, of the tunnel's own headers too. It may have no UDP checksum.

    What is right inside adds the complement of its pseudo header to the tunnel's sum (RFC 1071): so the payload is
    summed once.
    """
    cdef const UdpHeader *udp = <const UdpHeader *>(data + l4_offset)
    cdef uint64_t sum
    if l4_offset == IP4_LEN and csum_fold(csum_partial(data, IP4_LEN, 0)) != 0:
        return False
    if not checksums_hold(data + inner, len - inner, inner_l4 - inner, PROTO_TCP):
        return False
    if udp.check == 0:
        return True
    sum = csum_partial(data + l4_offset, inner_l4 - l4_offset, pseudo_sum(data, l4_offset, PROTO_UDP, len - l4_offset))
    sum += csum_fold(pseudo_sum(data + inner, inner_l4 - inner, PROTO_TCP, len - inner_l4))
    return csum_fold(sum) == 0


cdef inline bint same_addresses(const uint8_t *packet, const uint8_t *other, uint8_t version) noexcept nogil:
    """Of two IP headers of one version."""
    return memcmp(ip_addresses(packet, version), ip_addresses(other, version), 8 if version == 4 else 32) == 0


cdef inline bint ip_continues(const uint8_t *head, const uint8_t *packet, uint8_t version, uint8_t count,
                              uint8_t *id_step) noexcept nogil:
    """Whether the IP header is the head's, but for what segmentation writes, behind `count` packets.

    IPv4 IDs count up, or stand still under DF: `id_step` says which, from the second packet on.
    """
    cdef const Ip4Header *head4 = <const Ip4Header *>head
    cdef const Ip4Header *ip4 = <const Ip4Header *>packet
    cdef const Ip6Header *head6 = <const Ip6Header *>head
    cdef const Ip6Header *ip6 = <const Ip6Header *>packet
    cdef uint16_t id_grown
    if version == 6:
        return head6.version_class_label == ip6.version_class_label and head6.hop_limit == ip6.hop_limit
    if head4.tos != ip4.tos or head4.ttl != ip4.ttl or head4.flags_offset != ip4.flags_offset:
        return False
    id_grown = ntohs(ip4.id) - ntohs(head4.id)
    if count == 1:
        id_step[0] = 0 if id_grown == 0 and ntohs(ip4.flags_offset) & IP4_DF else 1
    return id_grown == id_step[0] * count


cdef inline bint tcp_continues(const TcpHeader *head, const TcpHeader *tcp, uint32_t tcp_len,
                               uint32_t next_seq) noexcept nogil:
    """Whether the segment is in sequence, and its header as long as the head's and equal but for checksum and PSH."""
    return (
        ntohl(tcp.seq) == next_seq
        and tcp.ack == head.ack and tcp.window == head.window and tcp.urgent == head.urgent
        and tcp.offset_reserved == head.offset_reserved
        and (tcp.flags | TCP_PSH) == (head.flags | TCP_PSH)
        and memcmp(tcp + 1, head + 1, tcp_len - TCP_LEN) == 0
    )


cdef inline bint tunnel_continues(const uint8_t *head, const uint8_t *packet, uint32_t l4_offset, uint32_t inner,
                                  uint32_t inner_l4, uint8_t count, uint8_t *id_step) noexcept nogil:
    """Whether the headers of a tunnel are the head's, from the UDP checksum on, and the IP header inside continues it.

    Both have a TCP segment inside, at the same place, and have to be of one connection.
    """
    cdef const uint8_t *head_udp = head + l4_offset
    cdef const uint8_t *udp = packet + l4_offset
    cdef uint8_t version = ip_version(packet + inner)
    if ((<const UdpHeader *>head_udp).check == 0) != ((<const UdpHeader *>udp).check == 0):
        return False
    if ip_version(head + inner) != version:
        return False
    return (memcmp(head_udp + UDP_LEN, udp + UDP_LEN, inner - l4_offset - UDP_LEN) == 0
            and same_addresses(head + inner, packet + inner, version)
            and memcmp(head + inner_l4, packet + inner_l4, 4) == 0
            and ip_continues(head + inner, packet + inner, version, count, id_step))
