"""What a thread seals and opens with, one batch at a time, whatever keypairs the batch is of."""
from pywg.dataplane.crypto.aead cimport Aead

cdef struct Worker:
    Aead sealer
    Aead opener

cdef void worker_init(Worker *worker) noexcept nogil
cdef void worker_free(Worker *worker) noexcept nogil
cdef void worker_forget(Worker *worker) noexcept nogil
