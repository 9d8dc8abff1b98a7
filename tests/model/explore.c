/* All paths through the states of a scenario, each state once, depth first. */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int active;

static int faulty;

enum { DEPTH_MAX = 20000, CHOICES_MAX = 64, TRAIL_LINE = 160, SAVE_MAX = 16 << 20, LEARNING = 20000 };

struct choice {
    uint8_t thread, alternative;
};

struct frame {
    char *saved;
    size_t room;
    int count, next;
    struct choice choices[CHOICES_MAX];
};

static struct frame *frames;
static char (*trail)[TRAIL_LINE];
static char *scratch;
static struct result *result;
static uint64_t *seen;
static uint64_t seen_room, seen_count;

/* In a thread it does not return: the scheduler goes on, and ends. */
void model_fault(const char *what)
{
    if (!faulty)
        snprintf(result->fault, sizeof(result->fault), "%s", what);
    faulty = 1;
    if (current >= 0)
        threads_point(OP_START, NULL, 0, 0, 0, NULL);
}

void __assert_fail(const char *assertion, const char *file, unsigned int line, const char *function)
{
    char text[200];
    if (current < 0) {
        fprintf(stderr, "%s:%u: %s: Assertion `%s' failed.\n", file, line, function, assertion);
        abort();
    }
    snprintf(text, sizeof(text), "%s: assertion `%.120s' fails", function, assertion);
    model_fault(text);
    abort();
}

static uint64_t hash(const char *at, size_t len)
{
    uint64_t a = 0x9E3779B97F4A7C15 ^ len, b = 0xC2B2AE3D27D4EB4F, words[2];
    for (; len >= 16; len -= 16, at += 16) {
        memcpy(words, at, 16);
        a = (a ^ words[0]) * 0xFF51AFD7ED558CCD;
        a ^= a >> 32;
        b = (b ^ words[1]) * 0xC4CEB9FE1A85EC53;
        b ^= b >> 29;
    }
    words[0] = words[1] = 0;
    memcpy(words, at, len);
    a = (a ^ words[0]) * 0xFF51AFD7ED558CCD;
    b = (b ^ words[1] ^ a >> 32) * 0xC4CEB9FE1A85EC53;
    a ^= b * 0x9E3779B97F4A7C15;
    return a ^ a >> 29;
}

static int is_new(uint64_t key)
{
    uint64_t i, *old = seen, room = seen_room;
    key += key == 0;
    if (2 * seen_count >= seen_room) {
        seen_room = seen_room ? 2 * seen_room : 1 << 16;
        seen = calloc(seen_room, sizeof(uint64_t));
        if (seen == NULL)
            abort();
        seen_count = 0;
        for (i = 0; i < room; i++)
            if (old[i])
                is_new(old[i]);
        free(old);
    }
    for (i = key & (seen_room - 1); seen[i]; i = (i + 1) & (seen_room - 1))
        if (seen[i] == key)
            return 0;
    seen[i] = key;
    seen_count++;
    return 1;
}

/* What may happen next. The thread that ran last comes first, so that the first paths are those with few switches. */
static int choices(struct choice *to)
{
    int n = 0, i, thread, alternative, stays;
    /* What only concerns its own thread, or what a beginning thread does first, need not be tried in any other order. */
    for (thread = 0; thread < world.thread_count; thread++)
        if (!world.threads[thread].done
                && (world.threads[thread].op.kind == OP_START || world.threads[thread].op.kind == OP_CHOOSE)) {
            for (alternative = 0; alternative < threads_alternatives(thread); alternative++)
                to[n++] = (struct choice){thread, alternative};
            return n;
        }
    stays = world.last >= 0 && threads_enabled(world.last) && world.threads[world.last].op.kind != OP_SLEEP;
    for (i = 0; i < world.thread_count; i++) {
        thread = (i + (world.last < 0 ? 0 : world.last)) % world.thread_count;
        if (!threads_enabled(thread))
            continue;
        if (stays && thread != world.last && options.preemptions >= 0 && world.preemptions >= options.preemptions)
            continue;
        for (alternative = 0; alternative < threads_alternatives(thread); alternative++) {
            if (n == CHOICES_MAX)
                abort();
            to[n++] = (struct choice){thread, alternative};
        }
    }
    return n;
}

