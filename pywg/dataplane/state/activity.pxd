"""A peer that gets something to wait for, an answer or a keepalive that is owed, and how the control plane hears of it.

Once: it arms the event while there is nothing to wait for, and the thread that has something disarms and raises it.
Under load both times begin and end all the time, and nobody is woken.
"""
from libc.stdint cimport uint64_t
from pywg.dataplane.state.events cimport EventQueue, events_raise
from pywg.dataplane.state.peer cimport EVENT_ACTIVITY, Peer
from pywg.dataplane.sys.atomic cimport fence, load64, load8, store64, store8, swap8


cdef inline void activity_begins(EventQueue *queue, Peer *peer, uint64_t *since, uint64_t now) noexcept nogil:
    """`since`: the peer's unanswered_since or keepalive_owed_since. Nothing happens when it is a time already."""
    if load64(since) != 0:
        return
    store64(since, now)
    fence()                             # either this thread sees the event armed, or who arms it sees the start
    if load8(&peer.activity_armed) and swap8(&peer.activity_armed, 0):
        events_raise(queue, peer, EVENT_ACTIVITY)


cdef inline void activity_arm(Peer *peer) noexcept nogil:
    """Unless there is something to wait for. What is read next is from after the arming: nothing falls between."""
    if load64(&peer.unanswered_since) == 0 and load64(&peer.keepalive_owed_since) == 0:
        store8(&peer.activity_armed, 1)
        fence()
