"""The data plane's threads, from start to end: of each shard the sending one, the receiving one, and helpers.

The functions are about those of all shards, from the first one's on, and the control plane's. It changes what the
threads read between `threads_hold` and `threads_release`: it has all gates then (gate.pxd), and no helper has a slot
(reorder.pxd).
"""
from pywg.dataplane.state.dataplane cimport Dataplane
from pywg.dataplane.threads.loops cimport Threads

cdef Threads *threads_new(Dataplane *dp, int helpers, int turn_looks) noexcept nogil
cdef bint threads_add(Threads *first, Dataplane *dp, int helpers, int turn_looks) noexcept nogil
cdef void threads_free(Threads *threads) noexcept nogil
cdef void threads_filter(Threads *threads, int kind, const char *program, size_t len) noexcept nogil
cdef int threads_start(Threads *threads, int ruleset) noexcept nogil
cdef void threads_stop(Threads *threads) noexcept nogil
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
