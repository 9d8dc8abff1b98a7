"""RX: UDP receive -> index lookup -> open -> replay -> source check -> coalesce -> TUN write, in one thread."""
from libc.stdint cimport uint8_t, uint32_t
from pywg._native.bucket cimport Bucket
from pywg._native.coalesce cimport COALESCE_MAX_IOV, Coalescer
from pywg._native.dataplane cimport Dataplane
from pywg._native.linux cimport iovec
from pywg._native.session cimport Keypair
from pywg._native.udp cimport RECEIVE_BATCH, Received, Receiver

cdef enum:
    COALESCE_PACKETS = 1024
    PENDING_MAX = 64
    COOKIE_REPLIES_PER_SECOND = 1000
    COOKIE_REPLIES_BURST = 100


# Transport messages of one keypair that wait to be opened together.
cdef struct Pending:
    Keypair *keypair
    int count
    uint8_t *datagrams[PENDING_MAX]
    uint32_t wire_lens[PENDING_MAX]
    Received *messages[PENDING_MAX]     # what each came in: where from


cdef struct Ingress:
    Dataplane *dp
    Receiver *receiver
    Received messages[RECEIVE_BATCH]
    Pending pending
    Coalescer *coalescer            # for dp.vnet_hdr_len, made anew when that changes
    int vnet_hdr_len
    iovec iov[COALESCE_MAX_IOV]
    Bucket without_cookie           # under load: handshake messages without a good MAC2

cdef Ingress *ingress_new(Dataplane *dp) noexcept nogil
cdef void ingress_free(Ingress *e) noexcept nogil
cdef void *ingress_thread(void *arg) noexcept nogil
