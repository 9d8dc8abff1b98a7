"""MAC1 through libcrypto's BLAKE2SMAC (mac.pxd)."""
from libc.stdint cimport uint8_t, uint32_t
from pywg._native.libcrypto cimport CRYPTO_memcmp, EVP_MAC_CTX_free, EVP_MAC_CTX_new, EVP_MAC_fetch, EVP_MAC_final
from pywg._native.libcrypto cimport EVP_MAC_free, EVP_MAC_init, EVP_MAC_update, OSSL_PARAM, OSSL_PARAM_construct_end
from pywg._native.libcrypto cimport OSSL_PARAM_construct_size_t
from pywg._native.wire cimport KEY_LEN, MAC_LEN


cdef int mac1_init(Mac1 *mac) noexcept nogil:
    """0, or -1 when libcrypto has no BLAKE2SMAC. Without a key (mac.keyed) nothing holds."""
    mac.algorithm = EVP_MAC_fetch(NULL, "BLAKE2SMAC", NULL)
    if mac.algorithm == NULL:
        return -1
    mac.ctx = EVP_MAC_CTX_new(mac.algorithm)
    mac.keyed = False
    return 0 if mac.ctx != NULL else -1


cdef void mac1_free(Mac1 *mac) noexcept nogil:
    EVP_MAC_CTX_free(mac.ctx)
    EVP_MAC_free(mac.algorithm)
    mac.ctx = NULL
    mac.algorithm = NULL


cdef bint mac1_holds(Mac1 *mac, const uint8_t *message, uint32_t len) noexcept nogil:
    """Whether the message, whose last 32 bytes are mac1 and mac2, carries our MAC1."""
    cdef uint8_t digest[MAC_LEN]
    cdef size_t size = MAC_LEN
    cdef OSSL_PARAM params[2]
    if not mac.keyed:
        return False
    params[0] = OSSL_PARAM_construct_size_t("size", &size)
    params[1] = OSSL_PARAM_construct_end()
    if not EVP_MAC_init(mac.ctx, mac.key, KEY_LEN, params):
        return False
    if not EVP_MAC_update(mac.ctx, message, len - 2 * MAC_LEN):
        return False
    if not EVP_MAC_final(mac.ctx, digest, &size, MAC_LEN):
        return False
    return CRYPTO_memcmp(digest, message + len - 2 * MAC_LEN, MAC_LEN) == 0
