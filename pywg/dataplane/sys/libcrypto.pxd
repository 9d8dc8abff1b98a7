"""Declarations of the functions that the data plane uses of OpenSSL's libcrypto (3.0 and later), and no others."""

cdef extern from "openssl/crypto.h" nogil:
    int OPENSSL_VERSION
    unsigned int OPENSSL_version_major()
    const char *OpenSSL_version(int what)
    void OPENSSL_cleanse(void *ptr, size_t len)
    int CRYPTO_memcmp(const void *a, const void *b, size_t len)

cdef extern from "openssl/err.h" nogil:
    void ERR_clear_error()

cdef extern from "openssl/rand.h" nogil:
    int RAND_bytes(unsigned char *buf, int num)


cdef extern from "openssl/params.h" nogil:
    ctypedef struct OSSL_PARAM:
        pass
    OSSL_PARAM OSSL_PARAM_construct_octet_string(const char *key, void *buf, size_t bsize)
    OSSL_PARAM OSSL_PARAM_construct_end()

cdef extern from "openssl/core.h" nogil:
    ctypedef struct OSSL_DISPATCH:
        int function_id
        void (*function)() noexcept nogil
    ctypedef struct OSSL_ALGORITHM:
        const char *algorithm_names
        const OSSL_DISPATCH *implementation

cdef extern from "openssl/provider.h" nogil:
    ctypedef struct OSSL_PROVIDER
    int OSSL_PROVIDER_available(void *libctx, const char *name)
    OSSL_PROVIDER *OSSL_PROVIDER_try_load(void *libctx, const char *name, int retain_fallbacks)
    const OSSL_ALGORITHM *OSSL_PROVIDER_query_operation(const OSSL_PROVIDER *provider, int operation, int *no_cache)
    void *OSSL_PROVIDER_get0_provider_ctx(const OSSL_PROVIDER *provider)

cdef extern from "openssl/core_names.h" nogil:
    const char *OSSL_CIPHER_PARAM_AEAD_TAG
    const char *OSSL_PKEY_PARAM_PRIV_KEY
    const char *OSSL_PKEY_PARAM_PUB_KEY

cdef extern from "openssl/core_dispatch.h" nogil:
    enum:
        OSSL_OP_CIPHER
        OSSL_FUNC_CIPHER_NEWCTX
        OSSL_FUNC_CIPHER_ENCRYPT_INIT
        OSSL_FUNC_CIPHER_DECRYPT_INIT
        OSSL_FUNC_CIPHER_UPDATE
        OSSL_FUNC_CIPHER_FINAL
        OSSL_FUNC_CIPHER_FREECTX
        OSSL_FUNC_CIPHER_GET_CTX_PARAMS
        OSSL_FUNC_CIPHER_SET_CTX_PARAMS

cdef extern from "openssl/evp.h" nogil:
    ctypedef struct EVP_CIPHER
    ctypedef struct EVP_CIPHER_CTX
    enum:
        EVP_CTRL_AEAD_GET_TAG
        EVP_CTRL_AEAD_SET_TAG
    const EVP_CIPHER *EVP_chacha20_poly1305()
    EVP_CIPHER_CTX *EVP_CIPHER_CTX_new()
    void EVP_CIPHER_CTX_free(EVP_CIPHER_CTX *ctx)
    int EVP_CIPHER_CTX_ctrl(EVP_CIPHER_CTX *ctx, int type, int arg, void *ptr)
    int EVP_CipherInit_ex(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher, void *engine, const unsigned char *key,
                          const unsigned char *iv, int seals)
    int EVP_CipherUpdate(EVP_CIPHER_CTX *ctx, unsigned char *out, int *outl, const unsigned char *data, int len)
    int EVP_EncryptInit_ex(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher, void *engine,
                           const unsigned char *key, const unsigned char *iv)
    int EVP_EncryptUpdate(EVP_CIPHER_CTX *ctx, unsigned char *out, int *outl, const unsigned char *data, int len)
    int EVP_EncryptFinal_ex(EVP_CIPHER_CTX *ctx, unsigned char *out, int *outl)
    int EVP_DecryptInit_ex(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher, void *engine,
                           const unsigned char *key, const unsigned char *iv)
    int EVP_DecryptUpdate(EVP_CIPHER_CTX *ctx, unsigned char *out, int *outl, const unsigned char *data, int len)
    int EVP_DecryptFinal_ex(EVP_CIPHER_CTX *ctx, unsigned char *out, int *outl)
    ctypedef struct EVP_PKEY
    ctypedef struct EVP_PKEY_CTX
    enum:
        EVP_PKEY_X25519
        EVP_PKEY_KEYPAIR
    EVP_PKEY *EVP_PKEY_new_raw_private_key(int type, void *engine, const unsigned char *key, size_t keylen)
    EVP_PKEY *EVP_PKEY_new_raw_public_key(int type, void *engine, const unsigned char *key, size_t keylen)
    int EVP_PKEY_get_raw_public_key(const EVP_PKEY *pkey, unsigned char *pub, size_t *len)
    void EVP_PKEY_free(EVP_PKEY *pkey)
    EVP_PKEY_CTX *EVP_PKEY_CTX_new(EVP_PKEY *pkey, void *engine)
    EVP_PKEY_CTX *EVP_PKEY_CTX_new_id(int id, void *engine)
    void EVP_PKEY_CTX_free(EVP_PKEY_CTX *ctx)
    int EVP_PKEY_fromdata_init(EVP_PKEY_CTX *ctx)
    int EVP_PKEY_fromdata(EVP_PKEY_CTX *ctx, EVP_PKEY **pkey, int selection, OSSL_PARAM *params)
    int EVP_PKEY_derive_init(EVP_PKEY_CTX *ctx)
    int EVP_PKEY_derive_set_peer(EVP_PKEY_CTX *ctx, EVP_PKEY *peer)
    int EVP_PKEY_derive(EVP_PKEY_CTX *ctx, unsigned char *key, size_t *keylen)
