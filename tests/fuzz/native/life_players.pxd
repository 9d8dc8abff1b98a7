"""Threads that one thread plays, of one shard or several, and the kernel that they meet (life_players.pyx)."""
from libc.stdint cimport uint64_t

from pywg.dataplane.threads.loops cimport Threads

from tests.fuzz.native.input cimport Input

cdef enum:
    FIRST_INDEX = 0x10000       # of a session, where the datagrams go to; those of the later ones follow

cdef Input steps                # what is left of the input
cdef uint64_t given             # packets that the data plane has got to send, and keepalives that it has sent

cdef void players_begin() noexcept nogil
cdef void players_of(Threads *of) noexcept nogil
cdef void players_forget() noexcept nogil
cdef int players_made() noexcept nogil
cdef void players_end() noexcept nogil
cdef void give(uint64_t packets) noexcept nogil
