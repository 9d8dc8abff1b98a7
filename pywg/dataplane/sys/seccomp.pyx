"""Filters of system calls, and the calls that they refuse (seccomp.pxd): seccomp(2), sigaction(2).

The handler of SIGSYS runs in the middle of anything, in any thread. So it takes no lock, allocates nothing, leaves
errno alone, and uses no thread-local variable, for whose first use libc may allocate. It makes one system call, a write
to an eventfd that wakes the event loop, and comes back by rt_sigreturn(2): every filter allows these two. The kernel
ends the process where a refused call meets a blocked SIGSYS. So no thread blocks it; libc does for moments, in which it
makes only calls that are on every list.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from pywg.dataplane.sys cimport linux
from pywg.dataplane.sys.atomic cimport add64, load64, load64_acquire, load_int, store8, store_int
from pywg.dataplane.sys.eventfd cimport eventfd_take
from pywg.dataplane.sys.linux cimport EFD_CLOEXEC, EFD_NONBLOCK, eventfd

cdef extern from * nogil:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <errno.h>
    #include <pthread.h>
    #include <signal.h>
    #include <stddef.h>
    #include <stdint.h>
    #include <sys/syscall.h>
    #include <ucontext.h>
    #include <unistd.h>
    #ifndef SYS_SECCOMP
    #define SYS_SECCOMP 1
    #endif

    /* All of it atomic. `last`: the kind of the thread in the upper half, the number of the call in the lower. */
    static struct { uint64_t count, last; int fd; uint8_t told; } pywg_refused = {0, 0, -1, 0};
    /* Of each kind of thread, and at last of all others: how many calls, the number of the last. */
    enum { PYWG_KINDS = 5 };
    static struct { uint64_t count; uint32_t last; } pywg_refused_by[PYWG_KINDS];

    static void pywg_wake(int fd)
    {
        static const uint64_t one = 1;
    #if defined(__x86_64__)
        long result;
        __asm__ volatile("syscall" : "=a"(result)
                         : "0"((long)SYS_write), "D"((long)fd), "S"(&one), "d"(sizeof(one)) : "rcx", "r11", "memory");
    #elif defined(__aarch64__)
        register long number __asm__("x8") = SYS_write, result __asm__("x0") = fd;
        register const void *data __asm__("x1") = &one;
        register long len __asm__("x2") = sizeof(one);
        __asm__ volatile("svc 0" : "+r"(result) : "r"(number), "r"(data), "r"(len) : "memory");
    #else
        (void)fd, (void)one;
    #endif
    }

    static void pywg_refuse(int number, siginfo_t *info, void *context)
    {
        mcontext_t *registers = &((ucontext_t *)context)->uc_mcontext;
        (void)number, (void)registers;
        if (info->si_code != SYS_SECCOMP)
            return;     /* another process sent the signal, which means nothing here */
    #if defined(__x86_64__)
        registers->gregs[REG_RAX] = -EPERM;
    #elif defined(__aarch64__)
        registers->regs[0] = (uint64_t)-EPERM;
    #endif
        unsigned kind = (uint16_t)info->si_errno;
        kind = kind < PYWG_KINDS ? kind : PYWG_KINDS - 1;
        __atomic_store_n(&pywg_refused_by[kind].last, (uint32_t)info->si_syscall, __ATOMIC_RELAXED);
        __atomic_fetch_add(&pywg_refused_by[kind].count, 1, __ATOMIC_RELEASE);
        __atomic_store_n(&pywg_refused.last, (uint64_t)(uint16_t)info->si_errno << 32 | (uint32_t)info->si_syscall,
                         __ATOMIC_RELAXED);
        __atomic_fetch_add(&pywg_refused.count, 1, __ATOMIC_RELEASE);
        if (!__atomic_exchange_n(&pywg_refused.told, 1, __ATOMIC_ACQ_REL))
            pywg_wake(__atomic_load_n(&pywg_refused.fd, __ATOMIC_ACQUIRE));
    }

    static uint64_t pywg_refused_of(unsigned kind, uint32_t *last)
    {
        uint64_t count = __atomic_load_n(&pywg_refused_by[kind].count, __ATOMIC_ACQUIRE);
        *last = __atomic_load_n(&pywg_refused_by[kind].last, __ATOMIC_RELAXED);
        return count;
    }

    static int pywg_handle_refusals(void)
    {
    #if defined(__x86_64__) || defined(__aarch64__)
        struct sigaction action = {0};
        sigset_t refusals;
        action.sa_sigaction = pywg_refuse;
        action.sa_flags = SA_SIGINFO | SA_RESTART;
        sigfillset(&action.sa_mask);
        sigemptyset(&refusals);
        sigaddset(&refusals, SIGSYS);
        return sigaction(SIGSYS, &action, NULL) == 0 ? pthread_sigmask(SIG_UNBLOCK, &refusals, NULL) : errno;
    #else
        return ENOSYS;
    #endif
    }

    /* linux/capability.h: sockets that have what it takes are given to the threads, which need none for their use. */
    static void pywg_no_capabilities(void)
    {
        struct { uint32_t version; int pid; } header = {0x20080522, 0};     /* the calling thread */
        uint32_t sets[6] = {0};
        (void)syscall(SYS_capset, &header, sets);
    }

    static int pywg_seccomp(const void *program, size_t len)
    {
        /* linux/seccomp.h and linux/filter.h, which are not everywhere where there is a libc */
        enum { SET_MODE_FILTER = 1, FLAG_LOG = 2, FLAG_SPEC_ALLOW = 4, INSTRUCTION_LEN = 8 };
        static const unsigned long flags[] = {FLAG_LOG | FLAG_SPEC_ALLOW, FLAG_LOG, 0};
        struct { unsigned short len; const void *filter; } filter = {(unsigned short)(len / INSTRUCTION_LEN), program};
        for (int i = 0; i < 3; i++) {
            if (syscall(SYS_seccomp, SET_MODE_FILTER, flags[i], &filter) == 0)
                return 0;
            if (errno != EINVAL)
                break;
        }
        return -1;
    }
    """
    uint64_t *refused_count "(&pywg_refused.count)"
    uint64_t *refused_last "(&pywg_refused.last)"
    int *refused_fd "(&pywg_refused.fd)"
    uint8_t *refused_told "(&pywg_refused.told)"
    uint64_t refused_of "pywg_refused_of"(unsigned kind, uint32_t *last)
    int KINDS "PYWG_KINDS"
    int handle_refusals "pywg_handle_refusals"()
    void no_capabilities "pywg_no_capabilities"()
    int seccomp "pywg_seccomp"(const void *program, size_t len)


