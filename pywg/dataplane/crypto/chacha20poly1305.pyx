"""The batch kernels of chacha20poly1305/, each for the processors that can run it (chacha20poly1305.pxd)."""
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from "chacha20poly1305/chapoly.h" nogil:
    int chapoly_best()
    void c_seal "chapoly_seal"(int level, const uint8_t *key, uint64_t first_counter, uint8_t **text,
                               const uint32_t *length, int n)
    uint64_t c_open "chapoly_open"(int level, const uint8_t *key, const uint64_t *counter, uint8_t **text,
                                   const uint32_t *length, int n)
    void c_poly1305 "chapoly_poly1305"(int level, const uint8_t (*one_time)[32], uint8_t **text, const uint32_t *length,
                                       int n, uint8_t (*tag)[16])

cdef enum:
    POLY_BATCH = 16  # one-time keys a call of poly1305


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


def poly1305(int level, keys: list[bytes], messages: list[bytes]) -> list[bytes]:
    """Poly1305 (RFC 8439 section 2.5) of up to 16 messages of whole 16-byte blocks, each with its own 32-byte key."""
    cdef uint8_t *texts[POLY_BATCH]
    cdef uint32_t lens[POLY_BATCH]
    cdef uint8_t one_time[POLY_BATCH][32]
    cdef uint8_t tags[POLY_BATCH][16]
    cdef bytes key, message
    cdef int i, count = <int>len(keys)
    if not chapoly_is_here(level):
        raise ValueError(f"this CPU has no level {level}")
    if count > POLY_BATCH or len(messages) != count:
        raise ValueError(f"up to {POLY_BATCH} messages, each with its key")
    for i in range(count):
        key, message = keys[i], messages[i]
        if len(key) != sizeof(one_time[i]) or len(message) % 16 != 0:
            raise ValueError("a key is 32 bytes, a message whole blocks of 16")
        memcpy(one_time[i], PyBytes_AS_STRING(key), sizeof(one_time[i]))
        texts[i] = <uint8_t *>PyBytes_AS_STRING(message)
        lens[i] = <uint32_t>len(message)
    if count != 0:
        c_poly1305(level, one_time, texts, lens, count, tags)
    return [tags[i][:16] for i in range(count)]
