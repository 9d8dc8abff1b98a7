"""Which thread carries what goes out: its own, or while there is little of it, the one that receives."""
from pywg._native.egress cimport Egress

cdef enum:
    ERROR_PAUSE_MS = 10         # after an error of the TUN, a socket or poll() that would come again at once
    ERROR_PAUSE_NS = 10000000

cdef void *egress_thread(void *arg) noexcept nogil
cdef void egress_step_lent(Egress *e) noexcept nogil
