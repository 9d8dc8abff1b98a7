"""The data plane's threads, started, woken, held and stopped (crew.pxd)."""
from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free
from posix.unistd cimport usleep
from pywg.dataplane.receive.receive cimport ERROR_PAUSE_MS, ERROR_PAUSE_NS, FAILURES_MAX, Ingress, ingress_free
from pywg.dataplane.receive.receive cimport ingress_hold, ingress_new, ingress_release, ingress_step
from pywg.dataplane.reorder.pool cimport pool_free, pool_name, pool_new, pool_start, pool_stop
from pywg.dataplane.reorder.reorder cimport SLOTS_MAX
from pywg.dataplane.send.send cimport Egress, egress_free, egress_hold, egress_new, egress_release
from pywg.dataplane.state.counters cimport count
from pywg.dataplane.state.dataplane cimport Dataplane, gates_enter, gates_leave
from pywg.dataplane.state.gate cimport gate_enter, gate_leave
from pywg.dataplane.sys cimport linux
from pywg.dataplane.sys.atomic cimport add64, fence, load64, load8, load8_acquire, load_int, store64, store8
from pywg.dataplane.sys.clock cimport now_ns
from pywg.dataplane.sys.linux cimport EINTR, POLLIN, POLLOUT, SIG_SETMASK, eventfd_read, eventfd_write, poll, pollfd
from pywg.dataplane.sys.linux cimport pthread_create, pthread_join, pthread_setname_np, pthread_sigmask, sigfillset
from pywg.dataplane.sys.linux cimport sigset_t, syscall
from pywg.dataplane.threads.handoff cimport egress_step_lent, egress_step_or_lend

cdef enum:
    FEW_HELPERS = 4                 # for so many, half of the slots are enough
    LANDLOCK_RESTRICT_SELF = 446    # the same number on every architecture but alpha


cdef Crew *crew_new(Dataplane *dp, int helpers) noexcept nogil:
    """Not started yet. NULL: no memory."""
    cdef int slots = 1 if helpers == 0 else SLOTS_MAX // 2 if helpers <= FEW_HELPERS else SLOTS_MAX
    cdef Crew *crew = <Crew *>calloc(1, sizeof(Crew))
    if crew == NULL:
        return NULL
    crew.dp = dp
    crew.egress = egress_new(dp, slots)
    crew.ingress = ingress_new(dp, slots)
    if crew.egress != NULL and crew.ingress != NULL and helpers:
        crew.pool = crew.egress.pool = crew.ingress.pool = pool_new(helpers, &crew.egress.line, &crew.ingress.line)
    if crew.egress == NULL or crew.ingress == NULL or (helpers and crew.pool == NULL):
        crew_free(crew)
        return NULL
    return crew


cdef void crew_free(Crew *crew) noexcept nogil:
    """Of threads that are stopped, or were never started."""
    if crew == NULL:
        return
    egress_free(crew.egress)
    ingress_free(crew.ingress)
    pool_free(crew.pool)
    free(crew)


cdef int crew_start(Crew *crew, int ruleset) noexcept nogil:
    """Starts all, with every signal blocked (they are the event loop's); returns when they run. -1: could not.

    With a Landlock `ruleset` they are under it (`confined`) and the caller is not, where the kernel lets them.
    """
    cdef sigset_t everything, before
    cdef pthread_t starter
    crew.ruleset = ruleset
    sigfillset(&everything)
    pthread_sigmask(SIG_SETMASK, &everything, &before)
    if ruleset < 0:
        crew.running = create_all(crew)
    else:
        crew.error = pthread_create(&starter, NULL, starter_thread, crew)
        if crew.error == 0:
            pthread_join(starter, NULL)
    pthread_sigmask(SIG_SETMASK, &before, NULL)
    if not crew.running:
        return -1
    # Not by the thread that started them: naming another thread is writing a file.
    pthread_setname_np(crew.tx, "pywg-tx")
    pthread_setname_np(crew.rx, "pywg-rx")
    if crew.pool != NULL:
        pool_name(crew.pool)
    # Only now have all made the system calls of a thread's start, which a sandbox may not allow later.
    while (load64(&crew.dp.tx_waits) == 0 or load64(&crew.dp.rx_waits) == 0
            or (crew.pool != NULL and load64(&crew.pool.running) < <uint64_t>crew.pool.count)):
        usleep(20)
    return 0


cdef void *starter_thread(void *arg) noexcept nogil:
    """A domain of Landlock holds the thread that enters it and those that this one starts."""
    cdef Crew *crew = <Crew *>arg
    crew.confined = syscall(LANDLOCK_RESTRICT_SELF, <long>crew.ruleset, <long>0) == 0
    crew.running = create_all(crew)
    return NULL


cdef bint create_all(Crew *crew) noexcept nogil:
    """All of them, or none."""
    if crew.pool != NULL:
        crew.error = pool_start(crew.pool)
        if crew.error != 0:
            return False
    crew.error = pthread_create(&crew.tx, NULL, send_thread, crew)
    if crew.error == 0:
        crew.error = pthread_create(&crew.rx, NULL, receive_thread, crew)
        if crew.error == 0:
            return True
        stop_reading(crew)
        pthread_join(crew.tx, NULL)
    if crew.pool != NULL:
        pool_stop(crew.pool)
    return False


cdef void stop_reading(Crew *crew) noexcept nogil:
    store8(&crew.dp.stop, 1)
    crew_kick(crew)


