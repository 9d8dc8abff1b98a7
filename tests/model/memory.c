/* The memory of the model: atomics with their older values, data races, use after free, and snapshots of the heap.
 *
 * The rules are C11's, as in relacy and loom: a store has a place in the order of its variable's values; a load may
 * return any value that is not older than one which its thread knows of; release and acquire hand on what a thread
 * knows, and so do the fences of sequential consistency among each other. Of the weaker things that C11 allows, a store
 * never goes before one that was executed earlier, and a read-modify-write that fails sees the newest value.
 * The compiler calls these functions: it was told to check for races (-fsanitize=thread), and the runtime is this one.
 */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

char *heap;
int atom_count, plain_count;

static uint8_t atom_at[HEAP_LEN], plain_at[HEAP_LEN];   /* number + 1 */
static char *pristine;                                  /* the heap after setup */
static uint8_t touched[CHUNKS], dirty[CHUNKS];
static uint64_t chunk_hash[CHUNKS], pristine_hash[CHUNKS];
static uint32_t touched_list[CHUNKS];
static uint32_t touched_count;
static uint64_t heap_hash;

static struct name {
    const char *at;
    size_t len;
    const char *name;
} names[NAMES_MAX], ignored[NAMES_MAX];
static int name_count, ignored_count;

void model_name(const void *at, size_t len, const char *name)
{
    if (name_count < NAMES_MAX)
        names[name_count++] = (struct name){at, len, name};
}

void model_ignore(const void *at, size_t len)
{
    if (ignored_count == NAMES_MAX)
        abort();
    ignored[ignored_count++] = (struct name){at, len, NULL};
}

const char *name_of(const void *at)
{
    static char text[64];
    int i;
    for (i = 0; i < name_count; i++)
        if ((uintptr_t)at - (uintptr_t)names[i].at < names[i].len) {
            if (at == names[i].at)
                return names[i].name;
            snprintf(text, sizeof(text), "%s+%zu", names[i].name, (size_t)((const char *)at - names[i].at));
            return text;
        }
    snprintf(text, sizeof(text), "heap+%zu", (size_t)((const char *)at - heap));
    return text;
}

static int is_ignored(const void *at)
{
    int i;
    for (i = 0; i < ignored_count; i++)
        if ((uintptr_t)at - (uintptr_t)ignored[i].at < ignored[i].len)
            return 1;
    return 0;
}

/* ---- the heap */

