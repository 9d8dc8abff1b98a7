"""The AEADs with which a thread seals and opens, one batch at a time, of any keypairs."""
from pywg.dataplane.crypto.aead cimport Aead, AeadBackend

cdef struct AeadContexts:
    Aead sealer
    Aead opener

cdef void aead_contexts_init(AeadContexts *contexts, const AeadBackend *backend) noexcept nogil
cdef void aead_contexts_free(AeadContexts *contexts) noexcept nogil
cdef void aead_contexts_forget(AeadContexts *contexts) noexcept nogil
