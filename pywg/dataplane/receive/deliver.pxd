"""Delivery of opened messages, in the order they came in: to the replay window, a peer's endpoint and timers, the TUN.

Without helpers the receiving thread does it all. With helpers there are three parts. `delivery_inspect` looks at the
packets of a batch, beside others: it changes nothing but the batch. `deliver` takes what is authentic and new, one
thread at a time and in order. It leaves each packet in the batch's list for the lane of its flow. `delivery_write` has
a lane's packets merged and written, by its holder (reorder); it touches these packets, their list and the lane's
writer.
"""
from pywg.dataplane.receive.coalesce cimport Coalescer
from pywg.dataplane.receive.open cimport ReceiveBatch
from pywg.dataplane.receive.writer cimport Writer
from pywg.dataplane.reorder.reorder cimport LANES_MAX
from pywg.dataplane.state.dataplane cimport Dataplane


cdef struct Delivery:
    Dataplane *dp
    int lanes                       # 0: without helpers
    Writer writers[LANES_MAX]       # one a lane; the first where there are none
    Coalescer *prepared[LANES_MAX]  # for the writers, with another virtio header; NULL: none

cdef int delivery_init(Delivery *d, Dataplane *dp, int lanes) noexcept nogil
cdef void delivery_free(Delivery *d) noexcept nogil
cdef int delivery_prepare(Delivery *d, int vnet_hdr_len) noexcept nogil
cdef void delivery_forget_prepared(Delivery *d) noexcept nogil
cdef void delivery_renew(Delivery *d) noexcept nogil
cdef void delivery_inspect(Delivery *d, ReceiveBatch *b) noexcept nogil
cdef void deliver(Delivery *d, ReceiveBatch *b) noexcept nogil
cdef void delivery_write(Delivery *d, ReceiveBatch *b, int lane) noexcept nogil
