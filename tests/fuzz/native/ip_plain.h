/* IP packets read plainly, byte by byte, as RFC 791, 8200, 768, 9293 and 1071 say: what the data plane's parser and
 * checksums are compared with. */
#ifndef PYWG_FUZZ_IP_PLAIN_H
#define PYWG_FUZZ_IP_PLAIN_H

#include <stdint.h>
#include <string.h>

#include "unwatched.h"

enum { PLAIN_TCP = 6, PLAIN_UDP = 17, PLAIN_EXTENSIONS = 8 };

struct plain_ip {
    int version;            /* 0: there is no whole IP header */
    int fragment;
    uint32_t tos, protocol; /* the protocol is that at `l4`, if there is one */
    uint32_t total;         /* 0: the header's length is wrong */
    uint32_t l4;            /* 0: no transport header */
};

static inline uint32_t plain16(const uint8_t *at)
{
    return (uint32_t)(at[0] << 8 | at[1]);
}

static inline uint32_t plain32(const uint8_t *at)
{
    return plain16(at) << 16 | plain16(at + 2);
}

static inline void plain_put16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static inline void plain_put32(uint8_t *at, uint32_t value)
{
    plain_put16(at, value >> 16);
    plain_put16(at + 2, value & 0xffff);
}

/* RFC 1071: the folded sum of 16-bit words, an odd byte with a zero behind it. At most 2^31 bytes. They are added four
 * at a time and in the machine's order, as its section 2 allows: byte by byte, this took most of a target's time. */
UNWATCHED static uint32_t plain_sum(const uint8_t *at, uint32_t len, uint32_t sum)
{
    uint64_t words = 0;
    uint32_t i, word = 0;
    uint8_t folded[2];
    for (i = 0; i + 4 <= len; i += 4) {
        memcpy(&word, at + i, 4);
        words += word;
    }
    word = 0;
    memcpy(&word, at + i, len - i);
    words += word;
    while (words >> 16)
        words = (words & 0xffff) + (words >> 16);
    memcpy(folded, &(uint16_t){(uint16_t)words}, 2);
    words = 256u * folded[0] + folded[1] + (uint64_t)sum;
    while (words >> 16)
        words = (words & 0xffff) + (words >> 16);
    return (uint32_t)words;
}

/* Of the pseudo header (RFC 9293 section 3.1, RFC 8200 section 8.1). */
static inline uint32_t plain_pseudo(const uint8_t *packet, uint32_t protocol, uint32_t l4_len)
{
    const uint8_t *addresses = packet + (packet[0] >> 4 == 4 ? 12 : 8);
    return plain_sum(addresses, packet[0] >> 4 == 4 ? 8 : 32, protocol + (l4_len >> 16) + (l4_len & 0xffff));
}

/* RFC 8200 section 4: the headers between IPv6's own and the transport's. */
static inline uint32_t plain_extensions(struct plain_ip *ip, const uint8_t *p)
{
    uint32_t at = 40, next = p[6], n, len;
    for (n = 0; next == 0 || next == 43 || next == 44 || next == 60; n++) {
        if (n == PLAIN_EXTENSIONS || at + 8 > ip->total)
            return 0;
        if (next == 43 && p[at + 3] != 0)
            break;      /* of a packet that is not yet where it goes to */
        len = next == 44 ? 8 : 8 * (p[at + 1] + 1u);
        if (next == 44) {
            ip->fragment = 1;
            if (plain16(p + at + 2) >> 3)
                return 0;
        }
        next = p[at];
        at += len;
        if (at > ip->total)
            return 0;
    }
    ip->protocol = next;
    return at;
}

static inline struct plain_ip plain_read(const uint8_t *p, uint32_t len)
{
    struct plain_ip ip;
    uint32_t header;
    memset(&ip, 0, sizeof ip);
    if (len >= 20 && p[0] >> 4 == 4) {
        ip.version = 4;
        ip.tos = p[1];
        ip.protocol = p[9];
        ip.fragment = (p[6] & 0x20) != 0 || plain16(p + 6) % 8192 != 0;
        ip.total = plain16(p + 2) >= 20 && plain16(p + 2) <= len ? plain16(p + 2) : 0;
        header = (p[0] & 15) * 4u;
        if (ip.total && header >= 20 && header <= ip.total && plain16(p + 6) % 8192 == 0)
            ip.l4 = header;
    } else if (len >= 40 && p[0] >> 4 == 6) {
        ip.version = 6;
        ip.tos = plain16(p) >> 4 & 0xff;
        ip.protocol = p[6];
        ip.total = 40 + plain16(p + 4) <= len ? 40 + plain16(p + 4) : 0;
        if (ip.total)
            ip.l4 = plain_extensions(&ip, p);
    }
    return ip;
}

/* Bytes up to the payload of TCP or UDP; 0: it is neither, or its header is not whole. */
static inline uint32_t plain_headers(const struct plain_ip *ip, const uint8_t *p)
{
    uint32_t len = 8;
    if (ip->l4 == 0 || (ip->protocol != PLAIN_TCP && ip->protocol != PLAIN_UDP))
        return 0;
    if (ip->protocol == PLAIN_TCP) {
        if (ip->total < ip->l4 + 20)
            return 0;
        len = (p[ip->l4 + 12] >> 4) * 4u;
        if (len < 20)
            return 0;
    }
    return ip->l4 + len <= ip->total ? ip->l4 + len : 0;
}

#endif
