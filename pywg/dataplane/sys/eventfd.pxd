"""A wake-up through an eventfd, which no failing system call loses.

The kernel has no reason to refuse one. But a sandbox, or a fault of its own, may; and a thread that is not woken waits
for ever, and with it the one that waits for it. So each is tried again: a few times here, where it costs nothing, and
then by a caller that waits for the effect (`threads_settle`).
"""
from libc.stdint cimport uint64_t
from pywg.dataplane.sys cimport linux
from pywg.dataplane.sys.linux cimport eventfd_read, eventfd_write

cdef enum:
    KICK_TRIES = 4


cdef inline bint eventfd_kick(int fd) noexcept nogil:
    """Makes the eventfd readable. False: the kernel refuses it."""
    cdef int _
    for _ in range(KICK_TRIES):
        if eventfd_write(fd, 1) == 0:
            return True
    return False


cdef inline bint eventfd_take(int fd) noexcept nogil:
    """Makes the eventfd unreadable. False: the kernel refuses it, and poll() will tell of it again at once."""
    cdef uint64_t ignored
    return eventfd_read(fd, &ignored) == 0 or linux.errno == linux.EAGAIN
