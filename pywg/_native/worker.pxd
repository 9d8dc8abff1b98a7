"""The AEAD contexts of a thread that seals and opens beside others.

A keypair has one libcrypto context a direction, which one thread at a time may use. Batches of one keypair that are in
work at once are done with the contexts of those who do them, given the keypair's key for as long as that takes.
"""
from libc.stdint cimport uint8_t
from pywg._native.aead cimport Aead

cdef struct Lent:
    Aead aead
    const uint8_t *has          # whose key the context was given, NULL: nobody's

cdef struct Worker:
    Lent sealer
    Lent opener

cdef int worker_init(Worker *worker) noexcept nogil
cdef void worker_free(Worker *worker) noexcept nogil
cdef Aead *worker_lend(Lent *lent, const Aead *of, int n) noexcept nogil
cdef void worker_forget(Worker *worker) noexcept nogil
