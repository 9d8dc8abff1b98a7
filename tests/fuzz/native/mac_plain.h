/* Keyed BLAKE2s (RFC 7693) and XChaCha20-Poly1305 (RFC 8439, draft-irtf-cfrg-xchacha-03), plainly: what a peer computes
 * whose handshake messages the data plane judges. In the shape of the documents, and slow. */
#ifndef PYWG_FUZZ_MAC_PLAIN_H
#define PYWG_FUZZ_MAC_PLAIN_H

#include <stdint.h>
#include <string.h>

#include "unwatched.h"

UNWATCHED static inline uint32_t mac_right(uint32_t x, int by)
{
    return x >> by | x << (32 - by);
}

static const uint8_t mac_sigma[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
};
static const uint32_t mac_iv[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                   0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

UNWATCHED static inline void mac_mix(uint32_t *v, int a, int b, int c, int d, uint32_t x, uint32_t y)
{
    v[a] += v[b] + x;
    v[d] = mac_right(v[d] ^ v[a], 16);
    v[c] += v[d];
    v[b] = mac_right(v[b] ^ v[c], 12);
    v[a] += v[b] + y;
    v[d] = mac_right(v[d] ^ v[a], 8);
    v[c] += v[d];
    v[b] = mac_right(v[b] ^ v[c], 7);
}

UNWATCHED static inline void mac_block(uint32_t *h, const uint8_t *block, uint32_t total, int last)
{
    uint32_t v[16], m[16];
    int round, i;
    const uint8_t *s;
    memcpy(m, block, 64);
    memcpy(v, h, 32);
    memcpy(v + 8, mac_iv, 32);
    v[12] ^= total;
    v[14] ^= last ? 0xffffffff : 0;
    for (round = 0; round < 10; round++) {
        s = mac_sigma[round];
        for (i = 0; i < 4; i++)
            mac_mix(v, i, 4 + i, 8 + i, 12 + i, m[s[2 * i]], m[s[2 * i + 1]]);
        for (i = 0; i < 4; i++)
            mac_mix(v, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4, m[s[8 + 2 * i]], m[s[9 + 2 * i]]);
    }
    for (i = 0; i < 8; i++)
        h[i] ^= v[i] ^ v[i + 8];
}

/* 16 bytes of MAC. */
UNWATCHED static inline void mac_blake2s(const uint8_t *key, uint32_t key_len, const uint8_t *data, uint32_t len,
                                         uint8_t *mac)
{
    uint32_t h[8], total = 64;
    uint8_t block[64];
    memcpy(h, mac_iv, 32);
    h[0] ^= 0x01010000 | key_len << 8 | 16;
    memset(block, 0, 64);
    memcpy(block, key, key_len);
    mac_block(h, block, total, len == 0);
    while (len) {
        const uint32_t part = len < 64 ? len : 64;
        memset(block, 0, 64);
        memcpy(block, data, part);
        total += part;
        data += part;
        len -= part;
        mac_block(h, block, total, len == 0);
    }
    memcpy(mac, h, 16);
}

UNWATCHED static inline uint32_t mac_left(uint32_t x, int by)
{
    return x << by | x >> (32 - by);
}

UNWATCHED static inline void mac_quarter(uint32_t *s, int a, int b, int c, int d)
{
    s[a] += s[b];
    s[d] = mac_left(s[d] ^ s[a], 16);
    s[c] += s[d];
    s[b] = mac_left(s[b] ^ s[c], 12);
    s[a] += s[b];
    s[d] = mac_left(s[d] ^ s[a], 8);
    s[c] += s[d];
    s[b] = mac_left(s[b] ^ s[c], 7);
}

/* The permuted state, and with `add` the initial one on top: a block of the key stream. */
UNWATCHED static inline void mac_chacha(const uint8_t *key, const uint8_t *last_row, int add, uint32_t *out)
{
    uint32_t state[16];
    int round, i;
    memcpy(state, "expand 32-byte k", 16);
    memcpy(state + 4, key, 32);
    memcpy(state + 12, last_row, 16);
    memcpy(out, state, 64);
    for (round = 0; round < 10; round++) {
        for (i = 0; i < 4; i++)
            mac_quarter(out, i, 4 + i, 8 + i, 12 + i);
        for (i = 0; i < 4; i++)
            mac_quarter(out, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4);
    }
    for (i = 0; i < 16 && add; i++)
        out[i] += state[i];
}

/* RFC 8439 section 2.5, number by number of 8 bits. `data`: whole blocks. */
UNWATCHED static inline void mac_poly1305(const uint8_t *key, const uint8_t *data, uint32_t len, uint8_t *tag)
{
    static const uint32_t minus_p[17] = {5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 252};
    uint32_t r[17], h[17], x[17], u, i, j, borrow;
    for (i = 0; i < 16; i++)
        r[i] = key[i];
    r[16] = 0;
    r[3] &= 15, r[7] &= 15, r[11] &= 15, r[15] &= 15;
    r[4] &= 252, r[8] &= 252, r[12] &= 252;
    memset(h, 0, sizeof h);
    for (; len; len -= 16, data += 16) {
        for (i = 0; i < 17; i++)
            h[i] += i < 16 ? data[i] : 1;
        for (i = 0; i < 17; i++) {
            x[i] = 0;
            for (j = 0; j < 17; j++)
                x[i] += h[j] * (j <= i ? r[i - j] : 320 * r[i + 17 - j]);
        }
        for (j = 0; j < 2; j++) {
            for (u = 0, i = 0; i < 16; i++) {
                u += x[i];
                x[i] = u & 255;
                u >>= 8;
            }
            u += x[16];
            x[16] = u & 3;
            x[0] += 5 * (u >> 2);
        }
        for (u = 0, i = 0; i < 17; i++) {
            u += x[i];
            h[i] = i < 16 ? u & 255 : u;
            u >>= i < 16 ? 8 : 0;
        }
    }
    for (u = 0, i = 0; i < 17; i++) {
        u += h[i] + minus_p[i];
        x[i] = u & 255;
        u >>= 8;
    }
    borrow = x[16] >> 7;        /* it is less than p */
    for (u = 0, i = 0; i < 16; i++) {
        u += (borrow ? h[i] : x[i]) + key[16 + i];
        tag[i] = (uint8_t)u;
        u >>= 8;
    }
}

/* A cookie of 16 bytes from, or for (`seals`), a cookie reply: a nonce of 24, and 16 bytes of data. 1: authentic. */
UNWATCHED static inline int mac_cookie(const uint8_t *key, const uint8_t *nonce, const uint8_t *data,
                                       const uint8_t *from, uint8_t *to, int seals)
{
    uint32_t words[16], subkey[8], block[16];
    uint8_t row[16], text[48], tag[16];
    const uint64_t lengths[2] = {16, 16};
    int i;
    mac_chacha(key, nonce, 0, words);
    memcpy(subkey, words, 16);
    memcpy(subkey + 4, words + 12, 16);
    memset(row, 0, 8);
    memcpy(row + 8, nonce + 16, 8);
    mac_chacha((const uint8_t *)subkey, row, 1, block);
    row[0] = 1;
    mac_chacha((const uint8_t *)subkey, row, 1, words);
    memcpy(text, data, 16);
    for (i = 0; i < 16; i++)
        to[i] = from[i] ^ ((const uint8_t *)words)[i];
    memcpy(text + 16, seals ? to : from, 16);
    memcpy(text + 32, lengths, 16);
    mac_poly1305((const uint8_t *)block, text, 48, tag);
    if (seals)
        memcpy(to + 16, tag, 16);
    return seals || memcmp(tag, from + 16, 16) == 0;
}

#endif
