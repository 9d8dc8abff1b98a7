"""Superframes for the TUN from packets. The contract of each function stands in coalesce.pxd.

TCP segments join only in sequence, with the same acknowledgement, window and options (merge_rules.pxd). Every member's
checksums are verified, because the kernel will write new ones. Nothing is ever prepended.

TCP segments in a UDP tunnel join by the rules of both headers, if they go to a tunnel's end that is known
(tunnel_ends.pxd). All between the two headers has to be the same. Their flow is that of the tunnel's packets.

A packet that can't join the open frame of its flow closes it. A packet whose ports can't be told (fragments, IP
options, extension headers) closes every frame between its two addresses. So no packet overtakes another of its flow.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from pywg.dataplane.receive.merge_rules cimport checksums_hold, has_plain_flags, ip_continues, pseudo_sum
from pywg.dataplane.receive.merge_rules cimport same_addresses, tcp_continues, tunnel_checksums_hold, tunnel_continues
from pywg.dataplane.state.tunnel_ends cimport tunnel_end_known
from pywg.dataplane.sys.checks cimport c_assert, static_fits
from pywg.dataplane.sys.linux cimport iovec
from pywg.dataplane.wire.checksum cimport csum_fold, csum_partial
from pywg.dataplane.wire.ip cimport IP4_LEN, IP6_LEN, IP_MAX_LEN, PROTO_TCP, PROTO_UDP, TCP_PSH, Ip4Header, Ip6Header
from pywg.dataplane.wire.ip cimport IpView, TcpHeader, UdpHeader, htons, ip_headers_len, ip_read, ntohl, ntohs
from pywg.dataplane.wire.udp_tunnel cimport ETHERNET_LEN, udp_tunnel_inner
from pywg.dataplane.wire.virtio cimport VNET_F_NEEDS_CSUM, VNET_F_UDP_TUNNEL_CSUM, VNET_GSO_TCPV4, VNET_GSO_TCPV6
from pywg.dataplane.wire.virtio cimport VNET_GSO_UDP_L4, VNET_GSO_UDP_TUNNEL_IPV4, VNET_GSO_UDP_TUNNEL_IPV6
from pywg.dataplane.wire.virtio cimport VNET_HDR_MAX, VNET_TUNNEL_HDR_LEN, VnetHdr, VnetTunnelHdr

cdef enum:
    TCP_CHECK_OFFSET = 16
    UDP_CHECK_OFFSET = 6


cdef struct Packet:
    const IpView *ip
    bint mergeable        # its own headers allow it; below here is for mergeable packets only
    bint push             # TCP's PSH: nothing may follow it in a superframe
    uint64_t tag          # ports, protocol, IP version; 0 when the ports can't be told. With the addresses, the flow
    uint32_t header_len   # all headers
    uint32_t payload_len  # never 0
    uint32_t inner        # of a TCP segment in a tunnel, where the IP header inside begins, else 0
    uint32_t merged_l4    # and where the TCP header does


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
    p.inner = p.merged_l4 = 0
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
        p.mergeable = p.payload_len != 0 and has_plain_flags(tcp)
    else:
        # A datagram with data and a checksum: segmentation would add a checksum that the sender left out.
        p.push = False
        p.mergeable = p.payload_len != 0 and ntohs(udp.len) == ip.len - ip.l4_offset and udp.check != 0


cdef bint may_be_in_tunnel(const Coalescer *c, const Packet *p, int features) noexcept nogil:
    """Whether a UDP packet goes to the known end of a tunnel."""
    cdef const UdpHeader *udp = <const UdpHeader *>(p.ip.packet + p.ip.l4_offset)
    if features & COALESCE_TUNNELS == 0 or c.vnet_hdr_len < VNET_TUNNEL_HDR_LEN:
        return False
    return tunnel_end_known(&c.tunnels, p.ip.destination, p.ip.address_len, udp.destination_port)


cdef void read_tunnel(Packet *p) noexcept nogil:
    """Reads a TCP segment in a tunnel, which is then what may be merged. Where there is none, all stays as it is."""
    cdef const IpView *ip = p.ip
    cdef const UdpHeader *udp = <const UdpHeader *>(ip.packet + ip.l4_offset)
    cdef uint32_t inner = udp_tunnel_inner(ip.packet, ip.l4_offset, ip.len), header_len
    cdef const TcpHeader *tcp
    cdef IpView inside
    if inner == 0 or ntohs(udp.len) != ip.len - ip.l4_offset:
        return
    if not ip_read(&inside, ip.packet + inner, ip.len - inner) or inside.total_len != inside.len or inside.fragment:
        return
    if inside.protocol != PROTO_TCP or inside.l4_offset != <uint32_t>(IP4_LEN if inside.version == 4 else IP6_LEN):
        return
    header_len = ip_headers_len(&inside)
    tcp = <const TcpHeader *>(inside.packet + inside.l4_offset)
    if header_len == 0 or header_len == inside.len or not has_plain_flags(tcp):
        return
    if inner + header_len > COALESCE_MAX_HEADERS:
        return
    p.inner = inner
    p.merged_l4 = inner + inside.l4_offset
    p.header_len = inner + header_len
    p.payload_len = inside.len - header_len
    p.push = tcp.flags & TCP_PSH != 0
    p.mergeable = True


cdef bint all_checksums_hold(const Frame *f, const uint8_t *packet, uint32_t len) noexcept nogil:
    """Of a packet in a tunnel, which has the frame's headers."""
    return tunnel_checksums_hold(packet, len, f.l4_offset, f.inner, f.merged_l4)


