/* Threads, locks, waits and wake-ups of the model: coroutines on stacks that never move, so that they can be restored. */
#include "world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

struct world world;
struct options options;
const struct scenario *scenario;
int current = -1;

static char *stacks;
static void *scheduler_sp;
static void *(*starts[THREADS_MAX])(void *);
static void *start_args[THREADS_MAX];
static const char *thread_names[THREADS_MAX];

/* Saves the callee's registers on the stack, and the stack pointer in *save; goes on where `to` was saved. */
void model_switch(void **save, void *to);
#if defined(__x86_64__)
enum { REGISTERS = 6 };
__asm__(".text\n.globl model_switch\n.type model_switch,@function\nmodel_switch:\n"
        "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
        "mov %rsp,(%rdi)\nmov %rsi,%rsp\n"
        "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n.size model_switch,.-model_switch\n");
#elif defined(__aarch64__)
enum { REGISTERS = 19 };    /* x19 to x29, d8 to d15; x30 above them */
__asm__(".text\n.globl model_switch\n.type model_switch,%function\nmodel_switch:\n"
        "sub sp,sp,#160\nstp x19,x20,[sp]\nstp x21,x22,[sp,#16]\nstp x23,x24,[sp,#32]\nstp x25,x26,[sp,#48]\n"
        "stp x27,x28,[sp,#64]\nstr x29,[sp,#80]\nstp d8,d9,[sp,#88]\nstp d10,d11,[sp,#104]\nstp d12,d13,[sp,#120]\n"
        "stp d14,d15,[sp,#136]\nstr x30,[sp,#152]\n"
        "mov x9,sp\nstr x9,[x0]\nmov sp,x1\n"
        "ldp x19,x20,[sp]\nldp x21,x22,[sp,#16]\nldp x23,x24,[sp,#32]\nldp x25,x26,[sp,#48]\n"
        "ldp x27,x28,[sp,#64]\nldr x29,[sp,#80]\nldp d8,d9,[sp,#88]\nldp d10,d11,[sp,#104]\nldp d12,d13,[sp,#120]\n"
        "ldp d14,d15,[sp,#136]\nldr x30,[sp,#152]\nadd sp,sp,#160\nret\n.size model_switch,.-model_switch\n");
#else
#error "no switch of stacks for this architecture"
#endif

static char *stack_top(int thread)
{
    return stacks + (size_t)(thread + 1) * STACK_LEN;
}

static void body(void)
{
    int self = current;
    starts[self](start_args[self]);
    world.threads[self].done = 1;
    model_switch(&world.threads[self].sp, scheduler_sp);
    abort();
}

void threads_begin(void)
{
    size_t len = (size_t)THREADS_MAX * STACK_LEN;
    if (stacks == NULL) {
        stacks = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (stacks == MAP_FAILED)
            abort();
    }
    memset(&world, 0, sizeof(world));
    world.last = -1;
    world.spurious = options.spurious;
    current = -1;
}

static int add_thread(const char *name, void *(*start)(void *), void *arg)
{
    int number = world.thread_count++;
    void **sp;
    if (number == THREADS_MAX)
        abort();
    memset(&world.threads[number], 0, sizeof(world.threads[number]));
    starts[number] = start;
    start_args[number] = arg;
    thread_names[number] = name;
    sp = (void **)stack_top(number) - 4 - REGISTERS;
    memset(sp, 0, (char *)stack_top(number) - (char *)sp);
    sp[REGISTERS] = (void *)body;
    world.threads[number].sp = sp;
    world.threads[number].op.kind = OP_START;
    return number;
}

void model_thread(const char *name, void *(*start)(void *), void *arg)
{
    add_thread(name, start, arg);
}

int model_self(void)
{
    return current;
}

void threads_point(enum kind kind, const void *at, int size, int order, uint64_t value, const char *what)
{
    struct op *op = &world.threads[current].op;
    memset(op, 0, sizeof(*op));
    op->kind = kind;
    op->size = size;
    op->order = order;
    op->at = at;
    op->value = value;
    op->what = what;
    model_switch(&world.threads[current].sp, scheduler_sp);
}