void memory_begin(void)
{
    if (heap == NULL) {
        heap = mmap(NULL, MEMORY_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        pristine = mmap(NULL, MEMORY_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (heap == MAP_FAILED || pristine == MAP_FAILED)
            abort();
    }
    madvise(heap, MEMORY_LEN, MADV_DONTNEED);
    name_count = ignored_count = 0;
    memset(touched, 0, sizeof(touched));
    touched_count = 0;
    heap_hash = 0;
}

static void *take(size_t len)
{
    char *at = heap + world.heap_used;
    world.heap_used += (len + 16 + 63) & ~(size_t)63;   /* between two blocks are bytes that belong to none */
    if (world.heap_used > HEAP_LEN)
        abort();
    memory_touch(heap + HEAP_LEN + (at - heap) / 8, (len + 7) / 8);
    memset(heap + HEAP_LEN + (at - heap) / 8, 1, (len + 7) / 8);
    return at;
}

/* What a thread takes that is as large as this, it gives back before another goes on: it is no part of the world. */
enum { APART = 65536 };

void *model_calloc(size_t count, size_t size)
{
    if (current >= 0 && count * size >= APART)
        return calloc(count, size);
    return active ? take(count * size) : calloc(count, size);   /* never used before, so zeros */
}

int model_memalign(void **memory, size_t alignment, size_t size)
{
    if (!active)
        return posix_memalign(memory, alignment, size);
    world.heap_used = (world.heap_used + alignment - 1) & ~(alignment - 1);
    *memory = take(size);
    return 0;
}

/* In the place of the arena, whose lists of free slots are not restored. */
unsigned char *model_secret_alloc(void)
{
    return model_calloc(1, 64);
}

void model_secret_free(unsigned char *slot)
{
    model_free(slot);
}

void *model_malloc(size_t size)
{
    return model_calloc(1, size);
}

void model_free(void *at)
{
    char *shadow = heap + HEAP_LEN + ((char *)at - heap) / 8;
    size_t len = 0;
    if (at == NULL)
        return;
    if (!in_heap(at)) {
        free(at);
        return;
    }
    if (*shadow != 1) {
        model_fault("freed twice");
        return;
    }
    while (shadow[len] == 1)
        len++;
    memory_touch(shadow, len);
    memset(shadow, 2, len);
    memory_touch(at, len * 8);
    memset(at, 0xDD, len * 8);
}

void memory_touch(const void *at, size_t len)
{
    size_t chunk, last;
    if (current < 0 || len == 0)
        return;
    last = ((const char *)at - heap + len - 1) / CHUNK;
    for (chunk = ((const char *)at - heap) / CHUNK; chunk <= last; chunk++) {
        dirty[chunk] = 1;
        if (!touched[chunk]) {
            touched[chunk] = 1;
            touched_list[touched_count++] = chunk;
            memcpy(pristine + chunk * CHUNK, heap + chunk * CHUNK, CHUNK);
            chunk_hash[chunk] = pristine_hash[chunk] = 0;
        }
    }
}

static uint64_t hash_chunk(uint32_t chunk)
{
    const uint64_t *at = (const uint64_t *)(heap + (size_t)chunk * CHUNK);
    uint64_t a = chunk + 1, b = 0x9E3779B97F4A7C15;
    int i;
    if (memcmp(at, pristine + (size_t)chunk * CHUNK, CHUNK) == 0)
        return 0;
    for (i = 0; i < CHUNK / 8; i += 2) {
        a = (a ^ at[i]) * 0xFF51AFD7ED558CCD;
        a ^= a >> 32;
        b = (b ^ at[i + 1]) * 0xC4CEB9FE1A85EC53;
        b ^= b >> 29;
    }
    a = (a ^ b * 0x9E3779B97F4A7C15) * 0xFF51AFD7ED558CCD;
    return a ^ a >> 31;
}

uint64_t memory_hash(void)
{
    uint32_t i, chunk;
    for (i = 0; i < touched_count; i++) {
        chunk = touched_list[i];
        if (dirty[chunk]) {
            dirty[chunk] = 0;
            heap_hash -= chunk_hash[chunk];
            heap_hash += chunk_hash[chunk] = hash_chunk(chunk);
        }
    }
    return heap_hash;
}

size_t memory_save(char *to)
{
    uint32_t i, *count = (uint32_t *)to;
    char *at = to + 8;
    *count = touched_count;
    for (i = 0; i < touched_count; i++) {
        memcpy(at, &chunk_hash[touched_list[i]], 8);
        memcpy(at + 8, heap + (size_t)touched_list[i] * CHUNK, CHUNK);
        at += 8 + CHUNK;
    }
    return at - to;
}

size_t memory_restore(const char *from)
{
    uint32_t i, chunk, count = *(const uint32_t *)from;
    const char *at = from + 8;
    uint64_t hash;
    heap_hash = 0;
    for (i = 0; i < touched_count; i++) {
        chunk = touched_list[i];
        hash = 0;
        if (i < count)
            memcpy(&hash, at, 8);
        if (dirty[chunk] || hash != chunk_hash[chunk])
            memcpy(heap + (size_t)chunk * CHUNK, i < count ? at + 8 : pristine + (size_t)chunk * CHUNK, CHUNK);
        dirty[chunk] = 0;
        chunk_hash[chunk] = hash;
        heap_hash += hash;
        if (i < count)
            at += 8 + CHUNK;
    }
    return at - from;
}

uint64_t memory_peek(const void *at, int size)
{
    uint64_t value = 0;
    memcpy(&value, at, size);
    return value;
}

/* ---- what threads know */

void view_join(struct view *into, const struct view *from)
{
    int i;
    for (i = 0; i < ATOMS_MAX; i++)
        into->atoms[i] = into->atoms[i] > from->atoms[i] ? into->atoms[i] : from->atoms[i];
    for (i = 0; i < PLAINS_MAX; i++)
        into->plains[i] |= from->plains[i];
}

static void each_view(void (*act)(struct view *view, int variable, int by), int variable, int by)
{
    int i, j;
    act(&world.fences, variable, by);
    for (i = 0; i < world.thread_count; i++) {
        act(&world.threads[i].now, variable, by);
        act(&world.threads[i].acquired, variable, by);
        act(&world.threads[i].released, variable, by);
    }
    for (i = 0; i < world.mutex_count; i++)
        act(&world.mutexes[i].view, variable, by);
    for (i = 0; i < world.eventfd_count; i++)
        act(&world.eventfds[i].view, variable, by);
    for (i = 0; i < atom_count; i++)
        for (j = 0; j < world.atoms[i].count; j++)
            act(&world.atoms[i].messages[j].view, variable, by);
}

static void forget_plain(struct view *view, int variable, int bits)
{
    view->plains[variable] &= (uint8_t)~bits;
}

static void older(struct view *view, int variable, int by)
{
    view->atoms[variable] = view->atoms[variable] > by ? view->atoms[variable] - by : 0;
}

static void drop_oldest(int number, int n)
{
    struct atom *atom = &world.atoms[number];
    if (n == 0)
        return;
    each_view(older, number, n);
    atom->count -= n;
    memmove(atom->messages, atom->messages + n, atom->count * sizeof(struct message));
}

void memory_settle(void)
{
    int i, t, floor;
    for (i = 0; i < atom_count; i++) {
        if (world.atoms[i].count == 1)
            continue;
        floor = world.atoms[i].count - 1;
        for (t = 0; t < world.thread_count; t++)
            if (!world.threads[t].done && world.threads[t].now.atoms[i] < floor)
                floor = world.threads[t].now.atoms[i];
        drop_oldest(i, floor);
    }
}

/* ---- plain accesses */

static void check_alive(const void *at, size_t len)
{
    const char *shadow = heap + HEAP_LEN + ((const char *)at - heap) / 8;
    const char *last = heap + HEAP_LEN + ((const char *)at - heap + len - 1) / 8;
    char text[128];
    for (; shadow <= last; shadow++)
        if (*shadow != 1) {
            snprintf(text, sizeof(text), "%s of %s", *shadow == 2 ? "use after free" : "use of no block's memory",
                     name_of(at));
            model_fault(text);
        }
}

static void race(const void *at, const char *what)
{
    char text[128];
    snprintf(text, sizeof(text), "data race: %s of %s", what, name_of(at));
    model_fault(text);
}

static void check_plain(const void *at, int number, int writes)
{
    struct plain *plain = &world.plains[number];
    struct view *now = &world.threads[current].now;
    int others = plain->readers & ~(1 << (1 + current));
    if (plain->written && !(now->plains[number] & 1))
        race(at, writes ? "a write after another thread's write" : "a read after another thread's write");
    if (!writes) {
        if (now->plains[number] & 1 << (1 + current))
            return;
        each_view(forget_plain, number, 1 << (1 + current));
        plain->readers |= 1 << (1 + current);
        now->plains[number] |= 1 << (1 + current);
        return;
    }
    if ((now->plains[number] & others) != others)
        race(at, "a write after another thread's read");
    each_view(forget_plain, number, 255);
    plain->written = 1;
    plain->readers = 0;
    now->plains[number] = 1;
}

static void plain_access(const void *at, size_t len, int writes)
{
    size_t first, i;
    if (current < 0 || !in_heap(at) || len == 0)
        return;
    check_alive(at, len);
    if (writes)
        memory_touch(at, len);
    if (!options.races || is_ignored(at))
        return;
    first = (const char *)at - heap;
    if (atom_at[first]) {
        if (options.stale && world.threads[current].now.atoms[atom_at[first] - 1]
                != world.atoms[atom_at[first] - 1].count - 1)
            race(at, "a plain access of an atomic");
        return;
    }
    if (!plain_at[first]) {
        if (plain_count == PLAINS_MAX)
            model_fault("more plain variables than PLAINS_MAX");
        plain_at[first] = ++plain_count;
    }
    for (i = first; i < first + len; i++)
        if (plain_at[i] && !atom_at[i])
            check_plain(heap + i, plain_at[i] - 1, writes);
}

/* ---- atomics */

static struct atom *atom_of(const void *at)
{
    size_t offset = (const char *)at - heap;
    if (!atom_at[offset]) {
        if (atom_count == ATOMS_MAX)
            model_fault("more atomics than ATOMS_MAX");
        world.atoms[atom_count].count = 1;
        atom_at[offset] = ++atom_count;
    }
    return &world.atoms[atom_at[offset] - 1];
}

static int acquires(int order)
{
    return order == __ATOMIC_ACQUIRE || order == __ATOMIC_CONSUME || order == __ATOMIC_ACQ_REL
        || order == __ATOMIC_SEQ_CST;
}

static int releases(int order)
{
    return order == __ATOMIC_RELEASE || order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST;
}

static int is_modelled(const void *at)
{
    return current >= 0 && in_heap(at) && !is_ignored(at);
}

int memory_readable(const struct op *op)
{
    struct atom *atom;
    if (options.stale == 0 || op->order == __ATOMIC_SEQ_CST)
        return 1;
    atom = atom_of(op->at);
    return atom->count - world.threads[current].now.atoms[atom - world.atoms];
}

static void learn(struct thread *thread, const struct view *view, int order)
{
    if (acquires(order))
        view_join(&thread->now, view);
    view_join(&thread->acquired, view);
}

static uint64_t load(const void *at, int size, int order)
{
    struct thread *thread = &world.threads[current];
    struct atom *atom;
    int number, i;
    if (!is_modelled(at)) {
        plain_access(at, size, 0);
        return memory_peek(at, size);
    }
    threads_point(OP_LOAD, at, size, order, 0, NULL);
    thread = &world.threads[current];
    check_alive(at, size);
    if (!options.stale && !options.races)
        return memory_peek(at, size);
    atom = atom_of(at);
    number = atom - world.atoms;
    i = atom->count - 1 - thread->alternative;
    thread->now.atoms[number] = i;
    learn(thread, &atom->messages[i].view, order);
    return i == atom->count - 1 ? memory_peek(at, size) : atom->messages[i].value;
}

/* `from`: the view that goes with the value which a read-modify-write replaces; NULL for a store. */
static void append(void *at, int size, int order, const struct view *from, uint64_t value)
{
    struct thread *thread = &world.threads[current];
    struct atom *atom;
    struct message *message;
    struct view view;
    int number;
    check_alive(at, size);
    memory_touch(at, size);
    if (options.stale || options.races) {
        atom = atom_of(at);
        number = atom - world.atoms;
        view = releases(order) ? thread->now : thread->released;
        if (from != NULL)
            view_join(&view, from);
        if (options.stale && atom->count == options.stale + 1)
            drop_oldest(number, 1);
        else if (!options.stale)
            atom->count = 0;
        if (atom->count)
            atom->messages[atom->count - 1].value = memory_peek(at, size);
        message = &atom->messages[atom->count++];
        message->view = view;
        message->value = 0;
        message->view.atoms[number] = thread->now.atoms[number] = atom->count - 1;
    }
    memcpy(at, &value, size);
}

static void store(void *at, int size, int order, uint64_t value)
{
    if (!is_modelled(at)) {
        plain_access(at, size, 1);
        memcpy(at, &value, size);
        return;
    }
    threads_point(OP_STORE, at, size, order, value, NULL);
    append(at, size, order, NULL, value);
}

static uint64_t truncated(uint64_t value, int size)
{
    return size == 8 ? value : value & ((1ULL << 8 * size) - 1);
}

static uint64_t change(void *at, int size, int order, int adds, uint64_t value)
{
    uint64_t before;
    struct view view;
    struct atom *atom;
    if (!is_modelled(at)) {
        before = memory_peek(at, size);
        value = adds ? before + value : value;
        plain_access(at, size, 1);
        memcpy(at, &value, size);
        return before;
    }
    threads_point(OP_RMW, at, size, order, value, adds ? "add" : "swap");
    before = memory_peek(at, size);
    memset(&view, 0, sizeof(view));
    if (options.stale || options.races) {
        atom = atom_of(at);
        view = atom->messages[atom->count - 1].view;
        learn(&world.threads[current], &view, order);
    }
    append(at, size, order, &view, truncated(adds ? before + value : value, size));
    return before;
}

static int replace(void *at, int size, int order, uint64_t *expected, uint64_t value)
{
    uint64_t before;
    struct view view;
    struct atom *atom;
    if (is_modelled(at))
        threads_point(OP_CAS, at, size, order, value, NULL);
    before = memory_peek(at, size);
    if (is_modelled(at) && (options.stale || options.races)) {
        atom = atom_of(at);
        view = atom->messages[atom->count - 1].view;
        learn(&world.threads[current], &view, order);
        world.threads[current].now.atoms[atom - world.atoms] = atom->count - 1;
    }
    if (before != *expected) {
        *expected = before;
        return 0;
    }
    if (is_modelled(at))
        append(at, size, order, &view, value);
    else {
        plain_access(at, size, 1);
        memcpy(at, &value, size);
    }
    return 1;
}

void __tsan_atomic_thread_fence(int order)
{
    struct thread *thread;
    int i;
    if (current < 0 || !options.stale)
        return;
    threads_point(OP_FENCE, NULL, 0, order, 0, NULL);
    thread = &world.threads[current];
    if (acquires(order))
        view_join(&thread->now, &thread->acquired);
    if (order == __ATOMIC_SEQ_CST)
        for (i = 0; i < ATOMS_MAX; i++) {   /* of plain variables a fence alone says nothing */
            if (world.fences.atoms[i] > thread->now.atoms[i])
                thread->now.atoms[i] = world.fences.atoms[i];
            world.fences.atoms[i] = thread->now.atoms[i];
        }
    if (releases(order))
        thread->released = thread->now;
}

#define ATOMICS(bits, type)                                                                                         \
    type __tsan_atomic##bits##_load(const volatile type *at, int order)                                            \
    {                                                                                                              \
        return (type)load((const void *)at, sizeof(type), order);                                                  \
    }                                                                                                              \
    void __tsan_atomic##bits##_store(volatile type *at, type value, int order)                                     \
    {                                                                                                              \
        store((void *)at, sizeof(type), order, value);                                                             \
    }                                                                                                              \
    type __tsan_atomic##bits##_exchange(volatile type *at, type value, int order)                                  \
    {                                                                                                              \
        return (type)change((void *)at, sizeof(type), order, 0, value);                                            \
    }                                                                                                              \
    type __tsan_atomic##bits##_fetch_add(volatile type *at, type value, int order)                                 \
    {                                                                                                              \
        return (type)change((void *)at, sizeof(type), order, 1, value);                                            \
    }                                                                                                              \
    type __tsan_atomic##bits##_fetch_sub(volatile type *at, type value, int order)                                 \
    {                                                                                                              \
        return (type)change((void *)at, sizeof(type), order, 1, (uint64_t)0 - value);                              \
    }                                                                                                              \
    int __tsan_atomic##bits##_compare_exchange_strong(volatile type *at, type *expected, type value, int order,    \
                                                      int failed)                                                  \
    {                                                                                                              \
        uint64_t old = *expected;                                                                                  \
        int done = replace((void *)at, sizeof(type), order, &old, value);                                          \
        *expected = (type)old;                                                                                     \
        return done;                                                                                               \
    }
ATOMICS(8, uint8_t)
ATOMICS(16, uint16_t)
ATOMICS(32, uint32_t)
ATOMICS(64, uint64_t)

#define PLAINS(size)                                                                                                \
    void __tsan_read##size(void *at) { plain_access(at, size, 0); }                                                 \
    void __tsan_write##size(void *at) { plain_access(at, size, 1); }                                                \
    void __tsan_unaligned_read##size(void *at) { plain_access(at, size, 0); }                                       \
    void __tsan_unaligned_write##size(void *at) { plain_access(at, size, 1); }
PLAINS(1)
PLAINS(2)
PLAINS(4)
PLAINS(8)
PLAINS(16)

void __tsan_read_range(void *at, size_t len) { plain_access(at, len, 0); }
void __tsan_write_range(void *at, size_t len) { plain_access(at, len, 1); }
void __tsan_func_entry(void *caller) {}
void __tsan_func_exit(void) {}
void __tsan_init(void) {}

/* ---- what the compiler does not see into (rename.h) */

void *model_memcpy(void *to, const void *from, size_t len)
{
    plain_access(from, len, 0);
    plain_access(to, len, 1);
    return memcpy(to, from, len);
}

void *model_memmove(void *to, const void *from, size_t len)
{
    plain_access(from, len, 0);
    plain_access(to, len, 1);
    return memmove(to, from, len);
}

void *model_memset(void *at, int value, size_t len)
{
    plain_access(at, len, 1);
    return memset(at, value, len);
}

int model_memcmp(const void *a, const void *b, size_t len)
{
    plain_access(a, len, 0);
    plain_access(b, len, 0);
    return memcmp(a, b, len);
}

void model_cleanse(void *at, size_t len)
{
    plain_access(at, len, 1);
    memset(at, 0, len);
}
