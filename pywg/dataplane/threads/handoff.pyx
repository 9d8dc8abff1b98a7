"""The hand-off to the receiving thread, and its end (handoff.pxd)."""
from pywg.dataplane.reorder.reorder cimport reorder_is_empty
from pywg.dataplane.send.send cimport SendPath, send_step
from pywg.dataplane.state.counters cimport count
from pywg.dataplane.state.dataplane cimport Dataplane
from pywg.dataplane.state.gate cimport gate_enter, gate_is_mine, gate_leave
from pywg.dataplane.sys.atomic cimport load64, store8_release
from pywg.dataplane.sys.checks cimport c_assert
from pywg.dataplane.sys.eventfd cimport eventfd_kick

cdef enum:
    LIGHT_NS = 10000000     # sending is handed off when neither direction had much to do for so long


cdef bint send_or_hand_off(SendPath *e) noexcept nogil:
    """Sends one batch, then hands off if that is allowed. False: nothing is left to do.

    In the sending thread, outside its gate.
    """
    cdef Dataplane *dp = e.dp
    cdef bint more
    gate_enter(&dp.send_gate)
    more = send_step(e)
    if not more and not needs_its_thread(e):
        count(&dp.counters.tx_lent)
        store8_release(&dp.handed_off, True)
        eventfd_kick(dp.receive_kick)    # the poll() that it may be in lacks the TUN
    gate_leave(&dp.send_gate)
    return more


cdef void send_handed_off(SendPath *e) noexcept nogil:
    """Sends one batch, in the receiving thread and outside its gate; then ends the hand-off if it must."""
    cdef Dataplane *dp = e.dp
    c_assert(not gate_is_mine(&dp.receive_gate))
    gate_enter(&dp.send_gate)
    send_step(e)
    if needs_its_thread(e):
        count(&dp.counters.tx_returned)
        store8_release(&dp.handed_off, False)
        eventfd_kick(dp.send_kick)
    gate_leave(&dp.send_gate)


cdef bint needs_its_thread(SendPath *e) noexcept nogil:
    """Whether the sending thread must do its own work. Inside the gate.

    A full socket or a failing TUN needs a poll() of its own, and heavy traffic a processor. What helpers have not
    finished may still block, and they kick the sending thread then.
    """
    c_assert(gate_is_mine(&e.dp.send_gate))
    return (e.backlog or e.failing or not reorder_is_empty(&e.reorder) or e.now < e.heavy_ns + LIGHT_NS
            or e.now < load64(&e.dp.receive_pressure_ns) + LIGHT_NS)
