"""How the control plane changes what the threads read: each thread holds its own gate for one batch at a time
(RX's thread also that of TX, while TX is lent to it, but never both).

The control plane takes the gates of both threads, so nothing that it frees can still be held. The turnstile makes it
fair: a thread in full swing queues behind a waiting control plane instead of taking its gate again at once. Two
uncontended locks a batch cost about 50 ns, against some 100 us that a full batch takes.
Order: TX's gate, then RX's. Inside, no system call waits: there are sends, receives, the TUN's I/O, and kicks.
"""
from pywg.dataplane.sys.linux cimport pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_t
from pywg.dataplane.sys.linux cimport pthread_mutex_unlock

cdef struct Gate:
    pthread_mutex_t turnstile
    pthread_mutex_t hold


cdef inline void gate_init(Gate *gate) noexcept nogil:
    pthread_mutex_init(&gate.turnstile, NULL)
    pthread_mutex_init(&gate.hold, NULL)


cdef inline void gate_destroy(Gate *gate) noexcept nogil:
    pthread_mutex_destroy(&gate.hold)
    pthread_mutex_destroy(&gate.turnstile)


cdef inline void gate_enter(Gate *gate) noexcept nogil:
    pthread_mutex_lock(&gate.turnstile)
    pthread_mutex_lock(&gate.hold)
    pthread_mutex_unlock(&gate.turnstile)


cdef inline void gate_leave(Gate *gate) noexcept nogil:
    pthread_mutex_unlock(&gate.hold)
