/* A superframe cut into its packets, plainly: as Linux' tcp_gso_segment, __udp_gso_segment and inet_gso_segment do,
 * with checksums that are summed anew for each. For what the data plane cuts, and for what it merges. */
#ifndef PYWG_FUZZ_CUT_PLAIN_H
#define PYWG_FUZZ_CUT_PLAIN_H

#include "ip_plain.h"

enum { CUT_UNKNOWN = -1, CUT_MALFORMED = -2, CUT_NO_ROOM = -3 };
enum { CUT_NEEDS_CSUM = 1, CUT_TCP4 = 1, CUT_TCP6 = 4, CUT_UDP = 5, CUT_ECN = 0x80 };
enum { CUT_FIN = 1, CUT_PSH = 8, CUT_CWR = 0x80 };

struct cut {
    const uint8_t *packet;
    struct plain_ip ip;
    uint32_t header, payload, gso_size, pieces;
};

static inline uint32_t cut_little16(const uint8_t *at)
{
    return (uint32_t)(at[1] << 8 | at[0]);
}

/* `vnet`: 10 bytes of a virtio header. 0, or why there are no packets. */
static inline int cut_start(struct cut *c, const uint8_t *vnet, const uint8_t *packet, uint32_t len)
{
    const uint32_t type = vnet[1] & 0x7fu;
    memset(c, 0, sizeof *c);
    c->packet = packet;
    c->ip = plain_read(packet, len);
    c->header = plain_headers(&c->ip, packet);
    c->gso_size = cut_little16(vnet + 4);
    if (type != CUT_TCP4 && type != CUT_TCP6 && type != CUT_UDP)
        return CUT_UNKNOWN;
    if (c->header == 0 || c->ip.fragment || c->gso_size == 0)
        return CUT_MALFORMED;
    if (type == CUT_UDP ? c->ip.protocol != PLAIN_UDP
                        : c->ip.protocol != PLAIN_TCP || c->ip.version != (type == CUT_TCP4 ? 4 : 6))
        return CUT_MALFORMED;
    if (vnet[0] & CUT_NEEDS_CSUM && cut_little16(vnet + 6) != c->ip.l4)
        return CUT_MALFORMED;
    c->payload = c->ip.total - c->header;
    c->pieces = c->payload == 0 ? 1 : (c->payload - 1) / c->gso_size + 1;
    return 0;
}

static inline uint32_t cut_len(const struct cut *c, uint32_t i)
{
    const uint32_t left = c->payload - i * c->gso_size;
    return c->header + (left < c->gso_size ? left : c->gso_size);
}

/* Writes the i-th packet; its length. */
static inline uint32_t cut_piece(const struct cut *c, uint32_t i, uint8_t *to)
{
    const uint32_t len = cut_len(c, i), l4 = c->ip.l4, field = l4 + (c->ip.protocol == PLAIN_TCP ? 16 : 6);
    uint32_t sum;
    memcpy(to, c->packet, c->header);
    memcpy(to + c->header, c->packet + c->header + i * c->gso_size, len - c->header);
    if (c->ip.version == 4) {
        plain_put16(to + 2, len);
        plain_put16(to + 4, plain16(to + 4) + i);
        plain_put16(to + 10, 0);
        plain_put16(to + 10, ~plain_sum(to, l4, 0) & 0xffff);
    } else {
        plain_put16(to + 4, len - 40);
    }
    if (c->ip.protocol == PLAIN_TCP) {
        plain_put32(to + l4 + 4, plain32(to + l4 + 4) + i * c->gso_size);
        if (i > 0)
            to[l4 + 13] &= (uint8_t)~CUT_CWR;
        if (i + 1 < c->pieces)
            to[l4 + 13] &= (uint8_t)~(CUT_FIN | CUT_PSH);
    } else {
        plain_put16(to + l4 + 4, len - l4);
    }
    plain_put16(to + field, 0);
    sum = ~plain_sum(to + l4, len - l4, plain_pseudo(to, c->ip.protocol, len - l4)) & 0xffff;
    plain_put16(to + field, sum == 0 && c->ip.protocol == PLAIN_UDP ? 0xffff : sum);
    return len;
}

/* Bytes of a packet with its padding: a multiple of 16, but not past the MTU (paper, section 5.4.6). */
static inline uint32_t cut_padded(uint32_t len, uint32_t mtu)
{
    const uint32_t rounded = (len + 15) / 16 * 16;
    return rounded <= mtu ? rounded : len > mtu ? len : mtu;
}

#endif