void threads_run(int thread, int alternative)
{
    struct thread *one = &world.threads[thread];
    char *low;
    int i, kind = one->op.kind;
    one->alternative = alternative;
    one->progressed = 0;
    current = thread;
    model_switch(&scheduler_sp, one->sp);
    current = -1;
    /* What calls left below is no part of the state, and must not become one. */
    if (!one->done) {
        low = (char *)one->sp - 2048;
        if (low < stack_top(thread) - STACK_LEN)
            low = stack_top(thread) - STACK_LEN;
        memset(low, 0, (char *)one->sp - low);
    }
    if (kind != OP_SLEEP)
        for (i = 0; i < world.thread_count; i++)
            world.threads[i].progressed |= i != thread && world.threads[i].op.kind == OP_SLEEP;
    one->alternative = 0;
    if (one->done) {        /* all that is left of it is what a join hands on */
        memset(&one->op, 0, sizeof(one->op));
        memset(&one->acquired, 0, sizeof(one->acquired));
        memset(&one->released, 0, sizeof(one->released));
        if (!world.created)
            memset(&one->now, 0, sizeof(one->now));
        one->sp = NULL;
    }
    world.last = thread;
}

size_t threads_save(char *to)
{
    char *at = to;
    size_t len = offsetof(struct world, threads);
    int i;
#define SAVE(from, n) (memcpy(at, from, n), at += (n))
    SAVE(&world, len);
    SAVE(world.threads, world.thread_count * sizeof(struct thread));
    SAVE(world.mutexes, world.mutex_count * sizeof(struct mutex));
    SAVE(world.eventfds, world.eventfd_count * sizeof(struct eventfd));
    for (i = 0; i < atom_count; i++) {
        struct atom *atom = &world.atoms[i];
        uint64_t head = (uint64_t)(i + 1) << 32 | (uint64_t)atom->count;
        static const struct view nothing;
        if (atom->count == 1 && memcmp(&atom->messages[0].view, &nothing, sizeof(nothing)) == 0)
            continue;
        SAVE(&head, 8);
        /* The newest value is in the heap. */
        atom->messages[atom->count - 1].value = 0;
        SAVE(atom->messages, atom->count * sizeof(struct message));
    }
    memset(at, 0, 8);
    at += 8;
    for (i = 0; i < world.thread_count; i++)
        if (!world.threads[i].done) {
            len = stack_top(i) - (char *)world.threads[i].sp;
            SAVE(world.threads[i].sp, len);
        }
    return at - to;
}

size_t threads_restore(const char *from)
{
    const char *at = from;
    size_t len = offsetof(struct world, threads);
    uint64_t head;
    int i;
#define RESTORE(to, n) (memcpy(to, at, n), at += (n))
    RESTORE(&world, len);
    RESTORE(world.threads, world.thread_count * sizeof(struct thread));
    RESTORE(world.mutexes, world.mutex_count * sizeof(struct mutex));
    RESTORE(world.eventfds, world.eventfd_count * sizeof(struct eventfd));
    for (i = 0; i < atom_count; i++) {
        world.atoms[i].count = 1;
        memset(&world.atoms[i].messages[0], 0, sizeof(struct message));
    }
    for (;;) {
        RESTORE(&head, 8);
        if (head == 0)
            break;
        i = (int)(head >> 32) - 1;
        world.atoms[i].count = (int)(uint32_t)head;
        RESTORE(world.atoms[i].messages, world.atoms[i].count * sizeof(struct message));
    }
    for (i = 0; i < world.thread_count; i++)
        if (!world.threads[i].done) {
            len = stack_top(i) - (char *)world.threads[i].sp;
            RESTORE(world.threads[i].sp, len);
        }
    return at - from;
}

/* ---- which may go on */

static int mutex_of(const void *at)
{
    int i;
    for (i = 0; i < world.mutex_count; i++)
        if (world.mutex_at[i] == at)
            return i;
    abort();    /* not initialized in setup */
}

static int condition_of(const void *at)
{
    int i;
    for (i = 0; i < world.condition_count; i++)
        if (world.condition_at[i] == at)
            return i;
    abort();
}

