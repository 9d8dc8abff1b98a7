"""intel-ipsec-mb through its direct calls (ipsec_mb.pxd), which keep all their state with the caller.

They are reached through a structure that grows from version to version. What of it is written down here was compared
with the header of the version named, and a library of any other version is left alone.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from posix.dlfcn cimport RTLD_LOCAL, RTLD_NOW, dlclose, dlopen, dlsym
from pywg.dataplane.sys.libcrypto cimport CRYPTO_memcmp, OPENSSL_cleanse
from pywg.dataplane.wire.wireguard cimport TAG_LEN

ctypedef unsigned int (*GetVersion)() noexcept nogil
ctypedef void *(*AllocManager)(uint64_t flags) noexcept nogil
ctypedef void (*FreeManager)(void *manager) noexcept nogil
ctypedef void (*InitManager)(void *manager, int *architecture) noexcept nogil
ctypedef void (*Init)(const void *key, void *ctx, const void *iv, const void *aad, uint64_t aad_len) noexcept nogil
ctypedef void (*Update)(const void *key, void *ctx, void *to, const void *text, uint64_t text_len) noexcept nogil
ctypedef void (*Finalize)(void *ctx, void *tag, uint64_t tag_len) noexcept nogil

cdef enum:
    VERSION = 0x10300               # 1.3.0: IMB_VERSION(1, 3, 0)
    CTX_WORDS = 24                  # sizeof(struct chacha20_poly1305_context_data) / 8


cdef struct Manager:
    # struct IMB_MGR of that version as far as chacha20_poly1305_finalize.
    uint64_t flags
    uint64_t features
    uint64_t reserved[5]
    uint32_t used_arch
    int error                       # imb_errno
    void *others[107]               # keys, hashes, and modes of operation that are not used here
    Init init
    Update seal
    Update open
    Finalize finalize

# Written once, by load(), before any thread runs.
cdef Manager *manager = NULL


def load(name: str = "libIPSec_MB.so.1") -> bool:
    """Loads the library, once. False: it isn't there, is of another version, or doesn't know this processor."""
    global manager
    cdef void *library
    if manager == NULL:
        library = dlopen(name.encode(), RTLD_NOW | RTLD_LOCAL)
        if library == NULL:
            return False
        manager = start(library)
        if manager == NULL:
            dlclose(library)
    return manager != NULL


cdef Manager *start(void *library) noexcept nogil:
    cdef GetVersion get_version = <GetVersion>dlsym(library, b"imb_get_version")
    cdef AllocManager alloc_manager = <AllocManager>dlsym(library, b"alloc_mb_mgr")
    cdef FreeManager free_manager = <FreeManager>dlsym(library, b"free_mb_mgr")
    cdef InitManager init_manager = <InitManager>dlsym(library, b"init_mb_mgr_auto")
    cdef Manager *made
    cdef int architecture = 0
    if get_version == NULL or alloc_manager == NULL or free_manager == NULL or init_manager == NULL:
        return NULL
    if get_version() != VERSION:
        return NULL
    made = <Manager *>alloc_manager(0)
    if made == NULL:
        return NULL
    init_manager(made, &architecture)
    if made.error or architecture == 0 or made.init == NULL or made.seal == NULL or made.open == NULL:
        free_manager(made)
        return NULL
    return made


cdef bint ipsec_mb_seal(const uint8_t *key, uint64_t counter, uint8_t *text, uint32_t text_len) noexcept nogil:
    """As evp_seal(), without a context to keep."""
    cdef uint64_t ctx[CTX_WORDS]
    cdef uint64_t nonce[2]
    nonce[0] = 0
    nonce[1] = counter
    manager.init(key, ctx, <const uint8_t *>nonce + 4, NULL, 0)
    manager.seal(key, ctx, text, text, text_len)
    manager.finalize(ctx, text + text_len, TAG_LEN)
    OPENSSL_cleanse(ctx, sizeof(ctx))
    return True


cdef bint ipsec_mb_open(const uint8_t *key, uint64_t counter, uint8_t *text, uint32_t text_len) noexcept nogil:
    """As evp_open(), without a context to keep."""
    cdef uint64_t ctx[CTX_WORDS]
    cdef uint64_t nonce[2]
    cdef uint8_t tag[TAG_LEN]
    nonce[0] = 0
    nonce[1] = counter
    manager.init(key, ctx, <const uint8_t *>nonce + 4, NULL, 0)
    manager.open(key, ctx, text, text, text_len)
    manager.finalize(ctx, tag, TAG_LEN)
    OPENSSL_cleanse(ctx, sizeof(ctx))
    return CRYPTO_memcmp(tag, text + text_len, TAG_LEN) == 0
