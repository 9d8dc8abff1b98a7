"""The lending of what goes out to the thread that receives, and its end (lending.pxd)."""
from pywg.dataplane.reorder.reorder cimport pipeline_is_empty
from pywg.dataplane.send.send cimport Egress, egress_step
from pywg.dataplane.state.counters cimport count
from pywg.dataplane.state.dataplane cimport Dataplane
from pywg.dataplane.state.gate cimport gate_enter, gate_is_mine, gate_leave
from pywg.dataplane.sys.atomic cimport load64, store8_release
from pywg.dataplane.sys.checks cimport c_assert
from pywg.dataplane.sys.linux cimport eventfd_write

cdef enum:
    LIGHT_NS = 10000000     # TX is lent when neither direction had much to do for so long


cdef bint egress_step_or_lend(Egress *e) noexcept nogil:
    """One batch, in TX's thread and outside its gate; then TX is lent if it may be. False: nothing is left to do."""
    cdef Dataplane *dp = e.dp
    cdef bint more
    gate_enter(&dp.tx_gate)
    more = egress_step(e)
    if not more and not needs_a_thread(e):
        count(&dp.counters.tx_lent)
        store8_release(&dp.tx_lent, True)
        eventfd_write(dp.rx_kick, 1)    # its poll() is without the TUN
    gate_leave(&dp.tx_gate)
    return more


cdef void egress_step_lent(Egress *e) noexcept nogil:
    """One batch, in RX's thread and outside its gate. It may be the last."""
    cdef Dataplane *dp = e.dp
    c_assert(not gate_is_mine(&dp.rx_gate))
    gate_enter(&dp.tx_gate)
    egress_step(e)
    if needs_a_thread(e):
        count(&dp.counters.tx_returned)
        store8_release(&dp.tx_lent, False)
        eventfd_write(dp.tx_kick, 1)
    gate_leave(&dp.tx_gate)


cdef bint needs_a_thread(Egress *e) noexcept nogil:
    """Inside the gate: what blocks or fails needs a poll() of its own, and what is heavy a processor.

    What helpers have not finished may block yet, and they kick this thread then.
    """
    c_assert(gate_is_mine(&e.dp.tx_gate))
    return (e.blocked or e.failing or not pipeline_is_empty(&e.line) or e.now < e.heavy_ns + LIGHT_NS
            or e.now < load64(&e.dp.rx_pressed_ns) + LIGHT_NS)
