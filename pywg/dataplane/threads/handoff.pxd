"""Which thread carries what goes out: its own, or while there is little of it, the one that receives.

While there is little to send, the sending thread lends its work to the receiving one, which then sends a batch after
each batch of its own: what it has delivered is often answered at once (by an acknowledgement, a ping's reply), and the
answer leaves without another thread having to wake up. When there is more to do than one thread should, in either
direction, it is the sending thread's turn again.
"""
from pywg.dataplane.send.send cimport SendPath

cdef bint send_or_hand_off(SendPath *e) noexcept nogil
cdef void send_handed_off(SendPath *e) noexcept nogil
