"""What a target makes fail, and threads that it plays itself (faults.h)."""
from libc.stdint cimport int64_t, uint32_t
from pywg.dataplane.sys.linux cimport pthread_mutex_t

cdef extern from "faults.h" nogil:
    struct Faults "faults":
        void *driver
        uint32_t left
        uint32_t failed
        uint32_t threads_left
        int counts
        int64_t held
        int (*create)(void *driver, void *(*start)(void *) noexcept nogil, void *arg) noexcept nogil
        void (*join)(void *driver, uint32_t thread) noexcept nogil
        void (*doze)(void *driver) noexcept nogil
        void (*await_ "await")(void *driver, pthread_mutex_t *mutex) noexcept nogil
        uint32_t made
    Faults faults
