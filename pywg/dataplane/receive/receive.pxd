"""RX: UDP receive -> index lookup -> open -> replay -> source check -> coalesce -> TUN write.

By one thread, or with helpers.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from pywg.dataplane.crypto.aead_contexts cimport Worker
from pywg.dataplane.receive.admit cimport Admission
from pywg.dataplane.receive.deliver cimport Delivery
from pywg.dataplane.receive.open cimport InBatch
from pywg.dataplane.reorder.pool cimport Pool
from pywg.dataplane.reorder.reorder cimport Pipeline
from pywg.dataplane.state.dataplane cimport Dataplane

cdef enum:
    FAILURES_MAX = 8            # receives that fail in a row: this is no error of ICMP, of which each is told once
    ERROR_PAUSE_MS = 10         # after an error of the TUN, a socket or poll() that would come again at once
    ERROR_PAUSE_NS = 10000000


cdef struct Ingress:
    Dataplane *dp
    InBatch *batches                # one, or one for each slot of the pipeline
    int batch_count
    InBatch *batch                  # the one that is being filled
    bint ready4, ready6             # the socket has a message, as the last poll() said
    int failures4, failures6        # receives that failed in a row, as far as that counts
    uint64_t resting_ns             # until when nothing is asked of sockets that fail; 0: none does
    int limit                       # messages that the next batch takes
    bint alone                      # nobody else is opening or delivering
    int full                        # batches in a row with as many messages as they take, as far as that counts
    bint crowded                    # no batch is free: nothing is received until half of them are
    Delivery delivery
    Admission admission
    # With helpers only
    Pool *pool
    Pipeline line
    Worker worker

cdef Ingress *ingress_new(Dataplane *dp, int slots) noexcept nogil
cdef void ingress_free(Ingress *e) noexcept nogil
cdef void ingress_step(Ingress *e) noexcept nogil
cdef void ingress_hold(Ingress *e) noexcept nogil
cdef void ingress_release(Ingress *e) noexcept nogil
