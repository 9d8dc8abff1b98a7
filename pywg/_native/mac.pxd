"""MAC1 (paper section 5.4.4): keyed BLAKE2s-128 over a handshake message, checked before Python hears of it."""
from libc.stdint cimport uint8_t, uint32_t
from pywg._native.libcrypto cimport EVP_MAC, EVP_MAC_CTX
from pywg._native.wire cimport KEY_LEN

cdef struct Mac1:
    EVP_MAC *algorithm
    EVP_MAC_CTX *ctx
    uint8_t key[KEY_LEN]
    bint keyed

cdef int mac1_init(Mac1 *mac) noexcept nogil
cdef void mac1_free(Mac1 *mac) noexcept nogil
cdef bint mac1_holds(Mac1 *mac, const uint8_t *message, uint32_t len) noexcept nogil
