"""Fuzz target: any inner packet that no peer takes, and its answer, beside that of unreachable_plain.h."""
from libc.stdint cimport uint8_t, uint32_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memset

from pywg.dataplane.send.unreachable cimport ICMP_REPLY_MAX, icmp_unreachable
from pywg.dataplane.wire.ip cimport IpView, ip_read

from tests.fuzz.native.common cimport need, need_equal

cdef extern from "unreachable_plain.h" nogil:
    uint32_t plain_unreachable(const uint8_t *packet, uint32_t len, uint8_t *reply)

cdef enum:
    LONGEST = 65535
    UNTOUCHED = 0x5C

cdef uint8_t[ICMP_REPLY_MAX] expected


cdef int one(const uint8_t *data, size_t size) noexcept nogil:
    """The packet."""
    cdef IpView ip
    cdef uint32_t len = <uint32_t>min(size, <size_t>LONGEST)
    cdef uint32_t reply_len, expected_len, i
    cdef uint8_t *reply
    if not ip_read(&ip, <uint8_t *>data, len):
        return 0
    reply = <uint8_t *>malloc(ICMP_REPLY_MAX)
    memset(reply, UNTOUCHED, ICMP_REPLY_MAX)
    reply_len = icmp_unreachable(&ip, reply)
    expected_len = plain_unreachable(data, len, expected)
    need_equal(reply_len, expected_len, b"the length of an answer")
    need(reply_len <= ICMP_REPLY_MAX and memcmp(reply, expected, reply_len) == 0, b"another answer")
    for i in range(reply_len, ICMP_REPLY_MAX):
        need(reply[i] == UNTOUCHED, b"bytes behind an answer")
    free(reply)
    return 0


def address(str _aead: str) -> int:
    """Where the target is."""
    return <uintptr_t>&one
