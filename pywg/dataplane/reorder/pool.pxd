"""The helper threads: they take slots of both directions' reorder rings, and sleep while there are none.

A sleeping helper is woken for a slot only if no other helper is awake and looking for work. A helper that takes a slot,
and sees that there are more, wakes the next. So a slot costs at most one wake-up, and a busy pool none.
"""
from libc.stdint cimport uint8_t, uint64_t
from pywg.dataplane.crypto.aead cimport AeadBackend
from pywg.dataplane.crypto.aead_contexts cimport AeadContexts
from pywg.dataplane.reorder.reorder cimport Reorder
from pywg.dataplane.sys.linux cimport pthread_cond_t, pthread_mutex_t, pthread_t
from pywg.dataplane.sys.seccomp cimport Filter

cdef enum:
    HELPERS_MAX = 62            # with the two reading threads, 64
    DIRECTIONS = 2


cdef struct Helper:
    Pool *pool
    pthread_t thread
    int number
    AeadContexts contexts


cdef struct Pool:
    int count
    int started
    Reorder *reorders[DIRECTIONS]
    Helper *helpers
    Filter *filter              # of system calls, which each helper enters
    uint64_t running            # atomic: helpers that have begun
    uint64_t looking            # atomic: helpers that are awake and have no slot
    uint8_t stop                # atomic
    pthread_mutex_t lock        # guards what follows
    pthread_cond_t work
    int sleeping
    int woken                   # helpers that were signalled and are not out of sleep() yet

cdef Pool *pool_new(int count, const AeadBackend *aead, Reorder *first, Reorder *second) noexcept nogil
cdef int pool_start(Pool *pool) noexcept nogil
cdef void pool_stop(Pool *pool) noexcept nogil
cdef void pool_free(Pool *pool) noexcept nogil
cdef void pool_wake(Pool *pool) noexcept nogil
