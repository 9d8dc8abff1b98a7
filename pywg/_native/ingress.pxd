"""RX: UDP receive -> index lookup -> open -> replay -> source check -> coalesce -> TUN write, in one thread."""
from libc.stdint cimport uint64_t
from pywg._native.coalesce cimport COALESCE_MAX_IOV, Coalescer
from pywg._native.dataplane cimport Dataplane
from pywg._native.linux cimport iovec
from pywg._native.udp cimport Received, Receiver

cdef enum:
    COALESCE_PACKETS = 1024


cdef struct Ingress:
    Dataplane *dp
    Receiver *receiver
    Coalescer *coalescer            # for dp.vnet_hdr_len, made anew when that changes
    int vnet_hdr_len
    iovec iov[COALESCE_MAX_IOV]

cdef Ingress *ingress_new(Dataplane *dp) noexcept nogil
cdef void ingress_free(Ingress *e) noexcept nogil
cdef void *ingress_thread(void *arg) noexcept nogil
