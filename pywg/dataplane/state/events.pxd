"""Events from the threads to the control plane: handshake messages, and what happened to which peer.

Handshake messages go through a bounded ring, which the receiving thread writes and the control plane reads. A flood
fills it; further messages are dropped and counted. Facts about peers must not get lost: they are bits in the peer, and
a list of the peers that have any. One eventfd wakes the control plane for both.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from pywg.dataplane.state.peer cimport Peer
from pywg.dataplane.sys.linux cimport pthread_mutex_t
from pywg.dataplane.wire.endpoint cimport Endpoint
from pywg.dataplane.wire.wireguard cimport INITIATION_LEN

cdef enum:
    MESSAGE_RING = 4096                 # the kernel's MAX_QUEUED_INCOMING_HANDSHAKES
    UNDER_LOAD_AT = 512                 # messages waiting: an eighth, the kernel's threshold; lasts one second more

# Device-wide facts
cdef enum:
    DEVICE_TUN_GONE = 1
    DEVICE_UNDER_LOAD = 2


cdef struct Message:
    Endpoint source
    uint32_t len
    uint8_t data[INITIATION_LEN]

cdef struct EventQueue:
    int fd                      # eventfd
    uint8_t signalled           # atomic: the eventfd is readable
    Message *ring
    uint64_t written            # atomic: messages ever written (receiving thread)
    uint64_t taken              # atomic: messages ever taken (control plane)
    uint64_t loaded_until_ns    # atomic: under load until then
    uint8_t tun_gone            # atomic
    pthread_mutex_t lock        # guards the list below and the events fields of the peers
    Peer *first
    Peer *last

cdef int events_init(EventQueue *queue) noexcept nogil
cdef void events_free(EventQueue *queue) noexcept nogil
cdef void events_signal(EventQueue *queue) noexcept nogil
cdef void events_raise(EventQueue *queue, Peer *peer, uint32_t events) noexcept nogil
cdef void events_confirmed(EventQueue *queue, Peer *peer, uint32_t local_index) noexcept nogil
cdef void events_forget(EventQueue *queue, Peer *peer) noexcept nogil
cdef Peer *events_take(EventQueue *queue, uint32_t *events, uint32_t *confirmed_index) noexcept nogil
cdef bint events_push(EventQueue *queue, const Endpoint *source, const uint8_t *data, uint32_t len,
                      uint64_t now) noexcept nogil
cdef Message *events_next_message(EventQueue *queue) noexcept nogil
cdef void events_drop_message(EventQueue *queue) noexcept nogil
cdef bint events_rearm(EventQueue *queue) noexcept nogil
