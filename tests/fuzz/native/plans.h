/* Bursts that are planned: the frames come to the limits of a batch, to the last byte, packet or run, or close to them.
 *
 * By chance alone no burst does: where memory ends, or something is counted, there is then nothing that looks.
 */
#ifndef PYWG_FUZZ_PLANS_H
#define PYWG_FUZZ_PLANS_H

#include "traffic.h"

enum {
    PLAN_MAX = 512,
    PLAN_BESIDE = 32,               /* bytes that a datagram has beside its padded packet */
    PLAN_TO_THE_END = 0xffff,       /* as gso_size: a superframe that takes what room there is */
};

struct planned {
    uint32_t len;       /* of the packet or superframe; 0: there is nothing to read, once */
    uint32_t gso_size;  /* 0: a packet */
};

struct plan {
    struct planned frames[PLAN_MAX];
    uint32_t count, at;
};

/* What all frames of a plan have in common. */
struct plan_terms {
    uint32_t shortest;          /* packet */
    uint32_t headers;           /* of a superframe's segments */
    uint32_t mtu;
    uint32_t batch_bytes, staged_bytes, datagrams, runs, runs_of_a_frame;   /* the limits */
};

static inline uint32_t plan_between(uint32_t len, uint32_t shortest, uint32_t longest)
{
    return len < shortest ? shortest : len > longest ? longest : len;
}

static inline void plan_add(struct plan *p, uint32_t len, uint32_t gso_size)
{
    if (p->count < PLAN_MAX)
        p->frames[p->count++] = (struct planned){len, gso_size};
}

static inline uint32_t plan_wire_len(uint32_t len, uint32_t mtu)
{
    const uint32_t rounded = (len + 15) & ~15u;
    return PLAN_BESIDE + (rounded <= mtu ? rounded : len > mtu ? len : mtu);
}

/* Packets of one length, and a last one of another, that come to `limit` bytes: of datagrams (`wire`), or their own. */
static inline void plan_bytes(struct plan *p, struct chance *c, const struct plan_terms *t, uint32_t limit, int wire)
{
    uint32_t target = limit, used = 0, len, cost, last;
    switch (chance_below(c, 4)) {
    case 0:
        target += chance_below(c, 64);
        break;
    case 1:
        target -= chance_below(c, 64);
        break;
    case 2:
        target -= chance_below(c, 2048);
    }
    if (chance_one_in(c, 4))
        len = chance_len(c, t->shortest, 65535, t->mtu);
    else
        len = target / (1 + chance_below(c, chance_one_in(c, 3) ? 4 : 64)) - chance_below(c, 48);
    len = plan_between(len, t->shortest, 65535);
    cost = wire ? plan_wire_len(len, t->mtu) : len;
    for (; used + cost <= target && p->count < PLAN_MAX - 64; used += cost)
        plan_add(p, len, 0);
    last = target - used;
    if (wire)
        last = last > PLAN_BESIDE ? (last - PLAN_BESIDE) & ~15u : 0;
    if (last >= t->shortest && last <= 65535)
        plan_add(p, last, 0);
}

/* As many packets as one send may have datagrams, or about that; they become one run, or a run each. */
static inline void plan_packets(struct plan *p, struct chance *c, const struct plan_terms *t, int grow)
{
    uint32_t n = (grow ? t->runs : t->datagrams) + 2 - chance_below(c, 5), len = t->shortest + chance_below(c, 800), i;
    if (grow) {
        n -= chance_one_in(c, 3) ? t->runs_of_a_frame : 0;
        len = t->shortest + chance_below(c, 32);
    }
    for (i = 0; i < n; i++)
        plan_add(p, len + (grow ? 16 * i : 0), 0);
}

/* Superframes of the most, and the smallest, datagrams; the last takes the room that the others leave. Three full ones
 * leave little enough, and are short enough for one batch. */
static inline void plan_superframes(struct plan *p, struct chance *c, const struct plan_terms *t)
{
    const uint32_t most = t->datagrams * t->runs_of_a_frame, full = chance_below(c, 3);
    const uint32_t gso_size = full ? 9 + chance_below(c, 12) : 1 + chance_below(c, chance_one_in(c, 4) ? 64 : 24);
    uint32_t n = full ? 3 : 1 + chance_below(c, 4), count;
    while (n--) {
        count = full ? most + (uint32_t)chance_one_in(c, 64) : 1 + chance_below(c, most);
        plan_add(p, plan_between(t->headers + gso_size * count, t->headers, 65535), gso_size);
    }
    plan_add(p, t->headers + 1, PLAN_TO_THE_END);
}

/* Up to one limit. `staged`: these frames wait for a session. */
static inline void plan_part(struct plan *p, struct chance *c, const struct plan_terms *t, int offloads, int staged)
{
    const uint32_t what = chance_below(c, 16);
    if (what < 2)
        plan_packets(p, c, t, 0);
    else if (what < 5)
        plan_packets(p, c, t, 1);
    else if (what < 8 && offloads && !staged)
        plan_superframes(p, c, t);
    else if (what < 10 && staged && t->staged_bytes < 1 << 19)
        plan_bytes(p, c, t, t->staged_bytes, 0);
    else
        plan_bytes(p, c, t, t->batch_bytes, chance_one_in(c, 2));
}

/* A last frame or two, as long as they can be or of any length. */
static inline void plan_end(struct plan *p, struct chance *c, const struct plan_terms *t, int offloads)
{
    uint32_t n = 1 + chance_below(c, 3), len;
    while (n--) {
        len = 65535 - chance_below(c, 1u << chance_below(c, 7));
        if (chance_one_in(c, 3))
            len = chance_len(c, t->headers, 65535, t->mtu);
        plan_add(p, len, offloads && chance_one_in(c, 2) ? 400 + chance_below(c, 1100) : 0);
    }
}

#endif
