"""The data plane's threads, from start to end: of each shard the sending one, the receiving one, and helpers.

Each of the first two waits, enters its gate and runs one step of its direction (send, receive); then it waits again.

The control plane changes what they read between `threads_hold` and `threads_release`: it has all gates then
(gate.pxd), and no helper has a slot (reorder.pxd).
"""
from libc.stdint cimport uint8_t, uint64_t
from pywg.dataplane.receive.receive cimport ReceivePath
from pywg.dataplane.reorder.pool cimport Pool
from pywg.dataplane.send.send cimport SendPath
from pywg.dataplane.state.dataplane cimport Dataplane
from pywg.dataplane.sys.linux cimport pthread_t
from pywg.dataplane.sys.seccomp cimport Filter

cdef enum:
    FILTER_SENDER = 0
    FILTER_RECEIVER = 1
    FILTER_HELPER = 2
    FILTERS = 3

cdef struct Threads:
    # Of one shard. The functions below are about all of a plane's, from the first on.
    Threads *next               # of the next shard
    Dataplane *dp
    SendPath *send_path
    ReceivePath *receive_path
    Pool *pool                  # NULL: no helpers
    pthread_t tx
    pthread_t rx
    uint64_t send_heartbeats    # atomic: rounds of the thread's loop
    uint64_t receive_heartbeats
    uint8_t send_ended          # atomic: the thread has left its loop
    uint8_t receive_ended
    bint running
    int error                   # of pthread_create()
    int ruleset                 # the Landlock ruleset that the threads are to be under; -1: none
    bint confined               # they are under it
    Filter filters[FILTERS]     # of system calls, by kind of thread

cdef Threads *threads_new(Dataplane *dp, int helpers, int turn_looks) noexcept nogil
cdef bint threads_add(Threads *first, Dataplane *dp, int helpers, int turn_looks) noexcept nogil
cdef void threads_free(Threads *threads) noexcept nogil
cdef void threads_filter(Threads *threads, int kind, const char *program, size_t len) noexcept nogil
cdef int threads_start(Threads *threads, int ruleset) noexcept nogil
cdef void threads_stop(Threads *threads) noexcept nogil
cdef void *receive_thread(void *arg) noexcept nogil
cdef int threads_count(const Threads *threads) noexcept nogil
cdef int threads_lanes(const Threads *threads) noexcept nogil
cdef bint threads_turns(const Threads *threads) noexcept nogil
cdef bint threads_confined(const Threads *threads) noexcept nogil
cdef int threads_slots(const Threads *threads) noexcept nogil
cdef int threads_processors(const Threads *threads) noexcept nogil
cdef int threads_filtered(const Threads *threads) noexcept nogil
cdef void threads_kick(Threads *threads) noexcept nogil
cdef void threads_settle(Threads *threads) noexcept nogil
cdef void threads_hold(Threads *threads) noexcept nogil
cdef void threads_release(Threads *threads) noexcept nogil
cdef int threads_renew(Threads *threads, int vnet_hdr_len) noexcept nogil
