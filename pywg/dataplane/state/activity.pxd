"""Activity events: a peer's timer begins to matter, as an answer is awaited or a keepalive owed, and is to be run.

The control plane arms the event while neither is so. The thread that starts one of the two times disarms the event and
raises it, so the control plane hears of it once. Under load both times start and stop all the time, and no event is
raised.
"""
from libc.stdint cimport uint64_t
from pywg.dataplane.state.events cimport EventQueue, events_raise
from pywg.dataplane.state.peer cimport EVENT_ACTIVITY, Peer
from pywg.dataplane.sys.atomic cimport fence, load64, load8, store64, store8, swap8


cdef inline void activity_begins(EventQueue *queue, Peer *peer, uint64_t *since, uint64_t now) noexcept nogil:
    """Starts a time. `since`: the peer's unanswered_since or keepalive_owed_since; no change if it runs already."""
    if load64(since) != 0:
        return
    store64(since, now)
    fence()                             # either this thread sees the event armed, or the control plane sees the start
    if load8(&peer.activity_armed) and swap8(&peer.activity_armed, 0):
        events_raise(queue, peer, EVENT_ACTIVITY)


cdef inline void activity_ends(uint64_t *since) noexcept nogil:
    """Ends a time. A time that does not run is not written: both directions' threads keep reading it."""
    if load64(since) != 0:
        store64(since, 0)


cdef inline void activity_arm(Peer *peer) noexcept nogil:
    """Arms the event, unless one of the times runs. The caller reads them after this, so it misses no start."""
    if load64(&peer.unanswered_since) == 0 and load64(&peer.keepalive_owed_since) == 0:
        store8(&peer.activity_armed, 1)
        fence()
