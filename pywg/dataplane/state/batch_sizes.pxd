"""How many datagrams a system call sent or received: a histogram of each direction, of all threads (relaxed adds).

It costs one add a call, beside a call that takes a thousand times as long.
"""
from libc.stdint cimport uint32_t, uint64_t
from pywg.dataplane.sys.atomic cimport add64

cdef enum:
    BATCH_SIZES = 6     # classes: of 1 datagram, up to 4, 16, 64, 256, and more
    BATCH_STEP = 4      # each class ends with so many times the end of the one before

cdef struct BatchSizes:
    uint64_t[BATCH_SIZES] tx
    uint64_t[BATCH_SIZES] rx


cdef inline void count_batch(uint64_t *sizes, uint32_t datagrams) noexcept nogil:
    """Counts one call, of at least one datagram."""
    cdef uint32_t last = 1
    cdef int i = 0
    while i < BATCH_SIZES - 1 and datagrams > last:
        last *= BATCH_STEP
        i += 1
    add64(&sizes[i], 1)
