/* What a scenario of the model asks of the engine: threads, memory, and what is to be told.
 *
 * The engine runs the data plane's own functions as coroutines. Every atomic operation, lock, wait and wake-up is a
 * point where any other thread may go on, and a load may return an older value where the memory model lets it. The
 * engine tries all of that, and each state once (explore.c).
 */
#ifndef PYWG_MODEL_ENGINE_H
#define PYWG_MODEL_ENGINE_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

struct scenario {
    void (*setup)(void);
    /* No thread can go on. NULL: so it should be; otherwise what is wrong. */
    const char *(*end)(void);
    /* Which of `events` a descriptor has that is no eventfd. */
    short (*ready)(int fd, short events);
    /* System calls on those descriptors; a negative result is an errno. */
    ssize_t (*read)(int fd, void *to, size_t room);
    ssize_t (*writev)(int fd, const struct iovec *iov, int count);
    int (*send)(int fd, struct mmsghdr *messages, unsigned int count);
    int (*receive)(int fd, struct mmsghdr *messages, unsigned int count);
    /* A thread pauses between two looks. NULL: nothing comes of it. */
    void (*relax)(void);
};

struct options {
    int stale;              /* values before the newest that a load may still return; 0: sequential consistency */
    int races;              /* plain accesses that no happens-before orders are faults */
    int preemptions;        /* how often a thread may be stopped that could go on; -1: any number */
    int spurious;           /* wake-ups of condition variables without a cause */
    uint64_t states_max;
};

struct result {
    uint64_t states;
    uint64_t transitions;
    uint64_t ends;          /* states in which no thread can go on */
    uint64_t depth;         /* of the longest path */
    int complete;           /* all states were reached; otherwise there were more than states_max, or a fault */
    char fault[256];        /* empty: none */
    char trail[16384];      /* how it came to the fault */
};

void model_explore(const struct scenario *scenario, const struct options *options, struct result *result);

/* In `setup`, and in threads */
void model_thread(const char *name, void *(*start)(void *), void *arg);
void model_name(const void *at, size_t len, const char *name);
void model_ignore(const void *at, size_t len);      /* atomics and plain accesses here are no points, and never wrong */
void *model_calloc(size_t count, size_t size);
void model_free(void *at);
int model_eventfd(unsigned int initial, int flags);

/* In threads */
int model_choose(int count, const char *what);       /* each of 0 to count - 1 */
int model_wait(int fd, short events);               /* until `ready` says so */
void model_step(const char *what);                  /* a point */
int model_self(void);
void model_fault(const char *what);                 /* does not return in a thread */
#endif
