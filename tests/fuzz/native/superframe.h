/* What the kernel makes of a frame that is written to a TUN: the packets of a superframe, each as it has come.
 *
 * By the rules of Linux' tcp_gso_segment, udp_gso_segment and inet_gso_segment, for plain headers.
 */
#ifndef PYWG_FUZZ_SUPERFRAME_H
#define PYWG_FUZZ_SUPERFRAME_H

#include "cut_plain.h"
#include "traffic.h"

enum { TCP_PSH = 8, IPV4_DF = 0x40, SUPERFRAME_MAX_PIECES = 64 };

struct superframe {
    const uint8_t *packet;
    uint32_t len, header_len, gso_size, l4, pieces;
    int version, protocol;
    int tunnel; /* it is of TCP segments in a UDP tunnel, as cut_plain.h cuts them: */
    struct cut cut;
};

static inline uint32_t native16(const uint8_t *at)
{
    uint16_t value;
    memcpy(&value, at, 2);
    return value;
}

/* What is wrong with the superframe of a tunnel, or NULL. */
static inline const char *superframe_read_tunnel(struct superframe *s, const uint8_t *vnet, uint32_t vnet_len)
{
    const struct plain_ip *ip = &s->cut.ip, *outer = &s->cut.outer;
    uint8_t plain[CUT_TUNNEL_HEADER];
    uint32_t udp_len;
    if (vnet_len != CUT_TUNNEL_HEADER)
        return "a tunnel's superframe with a short virtio header";
    memcpy(plain, vnet, sizeof(plain));
    if (plain[20] < 14)
        return "a tunnel's UDP header that is not as if behind an Ethernet header";
    plain[20] -= 14;
    if (cut_start(&s->cut, plain, vnet_len, s->packet, s->len) != 0)
        return "a tunnel's superframe that can't be cut";
    s->tunnel = 1;
    s->pieces = s->cut.pieces;
    udp_len = s->len - outer->l4;
    if (ip->protocol != PLAIN_TCP || native16(vnet + 2) != s->cut.header || native16(vnet + 8) != 16)
        return "a tunnel's superframe of something else";
    if (vnet[0] & ~(CUT_NEEDS_CSUM | CUT_TUNNEL_CSUM) || !(vnet[0] & CUT_TUNNEL_CSUM) != !get16(s->packet + outer->l4 + 6))
        return "a tunnel's virtio header with odd flags";
    if (s->pieces < 2 || s->pieces > SUPERFRAME_MAX_PIECES)
        return "so many packets in a tunnel's superframe";
    if (outer->total != s->len || get16(s->packet + outer->l4 + 4) != udp_len)
        return "lengths that are not those of a tunnel's superframe";
    if (outer->version == 4 && sum16(s->packet, 20, 0) != 0xffff)
        return "a tunnel's IPv4 checksum that is wrong";
    if (ip->version == 4 && sum16(s->packet + s->cut.front, 20, 0) != 0xffff)
        return "an IPv4 checksum in a tunnel that is wrong";
    if (get16(s->packet + s->cut.front + ip->l4 + 16)
        != plain_pseudo(s->packet + s->cut.front, PLAIN_TCP, s->len - s->cut.front - ip->l4))
        return "a checksum in a tunnel that is not the pseudo header's";
    if (vnet[0] & CUT_TUNNEL_CSUM && get16(s->packet + outer->l4 + 6) != plain_pseudo(s->packet, PLAIN_UDP, udp_len))
        return "a tunnel's checksum that is not the pseudo header's";
    return NULL;
}

