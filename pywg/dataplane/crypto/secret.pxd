"""The locked arena for keys, for code without the GIL. See secret.pyx."""
from libc.stdint cimport uint8_t

cdef enum:
    SECRET_SLOT_LEN = 64

cdef uint8_t *secret_alloc() noexcept nogil
cdef void secret_free(uint8_t *slot) noexcept nogil
