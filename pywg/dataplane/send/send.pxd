"""TX: TUN read -> peer lookup -> segment -> seal -> UDP send, by one thread, or with helpers."""
from libc.stdint cimport uint8_t, uint64_t
from pywg.dataplane.crypto.aead_contexts cimport Worker
from pywg.dataplane.reorder.pool cimport Pool
from pywg.dataplane.reorder.reorder cimport Pipeline
from pywg.dataplane.send.seal cimport Batch
from pywg.dataplane.send.unreachable cimport ICMP_REPLY_MAX
from pywg.dataplane.state.dataplane cimport Dataplane
from pywg.dataplane.state.peer cimport Peer
from pywg.dataplane.state.token_bucket cimport Bucket
from pywg.dataplane.wire.virtio cimport VNET_HDR_MAX

cdef enum:
    RUNS_FOR_A_FRAME = 16


cdef struct Egress:
    Dataplane *dp
    Batch *batches                  # one, or one for each slot of the pipeline
    int batch_count
    Batch *batch                    # the one that is being filled
    uint8_t blocked                 # atomic: UDP said EAGAIN, and nothing is read until what is queued has gone
    uint8_t blocked_on              # atomic: 4 or 16, the family of the socket that is full
    bint filling                    # `batch` takes more
    bint crowded                    # no batch is free: nothing is read until half of them are
    bint failing                    # the last read of the TUN failed, for a reason that may pass
    uint64_t now, heavy_ns          # when the last batch began, and the last one that was more than acknowledgements
    Bucket icmp
    uint8_t reply[VNET_HDR_MAX + ICMP_REPLY_MAX]
    # With helpers only
    Pool *pool
    Pipeline line
    Worker worker
    bint held                       # the control plane holds the pipeline

cdef Egress *egress_new(Dataplane *dp, int slots) noexcept nogil
cdef void egress_free(Egress *e) noexcept nogil
cdef bint egress_step(Egress *e) noexcept nogil
cdef bint egress_send_staged(Egress *e, Peer *peer, bint keepalive_if_none, uint64_t now) noexcept nogil
cdef void egress_hold(Egress *e) noexcept nogil
cdef void egress_release(Egress *e) noexcept nogil
