"""The default provider's ChaCha20-Poly1305 by its dispatch table, found when this module is imported."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport strncmp
from pywg.dataplane.sys.libcrypto cimport OSSL_ALGORITHM, OSSL_CIPHER_PARAM_AEAD_TAG, OSSL_DISPATCH
from pywg.dataplane.sys.libcrypto cimport OSSL_FUNC_CIPHER_DECRYPT_INIT, OSSL_FUNC_CIPHER_ENCRYPT_INIT
from pywg.dataplane.sys.libcrypto cimport OSSL_FUNC_CIPHER_FINAL, OSSL_FUNC_CIPHER_FREECTX
from pywg.dataplane.sys.libcrypto cimport OSSL_FUNC_CIPHER_GET_CTX_PARAMS, OSSL_FUNC_CIPHER_NEWCTX
from pywg.dataplane.sys.libcrypto cimport OSSL_FUNC_CIPHER_SET_CTX_PARAMS, OSSL_FUNC_CIPHER_UPDATE, OSSL_OP_CIPHER
from pywg.dataplane.sys.libcrypto cimport OSSL_PARAM, OSSL_PROVIDER, OPENSSL_version_major, OSSL_PARAM_construct_end
from pywg.dataplane.sys.libcrypto cimport OSSL_PARAM_construct_octet_string, OSSL_PROVIDER_available
from pywg.dataplane.sys.libcrypto cimport OSSL_PROVIDER_get0_provider_ctx, OSSL_PROVIDER_query_operation
from pywg.dataplane.sys.libcrypto cimport OSSL_PROVIDER_try_load
from pywg.dataplane.wire.wireguard cimport KEY_LEN, TAG_LEN

ctypedef void *(*NewCtx)(void *provider) noexcept nogil
ctypedef void (*FreeCtx)(void *ctx) noexcept nogil
ctypedef int (*Init)(void *ctx, const uint8_t *key, size_t key_len, const uint8_t *iv, size_t iv_len,
                     const OSSL_PARAM *params) noexcept nogil
ctypedef int (*Update)(void *ctx, uint8_t *out, size_t *out_len, size_t out_size, const uint8_t *text,
                       size_t text_len) noexcept nogil
ctypedef int (*Final)(void *ctx, uint8_t *out, size_t *out_len, size_t out_size) noexcept nogil
ctypedef int (*GetParams)(void *ctx, OSSL_PARAM *params) noexcept nogil
ctypedef int (*SetParams)(void *ctx, const OSSL_PARAM *params) noexcept nogil

cdef enum:
    NONCE_LEN = 12
    VERSION_MAJOR = 3               # the one whose dispatch tables are known; 4 may change them

cdef const char *CIPHER = b"ChaCha20-Poly1305"

# Written once, by find(); a whole table, or `provider` is NULL.
cdef void *provider = NULL
cdef NewCtx new_ctx = NULL
cdef FreeCtx free_ctx = NULL
cdef Init encrypt_init = NULL
cdef Init decrypt_init = NULL
cdef Update update = NULL
cdef Final final = NULL
cdef GetParams get_params = NULL
cdef SetParams set_params = NULL


cdef const OSSL_DISPATCH *find_dispatch(const OSSL_PROVIDER *found) noexcept nogil:
    """NULL: the provider has no such cipher, or doesn't let its table be kept."""
    cdef int no_cache = 0
    cdef const OSSL_ALGORITHM *algorithm = OSSL_PROVIDER_query_operation(found, OSSL_OP_CIPHER, &no_cache)
    if no_cache:
        return NULL
    while algorithm != NULL and algorithm.algorithm_names != NULL:
        if strncmp(algorithm.algorithm_names, CIPHER, 18) == 0:     # with the NUL: it has this one name
            return algorithm.implementation
        algorithm += 1
    return NULL


