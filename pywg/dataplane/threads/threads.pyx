"""The data plane's threads, started, woken, held and stopped (threads.pxd)."""
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset
from posix.unistd cimport usleep
from pywg.dataplane.receive.deliver cimport delivery_forget_prepared, delivery_prepare, delivery_renew
from pywg.dataplane.receive.receive cimport ERROR_PAUSE_MS, receive_path_free, receive_path_hold, receive_path_new
from pywg.dataplane.receive.receive cimport receive_path_release
from pywg.dataplane.reorder.pool cimport pool_free, pool_new, pool_start, pool_stop
from pywg.dataplane.reorder.reorder cimport LANES_MAX, SLOTS_MAX
from pywg.dataplane.send.send cimport send_path_free, send_path_hold, send_path_new, send_path_release, send_path_turns
from pywg.dataplane.state.dataplane cimport Dataplane, gates_enter, gates_leave
from pywg.dataplane.sys.atomic cimport fence, load64, load8_acquire, store8
from pywg.dataplane.sys.eventfd cimport eventfd_kick
from pywg.dataplane.sys.linux cimport SIGSYS, SIG_SETMASK, cpu_set_t, pthread_create, pthread_getaffinity_np
from pywg.dataplane.sys.linux cimport pthread_join, pthread_sigmask, pthread_t, sigdelset, sigfillset, sigset_t, syscall
from pywg.dataplane.threads.loops cimport FILTERS, FILTER_HELPER, receive_thread, send_thread

cdef extern from * nogil:
    """
    #include <malloc.h>
    #include <stdlib.h>
    #ifdef M_ARENA_MAX
    #define pywg_limit_heaps(heaps) \\
        ((void)(getenv("MALLOC_ARENA_MAX") || getenv("GLIBC_TUNABLES") || mallopt(M_ARENA_MAX, (heaps))))
    #else
    #define pywg_limit_heaps(heaps) ((void)(heaps))
    #endif
    """
    void limit_heaps "pywg_limit_heaps"(int heaps)
    int count_bits "__builtin_popcountll"(unsigned long long word)

cdef enum:
    SOON = 50                       # rounds, of 20 us, within which threads notice a kick
    FEW_HELPERS = 4                 # for up to so many, half of the slots are enough
    THREADS_A_LANE = 3              # one of three writes to the TUN: opening a batch takes about as long
    LANDLOCK_RESTRICT_SELF = 446    # the same number on every architecture but alpha
    HEAPS = 8
    TRIM_BLOCKS = 160
    TRIM_BLOCK_LEN = 100000         # below what malloc() maps apart
    PROCESSOR_WORDS = 128           # of 64 processors each: as many as Linux can have


