/* Calls that fail where a target wants it (faults.h). What they do else, they have from the sanitizers' runtime where
 * there is one, and from the C library where there is none. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "faults.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

__thread struct faults faults __attribute__((tls_model("initial-exec")));

#define BOTH(type, name, ...)                                         \
    extern type __interceptor_##name(__VA_ARGS__) __attribute__((weak)); \
    extern type __libc_##name(__VA_ARGS__)
BOTH(void *, malloc, size_t);
BOTH(void *, calloc, size_t, size_t);
BOTH(void *, realloc, void *, size_t);
BOTH(void, free, void *);
extern void *__libc_memalign(size_t, size_t);
extern int __interceptor_posix_memalign(void **, size_t, size_t) __attribute__((weak));

static int fails(void)
{
    if (faults.left == 0 || --faults.left != 0)
        return 0;
    faults.failed++;
    errno = ENOMEM;
    return 1;
}

static void *counted(void *memory)
{
    faults.held += faults.counts && memory;
    return memory;
}

void *malloc(size_t len)
{
    return fails() ? NULL : counted(__interceptor_malloc ? __interceptor_malloc(len) : __libc_malloc(len));
}

void *calloc(size_t count, size_t len)
{
    if (fails())
        return NULL;
    return counted(__interceptor_calloc ? __interceptor_calloc(count, len) : __libc_calloc(count, len));
}

void *realloc(void *old, size_t len)
{
    void *memory;
    if (fails())
        return NULL;
    memory = __interceptor_realloc ? __interceptor_realloc(old, len) : __libc_realloc(old, len);
    return old ? memory : counted(memory);
}

int posix_memalign(void **memory, size_t alignment, size_t len)
{
    int error = 0;
    if (fails())
        return ENOMEM;
    if (__interceptor_posix_memalign)
        error = __interceptor_posix_memalign(memory, alignment, len);
    else
        *memory = __libc_memalign(alignment, len);
    if (error == 0)
        counted(*memory);
    return error;
}

void free(void *memory)
{
    faults.held -= faults.counts && memory;
    if (__interceptor_free)
        __interceptor_free(memory);
    else
        __libc_free(memory);
}

/* The function that comes after the one here: the newest of its versions, and not the first. */
static void *next(const char *name)
{
    const struct faults before = faults; /* what this allocates is not the target's */
    void *found;
    memset(&faults, 0, sizeof faults);
    found = dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2");
    found = found ? found : dlsym(RTLD_NEXT, name);
    faults = before;
    return found;
}

#define NEXT(name, ...)                   \
    static __typeof__(&name) real;        \
    if (real == NULL)                     \
        real = (__typeof__(&name))next(#name); \
    return real(__VA_ARGS__)

int eventfd(unsigned int initial, int flags)
{
    if (fails())
        return -1;
    NEXT(eventfd, initial, flags);
}

int eventfd_write(int fd, eventfd_t value)
{
    if (fails())
        return -1;
    NEXT(eventfd_write, fd, value);
}

int RAND_bytes(unsigned char *to, int len);

int RAND_bytes(unsigned char *to, int len)
{
    static int (*real)(unsigned char *, int);
    if (fails())
        return 0;
    if (real == NULL) /* no library that is loaded at the start needs libcrypto */
        real = (int (*)(unsigned char *, int))dlsym(dlopen("libcrypto.so.3", RTLD_LAZY), "RAND_bytes");
    return real(to, len);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *arg)
{
    if (faults.create == NULL) {
        NEXT(pthread_create, thread, attributes, start, arg);
    }
    if (faults.threads_left && --faults.threads_left == 0)
        return EAGAIN;
    *thread = (pthread_t)faults.made++;
    return faults.create(faults.driver, start, arg);
}

int pthread_join(pthread_t thread, void **result)
{
    if (faults.join == NULL) {
        NEXT(pthread_join, thread, result);
    }
    faults.join(faults.driver, (uint32_t)thread);
    return 0;
}

int pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex)
{
    if (faults.await == NULL) {
        NEXT(pthread_cond_wait, condition, mutex);
    }
    faults.await(faults.driver, mutex);
    return 0;
}

int usleep(useconds_t us)
{
    if (faults.doze == NULL) {
        NEXT(usleep, us);
    }
    faults.doze(faults.driver);
    return 0;
}
