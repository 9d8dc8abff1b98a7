"""The event queue (events.pxd)."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
from pywg.dataplane.state.peer cimport EVENT_CONFIRMED, Peer
from pywg.dataplane.sys.atomic cimport fence, load64_acquire, store8, store64, store64_release, swap8
from pywg.dataplane.sys.checks cimport c_assert
from pywg.dataplane.sys.clock cimport SECOND_NS
from pywg.dataplane.sys.eventfd cimport eventfd_kick, eventfd_take
from pywg.dataplane.sys.linux cimport EFD_CLOEXEC, EFD_NONBLOCK, close, eventfd
from pywg.dataplane.sys.linux cimport pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock
from pywg.dataplane.sys.linux cimport pthread_mutex_unlock
from pywg.dataplane.wire.endpoint cimport Endpoint


cdef int events_init(EventQueue *queue) noexcept nogil:
    """0, or -1: no memory or no eventfd. `queue` is all zeros."""
    queue.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
    queue.ring = <Message *>calloc(MESSAGE_RING, sizeof(Message))
    pthread_mutex_init(&queue.lock, NULL)
    return 0 if queue.fd >= 0 and queue.ring != NULL else -1


cdef void events_free(EventQueue *queue) noexcept nogil:
    if queue.fd >= 0:
        close(queue.fd)
    free(queue.ring)
    queue.ring = NULL
    pthread_mutex_destroy(&queue.lock)


cdef void events_signal(EventQueue *queue) noexcept nogil:
    """Makes the eventfd readable; one system call until the control plane rearms it."""
    if swap8(&queue.signalled, 1) == 0 and not eventfd_kick(queue.fd):
        store8(&queue.signalled, 0)     # the next event tries again


cdef bint events_rearm(EventQueue *queue) noexcept nogil:
    """Makes the eventfd unreadable, so that later events signal. The control plane calls it before it takes events.

    False: the kernel refuses it.
    """
    cdef bint taken = eventfd_take(queue.fd)
    swap8(&queue.signalled, 0)
    fence()
    return taken


# With the lock: a peer is in the list while it has events

cdef void append(EventQueue *queue, Peer *peer) noexcept nogil:
    peer.next_with_events = NULL
    peer.before_with_events = queue.last
    if queue.last != NULL:
        queue.last.next_with_events = peer
    else:
        queue.first = peer
    queue.last = peer


cdef void take_off(EventQueue *queue, Peer *peer) noexcept nogil:
    if peer.before_with_events != NULL:
        peer.before_with_events.next_with_events = peer.next_with_events
    else:
        c_assert(queue.first == peer)
        queue.first = peer.next_with_events
    if peer.next_with_events != NULL:
        peer.next_with_events.before_with_events = peer.before_with_events
    else:
        c_assert(queue.last == peer)
        queue.last = peer.before_with_events


cdef void events_raise(EventQueue *queue, Peer *peer, uint32_t events) noexcept nogil:
    cdef bint fresh
    pthread_mutex_lock(&queue.lock)
    fresh = peer.events == 0
    peer.events |= events
    if fresh:
        append(queue, peer)
    pthread_mutex_unlock(&queue.lock)
    if fresh:
        events_signal(queue)


cdef void events_confirmed(EventQueue *queue, Peer *peer, uint32_t local_index) noexcept nogil:
    """Raises EVENT_CONFIRMED. A peer has one unconfirmed keypair at a time, so of two events the later index counts."""
    pthread_mutex_lock(&queue.lock)
    peer.confirmed_index = local_index
    pthread_mutex_unlock(&queue.lock)
    events_raise(queue, peer, EVENT_CONFIRMED)


cdef void events_forget(EventQueue *queue, Peer *peer) noexcept nogil:
    """Takes a peer that is about to be freed off the list."""
    pthread_mutex_lock(&queue.lock)
    if peer.events != 0:
        take_off(queue, peer)
    peer.events = 0
    pthread_mutex_unlock(&queue.lock)


cdef Peer *events_take(EventQueue *queue, uint32_t *events, uint32_t *confirmed_index) noexcept nogil:
    """The next peer that has events, and which; NULL when there is none."""
    cdef Peer *peer
    pthread_mutex_lock(&queue.lock)
    peer = queue.first
    if peer != NULL:
        take_off(queue, peer)
        events[0] = peer.events
        confirmed_index[0] = peer.confirmed_index
        peer.events = 0
    pthread_mutex_unlock(&queue.lock)
    return peer


cdef bint events_push(EventQueue *queue, const Endpoint *source, const uint8_t *data, uint32_t len,
                      uint64_t now) noexcept nogil:
    """Hands a handshake message to the control plane. For the receiving thread alone. False: the ring is full."""
    cdef uint64_t written = queue.written
    cdef uint64_t waiting = written - load64_acquire(&queue.taken)
    cdef Message *slot
    c_assert(len <= sizeof(slot.data))
    c_assert(waiting <= MESSAGE_RING)
    if waiting >= UNDER_LOAD_AT:
        store64(&queue.loaded_until_ns, now + SECOND_NS)
    if waiting >= MESSAGE_RING:
        return False
    slot = &queue.ring[written % MESSAGE_RING]
    slot.source = source[0]
    slot.len = len
    memcpy(slot.data, data, len)
    store64_release(&queue.written, written + 1)
    events_signal(queue)
    return True


cdef Message *events_next_message(EventQueue *queue) noexcept nogil:
    """The oldest message, or NULL; it stays valid until `events_drop_message`."""
    if load64_acquire(&queue.written) == queue.taken:
        return NULL
    return &queue.ring[queue.taken % MESSAGE_RING]


cdef void events_drop_message(EventQueue *queue) noexcept nogil:
    store64_release(&queue.taken, queue.taken + 1)
