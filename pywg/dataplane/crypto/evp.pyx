"""Batches through libcrypto's EVP, packet by packet (evp.pxd)."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset
from pywg.dataplane.sys.libcrypto cimport EVP_CIPHER_CTX_free, EVP_CIPHER_CTX_new, EVP_CipherInit_ex
from pywg.dataplane.sys.libcrypto cimport EVP_CipherUpdate
from pywg.dataplane.sys.libcrypto cimport EVP_chacha20_poly1305
from pywg.dataplane.wire.wireguard cimport KEY_LEN


cdef bint evp_is_here(int kernel) noexcept nogil:
    return True


cdef void *evp_new(bint seals) noexcept nogil:
    """NULL: no memory, or libcrypto has no ChaCha20-Poly1305."""
    cdef EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new()
    if ctx != NULL and not EVP_CipherInit_ex(ctx, EVP_chacha20_poly1305(), NULL, NULL, NULL, seals):
        EVP_CIPHER_CTX_free(ctx)
        ctx = NULL
    return ctx


cdef bint evp_rekey(void *ctx, const uint8_t *key, bint seals) noexcept nogil:
    cdef uint8_t no_key[KEY_LEN]
    cdef int n
    if key != NULL:
        return EVP_CipherInit_ex(<EVP_CIPHER_CTX *>ctx, NULL, NULL, key, NULL, seals) == 1
    # The context keeps the last packet's block of key stream, with the one-time key: associated data makes another.
    memset(no_key, 0, KEY_LEN)
    return (EVP_CipherInit_ex(<EVP_CIPHER_CTX *>ctx, NULL, NULL, no_key, no_key, seals) == 1
            and EVP_CipherUpdate(<EVP_CIPHER_CTX *>ctx, NULL, &n, no_key, 1) == 1)


cdef void evp_free(void *ctx) noexcept nogil:
    EVP_CIPHER_CTX_free(<EVP_CIPHER_CTX *>ctx)


cdef bint evp_seal_each(const Aead *aead, uint64_t first_counter, uint8_t **texts, const uint32_t *lens,
                        int n) noexcept nogil:
    cdef int i
    for i in range(n):
        if not evp_seal(<EVP_CIPHER_CTX *>aead.context, first_counter + <uint64_t>i, texts[i], lens[i]):
            return False
    return True


cdef uint64_t evp_open_each(const Aead *aead, const uint64_t *counters, uint8_t **texts, const uint32_t *lens,
                            int n) noexcept nogil:
    cdef uint64_t authentic = 0
    cdef int i
    for i in range(n):
        authentic |= <uint64_t>evp_open(<EVP_CIPHER_CTX *>aead.context, counters[i], texts[i], lens[i]) << i
    return authentic
