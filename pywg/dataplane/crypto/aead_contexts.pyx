"""A thread's AEADs (aead_contexts.pxd)."""
from pywg.dataplane.crypto.aead cimport aead_forget, aead_free, aead_init


cdef void aead_contexts_init(AeadContexts *contexts, const AeadBackend *backend) noexcept nogil:
    aead_init(&contexts.sealer, backend, True)
    aead_init(&contexts.opener, backend, False)


cdef void aead_contexts_free(AeadContexts *contexts) noexcept nogil:
    aead_free(&contexts.sealer)
    aead_free(&contexts.opener)


cdef void aead_contexts_forget(AeadContexts *contexts) noexcept nogil:
    """Removes the keys at the end of a batch: from then on the control plane may wipe them at any time."""
    aead_forget(&contexts.sealer)
    aead_forget(&contexts.opener)
