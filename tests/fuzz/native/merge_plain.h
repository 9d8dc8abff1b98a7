/* Which packets may become one superframe: the rules of pywg's coalescing, on packets and lists of packets, plainly.
 *
 * TCP segments in sequence, and datagrams, of one flow. Their headers have to be equal but for what cutting the
 * superframe writes again, and their checksums right; only the last may be shorter, or end with PSH. TCP segments in
 * VXLAN or Geneve too, where the end of the tunnel is known: the same of both headers, and all between them equal. */
#ifndef PYWG_FUZZ_MERGE_PLAIN_H
#define PYWG_FUZZ_MERGE_PLAIN_H

#include "cut_plain.h"

enum { MERGE_TCP = 1, MERGE_UDP = 2, MERGE_MEMBERS = 64, MERGE_ACK = 0x10, MERGE_ECE = 0x40, MERGE_HEADERS = 512 };

struct merge_packet {
    const uint8_t *at;
    uint32_t len, header, payload;
    struct plain_ip ip;
    int told;           /* its ports can be told */
    int mergeable;
    int push;
    int sums_hold;
    uint32_t inner;         /* where the packet in a tunnel begins; 0: none that may be merged */
    struct plain_ip in;
};

static inline int merge_sums_hold(const struct plain_ip *ip, const uint8_t *at, uint32_t len)
{
    const uint32_t l4_len = len - ip->l4;
    return (ip->version == 6 || plain_sum(at, 20, 0) == 0xffff)
        && plain_sum(at + ip->l4, l4_len, plain_pseudo(at, ip->protocol, l4_len)) == 0xffff;
}

static inline int merge_plain_flags(uint32_t flags)
{
    return (flags & MERGE_ACK) && !(flags & ~(uint32_t)(MERGE_ACK | CUT_PSH | MERGE_ECE));
}

/* RFC 7348, RFC 8926: where the packet inside begins, by the headers; 0: they are others. */
static inline uint32_t merge_inner(const struct merge_packet *p)
{
    const uint8_t *header = p->at + p->ip.l4 + 8;
    uint32_t inner = p->ip.l4 + 8 + 8;
    if (p->len < inner)
        return 0;
    if (plain32(header) == 0x08000000)
        inner += 14;
    else if (header[0] < 64 && header[1] < 128 && plain16(header + 2) == 0x6558)
        inner += header[0] * 4u + 14;
    else
        return 0;
    return inner < p->len ? inner : 0;
}

/* A packet to the end of a tunnel: what is inside decides, if it is a TCP segment. */
static inline void merge_read_tunnel(struct merge_packet *p)
{
    const uint32_t inner = merge_inner(p), udp = p->ip.l4;
    struct plain_ip in;
    uint32_t headers, flags;
    if (inner == 0 || plain16(p->at + udp + 4) != p->len - udp)
        return;
    in = plain_read(p->at + inner, p->len - inner);
    if (in.version == 0 || plain16(p->at + inner - 2) != (in.version == 4 ? 0x0800 : 0x86dd))
        return;
    headers = plain_headers(&in, p->at + inner);
    if (headers == 0 || in.fragment || in.protocol != PLAIN_TCP || in.l4 != (in.version == 4 ? 20 : 40))
        return;
    flags = p->at[inner + in.l4 + 13];
    if (in.total != p->len - inner || in.total == headers || !merge_plain_flags(flags) || inner + headers > MERGE_HEADERS)
        return;
    p->inner = inner;
    p->in = in;
    p->header = inner + headers;
    p->payload = p->len - p->header;
    p->push = (flags & CUT_PSH) != 0;
    p->mergeable = 1;
    p->sums_hold = merge_sums_hold(&in, p->at + inner, p->len - inner)
        && (plain16(p->at + udp + 6) ? merge_sums_hold(&p->ip, p->at, p->len)
                                     : p->ip.version == 6 || plain_sum(p->at, 20, 0) == 0xffff);
}

/* 10.0.0.1 and fd00::1 are ends of tunnels, with port 7. */
static inline int merge_is_end(const struct merge_packet *p)
{
    static const uint8_t four[4] = {10, 0, 0, 1}, six[16] = {0xfd, [15] = 1};
    if (p->ip.protocol != PLAIN_UDP || plain16(p->at + p->ip.l4 + 2) != 7)
        return 0;
    return p->ip.version == 4 ? memcmp(p->at + 16, four, 4) == 0 : memcmp(p->at + 24, six, 16) == 0;
}

