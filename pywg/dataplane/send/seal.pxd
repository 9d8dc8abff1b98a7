"""A batch of packets to send: the memory they are read and cut into, the runs planned from them, and their sending.

Three steps, which different threads may do. `send_batch_reserve` gives each run its keypair, its counters and its
address, and notes that it is sent. `send_batch_seal` cuts the superframes, seals the runs and queues them.
`send_batch_send` sends the queue.
After `send_batch_seal` nothing in a batch leads to a keypair, and after `send_batch_forget_peers` nothing to a peer.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from pywg.dataplane.crypto.aead_contexts cimport AeadContexts
from pywg.dataplane.send.segment cimport Superframe
from pywg.dataplane.state.dataplane cimport Dataplane
from pywg.dataplane.state.peer cimport Keypair, Peer
from pywg.dataplane.sys.atomic cimport load_pointer
from pywg.dataplane.sys.checks cimport c_assert
from pywg.dataplane.udp.send cimport Sender
from pywg.dataplane.wire.endpoint cimport Endpoint
from pywg.dataplane.wire.run cimport Run
from pywg.dataplane.wire.wireguard cimport TAG_LEN, WG_HEADER_LEN

cdef enum:
    BATCH_PACKETS = 64
    BATCH_BYTES = 65536
    READ_MAX = 65536 + 48           # the longest read from a TUN; padding to 16 bytes never goes past it
    PACKET_ROOM = WG_HEADER_LEN + READ_MAX + TAG_LEN
    RING_LEN = BATCH_BYTES + PACKET_ROOM
    RING_FRONT = TAG_LEN            # bytes before the ring, where a virtio header may begin
    MAX_RUNS = 64
    SEGMENTS_LEN = 6 * 65536


cdef struct PlannedRun:
    Run run
    Peer *peer
    uint8_t tos
    Superframe *frame               # what it is cut from when it is sealed; NULL: it is where it was read
    Keypair *keypair
    uint64_t first_counter
    uint32_t sealed                 # how many of its datagrams are
    Endpoint to


cdef struct SendBatch:
    uint8_t *ring                   # what was read: packets that are sealed there, superframes that are cut
    uint32_t ring_used
    uint8_t *segments               # datagrams that superframes are cut into
    uint32_t segments_used
    Superframe frames[MAX_RUNS]     # those in the ring; each has a run at least
    int frame_count
    PlannedRun runs[MAX_RUNS]
    int run_count
    Sender sender

cdef int send_batch_init(SendBatch *b) noexcept nogil
cdef void send_batch_free(SendBatch *b) noexcept nogil
cdef void send_batch_plan_frame(SendBatch *b, Peer *peer, uint8_t ecn, const Run *runs, int n) noexcept nogil
cdef void send_batch_plan_packet(SendBatch *b, Peer *peer, uint8_t *packet, uint32_t packet_len, uint8_t ecn,
                                 uint32_t mtu) noexcept nogil
cdef void send_batch_reserve(SendBatch *b, Dataplane *dp, uint64_t now) noexcept nogil
cdef void send_batch_seal(SendBatch *b, Dataplane *dp, AeadContexts *contexts) noexcept nogil
cdef bint send_batch_send(SendBatch *b, Dataplane *dp) noexcept nogil
cdef void send_batch_forget_peers(SendBatch *b) noexcept nogil


cdef inline uint8_t *send_batch_next_packet(const SendBatch *b, int runs) noexcept nogil:
    """Where the next packet of the ring goes: up to READ_MAX bytes, with room for a header before and a tag after them.

    The TAG_LEN bytes before its header are free, too, until the batch is sealed: the place of the last packet's tag.
    NULL: the batch is full, or has no room for so many `runs`. Called before every packet that is read or copied into
    the ring; no other function knows how much fits.
    """
    if b.ring_used + PACKET_ROOM > RING_LEN or b.run_count + runs > MAX_RUNS:
        return NULL
    return b.ring + b.ring_used + WG_HEADER_LEN


cdef inline Superframe *send_batch_next_frame(SendBatch *b) noexcept nogil:
    """Where the next superframe is described. `send_batch_next_packet` said that there is room for its runs."""
    c_assert(b.frame_count < MAX_RUNS)
    return &b.frames[b.frame_count]


cdef inline uint8_t *send_batch_next_segments(const SendBatch *b, uint32_t *room) noexcept nogil:
    """Where the datagrams of the next superframe go; `room`: how many bytes are free there."""
    c_assert(b.segments_used <= SEGMENTS_LEN)
    room[0] = SEGMENTS_LEN - b.segments_used
    return b.segments + b.segments_used


cdef inline Keypair *sending(const Peer *peer) noexcept nogil:
    """The keypair that seals the peer's packets now, or NULL."""
    return <Keypair *>load_pointer(<void *const *>&peer.sending)
