"""MAC1, MAC2 and the cookies behind MAC2 (paper sections 5.4.4 and 5.4.7): keyed BLAKE2s.

MAC1 is checked before Python hears of a message. MAC2 counts under load only. It proves that the sender receives what
is sent to its address: its key is a cookie, a MAC of that address under a secret that never leaves this process. A
secret makes cookies for COOKIE_SECRET_RENEWAL and is believed for COOKIE_SECRET_MAX_AGE, so that each cookie is good
for at least two of its sender's tries. The receiving thread draws the secrets when it needs them.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from pywg.dataplane.crypto.blake2s cimport BLAKE2S_STATE_LEN
from pywg.dataplane.wire.endpoint cimport Endpoint
from pywg.dataplane.wire.wireguard cimport KEY_LEN, MAC_LEN

cdef enum:
    COOKIE_LEN = MAC_LEN        # a cookie is a MAC
    SECRETS = 2                 # the one that makes cookies now, and the one before

cdef struct Macs:
    uint8_t mac1_state[BLAKE2S_STATE_LEN]   # this and cookie_key are no secrets: they follow from our public key
    uint8_t cookie_key[KEY_LEN]
    bint has_key
    uint8_t *secrets                        # arena: the BLAKE2s states of SECRETS secrets, the newest first
    uint64_t born_ns[SECRETS]
    int secret_count

cdef int macs_init(Macs *macs) noexcept nogil
cdef void macs_free(Macs *macs) noexcept nogil
cdef void macs_identify(Macs *macs, const uint8_t *mac1_key, const uint8_t *cookie_key) noexcept nogil
cdef int macs_forget(Macs *macs, uint64_t now) noexcept nogil
cdef bint mac1_holds(Macs *macs, const uint8_t *message, uint32_t len) noexcept nogil
cdef bint mac2_holds(Macs *macs, const uint8_t *message, uint32_t len, const Endpoint *source,
                     uint64_t now) noexcept nogil
cdef bint make_cookie(Macs *macs, const Endpoint *source, uint64_t now, uint8_t *cookie) noexcept nogil


cdef inline const uint8_t *mac1_of(const uint8_t *message, uint32_t len) noexcept nogil:
    """The MAC1 of an initiation or a response, which ends in mac1 and mac2."""
    return message + len - 2 * MAC_LEN