cdef Threads *threads_new(Dataplane *dp, int helpers, int turn_looks) noexcept nogil:
    """A shard's threads, before their start. `turn_looks`: of a thread that waits to send; 0: none. NULL: no memory."""
    cdef int slots = 1 if helpers == 0 else SLOTS_MAX // 2 if helpers <= FEW_HELPERS else SLOTS_MAX
    cdef int lanes = 0 if helpers == 0 else max(1, min(LANES_MAX, (helpers + 2) // THREADS_A_LANE))
    cdef Threads *threads = <Threads *>calloc(1, sizeof(Threads))
    if threads == NULL:
        return NULL
    threads.dp = dp
    threads.send_path = send_path_new(dp, slots)
    threads.receive_path = receive_path_new(dp, slots, lanes)
    if threads.send_path != NULL and threads.receive_path != NULL and helpers:
        threads.pool = threads.send_path.pool = threads.receive_path.pool = pool_new(
            helpers, dp.aead, &threads.send_path.reorder, &threads.receive_path.reorder)
    if threads.send_path == NULL or threads.receive_path == NULL or (helpers and threads.pool == NULL):
        threads_free(threads)
        return NULL
    if helpers:
        send_path_turns(threads.send_path, turn_looks)
    return threads


cdef bint threads_add(Threads *first, Dataplane *dp, int helpers, int turn_looks) noexcept nogil:
    """Adds those of one more shard, `dp`, before the start. False: no memory."""
    cdef Threads *last = first
    while last.next != NULL:
        last = last.next
    last.next = threads_new(dp, helpers, turn_looks)
    return last.next != NULL


cdef void threads_free(Threads *threads) noexcept nogil:
    """Frees threads that are stopped, or were never started."""
    cdef Threads *next
    while threads != NULL:
        next = threads.next
        send_path_free(threads.send_path)
        receive_path_free(threads.receive_path)
        pool_free(threads.pool)
        free(threads)
        threads = next


cdef void threads_filter(Threads *threads, int kind, const char *program, size_t len) noexcept nogil:
    """Threads of this kind are to enter a filter at their start. The program has to stay until they have started."""
    while threads != NULL:
        if len > 0:
            threads.filters[kind].program = program
            threads.filters[kind].program_len = len
        if threads.pool != NULL:
            threads.pool.filter = &threads.filters[FILTER_HELPER]
        threads = threads.next


cdef int threads_start(Threads *threads, int ruleset) noexcept nogil:
    """Starts all threads; returns when they run. -1: could not.

    Every signal is blocked in them but SIGSYS, which is about a call of their own (seccomp.pxd): signals are the event
    loop's. With a Landlock `ruleset` they are under it (`confined`), where the kernel lets them, and the caller is not.
    """
    cdef sigset_t everything, before
    cdef Threads *shard = threads
    cdef pthread_t starter
    cdef int error
    threads.ruleset = ruleset
    threads.error = 0
    sigfillset(&everything)
    sigdelset(&everything, SIGSYS)
    pthread_sigmask(SIG_SETMASK, &everything, &before)
    error = pthread_create(&starter, NULL, starter_thread, threads)
    if error == 0:
        pthread_join(starter, NULL)     # it writes threads.error
    else:
        threads.error = error
    pthread_sigmask(SIG_SETMASK, &before, NULL)
    if error != 0 or threads.error != 0:
        threads_stop(threads)
        return -1
    # Wait until all threads have made the system calls of their start, which a sandbox may forbid later.
    while shard != NULL:
        while (load64(&shard.dp.send_waits) == 0 or load64(&shard.dp.receive_waits) == 0
                or (shard.pool != NULL and load64(&shard.pool.running) < <uint64_t>shard.pool.count)):
            usleep(20)
        shard = shard.next
    return 0


cdef void *starter_thread(void *arg) noexcept nogil:
    """Starts the threads, in a Landlock domain if there is one: it holds the thread that enters and all it starts.

    With an error of a later shard, in the first one's `error`, those before run.
    """
    cdef Threads *first = <Threads *>arg
    cdef Threads *shard = first
    cdef bint confined = first.ruleset >= 0 and syscall(LANDLOCK_RESTRICT_SELF, <long>first.ruleset, <long>0) == 0
    settle_malloc()
    while shard != NULL and first.error == 0:
        shard.confined = confined
        shard.running = create_all(shard)
        if not shard.running:
            first.error = shard.error
        shard = shard.next
    return NULL


cdef void settle_malloc() noexcept nogil:
    """Has malloc() of glibc do what it does once a process, and opens files for: later the threads may open none.

    It counts processors before it makes a ninth heap; so there are no more than eight, unless the environment says how
    many. It reads vm.overcommit_memory when it first gives memory of a thread's heap back. Without this, each of the
    two would look like an intruder's attempt.
    """
    cdef void *blocks[TRIM_BLOCKS]
    cdef int i
    limit_heaps(HEAPS)
    for i in range(TRIM_BLOCKS):
        blocks[i] = malloc(TRIM_BLOCK_LEN)
    for i in range(TRIM_BLOCKS):
        free(blocks[i])


cdef bint create_all(Threads *threads) noexcept nogil:
    """Starts all threads, or none (False)."""
    if threads.pool != NULL:
        threads.error = pool_start(threads.pool)
        if threads.error != 0:
            return False
    threads.error = pthread_create(&threads.tx, NULL, send_thread, threads)
    if threads.error == 0:
        threads.error = pthread_create(&threads.rx, NULL, receive_thread, threads)
        if threads.error == 0:
            return True
        stop_reading(threads)
        await_end(threads, threads.tx, &threads.send_ended)
    if threads.pool != NULL:
        pool_stop(threads.pool)
    return False


cdef void stop_reading(Threads *threads) noexcept nogil:
    store8(&threads.dp.stop, 1)
    kick(threads)


cdef void await_end(Threads *threads, pthread_t thread, const uint8_t *ended) noexcept nogil:
    """Returns when a reading thread has ended."""
    cdef int rounds = 0
    while not load8_acquire(ended):
        rounds = await_kicked(threads, rounds)
    pthread_join(thread, NULL)


cdef void threads_stop(Threads *threads) noexcept nogil:
    """Returns when all threads have ended; idempotent."""
    cdef Threads *shard = threads
    while shard != NULL:
        if shard.running:
            stop_reading(shard)
        shard = shard.next
    while threads != NULL:
        if threads.running:
            threads.running = False
            await_end(threads, threads.tx, &threads.send_ended)
            await_end(threads, threads.rx, &threads.receive_ended)
            if threads.pool != NULL:
                pool_stop(threads.pool)
        threads = threads.next


# ---- the control plane

cdef int threads_count(const Threads *threads) noexcept nogil:
    cdef int threads_of_all = 0
    while threads != NULL:
        threads_of_all += 2 + (threads.pool.count if threads.pool != NULL else 0)
        threads = threads.next
    return threads_of_all


cdef int threads_lanes(const Threads *threads) noexcept nogil:
    """How many of the threads may write to the TUN at a time."""
    cdef int lanes = 0
    while threads != NULL:
        lanes += max(1, threads.receive_path.delivery.lanes)
        threads = threads.next
    return lanes


cdef int threads_slots(const Threads *threads) noexcept nogil:
    """Batches of each direction."""
    cdef int slots = 0
    while threads != NULL:
        slots += threads.send_path.batch_count
        threads = threads.next
    return slots


cdef bint threads_turns(const Threads *threads) noexcept nogil:
    """Whether each sends what it has sealed, when it is its turn."""
    return threads.send_path.reorder.turn_looks != 0


cdef bint threads_confined(const Threads *threads) noexcept nogil:
    """Whether all are under the Landlock ruleset."""
    while threads != NULL and threads.confined:
        threads = threads.next
    return threads == NULL


cdef int threads_processors(const Threads *threads) noexcept nogil:
    """How many processors any of the threads may run on now, whatever it was at their start. 0: not told."""
    cdef uint64_t all_of_them[PROCESSOR_WORDS]
    cdef int i, found = 0
    memset(all_of_them, 0, sizeof(all_of_them))
    while threads != NULL:
        if not threads.running:
            return 0
        add_processors(threads.tx, all_of_them)
        add_processors(threads.rx, all_of_them)
        if threads.pool != NULL:
            for i in range(threads.pool.started):
                add_processors(threads.pool.helpers[i].thread, all_of_them)
        threads = threads.next
    for i in range(PROCESSOR_WORDS):
        found += count_bits(all_of_them[i])
    return found


cdef void add_processors(pthread_t thread, uint64_t *all_of_them) noexcept nogil:
    cdef uint64_t its[PROCESSOR_WORDS]
    cdef int i
    memset(its, 0, sizeof(its))
    if pthread_getaffinity_np(thread, sizeof(its), <cpu_set_t *>its) == 0:
        for i in range(PROCESSOR_WORDS):
            all_of_them[i] |= its[i]


cdef int threads_filtered(const Threads *threads) noexcept nogil:
    """How many threads are under their filter."""
    cdef uint64_t entered = 0
    cdef int i
    while threads != NULL:
        for i in range(FILTERS):
            entered += load64(&threads.filters[i].entered)
        threads = threads.next
    return <int>entered


cdef void kick(Threads *shard) noexcept nogil:
    eventfd_kick(shard.dp.send_kick)
    eventfd_kick(shard.dp.receive_kick)


cdef void threads_kick(Threads *threads) noexcept nogil:
    """Wakes the reading threads."""
    while threads != NULL:
        kick(threads)
        threads = threads.next


cdef void threads_settle(Threads *threads) noexcept nogil:
    """Returns when no reading thread is in a poll() that began before: that would keep a closed socket alive."""
    while threads != NULL:
        settle(threads)
        threads = threads.next


cdef void settle(Threads *shard) noexcept nogil:
    cdef uint64_t tx, rx
    cdef int rounds = 0
    fence()
    tx = load64(&shard.dp.send_waits)
    rx = load64(&shard.dp.receive_waits)
    kick(shard)
    while (tx & 1 and load64(&shard.dp.send_waits) == tx) or (rx & 1 and load64(&shard.dp.receive_waits) == rx):
        rounds = await_kicked(shard, rounds)


cdef int await_kicked(Threads *shard, int rounds) noexcept nogil:
    """A pause in a loop that waits for a shard's threads to notice a kick. The count of its rounds, to be given back.

    Where they take long, kicks them again: a kick that the kernel refused must not be waited for.
    """
    usleep(20 if rounds < SOON else 1000)
    rounds += 1
    if rounds == SOON + ERROR_PAUSE_MS:
        kick(shard)
        rounds = SOON
    return rounds


cdef void threads_hold(Threads *threads) noexcept nogil:
    gates_enter(threads.dp)
    while threads != NULL:
        send_path_hold(threads.send_path)
        receive_path_hold(threads.receive_path)
        threads = threads.next


cdef void threads_release(Threads *threads) noexcept nogil:
    cdef Threads *shard = threads
    while shard != NULL:
        receive_path_release(shard.receive_path)
        send_path_release(shard.send_path)
        shard = shard.next
    gates_leave(threads.dp)


cdef int threads_renew(Threads *threads, int vnet_hdr_len) noexcept nogil:
    """While they are held: has all write with another virtio header. 0, or -1: no memory, and all is as it was."""
    cdef Threads *shard = threads
    while shard != NULL:
        if delivery_prepare(&shard.receive_path.delivery, vnet_hdr_len) < 0:
            while threads != shard:
                delivery_forget_prepared(&threads.receive_path.delivery)
                threads = threads.next
            return -1
        shard = shard.next
    while threads != NULL:
        delivery_renew(&threads.receive_path.delivery)
        threads = threads.next
    return 0