/* `tunnels`: ends of tunnels are known. */
static inline struct merge_packet merge_read(const uint8_t *at, uint32_t len, int features, int tunnels)
{
    struct merge_packet p;
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
        p.push = (at[p.ip.l4 + 13] & CUT_PSH) != 0;
        p.mergeable = merge_plain_flags(at[p.ip.l4 + 13]);
    } else {
        p.mergeable = plain16(at + p.ip.l4 + 4) == len - p.ip.l4 && plain16(at + p.ip.l4 + 6) != 0;
    }
    p.mergeable = p.mergeable && p.payload && (features & (p.ip.protocol == PLAIN_TCP ? MERGE_TCP : MERGE_UDP));
    p.sums_hold = p.mergeable && merge_sums_hold(&p.ip, at, len);
    if (tunnels && merge_is_end(&p))
        merge_read_tunnel(&p);
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

/* Whether an IP header continues another, behind `count` packets. */
static inline int merge_ip_joins(int version, const uint8_t *a, const uint8_t *second, uint32_t count, const uint8_t *b)
{
    uint32_t step = 1;
    if (version == 6)
        return memcmp(a, b, 4) == 0 && a[7] == b[7];
    if (a[1] != b[1] || a[8] != b[8] || memcmp(a + 6, b + 6, 2) != 0)
        return 0;
    if (a[6] & 0x40 && plain16(second + 4) == plain16(a + 4))
        step = 0;
    return plain16(b + 4) == ((plain16(a + 4) + step * count) & 0xffff);
}

/* The same of what a tunnel has around and in front of the TCP header. */
static inline int merge_tunnel_joins(const struct merge_packet *head, const struct merge_packet *second, uint32_t count,
                                     const struct merge_packet *p)
{
    const uint8_t *a = head->at, *b = p->at;
    const uint32_t inner = head->inner, udp = head->ip.l4, addresses = head->in.version == 4 ? 12 : 8;
    if (head->in.version != p->in.version || !plain16(a + udp + 6) != !plain16(b + udp + 6))
        return 0;
    if (memcmp(a + udp + 8, b + udp + 8, inner - udp - 8) != 0)
        return 0;
    if (memcmp(a + inner + addresses, b + inner + addresses, addresses == 12 ? 8 : 32) != 0)
        return 0;
    return memcmp(a + inner + head->in.l4, b + inner + head->in.l4, 4) == 0
        && merge_ip_joins(head->in.version, a + inner, second->at + inner, count, b + inner);
}

/* Whether `p` may be the `count`-th packet of a superframe, 1 for the second, of `payload` bytes so far. */
static inline int merge_joins(const struct merge_packet *head, const struct merge_packet *second, uint32_t count,
                              uint32_t payload, const struct merge_packet *p)
{
    const uint8_t *a = head->at, *b = p->at;
    const uint32_t l4 = head->inner ? head->inner + head->in.l4 : head->ip.l4;
    if (!p->mergeable || !merge_same_flow(head, p) || p->header != head->header || p->payload > head->payload)
        return 0;
    if (count == MERGE_MEMBERS || head->header + payload + p->payload > 65535)
        return 0;
    if (!head->sums_hold || !p->sums_hold)
        return 0;
    if (head->inner != p->inner || !merge_ip_joins(head->ip.version, a, second->at, count, b))
        return 0;
    if (head->inner && !merge_tunnel_joins(head, second, count, p))
        return 0;
    if (head->ip.protocol == PLAIN_UDP && !head->inner)
        return 1;
    if (plain32(b + l4 + 4) != plain32(a + l4 + 4) + payload || memcmp(a + l4 + 8, b + l4 + 8, 5) != 0)
        return 0;
    if ((a[l4 + 13] ^ b[l4 + 13]) & ~CUT_PSH || memcmp(a + l4 + 14, b + l4 + 14, 2) != 0)
        return 0;
    return memcmp(a + l4 + 18, b + l4 + 18, head->header - l4 - 18) == 0;
}

#endif
