"""The Internet checksum (RFC 1071), as 64-bit sums that are folded at the end.

Sums are made of native 32-bit words: the one's complement sum does not depend on the byte order, so a folded sum is
stored as it is and stands in network order. Pieces may be chained through `initial`; only the last may have an odd
length. Nothing here knows headers, except the pseudo headers' fields.
"""
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from * nogil:
    """
    #include <stddef.h>
    #include <stdint.h>
    #include <string.h>

    #if defined(__GNUC__) && !defined(__clang__)
    #define PYWG_UNROLL _Pragma("GCC unroll 4")
    #else
    #define PYWG_UNROLL
    #endif

    /* Two sums are kept, so that the loop vectorizes: of the 64-bit words, modulo 2^64, and of their upper halves. The
     * sum of the lower halves is the first minus the second, shifted. */
    static inline uint64_t pywg_csum_words(const uint8_t *data, size_t words)
    {
        uint64_t total = 0, high = 0, word;
        size_t i;
        PYWG_UNROLL
        for (i = 0; i < words; i++) {
            memcpy(&word, data + 8 * i, 8);
            total += word;
            high += word >> 32;
        }
        return (total - (high << 32)) + high;
    }

    static inline uint64_t pywg_csum_copy_words(uint8_t *restrict to, const uint8_t *restrict data, size_t words)
    {
        uint64_t total = 0, high = 0, word;
        size_t i;
        PYWG_UNROLL
        for (i = 0; i < words; i++) {
            memcpy(&word, data + 8 * i, 8);
            memcpy(to + 8 * i, &word, 8);
            total += word;
            high += word >> 32;
        }
        return (total - (high << 32)) + high;
    }
    """
    uint64_t csum_words "pywg_csum_words"(const uint8_t *data, size_t words)
    uint64_t csum_copy_words "pywg_csum_copy_words"(uint8_t *to, const uint8_t *data, size_t words)


cdef inline uint64_t csum_tail(const uint8_t *data, size_t len) noexcept nogil:
    """Sum of the last 0..7 bytes of a piece, padded with zeros as RFC 1071 pads an odd byte."""
    cdef uint64_t word = 0
    cdef size_t i
    for i in range(len):
        word |= <uint64_t>data[i] << (8 * i)
    return <uint64_t><uint32_t>word + (word >> 32)


cdef inline uint64_t csum_partial(const uint8_t *data, size_t len, uint64_t initial) noexcept nogil:
    """`initial` plus the sum of `len` bytes (< 2^31) at any alignment."""
    cdef size_t words = len >> 3
    return initial + csum_words(data, words) + csum_tail(data + 8 * words, len & 7)


cdef inline uint64_t csum_copy(uint8_t *to, const uint8_t *data, size_t len, uint64_t initial) noexcept nogil:
    """csum_partial() that also copies: one pass over memory instead of two. `to` and `data` do not overlap."""
    cdef size_t words = len >> 3
    cdef uint64_t sum = csum_copy_words(to, data, words)
    memcpy(to + 8 * words, data + 8 * words, len & 7)
    return initial + sum + csum_tail(data + 8 * words, len & 7)


cdef inline uint16_t csum_fold(uint64_t total) noexcept nogil:
    """The checksum field, in network order, for a sum: its fold, complemented. 0 if the sum includes a right one."""
    total = <uint32_t>total + (total >> 32)
    total = <uint32_t>total + (total >> 32)
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return <uint16_t>(~total & 0xFFFF)


cdef inline uint64_t csum_pseudo(const uint8_t *addresses, size_t addresses_len, uint8_t protocol,
                                 uint32_t l4_len) noexcept nogil:
    """Sum of a pseudo header (RFC 9293 3.1, RFC 8200 8.1). `addresses`: source and destination, 8 or 32 bytes."""
    cdef uint64_t fields = <uint64_t>protocol << 8
    fields += ((l4_len & 0xFF) << 8) + ((l4_len >> 8) & 0xFF) + ((l4_len >> 16 & 0xFF) << 8)    # big-endian
    return csum_partial(addresses, addresses_len, fields)
