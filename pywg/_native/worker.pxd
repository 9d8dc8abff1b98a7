"""The AEAD contexts of a thread that seals and opens beside others.

A keypair has one libcrypto context a direction, which one thread at a time may use. Batches of one keypair that are in
work at once are done with the contexts of those who do them, given the keypair's key for as long as that takes.
"""
from libc.stdint cimport uint8_t
from pywg._native.aead cimport Aead

cdef struct Worker:
    Aead sealer
    Aead opener
    const uint8_t *sealer_has   # whose key the context was given, NULL: nobody's
    const uint8_t *opener_has

cdef int worker_init(Worker *worker) noexcept nogil
cdef void worker_free(Worker *worker) noexcept nogil
cdef Aead *worker_sealer(Worker *worker, const Aead *of, int n) noexcept nogil
cdef Aead *worker_opener(Worker *worker, const Aead *of, int n) noexcept nogil
cdef void worker_forget(Worker *worker) noexcept nogil
