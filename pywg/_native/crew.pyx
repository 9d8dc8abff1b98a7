"""The data plane's threads, started, woken, held and stopped (crew.pxd)."""
from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free
from posix.unistd cimport usleep
from pywg._native.atomic cimport fence, load64, store8
from pywg._native.egress cimport egress_free, egress_hold, egress_new, egress_release
from pywg._native.gate cimport gate_enter, gate_leave
from pywg._native.ingress cimport ingress_free, ingress_hold, ingress_new, ingress_release, ingress_thread
from pywg._native.lending cimport egress_thread
from pywg._native.linux cimport SIG_SETMASK, eventfd_write, pthread_create, pthread_join, pthread_setname_np
from pywg._native.linux cimport pthread_sigmask, sigfillset, sigset_t, syscall
from pywg._native.pipeline cimport SLOTS_MAX
from pywg._native.pool cimport pool_free, pool_name, pool_new, pool_start, pool_stop

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
    crew.ingress = ingress_new(dp, crew.egress, slots)
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
    crew.error = pthread_create(&crew.tx, NULL, egress_thread, crew.egress)
    if crew.error == 0:
        crew.error = pthread_create(&crew.rx, NULL, ingress_thread, crew.ingress)
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
    gate_enter(&crew.dp.tx_gate)
    gate_enter(&crew.dp.rx_gate)
    egress_hold(crew.egress)
    ingress_hold(crew.ingress)


cdef void crew_release(Crew *crew) noexcept nogil:
    ingress_release(crew.ingress)
    egress_release(crew.egress)
    gate_leave(&crew.dp.rx_gate)
    gate_leave(&crew.dp.tx_gate)
