"""Fuzz target: any bytes as an IP packet, through the parser, ECN and checksums, beside those of ip_plain.h."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset

from pywg.dataplane.send.routing_loop cimport looks_like_transport
from pywg.dataplane.send.segment cimport finish_checksum
from pywg.dataplane.wire.checksum cimport csum_copy, csum_fold, csum_partial, csum_pseudo
from pywg.dataplane.wire.ecn cimport ecn_decapsulate
from pywg.dataplane.wire.ip cimport IpView, htons, ip_headers_len, ip_read
from pywg.dataplane.wire.virtio cimport VnetHdr

from tests.fuzz.native.common cimport need
from tests.fuzz.native.input cimport Input, input8, input16, input_left, input_start

cdef extern from "ip_plain.h" nogil:
    struct PlainIp "plain_ip":
        int version
        int fragment
        uint32_t tos
        uint32_t protocol
        uint32_t total
        uint32_t l4
    PlainIp plain_read(const uint8_t *packet, uint32_t len)
    uint32_t plain_headers(const PlainIp *ip, const uint8_t *packet)
    uint32_t plain_sum(const uint8_t *at, uint32_t len, uint32_t sum)
    uint32_t plain_pseudo(const uint8_t *packet, uint32_t protocol, uint32_t l4_len)
    uint32_t plain16(const uint8_t *at)

cdef enum:
    LONGEST = 65536

# RFC 6040, figure 4, by the inner and the outer field: Not-ECT, ECT(1), ECT(0), CE. It says to drop CE around Not-ECT.
cdef uint8_t[4][4] ECN = [[0, 0, 0, 0], [1, 1, 1, 3], [2, 1, 2, 3], [3, 3, 3, 3]]

cdef uint8_t[LONGEST] copied


cdef void view_is_plain(const IpView *ip, const PlainIp *plain, bint whole, uint8_t *packet,
                        uint32_t len) noexcept nogil:
    """The view says what is there."""
    need(whole == (plain.version != 0), b"a header that is there or not")
    need(ip.packet == packet and ip.len == len and ip.version == plain.version, b"the view of another packet")
    need(ip.total_len == plain.total and ip.l4_offset == plain.l4, b"other lengths")
    if not whole:
        return
    need(ip.tos == plain.tos and ip.fragment == (plain.fragment != 0), b"another TOS, or fragment")
    need(plain.l4 == 0 or ip.protocol == plain.protocol, b"another protocol")
    need(ip.address_len == (4 if ip.version == 4 else 16), b"addresses of another length")
    need(ip.source == packet + (12 if ip.version == 4 else 8), b"a source elsewhere")
    need(ip.destination == ip.source + ip.address_len, b"a destination elsewhere")


cdef bint is_transport(const PlainIp *plain, const uint8_t *packet) noexcept nogil:
    """Whether it is UDP with a whole header of a transport message."""
    if plain.l4 == 0 or plain.protocol != 17 or plain.l4 + 24 > plain.total:
        return False
    packet += plain.l4 + 8
    return packet[0] == 4 and packet[1] == 0 and packet[2] == 0 and packet[3] == 0


cdef void sums_are_plain(const PlainIp *plain, const uint8_t *packet, uint32_t len, uint32_t at) noexcept nogil:
    """From byte `at` on, and of the whole packet's pseudo header."""
    cdef uint16_t expected = htons(<uint16_t>~plain_sum(packet + at, len - at, 0))
    need(csum_fold(csum_partial(packet + at, len - at, 0)) == expected, b"another checksum")
    need(csum_fold(csum_copy(copied, packet + at, len - at, 0)) == expected, b"another checksum of a copy")
    need(memcmp(copied, packet + at, len - at) == 0, b"a copy that is another")
    if plain.version:
        expected = htons(<uint16_t>~plain_pseudo(packet, plain.protocol, len))
        need(csum_fold(csum_pseudo(packet + (12 if plain.version == 4 else 8), 8 if plain.version == 4 else 32,
                                   <uint8_t>plain.protocol, len)) == expected, b"another pseudo header")


cdef void decapsulate(IpView *ip, uint8_t *packet, uint32_t len, uint8_t outer) noexcept nogil:
    """The ECN field becomes what RFC 6040 says; a right checksum stays right; nothing else changes."""
    cdef uint32_t before = 0xFFFF
    cdef uint8_t tos = (ip.tos & 0xFC) | ECN[ip.tos & 3][outer & 3]
    memcpy(copied, packet, len)
    if ip.version == 4:
        before = plain_sum(packet, 20, 0)
    ecn_decapsulate(ip, outer)
    if ip.version == 4:
        need(before == 0 or plain_sum(packet, 20, 0) == before, b"a checksum that is another after ECN")
        copied[1] = tos
        memcpy(copied + 10, packet + 10, 2)
    else:
        copied[0] = 0x60 | tos >> 4
        copied[1] = <uint8_t>(tos << 4 | copied[1] & 15)
    need(memcmp(copied, packet, len) == 0, b"a packet that ECN changed elsewhere")


cdef void finish(uint8_t *packet, uint32_t len, uint32_t start, uint32_t offset) noexcept nogil:
    """A checksum that the TUN leaves to us, wherever the virtio header says that it is."""
    cdef VnetHdr hdr
    cdef uint32_t sum
    memset(&hdr, 0, sizeof(hdr))
    hdr.flags = 1
    hdr.csum_start = <uint16_t>start
    hdr.csum_offset = <uint16_t>offset
    memcpy(copied, packet, len)
    if finish_checksum(&hdr, packet, len) < 0:
        need(start + offset + 2 > len, b"a checksum that was not finished")
    else:
        need(start + offset + 2 <= len, b"a checksum past the end")
        sum = <uint16_t>~plain_sum(copied + start, len - start, 0)
        need(plain16(packet + start + offset) == (sum if sum else 0xFFFF), b"a checksum finished wrongly")
        memcpy(copied + start + offset, packet + start + offset, 2)
    need(memcmp(copied, packet, len) == 0, b"bytes beside a checksum that changed")


cdef int one(const uint8_t *data, size_t size) noexcept nogil:
    """A byte for the outer TOS, two for where a checksum starts, one for its field; then the packet."""
    cdef Input input
    cdef IpView ip
    cdef PlainIp plain
    cdef uint8_t *packet
    cdef uint32_t len, outer, start, offset
    cdef bint whole
    input_start(&input, data, size)
    outer = input8(&input)
    start = input16(&input)
    offset = input8(&input)
    len = <uint32_t>min(input_left(&input), <size_t>LONGEST)
    packet = <uint8_t *>malloc(len)     # of this length, so that a step outside is seen
    memcpy(packet, input.at, len)
    memset(&ip, 0xA5, sizeof(ip))
    whole = ip_read(&ip, packet, len)
    plain = plain_read(packet, len)
    view_is_plain(&ip, &plain, whole, packet, len)
    if whole:
        need(ip_headers_len(&ip) == plain_headers(&plain, packet), b"headers of another length")
        need(looks_like_transport(&ip) == is_transport(&plain, packet), b"a transport message or not")
        decapsulate(&ip, packet, len, <uint8_t>outer)
    sums_are_plain(&plain, packet, len, start % (len + 1))
    finish(packet, len, start, offset)
    free(packet)
    return 0


def address(str _aead: str) -> int:
    """Where the target is."""
    return <uintptr_t>&one
