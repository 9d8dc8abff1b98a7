/* ChaCha20-Poly1305 (RFC 8439) of many packets at once, in WireGuard's shape (paper section 5.4.6): no associated data, the
 * nonce is 4 zero bytes and the 64-bit little-endian counter, texts are changed in place and 16 bytes of tag follow each.
 *
 * Constant time in keys, texts and tags. Only for x86-64; elsewhere, and where the CPU has no AVX2, chapoly_best() is 0.
 */
#ifndef PYWG_CHAPOLY_H
#define PYWG_CHAPOLY_H

#include "common.h"
#include "chacha_avx512.h"
#include "chacha_avx2.h"
#include "poly26.h"
#include "poly_ifma.h"

enum { CHAPOLY_NONE = 0, CHAPOLY_LEVEL_AVX2 = 2, CHAPOLY_LEVEL_AVX512 = 5, CHAPOLY_LEVEL_IFMA = 6 };

CHAPOLY_AVX2 static __attribute__((noinline)) void seal_2(const uint32_t *key, struct chapoly_group *group)
{
    struct poly_keys keys;
    struct poly_tags tags;
    int i;
    chacha256_keys(key, group, &keys);
    chacha256_texts(key, group, 0xffff);
    poly26x4_group(&keys, group, 1, &tags);
    for (i = 0; i < group->count; i++) {
        memcpy(group->text[i] + group->len[i], &tags.low[i], 8);
        memcpy(group->text[i] + group->len[i] + 8, &tags.high[i], 8);
    }
}
CHAPOLY_AVX512 static __attribute__((noinline)) void seal_5(const uint32_t *key, struct chapoly_group *group)
{
    struct poly_keys keys;
    struct poly_tags tags;
    int i;
    chacha512_keys(key, group, &keys);
    chacha512_texts(key, group, 0xffff);
    poly26x8_group(&keys, group, 1, &tags);
    for (i = 0; i < group->count; i++) {
        memcpy(group->text[i] + group->len[i], &tags.low[i], 8);
        memcpy(group->text[i] + group->len[i] + 8, &tags.high[i], 8);
    }
}
CHAPOLY_IFMA static __attribute__((noinline)) void seal_6(const uint32_t *key, struct chapoly_group *group)
{
    struct poly_keys keys;
    struct poly_tags tags;
    int i;
    chacha512_keys(key, group, &keys);
    chacha512_texts(key, group, 0xffff);
    poly44_group(&keys, group, 1, &tags);
    for (i = 0; i < group->count; i++) {
        memcpy(group->text[i] + group->len[i], &tags.low[i], 8);
        memcpy(group->text[i] + group->len[i] + 8, &tags.high[i], 8);
    }
}
static void chapoly_seal(int level, const uint8_t *key, uint64_t counter, uint8_t *const *text, const uint32_t *len, int n)
{
    uint32_t k[8];
    struct chapoly_group g;
    memcpy(k, key, 32);
    for (int i = 0; i < n; i += 16) {
        g.count = n - i < 16 ? n - i : 16;
        for (int j = 0; j < 16; j++) {
            int q = j < g.count ? j : 0;
            g.text[j] = text[i + q];
            g.len[j] = len[i + q];
            g.counter[j] = counter + i + q;
        }
        if(level==2)seal_2(k,&g);else if(level==5)seal_5(k,&g);else seal_6(k,&g);
    }
}
#endif
