"""Headers of inner packets, and their one parser: IPv4, IPv6, TCP, UDP, ICMP. It judges nothing.

RFC 791, RFC 8200, RFC 9293, RFC 768, RFC 792, RFC 4443. Packed structs, in network order, are read in place at any
alignment. Packets come from authenticated peers, which may be hostile, and from any process that holds the TUN:
`ip_read` reads nothing past their length, and a view describes only bytes that are there.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef extern from "<arpa/inet.h>" nogil:
    uint16_t htons(uint16_t value) noexcept
    uint16_t ntohs(uint16_t value) noexcept
    uint32_t htonl(uint32_t value) noexcept
    uint32_t ntohl(uint32_t value) noexcept

cdef enum:
    PROTO_HOP_BY_HOP = 0
    PROTO_ICMP = 1
    PROTO_TCP = 6
    PROTO_UDP = 17
    PROTO_ROUTING = 43
    PROTO_FRAGMENT = 44
    PROTO_AUTHENTICATION = 51
    PROTO_ICMP6 = 58
    PROTO_DESTINATION = 60

cdef enum:
    IP4_LEN = 20
    IP6_LEN = 40
    EXTENSION_LEN = 8           # the shortest one, and the unit of the others
    TCP_LEN = 20
    UDP_LEN = 8
    ICMP_LEN = 8
    IP_MAX_LEN = 65535
    EXTENSIONS_MAX = 8          # a transport header behind more is not looked for

cdef enum:
    IP4_DF = 0x4000
    IP4_MF = 0x2000
    IP4_OFFSET = 0x1FFF
    IP6_OFFSET = 0xFFF8
    IP6_CLASS_SHIFT = 20        # of the traffic class, in the first word

cdef enum:
    TCP_FIN = 0x01
    TCP_PSH = 0x08
    TCP_ACK = 0x10
    TCP_ECE = 0x40
    TCP_CWR = 0x80


cdef packed struct Ip4Header:
    uint8_t version_ihl
    uint8_t tos
    uint16_t total_len
    uint16_t id
    uint16_t flags_offset
    uint8_t ttl
    uint8_t protocol
    uint16_t check
    uint8_t source[4]
    uint8_t destination[4]


cdef packed struct Ip6Header:
    uint32_t version_class_label
    uint16_t payload_len
    uint8_t next_header
    uint8_t hop_limit
    uint8_t source[16]
    uint8_t destination[16]


cdef packed struct Ip6Extension:
    uint8_t next_header
    uint8_t units           # of 8 bytes, after the first
    uint8_t routing_type
    uint8_t segments_left


cdef packed struct Ip6Fragment:
    uint8_t next_header
    uint8_t reserved
    uint16_t offset_flags
    uint32_t id


cdef packed struct TcpHeader:
    uint16_t source_port
    uint16_t destination_port
    uint32_t seq
    uint32_t ack
    uint8_t offset_reserved
    uint8_t flags
    uint16_t window
    uint16_t check
    uint16_t urgent


cdef packed struct UdpHeader:
    uint16_t source_port
    uint16_t destination_port
    uint16_t len
    uint16_t check


cdef packed struct IcmpHeader:
    uint8_t type
    uint8_t code
    uint16_t check
    uint32_t rest


cdef struct IpView:
    uint8_t *packet
    uint32_t len            # bytes at `packet`
    uint8_t version         # 4 or 6: the whole IP header is there; 0: it is not, and only the fields above are set
    uint8_t tos             # or IPv6's traffic class
    uint8_t protocol        # of the header at l4_offset
    uint8_t address_len     # 4 or 16
    const uint8_t *source   # the destination directly follows it
    const uint8_t *destination
    uint32_t total_len      # as the header says; 0: it says less than a header, or more than the packet has
    uint32_t l4_offset      # at most total_len; 0: no transport header, as in later fragments or where lengths lie
    bint fragment           # of a longer packet, or an atomic fragment of IPv6


cdef inline uint8_t ip_version(const uint8_t *packet) noexcept nogil:
    """The IP version that the first byte says."""
    return packet[0] >> 4


cdef inline uint8_t ip_tos(const uint8_t *packet) noexcept nogil:
    """The TOS or traffic class in a whole IP header."""
    if ip_version(packet) == 4:
        return (<const Ip4Header *>packet).tos
    return <uint8_t>(ntohl((<const Ip6Header *>packet).version_class_label) >> IP6_CLASS_SHIFT)


cdef inline const uint8_t *ip_addresses(const uint8_t *packet, uint8_t version) noexcept nogil:
    """Source and destination, in place in a whole IP header: 8 bytes for version 4, 32 for 6."""
    if version == 4:
        return (<const Ip4Header *>packet).source
    return (<const Ip6Header *>packet).source


cdef inline bint ip_read(IpView *ip, uint8_t *packet, uint32_t len) noexcept nogil:
    """Fills the view. False: `packet` does not begin with a whole IPv4 or IPv6 header."""
    ip.packet = packet
    ip.len = len
    ip.version = ip_version(packet) if len else 0
    ip.total_len = ip.l4_offset = 0
    if ip.version == 4 and len >= IP4_LEN:
        ip.address_len = 4
        read_ip4(ip)
    elif ip.version == 6 and len >= IP6_LEN:
        ip.address_len = 16
        read_ip6(ip)
    else:
        ip.version = 0
        return False
    ip.tos = ip_tos(packet)
    ip.source = ip_addresses(packet, ip.version)
    ip.destination = ip.source + ip.address_len
    return True


cdef inline void read_ip4(IpView *ip) noexcept nogil:
    cdef const Ip4Header *header = <const Ip4Header *>ip.packet
    cdef uint32_t total_len = ntohs(header.total_len), header_len = (header.version_ihl & 15) * 4
    ip.protocol = header.protocol
    ip.fragment = header.flags_offset & htons(IP4_MF | IP4_OFFSET) != 0
    if total_len < IP4_LEN or total_len > ip.len:
        return
    ip.total_len = total_len
    if header_len >= IP4_LEN and header_len <= total_len and not header.flags_offset & htons(IP4_OFFSET):
        ip.l4_offset = header_len


cdef inline void read_ip6(IpView *ip) noexcept nogil:
    cdef const Ip6Header *header = <const Ip6Header *>ip.packet
    cdef uint32_t total_len = IP6_LEN + ntohs(header.payload_len)
    ip.protocol = header.next_header
    ip.fragment = False
    if total_len > ip.len:
        return
    ip.total_len = total_len
    ip.l4_offset = IP6_LEN
    if is_extension(ip.protocol) and not skip_extensions(ip):
        ip.l4_offset = 0


cdef inline bint is_extension(uint8_t protocol) noexcept nogil:
    return (protocol == PROTO_HOP_BY_HOP or protocol == PROTO_ROUTING or protocol == PROTO_FRAGMENT
            or protocol == PROTO_DESTINATION)


cdef inline bint skip_extensions(IpView *ip) noexcept nogil:
    """Moves l4_offset behind the extension headers. False: they don't end within the packet, or no transport header can
    follow.

    A routing header that is not used up stays the protocol: the transport checksum behind it is over another
    destination than the IP header's (RFC 8200, 8.1).
    """
    cdef const Ip6Extension *extension
    cdef int _i
    for _i in range(EXTENSIONS_MAX):
        extension = <const Ip6Extension *>(ip.packet + ip.l4_offset)
        if ip.l4_offset + EXTENSION_LEN > ip.total_len:
            return False
        if ip.protocol == PROTO_ROUTING and extension.segments_left != 0:
            return True
        if ip.protocol == PROTO_FRAGMENT:
            ip.fragment = True
            if (<const Ip6Fragment *>extension).offset_flags & htons(IP6_OFFSET):
                return False
            ip.l4_offset += EXTENSION_LEN
        else:
            ip.l4_offset += (extension.units + <uint32_t>1) * EXTENSION_LEN
        ip.protocol = extension.next_header
        if ip.l4_offset > ip.total_len:
            return False
        if not is_extension(ip.protocol):
            return True
    return False


cdef inline uint32_t ip_headers_len(const IpView *ip) noexcept nogil:
    """Bytes of the IP and transport headers of a TCP or UDP packet; 0: it is neither, or they are not whole."""
    cdef uint32_t l4_len = ip.total_len - ip.l4_offset, header_len = UDP_LEN
    if ip.l4_offset == 0 or ip.protocol != PROTO_TCP and ip.protocol != PROTO_UDP:
        return 0
    if ip.protocol == PROTO_TCP:
        if l4_len < TCP_LEN:
            return 0
        header_len = ((<const TcpHeader *>(ip.packet + ip.l4_offset)).offset_reserved >> 4) * <uint32_t>4
        if header_len < TCP_LEN:
            return 0
    return ip.l4_offset + header_len if header_len <= l4_len else 0
