"""The MACs of handshake messages (paper sections 5.4.4 and 5.4.7): keyed BLAKE2s-128, through libcrypto's BLAKE2SMAC.

MAC1 is checked before Python hears of a message. MAC2 is looked at under load alone: it proves that the sender receives
what is sent to its address, by a cookie that we gave it.
"""
from libc.stdint cimport uint8_t, uint32_t
from pywg._native.libcrypto cimport EVP_MAC, EVP_MAC_CTX
from pywg._native.session cimport Endpoint
from pywg._native.wire cimport KEY_LEN

cdef struct Macs:
    EVP_MAC *algorithm
    EVP_MAC_CTX *ctx
    uint8_t mac1_key[KEY_LEN]   # not a secret: whoever has the public key has it
    bint has_key
    uint8_t *cookie_secret      # arena: 32 bytes that the core draws anew every two minutes
    bint has_secret

cdef int macs_init(Macs *macs) noexcept nogil
cdef void macs_free(Macs *macs) noexcept nogil
cdef bint mac1_holds(Macs *macs, const uint8_t *message, uint32_t len) noexcept nogil
cdef bint mac2_holds(Macs *macs, const uint8_t *message, uint32_t len, const Endpoint *source) noexcept nogil
