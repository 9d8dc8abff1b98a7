/* A superframe cut into its packets, plainly: as Linux' tcp_gso_segment, __udp_gso_segment, __skb_udp_tunnel_segment and
 * inet_gso_segment do, with checksums that are summed anew for each. For what the data plane cuts, and for what it
 * merges. */
#ifndef PYWG_FUZZ_CUT_PLAIN_H
#define PYWG_FUZZ_CUT_PLAIN_H

#include "ip_plain.h"

enum { CUT_UNKNOWN = -1, CUT_MALFORMED = -2, CUT_NO_ROOM = -3 };
enum { CUT_NEEDS_CSUM = 1, CUT_TCP4 = 1, CUT_TCP6 = 4, CUT_UDP = 5, CUT_ECN = 0x80 };
enum { CUT_TUNNEL_CSUM = 8, CUT_TUNNEL4 = 0x20, CUT_TUNNEL6 = 0x40, CUT_TUNNEL_HEADER = 24 };
enum { CUT_FIN = 1, CUT_PSH = 8, CUT_CWR = 0x80 };

struct cut {
    const uint8_t *packet;
    struct plain_ip ip;     /* of the packet that is cut, */
    uint32_t front;         /* which begins behind so many bytes of a UDP tunnel's headers */
    struct plain_ip outer;
    int outer_check;
    uint32_t header, payload, gso_size, pieces;
};

static inline uint32_t cut_little16(const uint8_t *at)
{
    return (uint32_t)(at[1] << 8 | at[0]);
}

/* Finds the packet in a UDP tunnel. Whether it is there. */
static inline int cut_tunnel(struct cut *c, const uint8_t *vnet, uint32_t len)
{
    const uint32_t udp = cut_little16(vnet + 20), inner = cut_little16(vnet + 22);
    c->outer = plain_read(c->packet, len);
    c->outer_check = (vnet[0] & CUT_TUNNEL_CSUM) != 0;
    c->front = inner;
    if (c->outer.l4 == 0 || c->outer.l4 != udp || c->outer.fragment || c->outer.protocol != PLAIN_UDP)
        return 0;
    if ((vnet[1] & 0x60) != (c->outer.version == 4 ? CUT_TUNNEL4 : CUT_TUNNEL6) || !(vnet[0] & CUT_NEEDS_CSUM))
        return 0;
    if (inner < udp + 8 || inner > c->outer.total || (inner - udp) % 2 != 0)
        return 0;
    if (!c->outer_check && plain16(c->packet + udp + 6) != 0)
        return 0;
    c->ip = plain_read(c->packet + inner, c->outer.total - inner);
    return c->ip.version != 0 && c->ip.total == c->outer.total - inner;
}

/* `vnet`: a virtio header of `vnet_len` bytes. 0, or why there are no packets. */
static inline int cut_start(struct cut *c, const uint8_t *vnet, uint32_t vnet_len, const uint8_t *packet, uint32_t len)
{
    const uint32_t type = vnet[1] & 0x1fu;
    memset(c, 0, sizeof *c);
    c->packet = packet;
    c->gso_size = cut_little16(vnet + 4);
    if (type != CUT_TCP4 && type != CUT_TCP6 && type != CUT_UDP)
        return CUT_UNKNOWN;
    if ((vnet[1] & 0x60) == 0)
        c->ip = plain_read(packet, len);
    else if (vnet_len < CUT_TUNNEL_HEADER)
        return CUT_UNKNOWN;
    else if (!cut_tunnel(c, vnet, len))
        return CUT_MALFORMED;
    c->header = plain_headers(&c->ip, packet + c->front);
    if (c->header == 0 || c->ip.fragment || c->gso_size == 0)
        return CUT_MALFORMED;
    if (type == CUT_UDP ? c->ip.protocol != PLAIN_UDP
                        : c->ip.protocol != PLAIN_TCP || c->ip.version != (type == CUT_TCP4 ? 4 : 6))
        return CUT_MALFORMED;
    if (vnet[0] & CUT_NEEDS_CSUM && cut_little16(vnet + 6) != c->front + c->ip.l4)
        return CUT_MALFORMED;
    c->payload = c->ip.total - c->header;
    c->header += c->front;
    c->pieces = c->payload == 0 ? 1 : (c->payload - 1) / c->gso_size + 1;
    return 0;
}

static inline uint32_t cut_len(const struct cut *c, uint32_t i)
{
    const uint32_t left = c->payload - i * c->gso_size;
    return c->header + (left < c->gso_size ? left : c->gso_size);
}

/* Finishes the IP header of the i-th packet. */
static inline void cut_ip(const struct plain_ip *ip, uint32_t i, uint8_t *to, uint32_t len)
{
    if (ip->version == 4) {
        plain_put16(to + 2, len);
        plain_put16(to + 4, plain16(to + 4) + i);
        plain_put16(to + 10, 0);
        plain_put16(to + 10, ~plain_sum(to, ip->l4, 0) & 0xffff);
    } else {
        plain_put16(to + 4, len - 40);
    }
}

/* Finishes the checksum at `field`. */
static inline void cut_check(const struct plain_ip *ip, uint32_t protocol, uint32_t field, uint8_t *to, uint32_t len)
{
    uint32_t sum;
    plain_put16(to + field, 0);
    sum = ~plain_sum(to + ip->l4, len - ip->l4, plain_pseudo(to, protocol, len - ip->l4)) & 0xffff;
    plain_put16(to + field, sum == 0 && protocol == PLAIN_UDP ? 0xffff : sum);
}

/* The i-th packet, without the tunnel's headers. */
static inline void cut_inner(const struct cut *c, uint32_t i, uint8_t *to, uint32_t len)
{
    const uint32_t l4 = c->ip.l4;
    cut_ip(&c->ip, i, to, len);
    if (c->ip.protocol == PLAIN_TCP) {
        plain_put32(to + l4 + 4, plain32(to + l4 + 4) + i * c->gso_size);
        if (i > 0)
            to[l4 + 13] &= (uint8_t)~CUT_CWR;
        if (i + 1 < c->pieces)
            to[l4 + 13] &= (uint8_t)~(CUT_FIN | CUT_PSH);
    } else {
        plain_put16(to + l4 + 4, len - l4);
    }
    cut_check(&c->ip, c->ip.protocol, l4 + (c->ip.protocol == PLAIN_TCP ? 16 : 6), to, len);
}

/* Writes the i-th packet; its length. */
static inline uint32_t cut_piece(const struct cut *c, uint32_t i, uint8_t *to)
{
    const uint32_t len = cut_len(c, i);
    memcpy(to, c->packet, c->header);
    memcpy(to + c->header, c->packet + c->header + i * c->gso_size, len - c->header);
    cut_inner(c, i, to + c->front, len - c->front);
    if (c->front == 0)
        return len;
    cut_ip(&c->outer, i, to, len);
    plain_put16(to + c->outer.l4 + 4, len - c->outer.l4);
    if (c->outer_check)
        cut_check(&c->outer, PLAIN_UDP, c->outer.l4 + 6, to, len);
    return len;
}

/* Bytes of a packet with its padding: a multiple of 16, but not past the MTU (paper, section 5.4.6). */
static inline uint32_t cut_padded(uint32_t len, uint32_t mtu)
{
    const uint32_t rounded = (len + 15) / 16 * 16;
    return rounded <= mtu ? rounded : len > mtu ? len : mtu;
}

#endif
