"""Superframes for the TUN from packets. The contract of each function stands in coalesce.pxd.

The rules are those of Linux' GRO (tcp_gro_receive, udp_gro_receive, inet_gro_receive), made stricter until cutting the
superframe again gives back what came in. TCP segments join only in sequence, with the same acknowledgement, window and
options. Every member's checksums are verified, because the kernel will write new ones. Nothing is ever prepended.

A packet that can't join the open frame of its flow closes it. A packet whose ports can't be told (fragments, IP
options, extension headers) closes every frame between its two addresses. So no packet overtakes another of its flow.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memset

from pywg.dataplane.sys.checks cimport c_assert, static_fits
from pywg.dataplane.sys.linux cimport iovec
from pywg.dataplane.wire.checksum cimport csum_fold, csum_partial, csum_pseudo
from pywg.dataplane.wire.ip cimport IP4_DF, IP4_LEN, IP6_LEN, IP_MAX_LEN, PROTO_TCP, PROTO_UDP, TCP_ACK, TCP_ECE
from pywg.dataplane.wire.ip cimport TCP_LEN, TCP_PSH, Ip4Header, Ip6Header, IpView, TcpHeader, UdpHeader, htons
from pywg.dataplane.wire.ip cimport ip_addresses, ip_headers_len, ntohl, ntohs
from pywg.dataplane.wire.virtio cimport VNET_F_NEEDS_CSUM, VNET_GSO_TCPV4, VNET_GSO_TCPV6, VNET_GSO_UDP_L4, VNET_HDR_MAX
from pywg.dataplane.wire.virtio cimport VnetHdr

cdef enum:
    TCP_CHECK_OFFSET = 16
    UDP_CHECK_OFFSET = 6


cdef struct Packet:
    const IpView *ip
    bint mergeable        # its own headers allow it; below here is for mergeable packets only
    bint push             # TCP's PSH: nothing may follow it in a superframe
    uint64_t tag          # ports, protocol, IP version; 0 when the ports can't be told. With the addresses, the flow
    uint32_t header_len   # IP and transport headers
    uint32_t payload_len  # never 0


cdef Coalescer *coalesce_new(int max_packets, int vnet_hdr_len) noexcept nogil:
    cdef Coalescer *c = <Coalescer *>calloc(1, sizeof(Coalescer))
    static_fits(COALESCE_MAX_MEMBERS + 1, COALESCE_MAX_IOV)
    static_fits(COALESCE_MAX_MEMBERS, 255)          # Frame.count
    static_fits(VNET_HDR_MAX, sizeof(c.frames[0].vnet))
    c_assert(vnet_hdr_len <= VNET_HDR_MAX)
    if c == NULL:
        return NULL
    c.max_packets = max_packets
    c.vnet_hdr_len = vnet_hdr_len
    c.frames = <Frame *>calloc(max_packets, sizeof(Frame))
    c.members = <Member *>calloc(max_packets, sizeof(Member))
    if c.frames == NULL or c.members == NULL:
        coalesce_free(c)
        return NULL
    return c


cdef void coalesce_free(Coalescer *c) noexcept nogil:
    if c != NULL:
        free(c.frames)
        free(c.members)
        free(c)


cdef void coalesce_reset(Coalescer *c) noexcept nogil:
    c.packet_count = 0
    c.frame_count = 0
    c.member_count = 0
    c.open_count = 0
    c.next_evicted = 0


cdef int coalesce_count(Coalescer *c) noexcept nogil:
    return c.frame_count


cdef inline void read_packet(Packet *p, const IpView *ip) noexcept nogil:
    """Reads the flow and lengths of plain TCP and UDP: no IP options, extension headers or fragments."""
    cdef const TcpHeader *tcp = <const TcpHeader *>(ip.packet + ip.l4_offset)
    cdef const UdpHeader *udp = <const UdpHeader *>(ip.packet + ip.l4_offset)
    cdef uint32_t ip_len = IP4_LEN if ip.version == 4 else IP6_LEN
    p.ip = ip
    p.tag = 0
    p.mergeable = False
    if ip.l4_offset != ip_len or ip.fragment or ip.total_len != ip.len:
        return
    p.header_len = ip_headers_len(ip)
    if p.header_len == 0:
        return
    p.tag = <uint64_t>udp.source_port << 48 | <uint64_t>udp.destination_port << 32 | ip.protocol << 8 | ip.version
    p.payload_len = ip.len - p.header_len
    if ip.protocol == PROTO_TCP:
        # A segment with data and no flag but ACK, PSH and ECE.
        p.push = tcp.flags & TCP_PSH != 0
        p.mergeable = p.payload_len != 0 and tcp.flags & ~<uint8_t>(TCP_PSH | TCP_ECE) == TCP_ACK
    else:
        # A datagram with data and a checksum: segmentation would add a checksum that the sender left out.
        p.push = False
        p.mergeable = p.payload_len != 0 and ntohs(udp.len) == ip.len - ip.l4_offset and udp.check != 0


cdef inline bint checksums_hold(const uint8_t *data, uint32_t len, uint32_t l4_offset, uint8_t protocol) noexcept nogil:
    """Whether the checksums of the IPv4 header (if it is one) and of the transport hold, in a mergeable packet."""
    cdef uint32_t l4_len = len - l4_offset
    cdef uint64_t pseudo
    if l4_offset == IP4_LEN:
        if csum_fold(csum_partial(data, IP4_LEN, 0)) != 0:
            return False
        pseudo = csum_pseudo(ip_addresses(data, 4), 8, protocol, l4_len)
    else:
        pseudo = csum_pseudo(ip_addresses(data, 6), 32, protocol, l4_len)
    return csum_fold(csum_partial(data + l4_offset, l4_len, pseudo)) == 0


cdef inline bint same_addresses(const Frame *f, const IpView *ip) noexcept nogil:
    """Whether a frame and a packet have the same addresses. Both hold a whole header of the packet's IP version."""
    return memcmp(ip_addresses(f.head, ip.version), ip.source, 2 * <size_t>ip.address_len) == 0


