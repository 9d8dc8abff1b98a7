"""Libcrypto's EVP as a backend of the AEAD: every machine has it.

The context keeps the key schedule; a packet sets only its nonce.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from pywg.dataplane.crypto.aead cimport Aead
from pywg.dataplane.sys.libcrypto cimport EVP_CIPHER_CTX, EVP_CTRL_AEAD_GET_TAG, EVP_CTRL_AEAD_SET_TAG
from pywg.dataplane.sys.libcrypto cimport EVP_CIPHER_CTX_ctrl, EVP_DecryptFinal_ex, EVP_DecryptInit_ex
from pywg.dataplane.sys.libcrypto cimport EVP_DecryptUpdate, EVP_EncryptFinal_ex, EVP_EncryptInit_ex, EVP_EncryptUpdate
from pywg.dataplane.wire.wireguard cimport TAG_LEN

cdef bint evp_is_here(int kernel) noexcept nogil
cdef void *evp_new(bint seals) noexcept nogil
cdef bint evp_rekey(void *ctx, const uint8_t *key, bint seals) noexcept nogil
cdef void evp_free(void *ctx) noexcept nogil
cdef bint evp_seal_each(const Aead *aead, uint64_t first_counter, uint8_t **texts, const uint32_t *lens,
                        int n) noexcept nogil
cdef uint64_t evp_open_each(const Aead *aead, const uint64_t *counters, uint8_t **texts, const uint32_t *lens,
                            int n) noexcept nogil


cdef inline bint evp_seal(EVP_CIPHER_CTX *ctx, uint64_t counter, uint8_t *text, uint32_t text_len) noexcept nogil:
    """Encrypts `text` in place and puts the tag behind it. False: libcrypto failed."""
    cdef uint64_t nonce[2]
    cdef int n
    nonce[0] = 0
    nonce[1] = counter
    # The nonce's first 32 bits are zero: start it 4 bytes into the first word.
    if not EVP_EncryptInit_ex(ctx, NULL, NULL, NULL, <const uint8_t *>nonce + 4):
        return False
    if text_len != 0 and not EVP_EncryptUpdate(ctx, text, &n, text, <int>text_len):
        return False
    if not EVP_EncryptFinal_ex(ctx, text + text_len, &n):
        return False
    return EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_LEN, text + text_len) == 1


cdef inline bint evp_open(EVP_CIPHER_CTX *ctx, uint64_t counter, uint8_t *text, uint32_t text_len) noexcept nogil:
    """Decrypts `text_len` bytes in place; the tag follows them. False: forged, and the text is garbage then."""
    cdef uint64_t nonce[2]
    cdef int n
    nonce[0] = 0
    nonce[1] = counter
    if not EVP_DecryptInit_ex(ctx, NULL, NULL, NULL, <const uint8_t *>nonce + 4):
        return False
    if not EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_LEN, text + text_len):
        return False
    if text_len != 0 and not EVP_DecryptUpdate(ctx, text, &n, text, <int>text_len):
        return False
    return EVP_DecryptFinal_ex(ctx, text + text_len, &n) > 0
