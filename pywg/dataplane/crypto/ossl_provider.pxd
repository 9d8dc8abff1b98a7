"""One transport message through libcrypto's own ChaCha20-Poly1305, below EVP.

EVP looks up, checks and copies on every call what is the same for every packet. The functions that it calls in the end
are public: provider(7), provider-cipher(7). A context holds the key and one direction; a packet sets only its nonce.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef bint provider_has() noexcept nogil
cdef void *provider_new(const uint8_t *key, bint seals) noexcept nogil
cdef bint provider_rekey(void *ctx, const uint8_t *key, bint seals) noexcept nogil
cdef void provider_free(void *ctx) noexcept nogil
cdef bint provider_seal(void *ctx, uint64_t counter, uint8_t *text, uint32_t text_len) noexcept nogil
cdef bint provider_open(void *ctx, uint64_t counter, uint8_t *text, uint32_t text_len) noexcept nogil