cdef inline bint ip_continues(Frame *f, const Packet *p) noexcept nogil:
    """Whether the IP header is the head's, but for what segmentation writes.

    IPv4 IDs count up, or stand still under DF.
    """
    cdef const Ip4Header *head4 = <const Ip4Header *>f.head
    cdef const Ip4Header *ip4 = <const Ip4Header *>p.ip.packet
    cdef const Ip6Header *head6 = <const Ip6Header *>f.head
    cdef const Ip6Header *ip6 = <const Ip6Header *>p.ip.packet
    cdef uint16_t id_grown
    if p.ip.version == 6:
        return head6.version_class_label == ip6.version_class_label and head6.hop_limit == ip6.hop_limit
    if head4.tos != ip4.tos or head4.ttl != ip4.ttl or head4.flags_offset != ip4.flags_offset:
        return False
    id_grown = ntohs(ip4.id) - ntohs(head4.id)
    if f.count == 1:
        f.id_step = 0 if id_grown == 0 and ntohs(ip4.flags_offset) & IP4_DF else 1
    return id_grown == f.id_step * f.count


cdef inline bint tcp_continues(const Frame *f, const Packet *p) noexcept nogil:
    """Whether the segment is in sequence, and its header as long as the head's and equal but for checksum and PSH."""
    cdef const TcpHeader *head = <const TcpHeader *>(f.head + f.l4_offset)
    cdef const TcpHeader *tcp = <const TcpHeader *>(p.ip.packet + p.ip.l4_offset)
    return (
        ntohl(tcp.seq) == f.next_seq
        and tcp.ack == head.ack and tcp.window == head.window and tcp.urgent == head.urgent
        and tcp.offset_reserved == head.offset_reserved
        and (tcp.flags | TCP_PSH) == (head.flags | TCP_PSH)
        and memcmp(tcp + 1, head + 1, p.header_len - p.ip.l4_offset - TCP_LEN) == 0
    )