cdef void find() noexcept nogil:
    """Only where the default provider is in use anyway: a system that has turned it off means it."""
    global provider, new_ctx, free_ctx, encrypt_init, decrypt_init, update, final, get_params, set_params
    cdef OSSL_PROVIDER *found
    cdef const OSSL_DISPATCH *entry
    if OPENSSL_version_major() != VERSION_MAJOR or not OSSL_PROVIDER_available(NULL, b"default"):
        return
    found = OSSL_PROVIDER_try_load(NULL, b"default", 1)     # a reference of ours: it stays loaded
    entry = find_dispatch(found) if found != NULL else NULL
    if entry == NULL:
        return
    while entry.function_id != 0:
        if entry.function_id == OSSL_FUNC_CIPHER_NEWCTX:
            new_ctx = <NewCtx>entry.function
        elif entry.function_id == OSSL_FUNC_CIPHER_FREECTX:
            free_ctx = <FreeCtx>entry.function
        elif entry.function_id == OSSL_FUNC_CIPHER_ENCRYPT_INIT:
            encrypt_init = <Init>entry.function
        elif entry.function_id == OSSL_FUNC_CIPHER_DECRYPT_INIT:
            decrypt_init = <Init>entry.function
        elif entry.function_id == OSSL_FUNC_CIPHER_UPDATE:
            update = <Update>entry.function
        elif entry.function_id == OSSL_FUNC_CIPHER_FINAL:
            final = <Final>entry.function
        elif entry.function_id == OSSL_FUNC_CIPHER_GET_CTX_PARAMS:
            get_params = <GetParams>entry.function
        elif entry.function_id == OSSL_FUNC_CIPHER_SET_CTX_PARAMS:
            set_params = <SetParams>entry.function
        entry += 1
    if (new_ctx != NULL and free_ctx != NULL and encrypt_init != NULL and decrypt_init != NULL and update != NULL
            and final != NULL and get_params != NULL and set_params != NULL):
        provider = OSSL_PROVIDER_get0_provider_ctx(found)


cdef bint provider_has() noexcept nogil:
    """Whether this libcrypto lets itself be used so; without it there is EVP."""
    return provider != NULL


cdef void *provider_new(const uint8_t *key, bint seals) noexcept nogil:
    """A context to seal with, or to open with. It copies the key. NULL: no memory."""
    cdef void *ctx = new_ctx(provider)
    if ctx != NULL and not provider_rekey(ctx, key, seals):
        free_ctx(ctx)
        ctx = NULL
    return ctx


cdef bint provider_rekey(void *ctx, const uint8_t *key, bint seals) noexcept nogil:
    """Gives the context another key, which it copies over the one before."""
    return (encrypt_init if seals else decrypt_init)(ctx, key, KEY_LEN, NULL, 0, NULL) != 0


cdef void provider_free(void *ctx) noexcept nogil:
    """Wipes and frees it; NULL is allowed."""
    if ctx != NULL:
        free_ctx(ctx)


cdef bint provider_seal(void *ctx, uint64_t counter, uint8_t *text, uint32_t text_len) noexcept nogil:
    """As evp_seal(): encrypts `text` where it stands and puts the tag behind it."""
    cdef uint64_t nonce[2]
    cdef OSSL_PARAM tag[2]
    cdef size_t n
    nonce[0] = 0
    nonce[1] = counter
    tag[0] = OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, text + text_len, TAG_LEN)
    tag[1] = OSSL_PARAM_construct_end()
    return (encrypt_init(ctx, NULL, 0, <const uint8_t *>nonce + 4, NONCE_LEN, NULL)
            and (text_len == 0 or update(ctx, text, &n, text_len, text, text_len))
            and final(ctx, text + text_len, &n, TAG_LEN) and get_params(ctx, tag))


cdef bint provider_open(void *ctx, uint64_t counter, uint8_t *text, uint32_t text_len) noexcept nogil:
    """As evp_open(): decrypts in place; the tag follows. False: forged, and the text is then garbage."""
    cdef uint64_t nonce[2]
    cdef OSSL_PARAM tag[2]
    cdef size_t n
    nonce[0] = 0
    nonce[1] = counter
    tag[0] = OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, text + text_len, TAG_LEN)
    tag[1] = OSSL_PARAM_construct_end()
    return (decrypt_init(ctx, NULL, 0, <const uint8_t *>nonce + 4, NONCE_LEN, NULL) and set_params(ctx, tag)
            and (text_len == 0 or update(ctx, text, &n, text_len, text, text_len))
            and final(ctx, text + text_len, &n, TAG_LEN))


find()
