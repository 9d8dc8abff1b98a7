"""Assertions about the room that buffers have, and about the gates that a caller is in.

c_assert ends the process in builds with PYWG_DEBUG or PYWG_SANITIZE, and costs nothing in others. static_fits compares
constants at compile time; as a statement it has to be in a function, that which makes the buffer. Both take one
comparison: for `and` and the like Cython computes a variable first, in every build.
"""

cdef extern from * nogil:
    """
    #include <assert.h>
    #define pywg_static_fits(len, room) _Static_assert((long)(len) <= (long)(room), #len " fits into " #room)
    """
    void c_assert "assert"(bint holds)
    void static_fits "pywg_static_fits"(long len, long room)
