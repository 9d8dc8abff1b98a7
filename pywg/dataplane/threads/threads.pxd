"""The data plane's threads: the one that sends, the one that receives, and the pool's helpers, start to end.

Each of the two waits, enters its gate and runs one step of its direction (egress, ingress); then it waits again.

The control plane changes what they read between `crew_hold` and `crew_release`: with both gates (gate.pxd), and
nothing left in the helpers' hands (pipeline.pxd).
"""
from libc.stdint cimport uint64_t
from pywg.dataplane.receive.receive cimport Ingress
from pywg.dataplane.reorder.pool cimport Pool
from pywg.dataplane.send.send cimport Egress
from pywg.dataplane.state.dataplane cimport Dataplane
from pywg.dataplane.sys.linux cimport pthread_t


cdef struct Crew:
    Dataplane *dp
    Egress *egress
    Ingress *ingress
    Pool *pool                  # NULL: no helpers
    pthread_t tx
    pthread_t rx
    uint64_t tx_turns           # atomic: how often the thread has gone round
    uint64_t rx_turns
    bint running
    int error                   # of pthread_create()
    int ruleset                 # Landlock's, that the threads are to be under; -1: none
    bint confined               # they are

cdef Crew *crew_new(Dataplane *dp, int helpers) noexcept nogil
cdef void crew_free(Crew *crew) noexcept nogil
cdef int crew_start(Crew *crew, int ruleset) noexcept nogil
cdef void crew_stop(Crew *crew) noexcept nogil
cdef void *receive_thread(void *arg) noexcept nogil
cdef int crew_count(const Crew *crew) noexcept nogil
cdef void crew_kick(Crew *crew) noexcept nogil
cdef void crew_settle(Crew *crew) noexcept nogil
cdef void crew_hold(Crew *crew) noexcept nogil
cdef void crew_release(Crew *crew) noexcept nogil
