"""The batch kernels of chacha20poly1305/ as backends of the AEAD; a kernel is a level of levels.h.

They read the key in its place, keep nothing of it, and leave a text that is not authentic as it was.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from pywg.dataplane.crypto.aead cimport Aead

cdef extern from "chacha20poly1305/levels.h" nogil:
    enum:
        CHAPOLY_LEVEL_AVX2
        CHAPOLY_LEVEL_AVX512
        CHAPOLY_LEVEL_IFMA

cdef bint chapoly_is_here(int level) noexcept nogil
cdef bint chapoly_seal(const Aead *aead, uint64_t first_counter, uint8_t **texts, const uint32_t *lens,
                       int n) noexcept nogil
cdef uint64_t chapoly_open(const Aead *aead, const uint64_t *counters, uint8_t **texts, const uint32_t *lens,
                           int n) noexcept nogil
cdef void chapoly_poly1305(int level, const uint8_t (*one_time)[32], uint8_t **texts, const uint32_t *lens, int n,
                           uint8_t (*tags)[16]) noexcept nogil
