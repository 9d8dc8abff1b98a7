"""AEAD contexts that change hands (worker.pxd). Giving one a key costs some 100 ns, and is done only for libcrypto."""
from libc.stdint cimport uint8_t
from pywg._native.aead cimport Aead, aead_free, aead_init_open, aead_init_seal, aead_needs_ctx, aead_rekey
from pywg._native.wire cimport KEY_LEN

cdef uint8_t[KEY_LEN] no_key    # zeros


cdef int worker_init(Worker *worker) noexcept nogil:
    """0, or -1: no memory. `worker` is all zeros, and to be freed in either case."""
    if aead_init_seal(&worker.sealer.aead, no_key) == 0 and aead_init_open(&worker.opener.aead, no_key) == 0:
        return 0
    return -1


cdef void worker_free(Worker *worker) noexcept nogil:
    aead_free(&worker.sealer.aead)
    aead_free(&worker.opener.aead)


cdef Aead *worker_lend(Lent *lent, const Aead *of, int n) noexcept nogil:
    """To seal or open `n` datagrams with the key of `of`. NULL: libcrypto failed."""
    if aead_needs_ctx(n) and lent.has != of.key:
        if aead_rekey(&lent.aead, of.key) < 0:
            return NULL
        lent.has = of.key
    lent.aead.key = of.key
    return &lent.aead


cdef void forget(Lent *lent) noexcept nogil:
    if lent.has != NULL:
        aead_rekey(&lent.aead, no_key)
    lent.has = NULL
    lent.aead.key = no_key


cdef void worker_forget(Worker *worker) noexcept nogil:
    """Once a batch is done: no context keeps a key that its owner may wipe any time now."""
    forget(&worker.sealer)
    forget(&worker.opener)
