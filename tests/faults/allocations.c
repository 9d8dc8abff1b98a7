/* Preloaded into a program whose allocations fail as told: malloc(3) and its kin, and mmap(2) as the program calls it.
 *
 * The control block is in the file that ALLOCATIONS_CONTROL names, which the test maps too, or else in this library.
 * tests/faults/allocations.py has the same layout. An allocation of a thread in `who` counts; the one with the number
 * `at` fails. Those of Rust never do. The others are made by the sanitizers' runtime where there is one, which comes
 * behind this library, and else by libc.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { NOBODY = 0, MAIN = 1, OTHERS = 2 };

struct control {
    uint64_t who;       /* written last when armed */
    int64_t at;
    int64_t seen, failed;
    int64_t live;       /* blocks of all threads that were given and not taken back */
};

#define MADE_BY(type, name, ...)                                         \
    extern type __interceptor_##name(__VA_ARGS__) __attribute__((weak)); \
    extern type __libc_##name(__VA_ARGS__)
#define MAKE(name, ...) (__interceptor_##name ? __interceptor_##name(__VA_ARGS__) : __libc_##name(__VA_ARGS__))
MADE_BY(void *, malloc, size_t);
MADE_BY(void *, calloc, size_t, size_t);
MADE_BY(void *, realloc, void *, size_t);
MADE_BY(void *, memalign, size_t, size_t);
MADE_BY(void, free, void *);

static struct control own;
static struct control *control = &own;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("ALLOCATIONS_CONTROL");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *mapped;

    if (fd < 0)
        return;
    mapped = (void *)syscall(SYS_mmap, NULL, sizeof own, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped != MAP_FAILED)
        control = mapped;
}

void *allocations_control(void)
{
    return control;
}

static int is_main(void)
{
    static __thread int known;     /* 0: not yet */
    if (known == 0)
        known = syscall(SYS_gettid) == getpid() ? MAIN : OTHERS;
    return known;
}

static int find(struct dl_phdr_info *loaded, size_t length, void *found)
{
    uintptr_t *range = found;
    (void)length;
    if (strstr(loaded->dlpi_name, "cryptography") == NULL)
        return 0;
    range[0] = range[1] = loaded->dlpi_addr;
    for (int i = 0; i < loaded->dlpi_phnum; i++)
        if (loaded->dlpi_phdr[i].p_type == PT_LOAD)
            range[1] = loaded->dlpi_addr + loaded->dlpi_phdr[i].p_vaddr + loaded->dlpi_phdr[i].p_memsz;
    return 1;
}

/* Whether it is `cryptography` that asks, in Rust: where an allocation of Rust fails, the process ends. */
static int is_rust(const void *caller)
{
    static uintptr_t range[2];
    if (range[1] == 0)
        dl_iterate_phdr(find, range);
    return (uintptr_t)caller >= range[0] && (uintptr_t)caller < range[1];
}

static int fails(const void *caller)
{
    uint64_t who = __atomic_load_n(&control->who, __ATOMIC_ACQUIRE);
    int64_t number;

    if (who == NOBODY || !(who & (uint64_t)is_main()) || is_rust(caller))
        return 0;
    number = __atomic_add_fetch(&control->seen, 1, __ATOMIC_RELAXED);
    if (number != control->at)
        return 0;
    __atomic_add_fetch(&control->failed, 1, __ATOMIC_RELAXED);
    errno = ENOMEM;
    return 1;
}

static void *given(void *memory)
{
    if (memory != NULL)
        __atomic_add_fetch(&control->live, 1, __ATOMIC_RELAXED);
    return memory;
}

void *malloc(size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : given(MAKE(malloc, size));
}

void *calloc(size_t count, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : given(MAKE(calloc, count, size));
}

void *realloc(void *old, size_t size)
{
    if (fails(__builtin_return_address(0)))
        return NULL;
    return old == NULL ? given(MAKE(malloc, size)) : MAKE(realloc, old, size);
}

void free(void *memory)
{
    if (memory == NULL)
        return;
    __atomic_sub_fetch(&control->live, 1, __ATOMIC_RELAXED);
    MAKE(free, memory);
}

void *memalign(size_t alignment, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : given(MAKE(memalign, alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : given(MAKE(memalign, alignment, size));
}

int posix_memalign(void **at, size_t alignment, size_t size)
{
    void *memory = fails(__builtin_return_address(0)) ? NULL : given(MAKE(memalign, alignment, size));
    if (memory == NULL)
        return ENOMEM;
    *at = memory;
    return 0;
}

void *mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset)
{
    if (fails(__builtin_return_address(0)))
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, at, length, protection, flags, fd, offset);
}
