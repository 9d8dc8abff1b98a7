"""The receive path: UDP receive -> index lookup -> open -> replay -> source check -> coalesce -> TUN write.

By one thread, or with helpers.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from pywg.dataplane.crypto.aead_contexts cimport AeadContexts
from pywg.dataplane.receive.admit cimport Admission
from pywg.dataplane.receive.deliver cimport Delivery
from pywg.dataplane.receive.open cimport ReceiveBatch
from pywg.dataplane.reorder.pool cimport Pool
from pywg.dataplane.reorder.reorder cimport Reorder
from pywg.dataplane.state.dataplane cimport Dataplane

cdef enum:
    FAILURES_MAX = 8            # receives that fail in a row: not an ICMP error, which the socket reports once
    ERROR_PAUSE_MS = 10         # after an error of the TUN, a socket or poll() that would come again at once
    ERROR_PAUSE_NS = 10000000


cdef struct ReceivePath:
    Dataplane *dp
    ReceiveBatch *batches           # one, or one for each slot of `reorder`
    int batch_count
    ReceiveBatch *batch             # the one that is being filled
    bint ready4, ready6             # the socket has a message, as the last poll() said
    int failures4, failures6        # receives that failed in a row, up to FAILURES_MAX
    uint64_t resting_ns             # until when failing sockets are left alone; 0: none fails
    int limit                       # messages that the next batch takes
    bint alone                      # no helper is opening or delivering
    int full                        # full batches in a row, up to BEHIND_BATCHES
    bint no_free_batch              # no batch is free: nothing is received until half of them are
    Delivery delivery
    Admission admission
    # With helpers only
    Pool *pool
    Reorder reorder
    AeadContexts contexts

cdef ReceivePath *receive_path_new(Dataplane *dp, int slots, int lanes) noexcept nogil
cdef void receive_path_free(ReceivePath *e) noexcept nogil
cdef void receive_step(ReceivePath *e) noexcept nogil
cdef void receive_messages(ReceivePath *e, int n) noexcept nogil
cdef void receive_path_hold(ReceivePath *e) noexcept nogil
cdef void receive_path_release(ReceivePath *e) noexcept nogil
