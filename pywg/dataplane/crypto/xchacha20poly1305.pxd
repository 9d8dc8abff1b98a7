"""XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03), which seals the cookies in cookie replies (paper section 5.4.7).

Written for a few bytes: libcrypto has no XChaCha20, and to give its ChaCha20-Poly1305 a key for each message costs more
than the three blocks of a cookie. The keys are no secrets here: they follow from public keys.
"""
from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    XNONCE_LEN = 24

cdef void hchacha20(const uint8_t *key, const uint8_t *nonce, uint8_t *subkey) noexcept nogil
cdef void xchacha_seal(const uint8_t *key, const uint8_t *nonce, const uint8_t *text, uint32_t text_len,
                       const uint8_t *data, uint32_t data_len, uint8_t *sealed) noexcept nogil
cdef bint xchacha_open(const uint8_t *key, const uint8_t *nonce, const uint8_t *sealed, uint32_t sealed_len,
                       const uint8_t *data, uint32_t data_len, uint8_t *text) noexcept nogil
