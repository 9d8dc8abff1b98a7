"""Destination unreachable (unreachable.pxd)."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from pywg.dataplane.sys.checks cimport c_assert
from pywg.dataplane.sys.linux cimport AF_INET, AF_INET6, MSG_DONTWAIT, sendto, sockaddr, sockaddr_in, sockaddr_in6
from pywg.dataplane.wire.checksum cimport csum_fold, csum_partial, csum_pseudo
from pywg.dataplane.wire.ip cimport ICMP_LEN, IP4_LEN, IP6_LEN, PROTO_AUTHENTICATION, PROTO_ICMP, PROTO_ICMP6
from pywg.dataplane.wire.ip cimport PROTO_ROUTING, IcmpHeader, Ip4Header, Ip6Header, IpView, htonl, htons, ip_version

cdef enum:
    UNREACHABLE4 = 3
    UNREACHABLE4_HOST = 1
    UNREACHABLE6 = 1
    UNREACHABLE6_ADDRESS = 3
    ECHO_REPLY = 0
    ECHO = 8
    TIMESTAMP = 13
    TIMESTAMP_REPLY = 14
    INFORMATIONAL6 = 128            # of ICMPv6, the first type that is no error
    REDIRECT6 = 137                 # none, but not to be answered either
    LOOPBACK4 = 127                 # the first byte of an address
    REPLY4_MAX = 576
    REPLY4_TOS = 0xC0               # internetwork control, as Linux sends its own errors
    TTL = 64


cdef bint is_host4(const uint8_t *address) noexcept nogil:
    return address[0] != 0 and address[0] < 224


cdef bint is_unspecified6(const uint8_t *address) noexcept nogil:
    cdef uint8_t bits = 0
    cdef int i
    for i in range(16):
        bits |= address[i]
    return bits == 0


cdef bint is_answerable(const IpView *ip) noexcept nogil:
    """Whether an error may answer the packet (RFC 1122 section 3.2.2, RFC 4443 section 2.4 (e)).

    Not if it is an error itself or a later fragment, was sent to or came from no single host, or has no whole transport
    header. Nor if that header stands behind one that the parser does not skip: it could be an error's.
    """
    cdef uint8_t kind
    if ip.l4_offset == 0 or ip.total_len - ip.l4_offset < ICMP_LEN:
        return False
    if ip.protocol == PROTO_AUTHENTICATION or (ip.version == 6 and ip.protocol == PROTO_ROUTING):
        return False
    kind = (<const IcmpHeader *>(ip.packet + ip.l4_offset)).type
    if ip.version == 4:
        if not is_host4(ip.source) or not is_host4(ip.destination) or ip.source[0] == LOOPBACK4:
            return False
        return ip.protocol != PROTO_ICMP or kind in (ECHO_REPLY, ECHO, TIMESTAMP, TIMESTAMP_REPLY)
    if ip.source[0] == 0xFF or ip.destination[0] == 0xFF or is_unspecified6(ip.source):
        return False
    return ip.protocol != PROTO_ICMP6 or (kind >= INFORMATIONAL6 and kind != REDIRECT6)


cdef uint32_t icmp_unreachable(const IpView *ip, uint8_t *reply) noexcept nogil:
    """Writes the answer. Its length, at most ICMP_REPLY_MAX bytes; 0: there is none."""
    cdef uint32_t header_len = IP4_LEN if ip.version == 4 else IP6_LEN
    cdef uint32_t room = REPLY4_MAX if ip.version == 4 else ICMP_REPLY_MAX
    cdef uint32_t reply_len = min(header_len + ICMP_LEN + ip.len, room)
    cdef uint32_t l4_len = reply_len - header_len
    cdef Ip4Header *ip4 = <Ip4Header *>reply
    cdef Ip6Header *ip6 = <Ip6Header *>reply
    cdef IcmpHeader *icmp = <IcmpHeader *>(reply + header_len)
    cdef uint64_t pseudo = 0
    c_assert(ip.version != 0)
    if not is_answerable(ip):
        return 0
    memset(reply, 0, header_len + ICMP_LEN)
    if ip.version == 4:
        ip4.version_ihl = 0x45
        ip4.tos = REPLY4_TOS
        ip4.total_len = htons(reply_len)
        ip4.ttl = TTL
        ip4.protocol = PROTO_ICMP
        memcpy(ip4.source, ip.destination, 4)
        memcpy(ip4.destination, ip.source, 4)
        ip4.check = csum_fold(csum_partial(reply, IP4_LEN, 0))
        icmp.type = UNREACHABLE4
        icmp.code = UNREACHABLE4_HOST
    else:
        ip6.version_class_label = htonl(6 << 28)
        ip6.payload_len = htons(l4_len)
        ip6.next_header = PROTO_ICMP6
        ip6.hop_limit = TTL
        memcpy(ip6.source, ip.destination, 16)
        memcpy(ip6.destination, ip.source, 16)
        icmp.type = UNREACHABLE6
        icmp.code = UNREACHABLE6_ADDRESS
        pseudo = csum_pseudo(ip6.source, 32, PROTO_ICMP6, l4_len)
    memcpy(icmp + 1, ip.packet, l4_len - ICMP_LEN)
    icmp.check = csum_fold(csum_partial(<const uint8_t *>icmp, l4_len, pseudo))
    return reply_len


cdef bint icmp_send(int fd, const uint8_t *reply, uint32_t reply_len) noexcept nogil:
    """Sends what `icmp_unreachable` wrote, without its IP header, through the raw socket of its family. False: refused.
    """
    cdef sockaddr_in in4
    cdef sockaddr_in6 in6
    if ip_version(reply) == 4:
        memset(&in4, 0, sizeof(in4))
        in4.sin_family = AF_INET
        memcpy(&in4.sin_addr, (<const Ip4Header *>reply).destination, 4)
        return sendto(fd, reply + IP4_LEN, reply_len - IP4_LEN, MSG_DONTWAIT, <sockaddr *>&in4, sizeof(in4)) >= 0
    memset(&in6, 0, sizeof(in6))
    in6.sin6_family = AF_INET6
    memcpy(&in6.sin6_addr, (<const Ip6Header *>reply).destination, 16)
    return sendto(fd, reply + IP6_LEN, reply_len - IP6_LEN, MSG_DONTWAIT, <sockaddr *>&in6, sizeof(in6)) >= 0
