/* The state of the modelled world, all of it: what is not in here, in the heap or on a stack, is not restored. */
#ifndef PYWG_MODEL_WORLD_H
#define PYWG_MODEL_WORLD_H
#include "engine.h"

enum {
    THREADS_MAX = 7,      /* their bits in a view */
    ATOMS_MAX = 40,
    PLAINS_MAX = 88,
    STALE_MAX = 3,
    MUTEXES_MAX = 20,
    CONDITIONS_MAX = 4,
    EVENTFDS_MAX = 6,
    EVENTFD_FIRST = 1 << 20,
    HEAP_LEN = 32 << 20,
    STACK_LEN = 64 << 10,
    CHUNK = 256,
    MEMORY_LEN = HEAP_LEN + HEAP_LEN / 8,   /* with its shadow */
    CHUNKS = MEMORY_LEN / CHUNK,
    NAMES_MAX = 96,
};

enum kind {
    OP_START, OP_LOAD, OP_STORE, OP_RMW, OP_CAS, OP_FENCE, OP_LOCK, OP_WAIT, OP_WAITING, OP_SIGNAL, OP_BROADCAST,
    OP_KICK, OP_TAKE_KICK, OP_POLL, OP_JOIN, OP_SLEEP, OP_CHOOSE, OP_CALL,
};

/* What a thread knows: of an atomic, the oldest value that it may still read; of a plain variable, bit 0: its last
 * write, bit 1 + t: thread t's last read since. */
struct view {
    uint8_t atoms[ATOMS_MAX];
    uint8_t plains[PLAINS_MAX];
};

struct message {            /* a value that an atomic had, and what who reads it with acquire learns */
    uint64_t value;         /* of the newest one, memory has it */
    struct view view;
};

struct atom {
    int count;
    struct message messages[STALE_MAX + 1];
};

struct plain {
    uint8_t written;
    uint8_t readers;
};

struct op {
    uint8_t kind, size, order, count;
    const void *at;
    void *second;
    uint64_t value;
    const char *what;
};

struct thread {
    void *sp;
    uint8_t done, progressed, alternative;
    struct op op;
    struct view now, acquired, released;    /* acquired: what an acquire fence adds; released: at the last release one */
};

struct mutex {
    int holder;             /* thread + 1; 0: free */
    struct view view;
};

struct eventfd {
    uint64_t count;
    struct view view;
};

struct world {
    int thread_count, last, preemptions, spurious, created;
    int mutex_count, condition_count, eventfd_count;
    size_t heap_used;
    struct view fences;     /* what all sequentially consistent fences so far have known */
    struct plain plains[PLAINS_MAX];
    uint8_t waiters[CONDITIONS_MAX];    /* bit t */
    const void *mutex_at[MUTEXES_MAX], *condition_at[CONDITIONS_MAX];
    struct thread threads[THREADS_MAX];
    struct mutex mutexes[MUTEXES_MAX];
    struct eventfd eventfds[EVENTFDS_MAX];
    struct atom atoms[ATOMS_MAX];
};

extern struct world world;
extern struct options options;
extern const struct scenario *scenario;
extern int current;         /* the thread that runs; -1: none */
extern int atom_count, plain_count;     /* over all paths: a variable keeps its number */

/* memory.c */
extern char *heap;          /* then its shadow: a byte for each eight, 1: allocated */
void memory_begin(void);
void memory_settle(void);   /* forgets values that no thread can read any more */
int memory_readable(const struct op *op);
uint64_t memory_peek(const void *at, int size);
void memory_touch(const void *at, size_t len);
size_t memory_save(char *to);
size_t memory_restore(const char *from);
uint64_t memory_hash(void);
void view_join(struct view *into, const struct view *from);
const char *name_of(const void *at);
static inline int in_heap(const void *at)
{
    return (uintptr_t)at - (uintptr_t)heap < HEAP_LEN;
}

/* threads.c */
void threads_begin(void);
int threads_enabled(int thread);
int threads_alternatives(int thread);
void threads_run(int thread, int alternative);
void threads_describe(int thread, int alternative, char *to, size_t room);
void threads_point(enum kind kind, const void *at, int size, int order, uint64_t value, const char *what);
size_t threads_save(char *to);
size_t threads_restore(const char *from);

/* explore.c */
extern int active;          /* a scenario is being explored */
#endif
