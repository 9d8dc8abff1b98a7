"""A batch of received messages: the memory they are received into, and their transport data.

Messages of one keypair that follow each other are a group, which is opened together. The receiving thread fills a
batch. Opening touches nothing but the group's datagrams. All that an authentic message changes is left to delivery.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from pywg.dataplane.crypto.aead_contexts cimport AeadContexts
from pywg.dataplane.reorder.reorder cimport LANES_MAX
from pywg.dataplane.state.peer cimport Keypair
from pywg.dataplane.sys.checks cimport c_assert
from pywg.dataplane.udp.receive cimport RECEIVE_BATCH, ReceiveMeta, Receiver
from pywg.dataplane.wire.wireguard cimport TRANSPORT_MIN_LEN

cdef enum:
    GROUP_MAX = 64
    DATAGRAMS_MAX = RECEIVE_BATCH * 128     # 128: UDP_MAX_SEGMENTS of newer kernels


cdef struct Group:
    Keypair *keypair
    uint32_t first              # index of its first datagram
    uint32_t count
    uint64_t authentic          # bit i: datagram first + i is authentic


cdef struct ReceiveBatch:
    Receiver *receiver
    ReceiveMeta messages[RECEIVE_BATCH]
    uint64_t now
    uint32_t group_count
    uint32_t datagram_count
    Group groups[DATAGRAMS_MAX]
    uint8_t *datagrams[DATAGRAMS_MAX]
    uint32_t wire_lens[DATAGRAMS_MAX]
    ReceiveMeta *sources[DATAGRAMS_MAX]    # the message that each came in
    # With helpers: what delivery finds out (deliver.pyx)
    bint together                   # all packets take lane 0, between those of other batches in any lane
    uint8_t fates[DATAGRAMS_MAX]
    uint16_t first_in_lane[LANES_MAX]
    uint16_t last_in_lane[LANES_MAX]
    uint16_t next_in_lane[DATAGRAMS_MAX]

cdef int receive_batch_init(ReceiveBatch *b) noexcept nogil
cdef void receive_batch_free(ReceiveBatch *b) noexcept nogil
cdef void receive_batch_clear(ReceiveBatch *b) noexcept nogil
cdef void receive_batch_open(ReceiveBatch *b, AeadContexts *contexts) noexcept nogil


cdef inline bint receive_batch_starts_group(const ReceiveBatch *b, const Keypair *keypair) noexcept nogil:
    """Whether the next message, which is of this keypair, can't join the last group."""
    cdef const Group *last
    if b.group_count == 0:
        return True
    last = &b.groups[b.group_count - 1]
    return last.count == GROUP_MAX or last.keypair != keypair


cdef inline bint receive_batch_has_room(const ReceiveBatch *b) noexcept nogil:
    """Whether there is room for one more datagram, and so for one more group. Called before each is added."""
    return b.datagram_count < DATAGRAMS_MAX


cdef inline void receive_batch_add(ReceiveBatch *b, bint starts_group, Keypair *keypair, ReceiveMeta *message,
                                   uint8_t *datagram, uint32_t len) noexcept nogil:
    """Adds a datagram. `receive_batch_has_room` said that there is room."""
    cdef Group *group
    c_assert(receive_batch_has_room(b))
    c_assert(b.group_count <= b.datagram_count)
    c_assert(len >= TRANSPORT_MIN_LEN)
    c_assert(starts_group == receive_batch_starts_group(b, keypair))
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
