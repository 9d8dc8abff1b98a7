"""ChaCha20-Poly1305 of Intel's Multi-Buffer Crypto for IPsec Library, where it is installed (Debian: libipsec-mb1).

Looked for when somebody asks, and not before: it is large, takes its time to start, and is never required.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef bint ipsec_mb_seal(const uint8_t *key, uint64_t counter, uint8_t *text, uint32_t text_len) noexcept nogil
cdef bint ipsec_mb_open(const uint8_t *key, uint64_t counter, uint8_t *text, uint32_t text_len) noexcept nogil
