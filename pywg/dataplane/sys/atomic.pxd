"""The atomic operations through which the threads and the control plane share data (GCC/Clang builtins)."""
from libc.stdint cimport uint8_t, uint64_t

cdef extern from * nogil:
    """
    #define pywg_load(p) __atomic_load_n((p), __ATOMIC_RELAXED)
    #define pywg_store(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
    #define pywg_load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
    #define pywg_store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
    #define pywg_swap(p, v) __atomic_exchange_n((p), (v), __ATOMIC_ACQ_REL)
    #define pywg_add(p, v) __atomic_fetch_add((p), (v), __ATOMIC_RELAXED)
    #define pywg_add_all(p, v) __atomic_add_fetch((p), (v), __ATOMIC_SEQ_CST)
    #define pywg_replace(p, old, v) __sync_bool_compare_and_swap((p), (old), (v))
    #define pywg_fence() __atomic_thread_fence(__ATOMIC_SEQ_CST)
    #if defined(pywg_relax)
    #elif defined(__x86_64__)
    #define pywg_relax() __builtin_ia32_pause()
    #elif defined(__aarch64__)
    #define pywg_relax() __asm__ volatile("isb" ::: "memory")
    #else
    #define pywg_relax() ((void)0)
    #endif
    """
    uint64_t load64 "pywg_load" (const uint64_t *p)
    void store64 "pywg_store" (uint64_t *p, uint64_t value)
    uint64_t load64_acquire "pywg_load_acquire" (const uint64_t *p)
    void store64_release "pywg_store_release" (uint64_t *p, uint64_t value)
    void add64 "pywg_add" (uint64_t *p, uint64_t value)
    uint64_t add64_ordered "pywg_add_all" (uint64_t *p, uint64_t value)      # the sum
    bint replace64 "pywg_replace" (uint64_t *p, uint64_t old, uint64_t value)    # False: it was not `old`, and stays
    int load_int "pywg_load" (const int *p)
    void store_int "pywg_store" (int *p, int value)
    uint8_t load8 "pywg_load" (const uint8_t *p)
    void store8 "pywg_store" (uint8_t *p, uint8_t value)
    uint8_t load8_acquire "pywg_load_acquire" (const uint8_t *p)
    void store8_release "pywg_store_release" (uint8_t *p, uint8_t value)
    uint8_t swap8 "pywg_swap" (uint8_t *p, uint8_t value)
    bint replace8 "pywg_replace" (uint8_t *p, uint8_t old, uint8_t value)        # False: it was not `old`, and stays
    void *load_pointer "pywg_load_acquire" (void *const *p)
    void store_pointer "pywg_store_release" (void **p, void *value)
    void fence "pywg_fence" ()
    void relax "pywg_relax" ()      # between two looks at what another thread writes: 10 to 50 ns
