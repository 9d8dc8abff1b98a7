"""The table of the AEAD's backends, and the choice among them. For the control plane, not for the threads."""
from pywg.dataplane.crypto.aead cimport AeadBackend

cdef const AeadBackend *aead_backends(int *count) noexcept
cdef const AeadBackend *aead_choose(str name) except NULL
cdef bint aead_is_right(const AeadBackend *backend) except -1
cdef bint aead_was_tried(const AeadBackend *backend) noexcept
