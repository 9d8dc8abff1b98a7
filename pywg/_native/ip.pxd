"""The inner packets' headers: IPv4, IPv6, TCP and UDP as packed structs, in network order. Layout only, no judgement.

RFC 791, RFC 8200, RFC 9293, RFC 768. Follow a pointer to one of these only when the bytes behind it are known to exist.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef extern from "<arpa/inet.h>" nogil:
    uint16_t htons(uint16_t value) noexcept
    uint16_t ntohs(uint16_t value) noexcept
    uint32_t htonl(uint32_t value) noexcept
    uint32_t ntohl(uint32_t value) noexcept

cdef enum:
    PROTO_TCP = 6
    PROTO_UDP = 17
    PROTO_HOP_BY_HOP = 0
    PROTO_ROUTING = 43
    PROTO_DESTINATION = 60

cdef enum:
    IP4_LEN = 20
    IP6_LEN = 40
    TCP_LEN = 20
    UDP_LEN = 8
    IP_MAX_LEN = 65535

cdef enum:
    IP4_DF = 0x4000
    IP4_MF_OR_OFFSET = 0x3FFF

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
    uint8_t addresses[8]


cdef packed struct Ip6Header:
    uint32_t version_class_label
    uint16_t payload_len
    uint8_t next_header
    uint8_t hop_limit
    uint8_t addresses[32]


cdef packed struct TcpHeader:
    uint32_t ports
    uint32_t seq
    uint32_t ack
    uint8_t offset_reserved
    uint8_t flags
    uint16_t window
    uint16_t check
    uint16_t urgent


cdef packed struct UdpHeader:
    uint32_t ports
    uint16_t len
    uint16_t check


cdef inline uint32_t tcp_header_len(const TcpHeader *tcp) noexcept nogil:
    return (tcp.offset_reserved >> 4) * <uint32_t>4
