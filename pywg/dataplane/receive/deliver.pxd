"""Delivery of opened messages, in the order they came in: to the replay window, a peer's endpoint and timers, the TUN.

One thread at a time delivers: the receiving thread, or with helpers the thread that finishes slots (reorder).
"""
from pywg.dataplane.receive.coalesce cimport COALESCE_MAX_IOV, Coalescer
from pywg.dataplane.receive.open cimport ReceiveBatch
from pywg.dataplane.state.dataplane cimport Dataplane
from pywg.dataplane.sys.linux cimport iovec

cdef enum:
    COALESCE_PACKETS = 1024


cdef struct Delivery:
    Dataplane *dp
    Coalescer *coalescer            # for dp.vnet_hdr_len
    iovec iov[COALESCE_MAX_IOV]

cdef int delivery_init(Delivery *d, Dataplane *dp) noexcept nogil
cdef void delivery_free(Delivery *d) noexcept nogil
cdef int delivery_renew(Delivery *d, int vnet_hdr_len) noexcept nogil
cdef void deliver(Delivery *d, ReceiveBatch *b) noexcept nogil
cdef void write_frames(Delivery *d) noexcept nogil
