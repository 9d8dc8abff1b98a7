"""The default provider's ChaCha20-Poly1305, by its dispatch table, which is looked up on first use."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset, strncmp
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
    VERSION_MAJOR = 3               # the version whose dispatch tables this file knows; 4 may change them

cdef const char *CIPHER = b"ChaCha20-Poly1305"

# Written once, by find(), before any thread uses it. Either the table is whole, or `provider` is NULL.
cdef bint looked = False
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
    """The cipher's table. NULL: the provider has no such cipher, or doesn't let its table be kept."""
    cdef int no_cache = 0
    cdef const OSSL_ALGORITHM *algorithm = OSSL_PROVIDER_query_operation(found, OSSL_OP_CIPHER, &no_cache)
    if no_cache:
        return NULL
    while algorithm != NULL and algorithm.algorithm_names != NULL:
        if strncmp(algorithm.algorithm_names, CIPHER, 18) == 0:     # with the NUL: the algorithm has only this name
            return algorithm.implementation
        algorithm += 1
    return NULL


cdef void find() noexcept nogil:
    """Reads the table of the default provider. Not where the system's configuration has turned that provider off."""
    global provider, new_ctx, free_ctx, encrypt_init, decrypt_init, update, final, get_params, set_params
    cdef OSSL_PROVIDER *found
    cdef const OSSL_DISPATCH *entry
    if OPENSSL_version_major() != VERSION_MAJOR or not OSSL_PROVIDER_available(NULL, b"default"):
        return
    found = OSSL_PROVIDER_try_load(NULL, b"default", 1)     # a reference of our own keeps it loaded
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


cdef bint provider_is_here(int kernel) noexcept nogil:
    """Whether this libcrypto has such a table. Not for threads: the first call looks for it."""
    global looked
    if not looked:
        find()
    looked = True
    return provider != NULL


cdef void *provider_new(bint seals) noexcept nogil:
    """NULL: no memory."""
    return new_ctx(provider)


cdef bint provider_rekey(void *ctx, const uint8_t *key, bint seals) noexcept nogil:
    """Copies a key into the context, over the one before."""
    cdef Init init = encrypt_init if seals else decrypt_init
    cdef uint8_t no_key[KEY_LEN]
    cdef size_t written
    if key != NULL:
        return init(ctx, key, KEY_LEN, NULL, 0, NULL) != 0
    # The context keeps the last packet's block of key stream, with the one-time key: associated data makes another.
    memset(no_key, 0, KEY_LEN)
    return (init(ctx, no_key, KEY_LEN, no_key, NONCE_LEN, NULL) != 0
            and update(ctx, NULL, &written, 1, no_key, 1) != 0)


cdef void provider_free(void *ctx) noexcept nogil:
    free_ctx(ctx)


cdef OSSL_PARAM tag_at(uint8_t *place) noexcept nogil:
    return OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, place, TAG_LEN)


cdef bint provider_seal_each(const Aead *aead, uint64_t first_counter, uint8_t **texts, const uint32_t *lens,
                             int n) noexcept nogil:
    cdef uint64_t[2] nonce = [0, 0]
    cdef OSSL_PARAM tag[2]
    cdef size_t written
    cdef int i
    tag[1] = OSSL_PARAM_construct_end()
    for i in range(n):
        nonce[1] = first_counter + <uint64_t>i
        tag[0] = tag_at(texts[i] + lens[i])
        # The nonce's first 32 bits are zero: start it 4 bytes into the first word.
        if not (encrypt_init(aead.context, NULL, 0, <const uint8_t *>nonce + 4, NONCE_LEN, NULL)
                and (lens[i] == 0 or update(aead.context, texts[i], &written, lens[i], texts[i], lens[i]))
                and final(aead.context, texts[i] + lens[i], &written, TAG_LEN) and get_params(aead.context, tag)):
            return False
    return True


cdef uint64_t provider_open_each(const Aead *aead, const uint64_t *counters, uint8_t **texts, const uint32_t *lens,
                                 int n) noexcept nogil:
    cdef uint64_t[2] nonce = [0, 0]
    cdef OSSL_PARAM tag[2]
    cdef uint64_t authentic = 0
    cdef size_t written
    cdef int i
    tag[1] = OSSL_PARAM_construct_end()
    for i in range(n):
        nonce[1] = counters[i]
        tag[0] = tag_at(texts[i] + lens[i])
        if (decrypt_init(aead.context, NULL, 0, <const uint8_t *>nonce + 4, NONCE_LEN, NULL)
                and set_params(aead.context, tag)
                and (lens[i] == 0 or update(aead.context, texts[i], &written, lens[i], texts[i], lens[i]))
                and final(aead.context, texts[i] + lens[i], &written, TAG_LEN)):
            authentic |= <uint64_t>1 << i
    return authentic
