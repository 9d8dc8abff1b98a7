"""The send path: TUN read -> peer lookup -> segment -> seal -> UDP send, by one thread, or with helpers."""
from libc.stdint cimport uint8_t, uint64_t
from pywg.dataplane.crypto.aead_contexts cimport AeadContexts
from pywg.dataplane.reorder.pool cimport Pool
from pywg.dataplane.reorder.reorder cimport Reorder
from pywg.dataplane.send.seal cimport SendBatch
from pywg.dataplane.send.unreachable cimport ICMP_REPLY_MAX
from pywg.dataplane.state.dataplane cimport Dataplane
from pywg.dataplane.state.peer cimport Peer
from pywg.dataplane.state.token_bucket cimport TokenBucket
from pywg.dataplane.wire.virtio cimport VNET_HDR_MAX

cdef enum:
    RUNS_FOR_A_FRAME = 16


cdef struct SendPath:
    Dataplane *dp
    SendBatch *batches              # one, or one for each slot of `reorder`
    int batch_count
    SendBatch *batch                # the one that is being filled
    uint8_t backlog                 # atomic: a socket is full, and nothing is read until the queue is sent
    uint8_t backlog_family          # atomic: 4 or 16, the family of the socket that is full
    bint filling                    # `batch` takes more
    bint no_free_batch              # no batch is free: nothing is read until half of them are
    bint failing                    # the last read of the TUN failed, for a reason that may pass
    uint64_t now, heavy_ns          # when the last batch began, and the last heavy one (HEAVY_BYTES)
    TokenBucket icmp
    uint8_t reply[VNET_HDR_MAX + ICMP_REPLY_MAX]
    # With helpers only
    Pool *pool
    Reorder reorder
    AeadContexts contexts
    bint on_hold                    # the control plane holds `reorder`

cdef SendPath *send_path_new(Dataplane *dp, int slots) noexcept nogil
cdef void send_path_turns(SendPath *e, int looks) noexcept nogil
cdef void send_path_free(SendPath *e) noexcept nogil
cdef bint send_step(SendPath *e) noexcept nogil
cdef bint send_staged(SendPath *e, Peer *peer, bint keepalive_if_none, uint64_t now) noexcept nogil
cdef void send_path_hold(SendPath *e) noexcept nogil
cdef void send_path_release(SendPath *e) noexcept nogil
