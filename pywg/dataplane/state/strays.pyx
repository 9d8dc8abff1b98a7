"""Strays (strays.pxd)."""
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy
from pywg.dataplane.state.events cimport Message
from pywg.dataplane.sys.atomic cimport store8
from pywg.dataplane.sys.checks cimport c_assert
from pywg.dataplane.sys.eventfd cimport eventfd_kick
from pywg.dataplane.sys.linux cimport pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock
from pywg.dataplane.sys.linux cimport pthread_mutex_unlock
from pywg.dataplane.wire.endpoint cimport Endpoint


cdef void strays_init(Strays *strays) noexcept nogil:
    """`strays` is all zeros."""
    pthread_mutex_init(&strays.lock, NULL)


cdef void strays_destroy(Strays *strays) noexcept nogil:
    pthread_mutex_destroy(&strays.lock)


cdef bint strays_put(Strays *strays, const Endpoint *source, const uint8_t *data, uint32_t len,
                     int kick) noexcept nogil:
    """Leaves a message for the first shard's receiving thread, and wakes it by `kick`. False: there is no room."""
    cdef Message *message
    cdef bint room, first
    pthread_mutex_lock(&strays.lock)
    room = strays.count < STRAYS_MAX
    first = strays.count == 0       # else that thread has been woken for what is there
    if room:
        message = &strays.messages[strays.count]
        c_assert(len <= sizeof(message.data))
        message.source = source[0]
        message.len = len
        memcpy(message.data, data, len)
        strays.count += 1
        store8(&strays.any, 1)
    pthread_mutex_unlock(&strays.lock)
    if first:
        eventfd_kick(kick)
    return room


cdef int strays_take(Strays *strays, Message *to) noexcept nogil:
    """Takes all, in their order, to where there is room for STRAYS_MAX. How many."""
    cdef int n
    pthread_mutex_lock(&strays.lock)
    n = strays.count
    memcpy(to, strays.messages, n * sizeof(Message))
    strays.count = 0
    store8(&strays.any, 0)
    pthread_mutex_unlock(&strays.lock)
    return n
