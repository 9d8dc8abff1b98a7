"""The loops of the sending and of the receiving thread (loops.pxd). `arg`: the shard's Threads."""
from posix.unistd cimport usleep
from pywg.dataplane.receive.receive cimport ERROR_PAUSE_MS, ERROR_PAUSE_NS, FAILURES_MAX, ReceivePath, receive_step
from pywg.dataplane.send.send cimport SendPath
from pywg.dataplane.state.counters cimport count
from pywg.dataplane.state.dataplane cimport Dataplane
from pywg.dataplane.state.gate cimport gate_enter, gate_leave
from pywg.dataplane.sys cimport linux
from pywg.dataplane.sys.atomic cimport add64, fence, load8, load8_acquire, load_int, store64, store8_release
from pywg.dataplane.sys.clock cimport now_ns
from pywg.dataplane.sys.eventfd cimport eventfd_take
from pywg.dataplane.sys.linux cimport EINTR, POLLIN, POLLOUT, poll, pollfd, pthread_self, pthread_setname_np
from pywg.dataplane.sys.seccomp cimport filter_enter
from pywg.dataplane.threads.handoff cimport send_handed_off, send_or_hand_off


cdef void *send_thread(void *arg) noexcept nogil:
    """The sending thread: sends what the TUN has, inside the sending gate. While that is handed off, it sleeps."""
    cdef Threads *threads = <Threads *>arg
    cdef Dataplane *dp = threads.dp
    cdef bint more
    pthread_setname_np(pthread_self(), "pywg-tx")   # by itself: for another thread it would write a file in /proc
    filter_enter(&threads.filters[FILTER_SENDER])
    while not load8(&dp.stop):
        more = False
        if not load8_acquire(&dp.handed_off):
            more = send_or_hand_off(threads.send_path)
        store64(&threads.send_heartbeats, threads.send_heartbeats + 1)
        if not more:
            wait_to_send(threads.send_path)
    store8_release(&threads.send_ended, 1)
    return NULL


cdef void wait_to_send(SendPath *e) noexcept nogil:
    """Waits for a kick, or until the TUN has a packet or, where a socket is full, that has room.

    While sending is handed off, waits only for a kick: the rest is the receiving thread's.
    """
    cdef Dataplane *dp = e.dp
    cdef bint handed_off = load8_acquire(&dp.handed_off)
    cdef pollfd fds[2]
    cdef int n
    add64(&dp.send_waits, 1)
    fence()     # either the descriptors below are the new ones, or threads_settle() sees this thread waiting
    fds[0].fd = dp.send_kick
    fds[0].events = POLLIN
    fds[1].fd = -1
    fds[1].events = POLLIN
    if not handed_off and load8(&e.backlog):
        # Only the socket that is full: the other one would end every poll() at once.
        fds[1].fd = load_int(&dp.fd4) if load8(&e.backlog_family) == 4 else load_int(&dp.fd6)
        fds[1].events = POLLOUT
    elif not handed_off and not e.failing and not e.no_free_batch:
        fds[1].fd = load_int(&dp.tun_fd)
    n = poll(fds, 2, ERROR_PAUSE_MS if not handed_off and e.failing else -1)
    if n < 0 and linux.errno != EINTR or n > 0 and fds[0].revents != 0 and not eventfd_take(dp.send_kick):
        count(&dp.counters.tx_wait_error)   # not even waiting works: read the TUN now and then
        usleep(ERROR_PAUSE_MS * 1000)
    if not handed_off:
        e.failing = False
    add64(&dp.send_waits, 1)


cdef void *receive_thread(void *arg) noexcept nogil:
    """The receiving thread: receives what the sockets have, inside the receiving gate.

    While sending is handed off to it, it sends as well.
    """
    cdef Threads *threads = <Threads *>arg
    cdef Dataplane *dp = threads.dp
    pthread_setname_np(pthread_self(), "pywg-rx")
    filter_enter(&threads.filters[FILTER_RECEIVER])
    while not load8(&dp.stop):
        wait_to_receive(threads.receive_path)
        gate_enter(&dp.receive_gate)
        receive_step(threads.receive_path)
        gate_leave(&dp.receive_gate)
        if load8_acquire(&dp.handed_off):
            send_handed_off(threads.send_path)
        store64(&threads.receive_heartbeats, threads.receive_heartbeats + 1)
    store8_release(&threads.receive_ended, 1)
    return NULL


cdef void wait_to_receive(ReceivePath *e) noexcept nogil:
    """Waits until a socket has a message, or for a kick; while sending is handed off, for the TUN too.

    Notes which socket has a message. That saves system calls although it is done before each batch: otherwise both
    sockets would be read until both are empty.
    """
    cdef Dataplane *dp = e.dp
    cdef pollfd fds[4]
    cdef int timeout_ms = -1, n
    cdef bint receives
    add64(&dp.receive_waits, 1)
    fence()     # either the descriptors below are the new ones, or threads_settle() sees this thread waiting
    receives = load8(&dp.receives)
    fds[0].fd = dp.receive_kick
    fds[1].fd = load_int(&dp.fd4) if receives and not e.no_free_batch else -1
    fds[2].fd = load_int(&dp.fd6) if receives and not e.no_free_batch else -1
    fds[3].fd = load_int(&dp.tun_fd) if load8(&dp.handed_off) else -1
    fds[0].events = fds[1].events = fds[2].events = fds[3].events = POLLIN
    e.no_free_batch = e.ready4 = e.ready6 = False
    if e.resting_ns != 0 and leave_out_failing(e, fds):
        timeout_ms = ERROR_PAUSE_MS
    n = poll(fds, 4, timeout_ms)
    if n > 0:
        e.ready4 = fds[1].revents != 0
        e.ready6 = fds[2].revents != 0
    if n < 0 and linux.errno != EINTR or n > 0 and fds[0].revents != 0 and not eventfd_take(dp.receive_kick):
        # Not even waiting works: read both sockets now and then, and let the sending thread do its own work.
        count(&dp.counters.rx_wait_error)
        store64(&dp.receive_pressure_ns, now_ns() + ERROR_PAUSE_NS)
        usleep(ERROR_PAUSE_MS * 1000)
        e.ready4 = e.ready6 = receives
    add64(&dp.receive_waits, 1)


cdef bint leave_out_failing(ReceivePath *e, pollfd *fds) noexcept nogil:
    """Leaves failing sockets out of `fds`: they are readable all the time. False: their pause is over, try again."""
    if now_ns() >= e.resting_ns:
        e.resting_ns = 0
        return False
    if e.failures4 >= FAILURES_MAX:
        fds[1].fd = -1
    if e.failures6 >= FAILURES_MAX:
        fds[2].fd = -1
    return True
