"""TX: TUN read -> peer lookup -> segment -> seal -> UDP send, run to completion by one thread."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from pywg._native.bucket cimport Bucket
from pywg._native.dataplane cimport Dataplane
from pywg._native.icmp cimport ICMP_REPLY_MAX
from pywg._native.segment cimport Run
from pywg._native.session cimport Peer
from pywg._native.udp cimport Sender

cdef enum:
    BATCH_PACKETS = 64
    BATCH_BYTES = 65536
    FRAME_MAX = 65536 + 64          # the longest read from a TUN, with its virtio header
    MAX_RUNS = 64
    RUNS_FOR_A_FRAME = 16
    RING_LEN = BATCH_BYTES + 2 * FRAME_MAX + 256    # 256: headers, padding and tags of the last two
    SEGMENTS_LEN = 6 * 65536


cdef struct PlannedRun:
    Run run
    Peer *peer
    uint8_t tos


cdef struct Egress:
    Dataplane *dp
    uint8_t *ring                   # packets that are sealed where they were read
    uint32_t ring_used
    uint8_t *segments               # where superframes are cut to
    uint32_t segments_used
    PlannedRun runs[MAX_RUNS]
    int run_count
    bint blocked                    # UDP said EAGAIN: nothing is read until what is queued has gone
    bint failing                    # the last read of the TUN failed, for a reason that may pass
    Sender sender
    Bucket icmp
    uint8_t reply[ICMP_REPLY_MAX + 16]  # with room for a virtio header before it

cdef Egress *egress_new(Dataplane *dp) noexcept nogil
cdef void egress_free(Egress *e) noexcept nogil
cdef void *egress_thread(void *arg) noexcept nogil
cdef bint egress_send_staged(Egress *e, Peer *peer, bint keepalive_if_none, uint64_t now) noexcept nogil