cdef bint joins_in_tunnel(Frame *f, const Packet *p) noexcept nogil:
    """The same as joins(), where the frame, the packet or both are in a tunnel."""
    cdef uint8_t *packet = p.ip.packet
    if not p.mergeable or p.payload_len > f.gso_size or p.inner != f.inner or p.merged_l4 != f.merged_l4:
        return False
    if f.total_len + p.payload_len > IP_MAX_LEN:
        return False
    if not ip_continues(f.head, packet, p.ip.version, f.count, &f.id_step):
        return False
    if not tunnel_continues(f.head, packet, f.l4_offset, f.inner, f.merged_l4, f.count, &f.inner_id_step):
        return False
    if not tcp_continues(<const TcpHeader *>(f.head + f.merged_l4), <const TcpHeader *>(packet + f.merged_l4),
                         p.header_len - f.merged_l4, f.next_seq):
        return False
    if not f.verified:
        if not all_checksums_hold(f, f.head, f.head_len):
            return False
        f.verified = True
    return all_checksums_hold(f, packet, p.ip.len)


cdef bint joins(Frame *f, const Packet *p) noexcept nogil:
    """Whether `p`, of the open frame's flow, may be its next packet.

    Checksums are verified last: they are the expensive check.
    """
    cdef uint8_t *packet = p.ip.packet
    cdef uint32_t l4_offset = p.ip.l4_offset
    if f.inner | p.inner:
        return joins_in_tunnel(f, p)
    if not p.mergeable or p.payload_len > f.gso_size:
        return False
    if f.total_len + p.payload_len > IP_MAX_LEN:
        return False
    if not ip_continues(f.head, packet, p.ip.version, f.count, &f.id_step):
        return False
    if p.ip.protocol == PROTO_TCP and not tcp_continues(
            <const TcpHeader *>(f.head + f.l4_offset), <const TcpHeader *>(packet + l4_offset),
            p.header_len - l4_offset, f.next_seq):
        return False
    if not f.verified:
        if not checksums_hold(f.head, f.head_len, f.l4_offset, f.protocol):
            return False
        f.verified = True
    return checksums_hold(packet, p.ip.len, l4_offset, p.ip.protocol)


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
        f.inner = p.inner
        f.merged_l4 = p.merged_l4 if p.inner else p.ip.l4_offset
        f.protocol = PROTO_TCP if p.inner else p.ip.protocol
        f.verified = False
        f.push = False
        if f.protocol == PROTO_TCP:
            f.next_seq = ntohl((<const TcpHeader *>(p.ip.packet + f.merged_l4)).seq) + p.payload_len
        open_frame(c, p.tag, c.frame_count)
    c.frame_count += 1


cdef inline bint is_between(const Frame *f, const IpView *ip) noexcept nogil:
    """Whether a frame has a packet's addresses. Both hold a whole header of the packet's IP version."""
    return same_addresses(f.head, ip.packet, ip.version)


cdef inline int find_open(Coalescer *c, const Packet *p) noexcept nogil:
    """The slot of the frame open for the packet's flow, or -1."""
    cdef int slot
    for slot in range(c.open_count):
        if c.open[slot].tag == p.tag and is_between(&c.frames[c.open[slot].frame], p.ip):
            return slot
    return -1


cdef void close_between(Coalescer *c, const Packet *p) noexcept nogil:
    """Closes every open frame between the two addresses of `p`, whose ports can't be told."""
    cdef int slot = 0
    if p.ip.version == 0:
        return
    while slot < c.open_count:
        if c.open[slot].tag & 0xFF == p.ip.version and is_between(&c.frames[c.open[slot].frame], p.ip):
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
    if c.tunnels.any and p.tag and ip.protocol == PROTO_UDP and may_be_in_tunnel(c, &p, features):
        read_tunnel(&p)
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


