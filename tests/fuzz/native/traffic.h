/* Choices by the bytes of an input, the inner packets that the targets make of them, and what has to come out unchanged.
 *
 * Each choice takes the next byte or two, and a byte of zero is the common case. Behind the end choices are by chance,
 * the same for each input: a target ends there with what it is at.
 *
 * A marked packet can be told from damaged ones: its payload repeats four bytes, and so does every part of it. Which
 * ones, its number says, and the number stands in an address.
 */
#ifndef PYWG_FUZZ_TRAFFIC_H
#define PYWG_FUZZ_TRAFFIC_H

#include <arpa/inet.h>
#include <stdint.h>
#include <string.h>

struct chance {
    const uint8_t *at, *end;
    uint64_t state;
};

static inline void chance_begin(struct chance *c, const uint8_t *data, size_t len)
{
    c->at = data;
    c->end = data + len;
    c->state = 1;
}

static inline int chance_is_over(const struct chance *c)
{
    return c->at >= c->end;
}

/* SplitMix64. */
static inline uint64_t chance_behind(struct chance *c)
{
    uint64_t z = c->state += 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

/* 64 bits, of four bytes. */
static inline uint64_t chance_next(struct chance *c)
{
    uint32_t word;
    if (c->end - c->at < 4)
        return chance_behind(c);
    memcpy(&word, c->at, 4);
    c->at += 4;
    return (uint64_t)word << 32 | word;
}

/* 0 .. below - 1 */
static inline uint32_t chance_below(struct chance *c, uint32_t below)
{
    uint32_t value;
    if (below <= 256 && c->at < c->end)
        return below < 2 ? 0 : *c->at++ % below;
    if (below > 256 && below <= 65536 && c->end - c->at >= 2) {
        value = c->at[0] | (uint32_t)c->at[1] << 8;
        c->at += 2;
        return value % below;
    }
    return (uint32_t)((chance_next(c) >> 32) * below >> 32);
}

/* One time in `n`. */
static inline int chance_one_in(struct chance *c, uint32_t n)
{
    return chance_below(c, n) == n - 1;
}

static inline void chance_bytes(struct chance *c, uint8_t *to, size_t len)
{
    const size_t given = (size_t)(c->end - c->at) < len ? (size_t)(c->end - c->at) : len;
    uint64_t word;
    memcpy(to, c->at, given);
    c->at += given;
    for (to += given, len -= given; len >= 8; len -= 8, to += 8) {
        word = chance_behind(c);
        memcpy(to, &word, 8);
    }
    word = chance_behind(c);
    memcpy(to, &word, len);
}

/* A length around what the MTU, the padding and the buffers make special; `longest` at most. */
static inline uint32_t chance_len(struct chance *c, uint32_t shortest, uint32_t longest, uint32_t mtu)
{
    static const uint32_t special[] = {0, 1, 15, 16, 17, 576, 1008, 1023, 1057, 1280, 1408, 1420, 4096, 8192, 16384,
                                       32500, 65000, 65507, 65519, 65520, 65535};
    uint32_t len;
    switch (chance_below(c, 8)) {
    case 0:
        len = special[chance_below(c, sizeof(special) / sizeof(special[0]))];
        break;
    case 1:
        len = mtu + 2 - chance_below(c, 5);
        break;
    case 2:
        len = chance_below(c, 65536);
        break;
    case 3:
        len = chance_below(c, 128);
        break;
    case 4:
        len = 65535 - chance_below(c, 40000);
        break;
    default:
        len = chance_below(c, mtu + 1);
    }
    len = len < shortest ? shortest : len;
    return len > longest ? longest : len;
}

/* A length by one byte, or two: most are short, few are more than an MTU, and one in sixteen is close to the longest. */
static inline uint32_t chance_short_len(struct chance *c, uint32_t mtu)
{
    static const uint16_t special[] = {0, 1, 15, 16, 17, 576, 1008, 1023, 1057, 1280, 1408, 1420, 4096, 8192, 16384, 32768};
    const uint32_t what = chance_below(c, 256);
    if (what < 144)
        return 20 + what;
    if (what < 176)
        return mtu * (what - 144) / 32;
    if (what < 208 && mtu < 65536 - 16)
        return mtu + 32 - (what - 176) > 16 ? mtu + 16 - (what - 176) : 0;
    if (what < 208)
        return 65535 - (what - 176);
    if (what < 224)
        return special[what - 208];
    if (what < 240)
        return 65535 - 4 * (what - 224) - chance_below(c, 4);
    return chance_below(c, 65536);
}

enum { TRAFFIC_TCP = 6, TRAFFIC_UDP = 17, TRAFFIC_RAW = 253 };

static inline uint32_t ip_header_len(int version)
{
    return version == 4 ? 20 : 40;
}

static inline uint32_t l4_header_len(int protocol)
{
    return protocol == TRAFFIC_TCP ? 20 : protocol == TRAFFIC_UDP ? 8 : 0;
}

static inline void put16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static inline uint32_t get16(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

static inline void put32(uint8_t *at, uint32_t value)
{
    put16(at, value >> 16);
    put16(at + 2, value & 0xffff);
}

static inline uint32_t get32(const uint8_t *at)
{
    return get16(at) << 16 | get16(at + 2);
}

/* The one's complement sum of big-endian words. */
static inline uint32_t sum16(const uint8_t *at, uint32_t len, uint32_t sum)
{
    uint64_t total = sum;
    for (; len >= 4; len -= 4, at += 4)
        total += get32(at);
    if (len >= 2)
        total += (uint64_t)get16(at) << 16, at += 2, len -= 2, total = (total & 0xffffffff) + (total >> 32);
    if (len == 1)
        total += (uint64_t)at[0] << 8;
    while (total >> 16)
        total = (total & 0xffff) + (total >> 16);
    return (uint32_t)total;
}

static inline uint32_t checksum_of(const uint8_t *packet, int version, int protocol, uint32_t l4_len)
{
    const uint8_t *addresses = packet + (version == 4 ? 12 : 8);
    uint32_t sum = sum16(addresses, version == 4 ? 8 : 32, (uint32_t)protocol + (l4_len >> 16) + (l4_len & 0xffff));
    return sum16(packet + ip_header_len(version), l4_len, sum);
}

static inline void fill(uint8_t *to, uint32_t len, uint32_t number)
{
    const uint32_t word = number * 0x9e3779b1u | 1;
    uint32_t done = 4;
    if (len <= 4) {
        memcpy(to, &word, len);
        return;
    }
    memcpy(to, &word, 4);
    for (; done < len; done *= 2)
        memcpy(to + done, to, done < len - done ? done : len - done);
}

/* Whether it is a part of what fill() wrote, wherever that begins. */
static inline int is_filled(const uint8_t *at, uint32_t len, uint32_t number)
{
    uint8_t twice[8 + 8];
    uint32_t i;
    fill(twice, sizeof(twice), number);
    if (len > 4 && memcmp(at, at + 4, len - 4) != 0)
        return 0;
    for (i = 0; i < 4; i++)
        if (memcmp(at, twice + i, len < 4 ? len : 4) == 0)
            return 1;
    return 0;
}

/* The addresses of peer `peer` (inner network 10.peer.0.0/16 or fd00:0:0:peer::/64) and of the number. */
static inline void peer_address(uint8_t *at, int version, uint32_t peer, uint32_t host)
{
    if (version == 4) {
        at[0] = 10;
        at[1] = (uint8_t)peer;
        put16(at + 2, host & 0xffff);
    } else {
        memset(at, 0, 16);
        at[0] = 0xfd;
        at[7] = (uint8_t)peer;
        put32(at + 12, host);
    }
}

static inline void number_address(uint8_t *at, int version, uint32_t number)
{
    if (version == 6) {
        memset(at, 0, 16);
        at[0] = 0xfc;
        at += 12;
    }
    put32(at, number);
}

static inline void make_ip_header(uint8_t *at, int version, int protocol, uint32_t len)
{
    if (version == 4) {
        memset(at, 0, 12);
        at[0] = 0x45;
        put16(at + 2, len);
        at[6] = 0x40; /* DF, so that the ID may stand still */
        at[8] = 64;
        at[9] = (uint8_t)protocol;
    } else {
        memset(at, 0, 8);
        at[0] = 0x60;
        put16(at + 4, len - 40);
        at[6] = (uint8_t)protocol;
        at[7] = 64;
    }
}

/* A marked packet of `len` bytes in all, which has whole headers; source and destination are written by the caller.
 * `seq` is TCP's. The checksums come last (finish_packet). */
static inline void make_packet(uint8_t *at, int version, int protocol, uint32_t len, uint32_t number, uint32_t seq)
{
    const uint32_t ip_len = ip_header_len(version), header_len = ip_len + l4_header_len(protocol);
    uint8_t *l4 = at + ip_len;
    make_ip_header(at, version, protocol, len);
    memset(l4, 0, header_len - ip_len);
    if (protocol == TRAFFIC_TCP) {
        put32(l4, 0x10001000);
        put32(l4 + 4, seq);
        l4[12] = 0x50;
        l4[13] = 0x10;
    } else if (protocol == TRAFFIC_UDP) {
        put32(l4, 0x10001000);
        put16(l4 + 4, len - ip_len);
    }
    fill(at + header_len, len - header_len, number);
}
static inline void finish_packet(uint8_t *at, int version, int protocol, uint32_t len)
{
    const uint32_t ip_len = ip_header_len(version);
    uint32_t check;
    if (version == 4)
        put16(at + 10, ~sum16(at, 20, 0));
    if (protocol == TRAFFIC_RAW)
        return;
    check = ~checksum_of(at, version, protocol, len - ip_len) & 0xffff;
    put16(at + ip_len + (protocol == TRAFFIC_TCP ? 16 : 6), check ? check : 0xffff);
}

/* The length of the whole and undamaged packet that `text` begins with, or 0. `where`: of the address that holds the
 * number, 0 source, 1 destination. `checked`: its checksums, too, have to hold. */
static inline uint32_t marked_len(const uint8_t *text, uint32_t text_len, int where, int checked, uint32_t *number)
{
    const int version = text_len ? text[0] >> 4 : 0;
    uint32_t len, header_len, ip_len;
    int protocol;
    if ((version != 4 && version != 6) || text_len < ip_header_len(version))
        return 0;
    ip_len = ip_header_len(version);
    len = version == 4 ? get16(text + 2) : get16(text + 4) + 40;
    protocol = version == 4 ? text[9] : text[6];
    if (protocol == TRAFFIC_TCP && len >= ip_len + 20)
        header_len = ip_len + (text[ip_len + 12] >> 4) * 4u;
    else
        header_len = ip_len + l4_header_len(protocol);
    if (len > text_len || header_len > len)
        return 0;
    *number = get32(text + (version == 4 ? 12 + 4 * where : 20 + 16 * where));
    if (checked && version == 4 && sum16(text, 20, 0) != 0xffff)
        return 0;
    if (checked && protocol != TRAFFIC_RAW && checksum_of(text, version, protocol, len - ip_len) != 0xffff)
        return 0;
    return is_filled(text + header_len, len - header_len, *number) ? len : 0;
}

/* Whether a TCP packet, which marked_len() has read, holds what its sequence number says: a superframe's begins with
 * `seq`, and its segments with what stands there. Of other protocols, 1. */
static inline int is_in_place(const uint8_t *text, uint32_t len, uint32_t number, uint32_t seq)
{
    const int version = text[0] >> 4;
    const uint32_t ip_len = ip_header_len(version);
    const uint32_t at = get32(text + ip_len + 4) - seq, header_len = ip_len + (text[ip_len + 12] >> 4) * 4u;
    uint8_t twice[8];
    if (text[version == 4 ? 9 : 6] != TRAFFIC_TCP)
        return 1;
    fill(twice, sizeof(twice), number);
    return at < 65536 && (len == header_len || text[header_len] == twice[at & 3]);
}

/* UDP tunnels: VXLAN, or Geneve with an option of 8 bytes, around a marked packet that has a number of its own. */
enum { TUNNEL_GENEVE = 1, TUNNEL_CHECKED = 2, TUNNEL_INSIDE6 = 4, TUNNEL = 8, TUNNEL_PORT = 4789 };

static inline int tunnel_inside(int kind)
{
    return kind & TUNNEL_INSIDE6 ? 6 : 4;
}

/* Where the packet inside begins. */
static inline uint32_t tunnel_front(int version, int kind)
{
    return ip_header_len(version) + 8 + 8 + (kind & TUNNEL_GENEVE ? 8 : 0) + 14;
}

/* The headers of a tunnel's packet of `len` bytes in all, but for addresses and checksums. */
static inline void make_tunnel(uint8_t *at, int version, int kind, uint32_t len)
{
    const uint32_t front = tunnel_front(version, kind), ip_len = ip_header_len(version);
    uint8_t *udp = at + ip_len;
    memset(at, 0, front);
    make_ip_header(at, version, TRAFFIC_UDP, len);
    put16(udp, 0x1000u | (uint32_t)kind);
    put16(udp + 2, TUNNEL_PORT);
    put16(udp + 4, len - ip_len);
    udp[8] = kind & TUNNEL_GENEVE ? 2 : 8;
    put16(udp + 10, kind & TUNNEL_GENEVE ? 0x6558 : 0);
    put16(at + front - 2, kind & TUNNEL_INSIDE6 ? 0x86dd : 0x0800);
}

static inline void finish_tunnel(uint8_t *at, int version, int kind, uint32_t len)
{
    finish_packet(at, version, kind & TUNNEL_CHECKED ? TRAFFIC_UDP : TRAFFIC_RAW, len);
}

/* Whether a packet is one of a tunnel. */
static inline int is_tunnelled(const uint8_t *text, uint32_t text_len)
{
    const int version = text_len ? text[0] >> 4 : 0;
    return (version == 4 || version == 6) && text_len >= ip_header_len(version) + 8
        && text[version == 4 ? 9 : 6] == TRAFFIC_UDP && get16(text + ip_header_len(version) + 2) == TUNNEL_PORT;
}

/* marked_len() of a packet of a tunnel, whose checksums have to hold. Where the packet inside begins: `inner`. */
static inline uint32_t tunnelled_len(const uint8_t *text, uint32_t text_len, uint32_t *number, uint32_t *inner)
{
    const int version = text[0] >> 4, kind = text[ip_header_len(version) + 1];
    const uint32_t ip_len = ip_header_len(version), len = version == 4 ? get16(text + 2) : get16(text + 4) + 40;
    const uint8_t *udp = text + ip_len;
    uint8_t headers[40 + 8 + 8 + 8 + 14];
    *inner = tunnel_front(version, kind);
    if (len > text_len || *inner >= len)
        return 0;
    make_tunnel(headers, version, kind, len);
    if (memcmp(udp, headers + ip_len, 6) != 0 || memcmp(udp + 8, headers + ip_len + 8, *inner - ip_len - 8) != 0)
        return 0;
    if (version == 4 && sum16(text, 20, 0) != 0xffff)
        return 0;
    if (!(kind & TUNNEL_CHECKED) != !get16(udp + 6))
        return 0;
    if (kind & TUNNEL_CHECKED && checksum_of(text, version, TRAFFIC_UDP, len - ip_len) != 0xffff)
        return 0;
    if (marked_len(text + *inner, len - *inner, 0, 1, number) != len - *inner)
        return 0;
    return get32(text + (version == 4 ? 12 : 20)) == *number ? len : 0;
}

#endif
