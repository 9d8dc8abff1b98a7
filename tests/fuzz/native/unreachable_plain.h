/* What is answered to a packet that no peer takes, written from RFC 1122 section 3.2.2, RFC 1812 section 4.3.2 and
 * RFC 4443 sections 2.4 and 3.1: what the data plane's answers are compared with. */
#ifndef PYWG_FUZZ_UNREACHABLE_PLAIN_H
#define PYWG_FUZZ_UNREACHABLE_PLAIN_H

#include "ip_plain.h"

enum { PLAIN_ICMP = 1, PLAIN_ROUTING = 43, PLAIN_AUTHENTICATION = 51, PLAIN_ICMP6 = 58, PLAIN_REPLY_MAX = 1280 };

static inline int plain_is_zero(const uint8_t *at, uint32_t len)
{
    while (len--)
        if (at[len])
            return 0;
    return 1;
}

/* Whether an answer is allowed, and the packet has so much that its answer can be told by the sender. */
static inline int plain_answerable(const uint8_t *p, uint32_t len)
{
    const struct plain_ip ip = plain_read(p, len);
    uint32_t type;
    if (ip.l4 == 0 || ip.l4 + 8 > ip.total)
        return 0;               /* a later fragment, or no 64 bits of a transport header */
    if (ip.protocol == PLAIN_AUTHENTICATION || (ip.version == 6 && ip.protocol == PLAIN_ROUTING))
        return 0;               /* there may be an ICMP error behind it */
    type = p[ip.l4];
    if (ip.version == 4) {
        if (p[12] == 0 || p[12] == 127 || p[12] >= 224)
            return 0;           /* RFC 1122: the source is no single host */
        if (p[16] == 0 || p[16] >= 224)
            return 0;           /* the destination is not one */
        return ip.protocol != PLAIN_ICMP || type == 0 || type == 8 || type == 13 || type == 14;
    }
    if (p[8] == 0xff || p[24] == 0xff || plain_is_zero(p + 8, 16))
        return 0;               /* RFC 4443 section 2.4 (e.3) to (e.6) */
    return ip.protocol != PLAIN_ICMP6 || (type >= 128 && type != 137);      /* (e.1), (e.2): errors, redirects */
}

/* Writes the answer; its length, or 0. */
static inline uint32_t plain_unreachable(const uint8_t *p, uint32_t len, uint8_t *reply)
{
    const uint32_t header = p[0] >> 4 == 4 ? 20 : 40, most = header == 20 ? 576 : 1280;
    uint32_t quoted = len, l4_len;
    if (!plain_answerable(p, len))
        return 0;
    if (quoted > most - header - 8)
        quoted = most - header - 8;
    l4_len = 8 + quoted;
    memset(reply, 0, header + 8);
    if (header == 20) {
        reply[0] = 0x45;
        reply[1] = 0xc0;        /* RFC 1812 section 5.3.2: precedence 6 */
        plain_put16(reply + 2, header + l4_len);
        reply[8] = 64;
        reply[9] = PLAIN_ICMP;
        memcpy(reply + 12, p + 16, 4);
        memcpy(reply + 16, p + 12, 4);
        plain_put16(reply + 10, ~plain_sum(reply, 20, 0) & 0xffff);
        reply[20] = 3;
        reply[21] = 1;
    } else {
        reply[0] = 0x60;
        plain_put16(reply + 4, l4_len);
        reply[6] = PLAIN_ICMP6;
        reply[7] = 64;
        memcpy(reply + 8, p + 24, 16);
        memcpy(reply + 24, p + 8, 16);
        reply[40] = 1;
        reply[41] = 3;
    }
    memcpy(reply + header + 8, p, quoted);
    plain_put16(reply + header + 2, ~plain_sum(reply + header, l4_len,
                                               header == 20 ? 0 : plain_pseudo(reply, PLAIN_ICMP6, l4_len)) & 0xffff);
    return header + l4_len;
}

#endif
