"""AEAD contexts that change hands (worker.pxd). Giving one a key costs some 100 ns, and is done only for EVP's sake."""
from libc.stdint cimport uint8_t
from pywg._native.aead cimport Aead, aead_free, aead_init_open, aead_init_seal, aead_needs_ctx
from pywg._native.libcrypto cimport EVP_DecryptInit_ex, EVP_EncryptInit_ex
from pywg._native.wire cimport KEY_LEN

cdef uint8_t[KEY_LEN] no_key    # zeros


cdef int worker_init(Worker *worker) noexcept nogil:
    """0, or -1: no memory. `worker` is all zeros, and to be freed in either case."""
    return 0 if aead_init_seal(&worker.sealer, no_key) == 0 and aead_init_open(&worker.opener, no_key) == 0 else -1


cdef void worker_free(Worker *worker) noexcept nogil:
    aead_free(&worker.sealer)
    aead_free(&worker.opener)


cdef Aead *worker_sealer(Worker *worker, const Aead *of, int n) noexcept nogil:
    """To seal `n` datagrams with the key of `of`. NULL: libcrypto failed."""
    if aead_needs_ctx(n) and worker.sealer_has != of.key:
        if not EVP_EncryptInit_ex(worker.sealer.ctx, NULL, NULL, of.key, NULL):
            return NULL
        worker.sealer_has = of.key
    worker.sealer.key = of.key
    return &worker.sealer


cdef Aead *worker_opener(Worker *worker, const Aead *of, int n) noexcept nogil:
    """As worker_sealer()."""
    if aead_needs_ctx(n) and worker.opener_has != of.key:
        if not EVP_DecryptInit_ex(worker.opener.ctx, NULL, NULL, of.key, NULL):
            return NULL
        worker.opener_has = of.key
    worker.opener.key = of.key
    return &worker.opener


cdef void worker_forget(Worker *worker) noexcept nogil:
    """Once a batch is done: no context keeps a key that its owner may wipe any time now."""
    if worker.sealer_has != NULL:
        EVP_EncryptInit_ex(worker.sealer.ctx, NULL, NULL, no_key, NULL)
    if worker.opener_has != NULL:
        EVP_DecryptInit_ex(worker.opener.ctx, NULL, NULL, no_key, NULL)
    worker.sealer_has = worker.opener_has = NULL
    worker.sealer.key = worker.opener.key = no_key
