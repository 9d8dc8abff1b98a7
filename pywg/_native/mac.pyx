"""MAC1 and MAC2 (mac.pxd)."""
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy
from pywg._native.libcrypto cimport CRYPTO_memcmp, EVP_MAC_CTX_free, EVP_MAC_CTX_new, EVP_MAC_fetch, EVP_MAC_final
from pywg._native.libcrypto cimport EVP_MAC_free, EVP_MAC_init, EVP_MAC_update, OPENSSL_cleanse, OSSL_PARAM
from pywg._native.libcrypto cimport OSSL_PARAM_construct_end, OSSL_PARAM_construct_size_t
from pywg._native.secret cimport secret_alloc, secret_free
from pywg._native.session cimport Endpoint
from pywg._native.wire cimport KEY_LEN, MAC_LEN


cdef int macs_init(Macs *macs) noexcept nogil:
    """0, or -1 when libcrypto has no BLAKE2SMAC or there is no memory. Without a key nothing holds."""
    macs.algorithm = EVP_MAC_fetch(NULL, "BLAKE2SMAC", NULL)
    if macs.algorithm == NULL:
        return -1
    macs.ctx = EVP_MAC_CTX_new(macs.algorithm)
    macs.cookie_secret = secret_alloc()
    macs.has_key = False
    macs.has_secret = False
    return 0 if macs.ctx != NULL and macs.cookie_secret != NULL else -1


cdef void macs_free(Macs *macs) noexcept nogil:
    EVP_MAC_CTX_free(macs.ctx)
    EVP_MAC_free(macs.algorithm)
    if macs.cookie_secret != NULL:
        secret_free(macs.cookie_secret)
    macs.ctx = NULL
    macs.algorithm = NULL
    macs.cookie_secret = NULL


cdef bint keyed_mac(Macs *macs, const uint8_t *key, size_t key_len, const uint8_t *data, size_t data_len,
                    uint8_t *digest) noexcept nogil:
    cdef size_t size = MAC_LEN
    cdef OSSL_PARAM params[2]
    params[0] = OSSL_PARAM_construct_size_t("size", &size)
    params[1] = OSSL_PARAM_construct_end()
    return (EVP_MAC_init(macs.ctx, key, key_len, params) == 1 and EVP_MAC_update(macs.ctx, data, data_len) == 1
            and EVP_MAC_final(macs.ctx, digest, &size, MAC_LEN) == 1)


cdef bint mac1_holds(Macs *macs, const uint8_t *message, uint32_t len) noexcept nogil:
    """Whether the message, whose last 32 bytes are mac1 and mac2, carries our MAC1."""
    cdef uint8_t digest[MAC_LEN]
    if not macs.has_key or not keyed_mac(macs, macs.mac1_key, KEY_LEN, message, len - 2 * MAC_LEN, digest):
        return False
    return CRYPTO_memcmp(digest, message + len - 2 * MAC_LEN, MAC_LEN) == 0


cdef bint mac2_holds(Macs *macs, const uint8_t *message, uint32_t len, const Endpoint *source) noexcept nogil:
    """Whether the message carries a MAC2 under the cookie of its source: a MAC over address and port."""
    cdef uint8_t address[18]
    cdef uint8_t cookie[MAC_LEN]
    cdef uint8_t digest[MAC_LEN]
    cdef bint holds
    if not macs.has_secret:
        return False
    memcpy(address, source.ip, source.ip_len)
    memcpy(address + source.ip_len, &source.port, 2)
    if not keyed_mac(macs, macs.cookie_secret, KEY_LEN, address, source.ip_len + 2, cookie):
        return False
    holds = (keyed_mac(macs, cookie, MAC_LEN, message, len - MAC_LEN, digest)
             and CRYPTO_memcmp(digest, message + len - MAC_LEN, MAC_LEN) == 0)
    OPENSSL_cleanse(cookie, MAC_LEN)
    return holds
