/* What a target makes fail, and threads that it plays itself: calls of the C library, in the thread that asked for it.
 *
 * faults.c is loaded before the sanitizers' runtime, whose functions do the work.
 */
#ifndef PYWG_FUZZ_FAULTS_H
#define PYWG_FUZZ_FAULTS_H

#include <stdint.h>

struct faults {
    void *driver;
    uint32_t left;   /* n: the n-th call from now on that may fail does; 0: none */
    uint32_t failed; /* how many have failed */
    uint32_t threads_left; /* as `left`, of the threads alone that are made */
    int counts;      /* whether what is allocated and freed is counted */
    int64_t held;    /* allocations that were not freed */
    /* NULL: the C library's own. */
    int (*create)(void *driver, void *(*start)(void *), void *arg);
    void (*join)(void *driver, uint32_t thread); /* counted from 0, in the order in which they were made */
    void (*doze)(void *driver);                  /* usleep() */
    void (*await)(void *driver, void *mutex);    /* pthread_cond_wait() */
    uint32_t made;
};

extern __thread struct faults faults __attribute__((tls_model("initial-exec")));

#endif
