"""XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03), which seals the cookies in cookie replies (paper section 5.4.7).

HChaCha20 makes a key for each nonce; libcrypto's ChaCha20-Poly1305 does the rest. Its context keeps a copy of that key,
which is no secret here: it follows from a public key and a nonce that is sent in the clear.
"""
from libc.stdint cimport uint8_t
from pywg._native.libcrypto cimport EVP_CIPHER_CTX

cdef enum:
    XNONCE_LEN = 24

cdef struct XChaCha:
    EVP_CIPHER_CTX *ctx

cdef int xchacha_init(XChaCha *x) noexcept nogil
cdef void xchacha_free(XChaCha *x) noexcept nogil
cdef bint xchacha_seal(XChaCha *x, const uint8_t *key, const uint8_t *nonce, const uint8_t *text, int text_len,
                       const uint8_t *data, int data_len, uint8_t *sealed) noexcept nogil
cdef bint xchacha_open(XChaCha *x, const uint8_t *key, const uint8_t *nonce, const uint8_t *sealed, int sealed_len,
                       const uint8_t *data, int data_len, uint8_t *text) noexcept nogil