cdef uint64_t write_ip(uint8_t *packet, uint32_t packet_len, uint32_t l4_offset, uint8_t protocol) noexcept nogil:
    """Makes an IP header that of a packet of another length. Returns the pseudo header's sum.

    That alone is what a transport checksum begins as, where the kernel is to finish it.
    """
    cdef Ip4Header *ip4 = <Ip4Header *>packet
    if l4_offset == IP4_LEN:
        ip4.total_len = htons(packet_len)
        ip4.check = 0
        ip4.check = csum_fold(csum_partial(packet, IP4_LEN, 0))
    else:
        (<Ip6Header *>packet).payload_len = htons(packet_len - l4_offset)
    return pseudo_sum(packet, l4_offset, protocol, packet_len - l4_offset)


cdef void write_headers(const Frame *f) noexcept nogil:
    """Makes the head's headers those of the superframe."""
    cdef TcpHeader *tcp = <TcpHeader *>(f.head + f.merged_l4)
    cdef UdpHeader *udp = <UdpHeader *>(f.head + f.l4_offset)
    cdef uint64_t pseudo = write_ip(f.head, f.total_len, f.l4_offset, PROTO_UDP if f.inner else f.protocol)
    if f.inner or f.protocol == PROTO_UDP:
        udp.len = htons(f.total_len - f.l4_offset)
        if udp.check:
            udp.check = ~csum_fold(pseudo)
    if f.inner:
        pseudo = write_ip(f.head + f.inner, f.total_len - f.inner, f.merged_l4 - f.inner, f.protocol)
    if f.protocol == PROTO_TCP:
        tcp.check = ~csum_fold(pseudo)
        if f.push:
            tcp.flags |= TCP_PSH


cdef void write_vnet(Frame *f) noexcept nogil:
    cdef VnetHdr *hdr = <VnetHdr *>f.vnet
    memset(f.vnet, 0, sizeof(f.vnet))
    if f.count == 1:
        return
    hdr.flags = VNET_F_NEEDS_CSUM
    if f.protocol == PROTO_UDP:
        hdr.gso_type = VNET_GSO_UDP_L4
    else:
        hdr.gso_type = VNET_GSO_TCPV4 if f.merged_l4 - f.inner == IP4_LEN else VNET_GSO_TCPV6
    hdr.hdr_len = f.header_len
    hdr.gso_size = f.gso_size
    hdr.csum_start = f.merged_l4
    hdr.csum_offset = TCP_CHECK_OFFSET if f.protocol == PROTO_TCP else UDP_CHECK_OFFSET
    if f.inner:
        write_tunnel_vnet(f)


cdef void write_tunnel_vnet(Frame *f) noexcept nogil:
    """Linux 6.17 and later refuse a header whose offset of the tunnel's UDP is not behind an Ethernet header, too
    (virtio_net_hdr_tnl_to_skb). A packet of a TUN has none, and the IP layer finds the UDP header by itself."""
    cdef VnetTunnelHdr *hdr = <VnetTunnelHdr *>f.vnet
    if (<const UdpHeader *>(f.head + f.l4_offset)).check:
        hdr.inner.flags |= VNET_F_UDP_TUNNEL_CSUM
    hdr.inner.gso_type |= VNET_GSO_UDP_TUNNEL_IPV4 if f.l4_offset == IP4_LEN else VNET_GSO_UDP_TUNNEL_IPV6
    hdr.outer_th_offset = f.l4_offset + ETHERNET_LEN
    hdr.inner_nh_offset = f.inner


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
    if coalesce_is_tunnel(c, i):
        memcpy(c.head_was, f.head, f.header_len)
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


cdef bint coalesce_is_tunnel(const Coalescer *c, int i) noexcept nogil:
    return c.frames[i].count > 1 and c.frames[i].inner != 0


cdef int coalesce_apart(Coalescer *c, int i) noexcept nogil:
    cdef Frame *f = &c.frames[i]
    cdef int member = f.first
    c_assert(coalesce_is_tunnel(c, i))
    memcpy(f.head, c.head_was, f.header_len)
    f.count = 1
    f.first = -1
    return member


cdef int coalesce_member(Coalescer *c, int i, int member, iovec *iov) noexcept nogil:
    cdef Frame *f = &c.frames[i]
    cdef Member *m = &c.members[member]
    memset(f.vnet, 0, sizeof(f.vnet))
    iov[0].iov_base = f.vnet
    iov[0].iov_len = c.vnet_hdr_len
    iov[1].iov_base = m.payload - f.header_len
    iov[1].iov_len = f.header_len + m.len
    return m.next
