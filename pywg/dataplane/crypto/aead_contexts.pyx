"""A thread's AEADs (worker.pxd)."""
from pywg.dataplane.crypto.aead cimport aead_forget, aead_free


cdef void worker_init(Worker *worker) noexcept nogil:
    """`worker` is all zeros."""
    worker.sealer.seals = True


cdef void worker_free(Worker *worker) noexcept nogil:
    aead_free(&worker.sealer)
    aead_free(&worker.opener)


cdef void worker_forget(Worker *worker) noexcept nogil:
    """Once a batch is done: its keys are their owners' alone, who may wipe them any time now."""
    aead_forget(&worker.sealer)
    aead_forget(&worker.opener)
