"""The gates, through which the control plane changes what the threads read.

There is a gate for each direction. The sending and the receiving thread each hold their own for one batch at a time.
The receiving thread also takes the sending gate, while sending is handed off to it, but never both.

The control plane takes all gates, so no thread can still hold what it frees. The turnstile makes that fair: a busy
thread queues behind a waiting control plane instead of taking its gate again at once. Two uncontended locks a batch
cost about 50 ns, against some 100 us that a full batch takes.

The control plane closes all gates before it waits for the first, so the threads inside end their batches beside each
other: it waits for the longest batch, however many there are. No thread inside waits for a gate. Nor does a system call
wait there: there are sends, receives, the TUN's I/O, and kicks.
"""
from libc.stdint cimport uint64_t
from pywg.dataplane.sys.linux cimport pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_t
from pywg.dataplane.sys.linux cimport pthread_mutex_unlock, pthread_self

cdef extern from * nogil:
    """
    #ifdef NDEBUG
    #define pywg_set_holder(gate, thread) ((void)0)
    #else
    #define pywg_set_holder(gate, thread) __atomic_store_n(&(gate)->holder, (thread), __ATOMIC_RELAXED)
    #endif
    #define pywg_holder(gate) __atomic_load_n(&(gate)->holder, __ATOMIC_RELAXED)
    """
    void set_holder "pywg_set_holder"(Gate *gate, uint64_t thread)
    uint64_t holder "pywg_holder"(const Gate *gate)


cdef struct Gate:
    pthread_mutex_t turnstile
    pthread_mutex_t hold
    uint64_t holder             # atomic, in builds with assertions: the thread inside, 0 for none; else never written


cdef inline void gate_init(Gate *gate) noexcept nogil:
    pthread_mutex_init(&gate.turnstile, NULL)
    pthread_mutex_init(&gate.hold, NULL)
    set_holder(gate, 0)


cdef inline void gate_destroy(Gate *gate) noexcept nogil:
    pthread_mutex_destroy(&gate.hold)
    pthread_mutex_destroy(&gate.turnstile)


cdef inline void gate_close(Gate *gate) noexcept nogil:
    """No other thread enters before the caller has: `gate_enter_closed` is due."""
    pthread_mutex_lock(&gate.turnstile)


cdef inline void gate_enter_closed(Gate *gate) noexcept nogil:
    """Waits until the thread inside, if any, has left."""
    pthread_mutex_lock(&gate.hold)
    set_holder(gate, pthread_self())
    pthread_mutex_unlock(&gate.turnstile)


cdef inline void gate_enter(Gate *gate) noexcept nogil:
    gate_close(gate)
    gate_enter_closed(gate)


cdef inline void gate_leave(Gate *gate) noexcept nogil:
    set_holder(gate, 0)
    pthread_mutex_unlock(&gate.hold)


cdef inline bint gate_is_mine(const Gate *gate) noexcept nogil:
    """Whether the calling thread is inside; for c_assert alone."""
    return holder(gate) == pthread_self()
