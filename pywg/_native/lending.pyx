"""The outbound thread, and how it lends its work.

`egress_thread` waits for the TUN, enters its gate and runs one step (egress). While there is little to send it lends
this to RX's thread, which then runs `egress_step_lent` after each batch of its own: what it has delivered is often
answered at once (by an acknowledgement, a ping's reply), and the answer leaves without another thread having to wake
up. When there is more to do than one thread should, in either direction, it is this one's turn again.
"""
from libc.stdint cimport uint64_t
from posix.unistd cimport usleep
from pywg._native cimport linux
from pywg._native.atomic cimport add64, fence, load8, load8_acquire, load64, load_int, store8_release, store64
from pywg._native.counters cimport count
from pywg._native.dataplane cimport Dataplane
from pywg._native.egress cimport Egress, egress_step
from pywg._native.gate cimport gate_enter, gate_leave
from pywg._native.linux cimport EINTR, POLLIN, POLLOUT, eventfd_read, eventfd_write, poll, pollfd
from pywg._native.pipeline cimport pipeline_is_empty

cdef enum:
    LIGHT_NS = 10000000     # TX is lent when neither direction had much to do for so long


cdef void *egress_thread(void *arg) noexcept nogil:
    cdef Egress *e = <Egress *>arg
    cdef Dataplane *dp = e.dp
    cdef bint more
    while not load8(&dp.stop):
        more = False
        if not load8_acquire(&dp.tx_lent):
            gate_enter(&dp.tx_gate)
            more = egress_step(e)
            if not more and not needs_a_thread(e):
                count(&dp.counters.tx_lent)
                store8_release(&dp.tx_lent, True)
                eventfd_write(dp.rx_kick, 1)    # its poll() is without the TUN
            gate_leave(&dp.tx_gate)
        store64(&e.turns, e.turns + 1)
        if not more:
            wait(e)
    return NULL


cdef void egress_step_lent(Egress *e) noexcept nogil:
    """One batch, in RX's thread and outside its gate. It may be the last."""
    cdef Dataplane *dp = e.dp
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
    return (e.blocked or e.failing or not pipeline_is_empty(&e.line) or e.now < e.heavy_ns + LIGHT_NS
            or e.now < load64(&e.dp.rx_pressed_ns) + LIGHT_NS)


cdef void wait(Egress *e) noexcept nogil:
    """Until the TUN has a packet, or, when UDP is full, until it is not; or until somebody kicks.

    While TX is lent, only for a kick: all but that is the other thread's.
    """
    cdef Dataplane *dp = e.dp
    cdef bint lent = load8_acquire(&dp.tx_lent)
    cdef pollfd fds[2]
    cdef uint64_t ignored
    cdef int n
    add64(&dp.tx_waits, 1)
    fence()     # either the descriptors below are today's, or Plane.settle() sees this thread waiting
    fds[0].fd = dp.tx_kick
    fds[0].events = POLLIN
    fds[1].fd = -1
    fds[1].events = POLLIN
    if not lent and load8(&e.blocked):
        # Just the socket that is full: the other one would end every poll() at once.
        fds[1].fd = load_int(&dp.fd4) if load8(&e.blocked_on) == 4 else load_int(&dp.fd6)
        fds[1].events = POLLOUT
    elif not lent and not e.failing and not e.crowded:
        fds[1].fd = load_int(&dp.tun_fd)
    n = poll(fds, 2, ERROR_PAUSE_MS if not lent and e.failing else -1)
    if n > 0 and fds[0].revents != 0:
        eventfd_read(dp.tx_kick, &ignored)
    elif n < 0 and linux.errno != EINTR:
        count(&dp.counters.tx_wait_error)   # not even waiting works: the TUN is asked now and then
        usleep(ERROR_PAUSE_MS * 1000)
    if not lent:
        e.failing = False
    add64(&dp.tx_waits, 1)
