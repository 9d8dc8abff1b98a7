"""The ciphers that a session of a target is sealed and opened with: the machine's, by libcrypto, or a cheap one."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from pywg.dataplane.crypto.aead cimport AeadBackend
from pywg.dataplane.crypto.evp cimport evp_open, evp_seal

from tests.fuzz.native.common cimport Session

cdef extern from "cheap.h" nogil:
    void cheap_seal(const uint8_t *key, uint64_t counter, uint8_t *text, uint32_t len)
    bint cheap_open(const uint8_t *key, uint64_t counter, uint8_t *text, uint32_t len)


cdef const AeadBackend *choose(str name) except NULL
cdef bint is_cheap(const AeadBackend *backend) noexcept nogil


cdef inline bint session_seal(const Session *session, bint cheap, uint64_t counter, uint8_t *text,
                              uint32_t len) noexcept nogil:
    """As the other end of the session does. False: libcrypto failed."""
    if not cheap:
        return evp_seal(session.seal, counter, text, len)
    cheap_seal(session.key, counter, text, len)
    return True


cdef inline bint session_open(const Session *session, bint cheap, uint64_t counter, uint8_t *text,
                              uint32_t len) noexcept nogil:
    """As the other end of the session does. False: not authentic, and the text may be garbage."""
    return cheap_open(session.key, counter, text, len) if cheap else evp_open(session.open, counter, text, len)
