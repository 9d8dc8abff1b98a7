"""ChaCha20-Poly1305 of many packets at once (chapoly/chapoly.h): the stage that the threads call once a batch.

Only `chapoly_best()` or a lower level may be passed on; 0 means that this CPU has none and libcrypto has to do it.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef int chapoly_best() noexcept nogil
cdef void chapoly_seal(int level, const uint8_t *key, uint64_t first_counter, uint8_t **texts, const uint32_t *lens,
                       int count) noexcept nogil
cdef uint64_t chapoly_open(int level, const uint8_t *key, const uint64_t *counters, uint8_t **texts,
                           const uint32_t *lens, int count) noexcept nogil
