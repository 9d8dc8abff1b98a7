"""Libcrypto's own ChaCha20-Poly1305, below EVP, as a backend of the AEAD.

On every call EVP looks up, checks and copies what is the same for every packet. The functions that it calls in the end
are public: provider(7), provider-cipher(7). A context holds the key and one direction; a packet sets only its nonce.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from pywg.dataplane.crypto.aead cimport Aead

cdef bint provider_is_here(int kernel) noexcept nogil
cdef void *provider_new(bint seals) noexcept nogil
cdef bint provider_rekey(void *ctx, const uint8_t *key, bint seals) noexcept nogil
cdef void provider_free(void *ctx) noexcept nogil
cdef bint provider_seal_each(const Aead *aead, uint64_t first_counter, uint8_t **texts, const uint32_t *lens,
                             int n) noexcept nogil
cdef uint64_t provider_open_each(const Aead *aead, const uint64_t *counters, uint8_t **texts, const uint32_t *lens,
                                 int n) noexcept nogil
