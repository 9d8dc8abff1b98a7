"""C assertions: they end the process in builds with PYWG_DEBUG or PYWG_SANITIZE, and cost nothing in others."""

cdef extern from "<assert.h>" nogil:
    void c_assert "assert"(bint holds)