static struct eventfd *eventfd_of(int fd)
{
    return fd >= EVENTFD_FIRST && fd < EVENTFD_FIRST + world.eventfd_count ? &world.eventfds[fd - EVENTFD_FIRST] : NULL;
}

static short ready(int fd, short events)
{
    struct eventfd *eventfd = eventfd_of(fd);
    short found = 0;
    int self;
    if (fd < 0)
        return 0;
    if (eventfd != NULL)
        return eventfd->count > 0 ? events & POLLIN : 0;
    self = current;
    current = -1;       /* what it looks at is no access of a thread */
    if (scenario->ready != NULL)
        found = scenario->ready(fd, events);
    current = self;
    return found;
}

static int is_set(int condition, int thread)
{
    return world.waiters[condition] >> thread & 1;
}

int threads_enabled(int thread)
{
    struct thread *one = &world.threads[thread];
    struct pollfd *fds = one->op.second;
    int i;
    if (one->done)
        return 0;
    switch (one->op.kind) {
    case OP_LOCK:
        return world.mutexes[mutex_of(one->op.at)].holder == 0;
    case OP_WAITING:
        return world.mutexes[mutex_of(one->op.second)].holder == 0
            && (!is_set(condition_of(one->op.at), thread) || world.spurious > 0);
    case OP_POLL:
        for (i = 0; i < one->op.count; i++)
            if (ready(fds[i].fd, fds[i].events))
                return 1;
        return 0;
    case OP_JOIN:
        return world.threads[one->op.value].done;
    case OP_SLEEP:
        return one->progressed;
    default:
        return 1;
    }
}

int threads_alternatives(int thread)
{
    struct op *op = &world.threads[thread].op;
    int n, waiters;
    if (op->kind == OP_CHOOSE)
        return (int)op->value;
    if (op->kind == OP_SIGNAL) {
        for (n = 0, waiters = world.waiters[condition_of(op->at)]; waiters; waiters &= waiters - 1)
            n++;
        return n > 1 ? n : 1;
    }
    if (op->kind == OP_LOAD) {
        current = thread;
        n = memory_readable(op);
        current = -1;
        return n;
    }
    return 1;
}

void threads_describe(int thread, int alternative, char *to, size_t room)
{
    static const char *const orders[] = {"relaxed", "consume", "acquire", "release", "acq_rel", "seq_cst"};
    struct op *op = &world.threads[thread].op;
    const char *name = op->at != NULL ? name_of(op->at) : "";
    int n = snprintf(to, room, "  %-9s ", thread_names[thread]);
    to += n;
    room -= n;
    switch (op->kind) {
    case OP_START: snprintf(to, room, "begins"); break;
    case OP_LOAD:
        if (alternative)
            snprintf(to, room, "load %s %s: an old value, %d before %llu", orders[op->order], name, alternative,
                     (unsigned long long)memory_peek(op->at, op->size));
        else
            snprintf(to, room, "load %s %s = %llu", orders[op->order], name,
                     (unsigned long long)memory_peek(op->at, op->size));
        break;
    case OP_STORE:
        snprintf(to, room, "store %s %s = %llu", orders[op->order], name, (unsigned long long)op->value);
        break;
    case OP_RMW:
        snprintf(to, room, "%s %s %s %lld, of %llu", op->what, orders[op->order], name, (long long)op->value,
                 (unsigned long long)memory_peek(op->at, op->size));
        break;
    case OP_CAS:
        snprintf(to, room, "replace %s = %llu, of %llu", name, (unsigned long long)op->value,
                 (unsigned long long)memory_peek(op->at, op->size));
        break;
    case OP_FENCE: snprintf(to, room, "fence"); break;
    case OP_LOCK: snprintf(to, room, "lock %s", name); break;
    case OP_WAIT: snprintf(to, room, "wait %s", name); break;
    case OP_WAITING: snprintf(to, room, "woken %s", name); break;
    case OP_SIGNAL: snprintf(to, room, "signal %s", name); break;
    case OP_BROADCAST: snprintf(to, room, "broadcast %s", name); break;
    case OP_KICK: snprintf(to, room, "kick %d", (int)op->value); break;
    case OP_TAKE_KICK: snprintf(to, room, "take kick %d", (int)op->value); break;
    case OP_POLL: snprintf(to, room, "poll"); break;
    case OP_JOIN: snprintf(to, room, "join %s", thread_names[op->value]); break;
    case OP_SLEEP: snprintf(to, room, "sleep"); break;
    case OP_CALL: snprintf(to, room, "%s", op->what); break;
    case OP_CHOOSE: snprintf(to, room, "%s: %d of %d", op->what, alternative, (int)op->value); break;
    }
}