/* What is wrong with the frame, or NULL. `vnet_len`: 0, 10, 12 or 24. */
static inline const char *superframe_read(struct superframe *s, const uint8_t *vnet, uint32_t vnet_len,
                                          const uint8_t *packet, uint32_t len)
{
    static const uint8_t zeros[24];
    uint32_t check_at, l4_len, gso;
    memset(s, 0, sizeof(*s));
    s->packet = packet;
    s->len = len;
    s->pieces = 1;
    if (len < 20 || len > 65535)
        return "a frame of that length";
    s->version = packet[0] >> 4;
    if (memcmp(vnet, zeros, vnet_len) == 0)
        return NULL;
    gso = vnet[1];
    if (gso & (CUT_TUNNEL4 | CUT_TUNNEL6))
        return superframe_read_tunnel(s, vnet, vnet_len);
    if (vnet[0] != 1 || memcmp(vnet + 10, zeros, vnet_len - 10) != 0)
        return "a virtio header with odd flags";
    if (gso != (s->version == 4 ? 1 : 4) && gso != 5)
        return "a virtio header of another kind";
    s->protocol = gso == 5 ? TRAFFIC_UDP : TRAFFIC_TCP;
    s->header_len = native16(vnet + 2);
    s->gso_size = native16(vnet + 4);
    s->l4 = ip_header_len(s->version);
    check_at = s->l4 + (s->protocol == TRAFFIC_TCP ? 16 : 6);
    if (native16(vnet + 6) != s->l4 || native16(vnet + 8) != check_at - s->l4)
        return "a checksum elsewhere";
    if (packet[0] != 0x45 && s->version == 4)
        return "a superframe with IP options";
    if (s->header_len > len || s->gso_size == 0 || packet[s->version == 4 ? 9 : 6] != s->protocol)
        return "a superframe of another protocol";
    if (s->header_len != s->l4 + (s->protocol == TRAFFIC_TCP ? (packet[s->l4 + 12] >> 4) * 4u : 8))
        return "a header of another length";
    l4_len = len - s->l4;
    s->pieces = (len - s->header_len + s->gso_size - 1) / s->gso_size;
    if (s->pieces < 2 || s->pieces > SUPERFRAME_MAX_PIECES)
        return "so many packets in a superframe";
    if ((s->version == 4 ? get16(packet + 2) : get16(packet + 4) + 40) != len)
        return "an IP length that is not the superframe's";
    if (s->version == 4 && sum16(packet, 20, 0) != 0xffff)
        return "an IPv4 checksum that is wrong";
    if (s->protocol == TRAFFIC_UDP && get16(packet + s->l4 + 4) != l4_len)
        return "a UDP length that is not the superframe's";
    if (get16(packet + check_at) != sum16(packet + (s->version == 4 ? 12 : 8), s->version == 4 ? 8 : 32,
                                          (uint32_t)s->protocol + l4_len))
        return "a checksum that is not the pseudo header's";
    return NULL;
}

/* Writes the i-th packet; its length. Its IPv4 ID may have to be the first one's (packet_is). */
static inline uint32_t superframe_piece(const struct superframe *s, uint32_t i, uint8_t *to)
{
    const uint32_t at = s->header_len + i * s->gso_size;
    uint32_t len = s->gso_size;
    if (s->tunnel)
        return cut_piece(&s->cut, i, to);
    if (s->pieces == 1) {
        memcpy(to, s->packet, s->len);
        return s->len;
    }
    len = len < s->len - at ? len : s->len - at;
    memcpy(to, s->packet, s->header_len);
    memcpy(to + s->header_len, s->packet + at, len);
    len += s->header_len;
    put16(to + (s->version == 4 ? 2 : 4), s->version == 4 ? len : len - 40);
    if (s->version == 4)
        put16(to + 4, get16(to + 4) + i);
    if (s->protocol == TRAFFIC_UDP) {
        put16(to + s->l4 + 4, len - s->l4);
        return len;
    }
    put32(to + s->l4 + 4, get32(to + s->l4 + 4) + i * s->gso_size);
    if (i + 1 < s->pieces)
        to[s->l4 + 13] &= (uint8_t)~TCP_PSH;
    return len;
}

/* Of the two ways to write a sum of zero, that of `like`. */
static inline void same_zero(uint8_t *check, const uint8_t *like)
{
    if ((get16(check) == 0 || get16(check) == 0xffff) && (get16(like) == 0 || get16(like) == 0xffff))
        memcpy(check, like, 2);
}

/* An IPv4 ID that stood still under DF, as in the first packet, stands still. */
static inline void same_id(uint8_t *ip, const uint8_t *like, const uint8_t *first)
{
    if (ip[0] >> 4 != 4)
        return;
    if (like[6] & IPV4_DF && get16(like + 4) == get16(first + 4)) {
        memcpy(ip + 4, like + 4, 2);
        put16(ip + 10, 0);
        put16(ip + 10, ~sum16(ip, 20, 0));
    }
    same_zero(ip + 10, like + 10);
}

/* packet_is() of a tunnel's superframe. */
static inline int tunnelled_is(const struct superframe *s, uint8_t *piece, uint32_t len, const uint8_t *expected)
{
    const uint32_t front = s->cut.front, check_at = front + s->cut.ip.l4 + 16;
    same_id(piece, expected, s->packet);
    same_id(piece + front, expected + front, s->packet + front);
    same_zero(piece + check_at, expected + check_at);
    return memcmp(piece, expected, len) == 0;
}

