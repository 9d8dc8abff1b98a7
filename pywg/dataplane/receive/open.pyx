"""Batches of received messages (open.pxd)."""
from libc.stdint cimport uint32_t
from pywg.dataplane.crypto.aead cimport AEAD_BATCH, aead_use, open_batch
from pywg.dataplane.crypto.aead_contexts cimport AeadContexts, aead_contexts_forget
from pywg.dataplane.state.peer cimport keypair_open_key
from pywg.dataplane.sys.checks cimport static_fits
from pywg.dataplane.udp.receive cimport udp_receiver_free, udp_receiver_new


cdef int receive_batch_init(ReceiveBatch *b) noexcept nogil:
    """0, or -1: no memory. `b` is all zeros, and to be freed in either case."""
    static_fits(GROUP_MAX, AEAD_BATCH)
    static_fits(GROUP_MAX, 8 * sizeof(b.groups[0].authentic))
    b.receiver = udp_receiver_new()
    return 0 if b.receiver != NULL else -1


cdef void receive_batch_free(ReceiveBatch *b) noexcept nogil:
    udp_receiver_free(b.receiver)
    b.receiver = NULL


cdef void receive_batch_clear(ReceiveBatch *b) noexcept nogil:
    b.group_count = 0
    b.datagram_count = 0


cdef void receive_batch_open(ReceiveBatch *b, AeadContexts *contexts) noexcept nogil:
    """Opens every group. `contexts`: the calling thread's."""
    cdef Group *group
    cdef uint32_t i
    for i in range(b.group_count):
        group = &b.groups[i]
        group.authentic = 0
        if aead_use(&contexts.opener, keypair_open_key(group.keypair)) == 0:
            group.authentic = open_batch(&contexts.opener, b.datagrams + group.first, b.wire_lens + group.first,
                                         <int>group.count)
    aead_contexts_forget(contexts)
