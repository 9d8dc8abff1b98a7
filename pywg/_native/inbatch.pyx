"""Batches of inbound messages (inbatch.pxd)."""
from libc.stdint cimport uint8_t, uint32_t
from pywg._native.aead cimport Aead, open_batch
from pywg._native.session cimport Keypair
from pywg._native.udp cimport Received, udp_receiver_free, udp_receiver_new
from pywg._native.worker cimport Worker, worker_forget, worker_opener


cdef int inbatch_init(InBatch *b) noexcept nogil:
    """0, or -1: no memory. `b` is all zeros, and to be freed in either case."""
    b.receiver = udp_receiver_new()
    return 0 if b.receiver != NULL else -1


cdef void inbatch_free(InBatch *b) noexcept nogil:
    udp_receiver_free(b.receiver)
    b.receiver = NULL


cdef void inbatch_clear(InBatch *b) noexcept nogil:
    b.group_count = 0
    b.datagram_count = 0


cdef bint inbatch_starts_group(const InBatch *b, const Keypair *keypair) noexcept nogil:
    """Whether the next message, of this keypair, can't be of the last group."""
    cdef const Group *last = &b.groups[b.group_count - 1]
    return b.group_count == 0 or last.count == GROUP_MAX or last.keypair != keypair


cdef void inbatch_add(InBatch *b, bint starts_group, Keypair *keypair, Received *message, uint8_t *datagram,
                      uint32_t len) noexcept nogil:
    """There is room: `datagram_count` is below DATAGRAMS_MAX."""
    cdef Group *group
    if starts_group:
        group = &b.groups[b.group_count]
        group.keypair = keypair
        group.first = b.datagram_count
        group.count = 0
        b.group_count += 1
    b.groups[b.group_count - 1].count += 1
    b.datagrams[b.datagram_count] = datagram
    b.wire_lens[b.datagram_count] = len
    b.sources[b.datagram_count] = message
    b.datagram_count += 1


cdef void inbatch_open(InBatch *b, Worker *worker) noexcept nogil:
    """Every group, with the contexts of `worker`, or with the keypairs' own: NULL, when no other batch is in work."""
    cdef Group *group
    cdef Aead *aead
    cdef uint32_t i
    for i in range(b.group_count):
        group = &b.groups[i]
        aead = &group.keypair.opener
        if worker != NULL:
            aead = worker_opener(worker, aead, <int>group.count)
        group.authentic = 0
        if aead != NULL:
            group.authentic = open_batch(aead, b.datagrams + group.first, b.wire_lens + group.first, <int>group.count)
    if worker != NULL:
        worker_forget(worker)