/* ---- what the data plane calls (rename.h) */

static struct thread *self(void)
{
    return &world.threads[current];
}

int model_mutex_init(pthread_mutex_t *at, const pthread_mutexattr_t *attributes)
{
    int i;
    for (i = 0; i < world.mutex_count; i++)
        if (world.mutex_at[i] == at) {
            memset(&world.mutexes[i], 0, sizeof(world.mutexes[i]));
            return 0;
        }
    if (world.mutex_count == MUTEXES_MAX)
        abort();
    world.mutex_at[world.mutex_count++] = at;
    return 0;
}

int model_mutex_destroy(pthread_mutex_t *at)
{
    if (world.mutexes[mutex_of(at)].holder)
        model_fault("a mutex is destroyed while a thread holds it");
    return 0;
}

int model_mutex_lock(pthread_mutex_t *at)
{
    struct mutex *mutex;
    if (current >= 0)
        threads_point(OP_LOCK, at, 0, 0, 0, NULL);
    mutex = &world.mutexes[mutex_of(at)];
    if (current < 0)
        return 0;
    mutex->holder = current + 1;
    view_join(&self()->now, &mutex->view);
    return 0;
}

/* No point: whatever another thread does next, it could have done before as well. */
int model_mutex_unlock(pthread_mutex_t *at)
{
    struct mutex *mutex = &world.mutexes[mutex_of(at)];
    if (current < 0)
        return 0;
    if (mutex->holder != current + 1) {
        model_fault("a mutex is given back by a thread that does not hold it");
        return 0;
    }
    mutex->holder = 0;
    view_join(&mutex->view, &self()->now);
    return 0;
}

int model_cond_init(pthread_cond_t *at, const pthread_condattr_t *attributes)
{
    int i;
    for (i = 0; i < world.condition_count; i++)
        if (world.condition_at[i] == at)
            return 0;
    if (world.condition_count == CONDITIONS_MAX)
        abort();
    world.condition_at[world.condition_count++] = at;
    return 0;
}

int model_cond_destroy(pthread_cond_t *at)
{
    return 0;
}

int model_cond_wait(pthread_cond_t *at, pthread_mutex_t *lock)
{
    int condition = condition_of(at);
    model_mutex_unlock(lock);
    world.waiters[condition] |= 1 << current;
    memset(&self()->op, 0, sizeof(self()->op));
    self()->op.kind = OP_WAITING;
    self()->op.at = at;
    self()->op.second = lock;
    model_switch(&self()->sp, scheduler_sp);
    if (is_set(condition, current)) {
        world.spurious--;
        world.waiters[condition] &= ~(1 << current);
    }
    world.mutexes[mutex_of(lock)].holder = current + 1;
    view_join(&self()->now, &world.mutexes[mutex_of(lock)].view);
    return 0;
}

int model_cond_signal(pthread_cond_t *at)
{
    int condition = condition_of(at), i, n;
    threads_point(OP_SIGNAL, at, 0, 0, 0, NULL);
    n = self()->alternative;
    for (i = 0; i < world.thread_count; i++)
        if (is_set(condition, i) && n-- == 0) {
            world.waiters[condition] &= ~(1 << i);
            return 0;
        }
    return 0;
}

int model_cond_broadcast(pthread_cond_t *at)
{
    if (current >= 0)
        threads_point(OP_BROADCAST, at, 0, 0, 0, NULL);
    world.waiters[condition_of(at)] = 0;
    return 0;
}