cdef void filter_enter(Filter *filter) noexcept nogil:
    """Puts the calling thread, which must have no_new_privs, under the filter, for good; notes whether that is so.

    With the filter go the thread's capabilities. An open netlink socket would lend it the event loop's.
    """
    if filter.program == NULL:
        return
    no_capabilities()
    if seccomp(filter.program, filter.program_len) == 0:
        add64(&filter.entered, 1)


def refused_watch() -> int:
    """Counts refused calls of all threads from now on, and unblocks SIGSYS in the calling one and those it starts.

    Returns the eventfd that a refusal makes readable, the same each time. Raises OSError.
    """
    cdef int error
    if load_int(refused_fd) < 0:
        store_int(refused_fd, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))
        if load_int(refused_fd) < 0:
            raise OSError(linux.errno, "no eventfd")
    error = handle_refusals()
    if error != 0:
        raise OSError(error, "no handler of SIGSYS")
    return load_int(refused_fd)


def refused_calls() -> tuple[int, int, int]:
    """How many calls were refused, and of the last one its number and the kind of thread: what its filter returned."""
    cdef uint64_t count = load64_acquire(refused_count)
    cdef uint64_t last = load64(refused_last)
    return count, <int>(last & 0xFFFFFFFF), <int>(last >> 32)


def refused_by_kind() -> list[tuple[int, int]]:
    """For each kind of thread, by its value and then for any other: how many calls were refused, the last's number."""
    cdef uint32_t last
    cdef unsigned kind
    cdef uint64_t count
    found = []
    for kind in range(<unsigned>KINDS):
        count = refused_of(kind, &last)
        found.append((count, last))
    return found


def refused_rearm() -> None:
    """Makes the eventfd unreadable: the next refusal makes it readable again. Raises OSError where it stays so."""
    if not eventfd_take(load_int(refused_fd)):
        raise OSError(linux.errno, "refused calls can't be heard of")
    store8(refused_told, 0)
