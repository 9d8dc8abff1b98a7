"""Destination unreachable (icmp.pxd)."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy, memset
from pywg._native.checksum cimport csum_fold, csum_partial, csum_pseudo6
from pywg._native.linux cimport AF_INET, AF_INET6, MSG_DONTWAIT, sendto, sockaddr, sockaddr_in, sockaddr_in6

cdef enum:
    PROTO_ICMP = 1
    PROTO_ICMP6 = 58
    IP4_LEN = 20
    IP6_LEN = 40
    ICMP_LEN = 8
    REPLY4_MAX = 576
    TTL = 64


cdef bint answerable4(const uint8_t *packet, uint32_t packet_len) noexcept nogil:
    """RFC 1122 section 3.2.2: no errors about errors, later fragments, or what was sent to or came from no one host."""
    cdef uint32_t header_len = (packet[0] & 15) * 4
    if header_len < IP4_LEN or packet_len < header_len + ICMP_LEN:
        return False
    if ((packet[6] & 0x1F) << 8) | packet[7]:
        return False
    if packet[9] == PROTO_ICMP and packet[header_len] not in (0, 8, 13, 14):
        return False
    return packet[12] != 0 and packet[12] < 224 and packet[16] != 0 and packet[16] < 224


cdef bint answerable6(const uint8_t *packet, uint32_t packet_len) noexcept nogil:
    """RFC 4443 section 2.4 (e). Of extension headers only a fragment's is looked behind: others are answered."""
    cdef uint8_t unspecified = 0
    cdef int i
    for i in range(16):
        unspecified |= packet[8 + i]
    if unspecified == 0 or packet[8] == 0xFF or packet[24] == 0xFF or packet_len < IP6_LEN + ICMP_LEN:
        return False
    if packet[6] == 44 and ((packet[IP6_LEN + 2] << 8) | (packet[IP6_LEN + 3] & 0xF8)):
        return False
    return packet[6] != PROTO_ICMP6 or packet[IP6_LEN] >= 128


cdef uint32_t icmp_unreachable(const uint8_t *packet, uint32_t packet_len, uint8_t *reply) noexcept nogil:
    """Writes the answer to a packet with a whole IP header. Its length, 0 for none; at most ICMP_REPLY_MAX bytes."""
    cdef uint32_t quoted, reply_len
    cdef uint16_t check
    if packet[0] >> 4 == 4:
        if not answerable4(packet, packet_len):
            return 0
        quoted = packet_len if packet_len < REPLY4_MAX - IP4_LEN - ICMP_LEN else REPLY4_MAX - IP4_LEN - ICMP_LEN
        reply_len = IP4_LEN + ICMP_LEN + quoted
        memset(reply, 0, IP4_LEN + ICMP_LEN)
        reply[0] = 0x45
        reply[1] = 0xC0                 # internetwork control, as Linux sends its own errors
        reply[2] = <uint8_t>(reply_len >> 8)
        reply[3] = <uint8_t>reply_len
        reply[8] = TTL
        reply[9] = PROTO_ICMP
        memcpy(reply + 12, packet + 16, 4)
        memcpy(reply + 16, packet + 12, 4)
        reply[IP4_LEN] = 3              # destination unreachable
        reply[IP4_LEN + 1] = 1          # host
        memcpy(reply + IP4_LEN + ICMP_LEN, packet, quoted)
        check = csum_fold(csum_partial(reply, IP4_LEN, 0))
        memcpy(reply + 10, &check, 2)
        check = csum_fold(csum_partial(reply + IP4_LEN, ICMP_LEN + quoted, 0))
        memcpy(reply + IP4_LEN + 2, &check, 2)
        return reply_len
    if not answerable6(packet, packet_len):
        return 0
    quoted = packet_len if packet_len < ICMP_REPLY_MAX - IP6_LEN - ICMP_LEN else ICMP_REPLY_MAX - IP6_LEN - ICMP_LEN
    memset(reply, 0, IP6_LEN + ICMP_LEN)
    reply[0] = 0x60
    reply[4] = <uint8_t>((ICMP_LEN + quoted) >> 8)
    reply[5] = <uint8_t>(ICMP_LEN + quoted)
    reply[6] = PROTO_ICMP6
    reply[7] = TTL
    memcpy(reply + 8, packet + 24, 16)
    memcpy(reply + 24, packet + 8, 16)
    reply[IP6_LEN] = 1                  # destination unreachable
    reply[IP6_LEN + 1] = 3              # address
    memcpy(reply + IP6_LEN + ICMP_LEN, packet, quoted)
    check = csum_fold(csum_partial(reply + IP6_LEN, ICMP_LEN + quoted,
                                   csum_pseudo6(reply + 8, PROTO_ICMP6, ICMP_LEN + quoted)))
    memcpy(reply + IP6_LEN + 2, &check, 2)
    return IP6_LEN + ICMP_LEN + quoted


cdef bint icmp_send(int fd4, int fd6, const uint8_t *reply, uint32_t reply_len) noexcept nogil:
    """Sends what `icmp_unreachable` has written through the raw socket of its family, without its IP header.

    False: there is none, or it refused, and nothing was sent.
    """
    cdef sockaddr_in in4
    cdef sockaddr_in6 in6
    if reply[0] >> 4 == 4:
        memset(&in4, 0, sizeof(in4))
        in4.sin_family = AF_INET
        memcpy(&in4.sin_addr, reply + 16, 4)
        return fd4 >= 0 and sendto(fd4, reply + IP4_LEN, reply_len - IP4_LEN, MSG_DONTWAIT, <sockaddr *>&in4,
                                   sizeof(in4)) >= 0
    memset(&in6, 0, sizeof(in6))
    in6.sin6_family = AF_INET6
    memcpy(&in6.sin6_addr, reply + 24, 16)
    return fd6 >= 0 and sendto(fd6, reply + IP6_LEN, reply_len - IP6_LEN, MSG_DONTWAIT, <sockaddr *>&in6,
                               sizeof(in6)) >= 0


def unreachable(packet: bytes) -> bytes | None:
    """The answer to an inner packet that nobody takes; None when there may be none. ValueError: no whole IP header."""
    cdef uint8_t reply[ICMP_REPLY_MAX]
    cdef uint32_t reply_len
    if len(packet) < IP4_LEN or (packet[0] >> 4 == 6 and len(packet) < IP6_LEN):
        raise ValueError("the packet is shorter than its IP header")
    reply_len = icmp_unreachable(<const uint8_t *>PyBytes_AS_STRING(packet), <uint32_t>len(packet), reply)
    return PyBytes_FromStringAndSize(<const char *>reply, reply_len) if reply_len else None
