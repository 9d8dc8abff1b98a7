/* Which packets may become one superframe: the rules of pywg's coalescing, on packets and lists of packets, plainly.
 *
 * TCP segments in sequence, and datagrams, of one flow. Their headers have to be equal but for what cutting the
 * superframe writes again, and their checksums right; only the last may be shorter, or end with PSH. */
#ifndef PYWG_FUZZ_MERGE_PLAIN_H
#define PYWG_FUZZ_MERGE_PLAIN_H

#include "cut_plain.h"

enum { MERGE_TCP = 1, MERGE_UDP = 2, MERGE_MEMBERS = 64, MERGE_ACK = 0x10, MERGE_ECE = 0x40 };

struct merge_packet {
    const uint8_t *at;
    uint32_t len, header, payload;
    struct plain_ip ip;
    int told;           /* its ports can be told */
    int mergeable;
    int push;
    int sums_hold;
};

static inline int merge_sums_hold(const struct merge_packet *p)
{
    const uint32_t l4_len = p->len - p->ip.l4;
    return (p->ip.version == 6 || plain_sum(p->at, 20, 0) == 0xffff)
        && plain_sum(p->at + p->ip.l4, l4_len, plain_pseudo(p->at, p->ip.protocol, l4_len)) == 0xffff;
}

static inline struct merge_packet merge_read(const uint8_t *at, uint32_t len, int features)
{
    struct merge_packet p;
    uint32_t flags;
    memset(&p, 0, sizeof p);
    p.at = at;
    p.len = len;
    p.ip = plain_read(at, len);
    p.header = plain_headers(&p.ip, at);
    p.told = p.header && !p.ip.fragment && p.ip.total == len && p.ip.l4 == (p.ip.version == 4 ? 20 : 40);
    if (!p.told)
        return p;
    p.payload = len - p.header;
    if (p.ip.protocol == PLAIN_TCP) {
        flags = at[p.ip.l4 + 13];
        p.push = (flags & CUT_PSH) != 0;
        p.mergeable = (flags & MERGE_ACK) && !(flags & ~(uint32_t)(MERGE_ACK | CUT_PSH | MERGE_ECE));
    } else {
        p.mergeable = plain16(at + p.ip.l4 + 4) == len - p.ip.l4 && plain16(at + p.ip.l4 + 6) != 0;
    }
    p.mergeable = p.mergeable && p.payload && (features & (p.ip.protocol == PLAIN_TCP ? MERGE_TCP : MERGE_UDP));
    p.sums_hold = p.mergeable && merge_sums_hold(&p);
    return p;
}

static inline int merge_same_addresses(const struct merge_packet *a, const struct merge_packet *b)
{
    const uint32_t at = a->ip.version == 4 ? 12 : 8;
    return a->ip.version && a->ip.version == b->ip.version && memcmp(a->at + at, b->at + at, at == 12 ? 8 : 32) == 0;
}

static inline int merge_same_flow(const struct merge_packet *a, const struct merge_packet *b)
{
    return a->told && b->told && merge_same_addresses(a, b) && a->ip.protocol == b->ip.protocol
        && memcmp(a->at + a->ip.l4, b->at + b->ip.l4, 4) == 0;
}

/* Whether `p` may be the `count`-th packet of a superframe, 1 for the second, of `payload` bytes so far. */
static inline int merge_joins(const struct merge_packet *head, const struct merge_packet *second, uint32_t count,
                              uint32_t payload, const struct merge_packet *p)
{
    const uint8_t *a = head->at, *b = p->at;
    const uint32_t l4 = head->ip.l4;
    uint32_t step = 1;
    if (!p->mergeable || !merge_same_flow(head, p) || p->header != head->header || p->payload > head->payload)
        return 0;
    if (count == MERGE_MEMBERS || head->header + payload + p->payload > 65535)
        return 0;
    if (!head->sums_hold || !p->sums_hold)
        return 0;
    if (head->ip.version == 6) {
        if (memcmp(a, b, 4) != 0 || a[7] != b[7])
            return 0;
    } else {
        if (a[1] != b[1] || a[8] != b[8] || memcmp(a + 6, b + 6, 2) != 0)
            return 0;
        if (a[6] & 0x40 && plain16(second->at + 4) == plain16(a + 4))
            step = 0;
        if (plain16(b + 4) != ((plain16(a + 4) + step * count) & 0xffff))
            return 0;
    }
    if (head->ip.protocol == PLAIN_UDP)
        return 1;
    if (plain32(b + l4 + 4) != plain32(a + l4 + 4) + payload || memcmp(a + l4 + 8, b + l4 + 8, 5) != 0)
        return 0;
    if ((a[l4 + 13] ^ b[l4 + 13]) & ~CUT_PSH || memcmp(a + l4 + 14, b + l4 + 14, 2) != 0)
        return 0;
    return memcmp(a + l4 + 18, b + l4 + 18, head->header - l4 - 18) == 0;
}

#endif
