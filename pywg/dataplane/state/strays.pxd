"""Strays: handshake messages that came to another shard than the first, on their way to it.

The kernel chooses a shard by the first of the datagrams that it merges (UDP_GRO). So a handshake message that follows a
peer's data closely, and is no longer than it, comes to that peer's shard. The first shard alone admits handshakes: one
that finds the message here takes it as if it had received it.
"""
from libc.stdint cimport uint8_t, uint32_t
from pywg.dataplane.state.events cimport Message
from pywg.dataplane.sys.atomic cimport load8
from pywg.dataplane.sys.linux cimport pthread_mutex_t
from pywg.dataplane.wire.endpoint cimport Endpoint

cdef enum:
    STRAYS_MAX = 64

cdef struct Strays:
    pthread_mutex_t lock        # of the messages
    uint8_t any                 # atomic: whether there are any is asked without the lock
    int count
    Message messages[STRAYS_MAX]

cdef void strays_init(Strays *strays) noexcept nogil
cdef void strays_destroy(Strays *strays) noexcept nogil
cdef bint strays_put(Strays *strays, const Endpoint *source, const uint8_t *data, uint32_t len, int kick) noexcept nogil
cdef int strays_take(Strays *strays, Message *to) noexcept nogil


cdef inline bint strays_any(const Strays *strays) noexcept nogil:
    return load8(&strays.any) != 0
