"""The batch kernels of chacha20poly1305/, each for the processors that can run it (chacha20poly1305.pxd)."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef extern from "chacha20poly1305/chapoly.h" nogil:
    int chapoly_best()
    void c_seal "chapoly_seal"(int level, const uint8_t *key, uint64_t first_counter, uint8_t **text,
                               const uint32_t *length, int n)
    uint64_t c_open "chapoly_open"(int level, const uint8_t *key, const uint64_t *counter, uint8_t **text,
                                   const uint32_t *length, int n)
    void c_poly1305 "chapoly_poly1305"(int level, const uint8_t (*one_time)[32], uint8_t **text, const uint32_t *length,
                                       int n, uint8_t (*tag)[16])


cdef bint chapoly_is_here(int level) noexcept nogil:
    """Whether this CPU and operating system have it; never where the build is for another architecture."""
    return 0 < level <= chapoly_best()


cdef bint chapoly_seal(const Aead *aead, uint64_t first_counter, uint8_t **texts, const uint32_t *lens,
                       int n) noexcept nogil:
    c_seal(aead.backend.kernel, aead.key, first_counter, texts, lens, n)
    return True


cdef uint64_t chapoly_open(const Aead *aead, const uint64_t *counters, uint8_t **texts, const uint32_t *lens,
                           int n) noexcept nogil:
    return c_open(aead.backend.kernel, aead.key, counters, texts, lens, n)


cdef void chapoly_poly1305(int level, const uint8_t (*one_time)[32], uint8_t **texts, const uint32_t *lens, int n,
                           uint8_t (*tags)[16]) noexcept nogil:
    """Poly1305 alone (RFC 8439 section 2.5) of up to 16 texts of whole blocks: no packet reaches all of its carries."""
    c_poly1305(level, one_time, texts, lens, n, tags)
