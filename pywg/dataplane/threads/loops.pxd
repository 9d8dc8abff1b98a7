"""The two threads of a shard that read: what each does until it is told to stop.

Each waits, enters its gate and runs one step of its direction (send, receive); then it waits again.
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
    # Of one shard
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

cdef void *send_thread(void *arg) noexcept nogil
cdef void *receive_thread(void *arg) noexcept nogil