cdef bint joins(Frame *f, const Packet *p) noexcept nogil:
    """Whether `p`, of the open frame's flow, may be its next packet.

    Checksums are verified last: they are the expensive check.
    """
    if not p.mergeable or p.payload_len > f.gso_size:
        return False
    if f.total_len + p.payload_len > IP_MAX_LEN or not ip_continues(f, p):
        return False
    if p.ip.protocol == PROTO_TCP and not tcp_continues(f, p):
        return False
    if not f.verified:
        if not checksums_hold(f.head, f.head_len, f.l4_offset, f.protocol):
            return False
        f.verified = True
    return checksums_hold(p.ip.packet, p.ip.len, p.ip.l4_offset, p.ip.protocol)


cdef inline void close_frame(Coalescer *c, int slot) noexcept nogil:
    c.open_count -= 1
    c.open[slot] = c.open[c.open_count]


cdef void append_member(Coalescer *c, int slot, const Packet *p) noexcept nogil:
    """Adds `p` to an open frame; closes the frame if nothing may follow."""
    cdef Frame *f = &c.frames[c.open[slot].frame]
    cdef Member *m = &c.members[c.member_count]
    c_assert(c.member_count < c.max_packets)
    c_assert(f.count < COALESCE_MAX_MEMBERS)
    m.payload = p.ip.packet + p.header_len
    m.len = p.payload_len
    m.next = -1
    if f.first < 0:
        f.first = c.member_count
    else:
        c.members[f.last].next = c.member_count
    f.last = c.member_count
    c.member_count += 1
    f.count += 1
    f.total_len += p.payload_len
    f.next_seq += p.payload_len
    f.push = p.push
    if f.push or p.payload_len < f.gso_size or f.count == COALESCE_MAX_MEMBERS:
        close_frame(c, slot)


cdef void open_frame(Coalescer *c, uint64_t tag, int frame) noexcept nogil:
    """Adds an open frame. A full table evicts one, in turn: that costs a merge, never the order."""
    cdef int slot = c.open_count
    if slot == COALESCE_MAX_FLOWS:
        slot = c.next_evicted
        c.next_evicted = (slot + 1) % COALESCE_MAX_FLOWS
    else:
        c.open_count += 1
    c_assert(slot < COALESCE_MAX_FLOWS)
    c.open[slot].tag = tag
    c.open[slot].frame = frame


cdef void append_frame(Coalescer *c, const Packet *p) noexcept nogil:
    """Starts a frame with `p`; it stays open if other packets may join."""
    cdef Frame *f = &c.frames[c.frame_count]
    c_assert(c.frame_count < c.max_packets)
    f.head = p.ip.packet
    f.head_len = p.ip.len
    f.count = 1
    f.first = -1
    if p.mergeable and not p.push:
        f.total_len = p.ip.len
        f.gso_size = p.payload_len
        f.header_len = p.header_len
        f.l4_offset = p.ip.l4_offset
        f.protocol = p.ip.protocol
        f.verified = False
        f.push = False
        if p.ip.protocol == PROTO_TCP:
            f.next_seq = ntohl((<const TcpHeader *>(p.ip.packet + p.ip.l4_offset)).seq) + p.payload_len
        open_frame(c, p.tag, c.frame_count)
    c.frame_count += 1


cdef inline int find_open(Coalescer *c, const Packet *p) noexcept nogil:
    """The slot of the frame open for the packet's flow, or -1."""
    cdef int slot
    for slot in range(c.open_count):
        if c.open[slot].tag == p.tag and same_addresses(&c.frames[c.open[slot].frame], p.ip):
            return slot
    return -1


cdef void close_between(Coalescer *c, const Packet *p) noexcept nogil:
    """Closes every open frame between the two addresses of `p`, whose ports can't be told."""
    cdef int slot = 0
    if p.ip.version == 0:
        return
    while slot < c.open_count:
        if c.open[slot].tag & 0xFF == p.ip.version and same_addresses(&c.frames[c.open[slot].frame], p.ip):
            close_frame(c, slot)
        else:
            slot += 1


