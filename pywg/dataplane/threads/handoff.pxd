"""The hand-off of sending to the receiving thread, while there is little to send.

The receiving thread then sends a batch after each batch of its own. What it has delivered is often answered at once (by
an acknowledgement, a ping's reply), and the answer leaves without another thread having to wake up. When either
direction has more to do than one thread should, the sending thread takes its work back.
"""
from pywg.dataplane.send.send cimport SendPath

cdef bint send_or_hand_off(SendPath *e) noexcept nogil
cdef void send_handed_off(SendPath *e) noexcept nogil
