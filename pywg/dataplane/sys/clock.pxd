"""The one clock: CLOCK_BOOTTIME, which runs on while a machine sleeps, so that keys expire in real time."""
from libc.stdint cimport uint64_t
from pywg.dataplane.sys.linux cimport CLOCK_BOOTTIME, clock_gettime, timespec

cdef extern from *:
    """
    #define PYWG_SECOND 1000000000ULL
    """
    const uint64_t SECOND_NS "PYWG_SECOND"


cdef inline uint64_t now_ns() noexcept nogil:
    cdef timespec ts
    clock_gettime(CLOCK_BOOTTIME, &ts)
    return <uint64_t>ts.tv_sec * SECOND_NS + <uint64_t>ts.tv_nsec


cdef inline uint64_t elapsed_ns(uint64_t now, uint64_t since) noexcept nogil:
    """From `since` to `now`; 0 where another thread has looked at the clock later, and noted `since`."""
    return now - since if now > since else 0
