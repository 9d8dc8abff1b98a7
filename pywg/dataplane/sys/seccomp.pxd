"""The filter of system calls that a thread of the data plane enters, and what happens where a filter refuses a call.

A refused call raises SIGSYS in the thread that made it. The handler counts the call, and lets it fail with EPERM. What
the filters allow is decided in pywg/runtime/confine/seccomp.py, which also makes their programs.
"""
from libc.stdint cimport uint64_t


cdef struct Filter:
    const char *program     # struct sock_filter, one after the other; NULL: the thread enters no filter
    size_t program_len      # bytes
    uint64_t entered        # atomic: threads that are under it

cdef void filter_enter(Filter *filter) noexcept nogil