cdef inline bint may_merge(const Coalescer *c, uint8_t protocol, int features) noexcept nogil:
    return c.vnet_hdr_len != 0 and features & (COALESCE_TCP if protocol == PROTO_TCP else COALESCE_UDP) != 0


cdef int coalesce_add(Coalescer *c, const IpView *ip, int features) noexcept nogil:
    cdef Packet p
    cdef int slot
    if c.packet_count == c.max_packets:
        return -1
    c.packet_count += 1
    read_packet(&p, ip)
    p.mergeable = p.mergeable and may_merge(c, ip.protocol, features)
    if p.tag:
        slot = find_open(c, &p)
        if slot >= 0:
            if joins(&c.frames[c.open[slot].frame], &p):
                append_member(c, slot, &p)
                return 0
            close_frame(c, slot)
    elif c.open_count:
        close_between(c, &p)
    append_frame(c, &p)
    return 0


cdef void write_headers(const Frame *f) noexcept nogil:
    """Makes the head's headers those of the superframe. The transport checksum becomes the pseudo header's sum alone,
    as VNET_F_NEEDS_CSUM wants it."""
    cdef Ip4Header *ip4 = <Ip4Header *>f.head
    cdef Ip6Header *ip6 = <Ip6Header *>f.head
    cdef TcpHeader *tcp = <TcpHeader *>(f.head + f.l4_offset)
    cdef UdpHeader *udp = <UdpHeader *>(f.head + f.l4_offset)
    cdef uint32_t l4_len = f.total_len - f.l4_offset
    cdef uint64_t pseudo
    if f.l4_offset == IP4_LEN:
        ip4.total_len = htons(f.total_len)
        ip4.check = 0
        ip4.check = csum_fold(csum_partial(f.head, IP4_LEN, 0))
        pseudo = csum_pseudo(ip4.source, 8, f.protocol, l4_len)
    else:
        ip6.payload_len = htons(l4_len)
        pseudo = csum_pseudo(ip6.source, 32, f.protocol, l4_len)
    if f.protocol == PROTO_TCP:
        tcp.check = ~csum_fold(pseudo)
        if f.push:
            tcp.flags |= TCP_PSH
    else:
        udp.check = ~csum_fold(pseudo)
        udp.len = htons(l4_len)


cdef void write_vnet(Frame *f) noexcept nogil:
    cdef VnetHdr *hdr = <VnetHdr *>f.vnet
    memset(f.vnet, 0, sizeof(f.vnet))
    if f.count == 1:
        return
    hdr.flags = VNET_F_NEEDS_CSUM
    if f.protocol == PROTO_UDP:
        hdr.gso_type = VNET_GSO_UDP_L4
    else:
        hdr.gso_type = VNET_GSO_TCPV4 if f.l4_offset == IP4_LEN else VNET_GSO_TCPV6
    hdr.hdr_len = f.header_len
    hdr.gso_size = f.gso_size
    hdr.csum_start = f.l4_offset
    hdr.csum_offset = TCP_CHECK_OFFSET if f.protocol == PROTO_TCP else UDP_CHECK_OFFSET


cdef int coalesce_frame(Coalescer *c, int i, iovec *iov, int max_iov) noexcept nogil:
    cdef Frame *f = &c.frames[i]
    cdef int used = 0
    cdef int member = f.first
    c_assert(i < c.frame_count)
    if f.count + (1 if c.vnet_hdr_len else 0) > max_iov:
        return -1
    if c.vnet_hdr_len:
        write_vnet(f)
        iov[0].iov_base = f.vnet
        iov[0].iov_len = c.vnet_hdr_len
        used = 1
    if f.count > 1:
        write_headers(f)
    iov[used].iov_base = f.head
    iov[used].iov_len = f.head_len
    used += 1
    while member >= 0:
        iov[used].iov_base = c.members[member].payload
        iov[used].iov_len = c.members[member].len
        used += 1
        member = c.members[member].next
    c_assert(used <= max_iov)
    return used
