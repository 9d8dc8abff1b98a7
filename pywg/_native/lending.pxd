"""Which thread carries what goes out: its own, or while there is little of it, the one that receives."""
from pywg._native.egress cimport Egress

cdef void *egress_thread(void *arg) noexcept nogil
cdef void egress_step_lent(Egress *e) noexcept nogil