cdef void crew_stop(Crew *crew) noexcept nogil:
    """Returns when all have ended; idempotent."""
    if not crew.running:
        return
    crew.running = False
    stop_reading(crew)
    pthread_join(crew.tx, NULL)
    pthread_join(crew.rx, NULL)
    if crew.pool != NULL:
        pool_stop(crew.pool)


# ---- the loops

cdef void *send_thread(void *arg) noexcept nogil:
    """Sends what the TUN has, in TX's gate; while TX is lent it sleeps."""
    cdef Crew *crew = <Crew *>arg
    cdef Dataplane *dp = crew.dp
    cdef bint more
    while not load8(&dp.stop):
        more = False
        if not load8_acquire(&dp.tx_lent):
            more = egress_step_or_lend(crew.egress)
        store64(&crew.tx_turns, crew.tx_turns + 1)
        if not more:
            wait_to_send(crew.egress)
    return NULL


cdef void wait_to_send(Egress *e) noexcept nogil:
    """Until the TUN has a packet, or, when UDP is full, until it is not; or for a kick.

    While TX is lent, only for a kick: all but that is the other thread's.
    """
    cdef Dataplane *dp = e.dp
    cdef bint lent = load8_acquire(&dp.tx_lent)
    cdef pollfd fds[2]
    cdef uint64_t ignored
    cdef int n
    add64(&dp.tx_waits, 1)
    fence()     # either the descriptors below are today's, or crew_settle() sees this thread waiting
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


cdef void *receive_thread(void *arg) noexcept nogil:
    """Receives what the sockets have, in RX's gate; while TX is lent to it, it sends as well."""
    cdef Crew *crew = <Crew *>arg
    cdef Dataplane *dp = crew.dp
    while not load8(&dp.stop):
        wait_to_receive(crew.ingress)
        gate_enter(&dp.rx_gate)
        ingress_step(crew.ingress)
        gate_leave(&dp.rx_gate)
        if load8_acquire(&dp.tx_lent):
            egress_step_lent(crew.egress)
        store64(&crew.rx_turns, crew.rx_turns + 1)
    return NULL


cdef void wait_to_receive(Ingress *e) noexcept nogil:
    """Until a socket has a message, or for a kick; while TX is lent, the TUN too. Notes which socket it is.

    Before each batch: asking an empty socket costs a system call too, and both would be asked until both are empty.
    """
    cdef Dataplane *dp = e.dp
    cdef pollfd fds[4]
    cdef uint64_t ignored
    cdef int timeout_ms = -1, n
    add64(&dp.rx_waits, 1)
    fence()     # either the descriptors below are today's, or crew_settle() sees this thread waiting
    fds[0].fd = dp.rx_kick
    fds[1].fd = load_int(&dp.fd4) if not e.crowded else -1
    fds[2].fd = load_int(&dp.fd6) if not e.crowded else -1
    fds[3].fd = load_int(&dp.tun_fd) if load8(&dp.tx_lent) else -1
    fds[0].events = fds[1].events = fds[2].events = fds[3].events = POLLIN
    e.crowded = e.ready4 = e.ready6 = False
    if e.resting_ns != 0 and leave_out_failing(e, fds):
        timeout_ms = ERROR_PAUSE_MS
    n = poll(fds, 4, timeout_ms)
    if n > 0:
        e.ready4 = fds[1].revents != 0
        e.ready6 = fds[2].revents != 0
        if fds[0].revents != 0:
            eventfd_read(dp.rx_kick, &ignored)
    elif n < 0 and linux.errno != EINTR:
        # Not even waiting works: both sockets are asked now and then, and TX does its own work.
        count(&dp.counters.rx_wait_error)
        store64(&dp.rx_pressed_ns, now_ns() + ERROR_PAUSE_NS)
        usleep(ERROR_PAUSE_MS * 1000)
        e.ready4 = e.ready6 = True
    add64(&dp.rx_waits, 1)


cdef bint leave_out_failing(Ingress *e, pollfd *fds) noexcept nogil:
    """Sockets that fail are readable all the time. False: they have rested enough, and are to be tried again."""
    if now_ns() >= e.resting_ns:
        e.resting_ns = 0
        return False
    if e.failures4 >= FAILURES_MAX:
        fds[1].fd = -1
    if e.failures6 >= FAILURES_MAX:
        fds[2].fd = -1
    return True


# ---- the control plane

cdef int crew_count(const Crew *crew) noexcept nogil:
    return 2 + (crew.pool.count if crew.pool != NULL else 0)


cdef void crew_kick(Crew *crew) noexcept nogil:
    """Wakes the two that read."""
    eventfd_write(crew.dp.tx_kick, 1)
    eventfd_write(crew.dp.rx_kick, 1)


cdef void crew_settle(Crew *crew) noexcept nogil:
    """Kicks them, and returns when none is in a poll() from before: it would keep a closed socket alive."""
    cdef uint64_t tx, rx
    fence()
    tx = load64(&crew.dp.tx_waits)
    rx = load64(&crew.dp.rx_waits)
    crew_kick(crew)
    while (tx & 1 and load64(&crew.dp.tx_waits) == tx) or (rx & 1 and load64(&crew.dp.rx_waits) == rx):
        usleep(20)


cdef void crew_hold(Crew *crew) noexcept nogil:
    gates_enter(crew.dp)
    egress_hold(crew.egress)
    ingress_hold(crew.ingress)


cdef void crew_release(Crew *crew) noexcept nogil:
    ingress_release(crew.ingress)
    egress_release(crew.egress)
    gates_leave(crew.dp)
