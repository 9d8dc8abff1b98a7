/* ChaCha20-Poly1305 (RFC 8439) of many packets at once, in WireGuard's shape (paper section 5.4.6): no associated
 * data, the nonce is 4 zero bytes and the 64-bit little-endian counter, texts are changed in place, 16 bytes of tag
 * follow each.
 *
 * Constant time in keys, texts and tags: no address depends on them, and no branch except on whether a tag was right.
 * Lengths and counters are public. A call wipes all that derives from keys before it returns. Only for x86-64 with
 * AVX2: elsewhere chapoly_best() is CHAPOLY_NONE and no other function may be called.
 */
#ifndef PYWG_CHAPOLY_H
#define PYWG_CHAPOLY_H

#include <stdint.h>

#include "chacha20poly1305/levels.h"

#if defined(__x86_64__)

#include "chacha20poly1305/group.h"

/* The best level of this CPU and operating system; it has every lower one as well. */
static inline int chapoly_best(void)
{
    return best_level();
}

/* Encrypts `n` texts in place, the i-th under the counter `first_counter + i`, and puts each tag behind its text. */
static inline void chapoly_seal(int level, const uint8_t key[32], uint64_t first_counter, uint8_t *const *text,
                                const uint32_t *len, int n)
{
    struct chapoly_work work;
    struct chapoly_group group;
    int i, j;
    start_work(&work, key);
    for (i = 0; i < n; i += CHAPOLY_GROUP) {
        group.count = n - i < CHAPOLY_GROUP ? n - i : CHAPOLY_GROUP;
        memcpy(group.text, text + i, (size_t)group.count * sizeof(*text));
        memcpy(group.len, len + i, (size_t)group.count * sizeof(*len));
        for (j = 0; j < group.count; j++)
            group.counter[j] = first_counter + (uint64_t)(i + j);
        seal_group(level, &work, &group);
    }
    forget_work(level, &work);
}

/* Opens `n` (at most 64) texts, each followed by its tag. Bit i of the result: the i-th is authentic, and decrypted in
 * place; otherwise it is left as it was. */
static inline uint64_t chapoly_open(int level, const uint8_t key[32], const uint64_t *counter, uint8_t *const *text,
                                    const uint32_t *len, int n)
{
    struct chapoly_work work;
    struct chapoly_group group;
    uint64_t authentic = 0;
    int i;
    start_work(&work, key);
    for (i = 0; i < n; i += CHAPOLY_GROUP) {
        group.count = n - i < CHAPOLY_GROUP ? n - i : CHAPOLY_GROUP;
        memcpy(group.text, text + i, (size_t)group.count * sizeof(*text));
        memcpy(group.len, len + i, (size_t)group.count * sizeof(*len));
        memcpy(group.counter, counter + i, (size_t)group.count * sizeof(*counter));
        authentic |= (uint64_t)open_group(level, &work, &group) << i;
    }
    forget_work(level, &work);
    return authentic;
}

/* Poly1305 itself (RFC 8439 section 2.5) of up to 16 texts of whole blocks, with a one-time key each: for tests. */
static inline void chapoly_poly1305(int level, const uint8_t (*one_time)[32], uint8_t *const *text, const uint32_t *len,
                                    int n, uint8_t (*tag)[16])
{
    struct chapoly_work work;
    struct chapoly_group group;
    int i, j;
    memset(&work, 0, sizeof(work));
    memset(&group, 0, sizeof(group));
    group.count = n;
    memcpy(group.text, text, (size_t)n * sizeof(*text));
    memcpy(group.len, len, (size_t)n * sizeof(*len));
    set_lanes(&work.lanes, &group, parts_for(level, &group));
    for (i = 0; i < CHAPOLY_GROUP; i++)
        for (j = 0; j < 8; j++)
            work.one_time.word[j][i] = load_u32(one_time[work.lanes.packet[i]] + 4 * j);
    authenticate(level, &work.one_time, &work.lanes, 0, &work.tags);
    for (i = 0; i < n; i++)
        put_tag(&work, i, tag[i]);
    forget_work(level, &work);
}

#else

static inline int chapoly_best(void)
{
    return CHAPOLY_NONE;
}

static inline void chapoly_seal(int level, const uint8_t *key, uint64_t first_counter, uint8_t *const *text,
                                const uint32_t *len, int n)
{
}

static inline uint64_t chapoly_open(int level, const uint8_t *key, const uint64_t *counter, uint8_t *const *text,
                                    const uint32_t *len, int n)
{
    return 0;
}

static inline void chapoly_poly1305(int level, const uint8_t (*one_time)[32], uint8_t *const *text, const uint32_t *len,
                                    int n, uint8_t (*tag)[16])
{
}

#endif
#endif