static void begin(const struct scenario *given)
{
    memory_begin();
    threads_begin();
    scenario = given;
    for (int i = 0; i < ATOMS_MAX; i++)
        world.atoms[i].count = 1;
    scenario->setup();
}

static void run(struct choice choice, uint64_t depth)
{
    int stays = world.last >= 0 && threads_enabled(world.last) && world.threads[world.last].op.kind != OP_SLEEP;
    threads_describe(choice.thread, choice.alternative, trail[depth], TRAIL_LINE);
    if (options.preemptions >= 0)
        world.preemptions += stays && choice.thread != world.last && world.threads[choice.thread].op.kind != OP_START;
    threads_run(choice.thread, choice.alternative);
    if (options.preemptions < 0)
        world.last = choice.thread;
    if (options.stale)
        memory_settle();
    result->transitions++;
}

static void tell_trail(uint64_t depth)
{
    size_t at = 0;
    uint64_t i, first = depth > 120 ? depth - 120 : 0;
    for (i = first; i < depth; i++) {
        at += snprintf(result->trail + at, sizeof(result->trail) - at, "%s\n", trail[i]);
        if (at >= sizeof(result->trail))
            return;
    }
}

static void search(const struct scenario *given, uint64_t states_max)
{
    struct frame *frame;
    struct choice choice;
    const char *wrong;
    uint64_t depth = 0, key;
    size_t len;
    int fresh = 1, last;
    begin(given);
    seen_count = 0;
    memset(seen, 0, seen_room * sizeof(uint64_t));
    frames[0].next = 0;
    frames[0].count = choices(frames[0].choices);
    len = threads_save(scratch);
    len += memory_save(scratch + len);
    for (;;) {
        frame = &frames[depth];
        if (fresh) {
            if (frame->room < len) {
                frame->room = len + 4096;
                free(frame->saved);
                frame->saved = malloc(frame->room);
                if (frame->saved == NULL)
                    abort();
            }
            memcpy(frame->saved, scratch, len);
            fresh = 0;
        } else {
            while (frame->next == frame->count) {
                if (depth == 0) {
                    result->complete = 1;
                    return;
                }
                frame = &frames[--depth];
            }
            memory_restore(frame->saved + threads_restore(frame->saved));
        }
        choice = frame->choices[frame->next++];
        run(choice, depth);
        if (faulty) {
            tell_trail(depth + 1);
            return;
        }
        if (depth + 1 > result->depth)
            result->depth = depth + 1;
        last = world.last;
        if (options.preemptions < 0)
            world.last = -1;        /* the order in which threads ran is no part of the state */
        len = threads_save(scratch);
        key = hash(scratch, len) + memory_hash();
        len += memory_save(scratch + len);
        world.last = last;
        if (!is_new(key))
            continue;
        result->states++;
        frames[depth + 1].count = choices(frames[depth + 1].choices);
        frames[depth + 1].next = 0;
        if (frames[depth + 1].count == 0) {
            result->ends++;
            wrong = scenario->end();
            if (wrong != NULL) {
                model_fault(wrong);
                tell_trail(depth + 1);
                return;
            }
            continue;
        }
        if (result->states >= states_max || depth + 2 >= DEPTH_MAX)
            return;
        depth++;
        fresh = 1;
    }
}

void model_explore(const struct scenario *given, const struct options *how, struct result *to)
{
    if (frames == NULL) {
        frames = calloc(DEPTH_MAX, sizeof(struct frame));
        trail = malloc(DEPTH_MAX * sizeof(*trail));
        scratch = malloc(SAVE_MAX);
        if (frames == NULL || trail == NULL || scratch == NULL)
            abort();
        is_new(1);
    }
    options = *how;
    result = to;
    /* The first states alone, so that every variable is known by then: which are atomics decides what a state is. */
    memset(result, 0, sizeof(*result));
    faulty = 0;
    active = 1;
    search(given, LEARNING);
    if (!faulty && !result->complete) {
        memset(result, 0, sizeof(*result));
        search(given, options.states_max);
    }
    current = -1;
    active = 0;
}