int model_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *arg)
{
    static char names[THREADS_MAX][12];
    int number = world.thread_count;
    snprintf(names[number], sizeof(names[number]), "thread %d", number);
    add_thread(names[number], start, arg);
    world.created = 1;
    if (current >= 0)
        view_join(&world.threads[number].now, &self()->now);
    *thread = number;
    return 0;
}

int model_join(pthread_t thread, void **result)
{
    threads_point(OP_JOIN, NULL, 0, 0, thread, NULL);
    view_join(&self()->now, &world.threads[thread].now);
    return 0;
}

pthread_t model_pthread_self(void)
{
    return current + 1;
}

int model_eventfd(unsigned int initial, int flags)
{
    if (world.eventfd_count == EVENTFDS_MAX)
        abort();
    world.eventfds[world.eventfd_count].count = initial;
    return EVENTFD_FIRST + world.eventfd_count++;
}

int model_close(int fd)
{
    return 0;
}

int model_eventfd_write(int fd, uint64_t value)
{
    struct eventfd *eventfd = eventfd_of(fd);
    if (current < 0 || eventfd == NULL)
        return 0;
    threads_point(OP_KICK, NULL, 0, 0, fd - EVENTFD_FIRST, NULL);
    eventfd->count = 1;     /* how often is no part of the state: one read takes all */
    view_join(&eventfd->view, &self()->now);
    return 0;
}

int model_eventfd_read(int fd, uint64_t *value)
{
    struct eventfd *eventfd = eventfd_of(fd);
    if (current < 0 || eventfd == NULL)
        return 0;
    threads_point(OP_TAKE_KICK, NULL, 0, 0, fd - EVENTFD_FIRST, NULL);
    view_join(&self()->now, &eventfd->view);
    *value = eventfd->count;
    eventfd->count = 0;
    if (*value != 0)
        return 0;
    errno = EAGAIN;
    return -1;
}

int model_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    struct op *op = &self()->op;
    nfds_t i;
    int n = 0;
    memset(op, 0, sizeof(*op));
    op->kind = OP_POLL;
    op->second = fds;
    op->count = (uint8_t)count;
    model_switch(&self()->sp, scheduler_sp);
    for (i = 0; i < count; i++) {
        fds[i].revents = ready(fds[i].fd, fds[i].events);
        n += fds[i].revents != 0;
    }
    return n;
}

int model_wait(int fd, short events)
{
    struct pollfd one = {fd, events, 0};
    model_poll(&one, 1, -1);
    return one.revents;
}

int model_usleep(unsigned int us)
{
    threads_point(OP_SLEEP, NULL, 0, 0, 0, NULL);
    return 0;
}

int model_choose(int count, const char *what)
{
    threads_point(OP_CHOOSE, NULL, 0, 0, count, what);
    return self()->alternative;
}

void model_step(const char *what)
{
    threads_point(OP_CALL, NULL, 0, 0, 0, what);
}

static long answer(long result)
{
    if (result >= 0)
        return result;
    errno = (int)-result;
    return -1;
}

ssize_t model_read(int fd, void *to, size_t room)
{
    model_step("read");
    return answer(scenario->read(fd, to, room));
}

ssize_t model_writev(int fd, const struct iovec *iov, int count)
{
    model_step("writev");
    return answer(scenario->writev(fd, iov, count));
}

ssize_t model_write(int fd, const void *from, size_t len)
{
    const struct iovec iov = {(void *)from, len};
    return model_writev(fd, &iov, 1);
}

int model_sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags)
{
    model_step("sendmmsg");
    return (int)answer(scenario->send(fd, messages, count));
}

int model_recvmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags, struct timespec *timeout)
{
    model_step("recvmmsg");
    return (int)answer(scenario->receive(fd, messages, count));
}

void model_relax(void)
{
    if (scenario->relax)
        scenario->relax();
}

/* Time stands still. */
int model_clock_gettime(clockid_t clock, struct timespec *now)
{
    now->tv_sec = 1000000;
    now->tv_nsec = 0;
    return 0;
}

int model_nothing(void)
{
    return 0;
}