/* Whether the i-th packet, at `piece`, is the one that is `expected`. Finishes it. */
static inline int packet_is(const struct superframe *s, uint8_t *piece, uint32_t len, const uint8_t *expected,
                            uint32_t expected_len)
{
    const uint32_t check_at = s->l4 + (s->protocol == TRAFFIC_TCP ? 16 : 6);
    if (len != expected_len)
        return 0;
    if (s->tunnel)
        return tunnelled_is(s, piece, len, expected);
    if (s->pieces > 1) {
        if (s->version == 4) {
            if (expected[6] & IPV4_DF && get16(expected + 4) == get16(s->packet + 4))
                memcpy(piece + 4, expected + 4, 2);
            put16(piece + 10, 0);
        }
        put16(piece + check_at, 0);
        finish_packet(piece, s->version, s->protocol, len);
        same_zero(piece + check_at, expected + check_at);
    }
    if (s->version == 4)
        same_zero(piece + 10, expected + 10);
    return memcmp(piece, expected, len) == 0;
}

/* Ports, or 0: they can't be told. */
static inline uint64_t ports_of(const uint8_t *packet, uint32_t len)
{
    const int version = packet[0] >> 4;
    const uint32_t l4 = ip_header_len(version);
    const int protocol = packet[version == 4 ? 9 : 6];
    if (version == 4 && (packet[0] != 0x45 || (get16(packet + 6) & 0x3fff) != 0))
        return 0;
    if ((protocol != TRAFFIC_TCP && protocol != TRAFFIC_UDP) || len < l4 + l4_header_len(protocol))
        return 0;
    return (uint64_t)get32(packet + l4) << 16 | (uint32_t)protocol << 8 | 1;
}

/* Whether it can be told what follows the IP header: not in fragments of IPv6, nor behind some of its extensions. */
static inline int has_protocol(const struct plain_ip *ip)
{
    return ip->version == 4 || (ip->l4 != 0 && !ip->fragment && ip->protocol != 43 && ip->protocol != 51);
}

static inline int has_ports(const struct plain_ip *ip)
{
    return !ip->fragment && ip->l4 != 0 && ip->total >= ip->l4 + 4;
}

/* Whether two packets may be of one flow: of the same addresses, protocol and ports, as far as these can be told. */
static inline int may_be_one_flow(const uint8_t *a, uint32_t a_len, const uint8_t *b, uint32_t b_len)
{
    const struct plain_ip one = plain_read(a, a_len), other = plain_read(b, b_len);
    if (one.version != other.version)
        return 0;
    if (one.version == 4 ? memcmp(a + 12, b + 12, 8) : memcmp(a + 8, b + 8, 32))
        return 0;
    if (!has_protocol(&one) || !has_protocol(&other))
        return 1;
    if (one.protocol != other.protocol)
        return 0;
    if ((one.protocol != PLAIN_TCP && one.protocol != PLAIN_UDP) || !has_ports(&one) || !has_ports(&other))
        return 1;
    return memcmp(a + one.l4, b + other.l4, 4) == 0;
}

/* Whether neither of two packets, which have whole IP headers, may overtake the other where one thread writes: nothing
 * overtakes a packet whose ports are not told at once. */
static inline int same_flow(const uint8_t *a, uint32_t a_len, const uint8_t *b, uint32_t b_len)
{
    uint64_t a_ports, b_ports;
    if (a[0] >> 4 != b[0] >> 4)
        return 0;
    if (a[0] >> 4 == 4 ? memcmp(a + 12, b + 12, 8) : memcmp(a + 8, b + 8, 32))
        return 0;
    a_ports = ports_of(a, a_len);
    b_ports = ports_of(b, b_len);
    return a_ports == 0 || b_ports == 0 || a_ports == b_ports;
}

/* What RFC 6040 (figure 4) makes of an inner header; CE outside a packet that is not capable changes nothing. */
static inline void decapsulated(uint8_t *packet, uint8_t outer)
{
    static const uint8_t becomes[4][4] = {
        {0, 0, 0, 0}, /* Not-ECT inside; columns: Not-ECT, ECT(1), ECT(0), CE outside */
        {1, 1, 1, 3}, /* ECT(1) */
        {2, 1, 2, 3}, /* ECT(0) */
        {3, 3, 3, 3}, /* CE */
    };
    const int shift = packet[0] >> 4 == 4 ? 0 : 4;
    const uint8_t inner = packet[1] >> shift & 3, now = becomes[inner][outer & 3];
    uint32_t sum;
    if (inner == now)
        return;
    packet[1] = (uint8_t)((packet[1] & ~(3 << shift)) | now << shift);
    if (shift)
        return;
    /* The checksum stays as right, or as wrong, as it was. */
    sum = (~get16(packet + 10) & 0xffff) + 0xffff - inner + now;
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    put16(packet + 10, ~sum);
}

#endif
