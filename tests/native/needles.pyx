"""A search for many short byte strings at once: a pass over the memory, whatever their number."""
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy

cimport cython

cdef enum:
    PREFIX = 8              # bytes that a needle has at least, and by which it is found
    FILTER_BITS = 18        # of the hash of a prefix: most places in memory go no further than one load
    HITS_MAX = 10_000


cdef inline uint32_t hashed(uint64_t prefix) noexcept nogil:
    return <uint32_t>(prefix * <uint64_t>0x9E3779B97F4A7C15 >> (64 - FILTER_BITS))


@cython.final
cdef class Needles:
    """The needles, each of 8 bytes at least and not all zeros, to be looked for in any number of buffers.

    ValueError for another needle.
    """
    cdef list needles
    cdef uint32_t *first        # by the prefix's hash: one more than the number of the needle that is tried first, or 0
    cdef uint32_t *following    # by needle: the same of the one after it

    def __cinit__(self, list needles):
        cdef uint64_t prefix
        cdef uint32_t number, slot
        cdef bytes needle
        self.needles = list(needles)
        self.first = <uint32_t *>calloc(1 << FILTER_BITS, sizeof(uint32_t))
        self.following = <uint32_t *>calloc(len(needles) + 1, sizeof(uint32_t))
        if self.first == NULL or self.following == NULL:
            raise MemoryError
        for number, needle in enumerate(needles):
            if len(needle) < PREFIX or not any(needle[:PREFIX]):
                raise ValueError(f"a needle has {PREFIX} bytes at least, and these are not all zeros")
            memcpy(&prefix, <const uint8_t *>needle, PREFIX)
            slot = hashed(prefix)
            self.following[number] = self.first[slot]
            self.first[slot] = number + 1

    def __dealloc__(self):
        free(self.first)
        free(self.following)

    def find(self, data) -> list[tuple[int, int]]:
        """(offset, number of the needle) of each place in `data` (any contiguous buffer), up to 10,000 of them."""
        cdef Py_buffer view
        cdef list hits = []
        cdef uint64_t at = 0, end, prefix
        cdef uint32_t number
        cdef bytes needle
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        end = view.len - PREFIX + 1 if view.len >= PREFIX else 0
        try:
            while at < end and len(hits) < HITS_MAX:
                with nogil:
                    at = self.next(<const uint8_t *>view.buf, at, end)
                if at == end:
                    break
                memcpy(&prefix, <const uint8_t *>view.buf + at, PREFIX)
                number = self.first[hashed(prefix)]
                while number:
                    needle = self.needles[number - 1]
                    if (at + <uint64_t>len(needle) <= <uint64_t>view.len
                            and memcmp(<const uint8_t *>needle, <const uint8_t *>view.buf + at, len(needle)) == 0):
                        hits.append((at, number - 1))
                    number = self.following[number - 1]
                at += 1
        finally:
            PyBuffer_Release(&view)
        return hits

    cdef uint64_t next(self, const uint8_t *data, uint64_t at, uint64_t end) noexcept nogil:
        """The next place whose prefix may be a needle's; `end` for none."""
        cdef uint64_t prefix
        while at < end:
            memcpy(&prefix, data + at, PREFIX)
            if prefix != 0 and self.first[hashed(prefix)] != 0:
                return at
            at += 1
        return end
