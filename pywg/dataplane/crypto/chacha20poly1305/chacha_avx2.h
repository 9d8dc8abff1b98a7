/* ChaCha20 (RFC 8439 section 2.3) with AVX2: 8 blocks a pass, one state word a vector, one block a lane. */
#ifndef PYWG_CHAPOLY_CHACHA_AVX2_H
#define PYWG_CHAPOLY_CHACHA_AVX2_H

#include "chacha20poly1305/common.h"

#define SHL_OR_SHR256(v, bits) _mm256_or_si256(_mm256_slli_epi32(v, bits), _mm256_srli_epi32(v, 32 - (bits)))
#define CHACHA256_ROTATE16 \
    _mm256_broadcastsi128_si256(_mm_set_epi8(13, 12, 15, 14, 9, 8, 11, 10, 5, 4, 7, 6, 1, 0, 3, 2))
#define CHACHA256_ROTATE8 \
    _mm256_broadcastsi128_si256(_mm_set_epi8(14, 13, 12, 15, 10, 9, 8, 11, 6, 5, 4, 7, 2, 1, 0, 3))
#define SHUFFLE16(v, bits) _mm256_shuffle_epi8(v, rotate16)
#define SHUFFLE8(v, bits) _mm256_shuffle_epi8(v, rotate8)
#define STEP256(rotate, bits, a0, b0, d0, a1, b1, d1) \
    x[a0] = _mm256_add_epi32(x[a0], x[b0]); \
    x[a1] = _mm256_add_epi32(x[a1], x[b1]); \
    x[d0] = _mm256_xor_si256(x[d0], x[a0]); \
    x[d1] = _mm256_xor_si256(x[d1], x[a1]); \
    x[d0] = rotate(x[d0], bits); \
    x[d1] = rotate(x[d1], bits);
#define QUARTER256(a, b, c, d) \
    STEP256_ONE(SHUFFLE16, 16, a, b, d) \
    STEP256_ONE(SHL_OR_SHR256, 12, c, d, b) \
    STEP256_ONE(SHUFFLE8, 8, a, b, d) \
    STEP256_ONE(SHL_OR_SHR256, 7, c, d, b)
#define STEP256_ONE(rotate, bits, a, b, d) \
    x[a] = _mm256_add_epi32(x[a], x[b]); \
    x[d] = _mm256_xor_si256(x[d], x[a]); \
    x[d] = rotate(x[d], bits);
/* Two quarter rounds at a time: sixteen registers hold no more. */
#define QUARTERS256(a0, b0, c0, d0, a1, b1, c1, d1) \
    STEP256(SHUFFLE16, 16, a0, b0, d0, a1, b1, d1) \
    STEP256(SHL_OR_SHR256, 12, c0, d0, b0, c1, d1, b1) \
    STEP256(SHUFFLE8, 8, a0, b0, d0, a1, b1, d1) \
    STEP256(SHL_OR_SHR256, 7, c0, d0, b0, c1, d1, b1)

/* The rounds behind the first column round, and the sum with what the state began as. `low` and `high` are the halves
 * of each lane's packet counter. */
CHAPOLY_AVX2 CHAPOLY_INLINE void chacha256_other_rounds(const uint32_t key[8], __m256i block, __m256i low, __m256i high,
                                                        __m256i x[16])
{
    const __m256i rotate16 = CHACHA256_ROTATE16, rotate8 = CHACHA256_ROTATE8;
    int i;
    for (i = 0; i < 9; i++) {
        QUARTERS256(0, 5, 10, 15, 1, 6, 11, 12)
        QUARTERS256(2, 7, 8, 13, 3, 4, 9, 14)
        QUARTERS256(0, 4, 8, 12, 1, 5, 9, 13)
        QUARTERS256(2, 6, 10, 14, 3, 7, 11, 15)
    }
    QUARTERS256(0, 5, 10, 15, 1, 6, 11, 12)
    QUARTERS256(2, 7, 8, 13, 3, 4, 9, 14)
#pragma GCC unroll 16
    for (i = 0; i < 4; i++)
        x[i] = _mm256_add_epi32(x[i], _mm256_set1_epi32((int)CHACHA_CONSTANTS[i]));
#pragma GCC unroll 16
    for (i = 0; i < 8; i++)
        x[4 + i] = _mm256_add_epi32(x[4 + i], _mm256_set1_epi32((int)key[i]));
    x[12] = _mm256_add_epi32(x[12], block);
    x[14] = _mm256_add_epi32(x[14], low);
    x[15] = _mm256_add_epi32(x[15], high);
}

/* Eight blocks of key stream of any packets, word by word. */
CHAPOLY_AVX2 CHAPOLY_INLINE void chacha256_blocks(const uint32_t key[8], __m256i block, __m256i low, __m256i high,
                                                  __m256i x[16])
{
    const __m256i rotate16 = CHACHA256_ROTATE16, rotate8 = CHACHA256_ROTATE8;
    int i;
#pragma GCC unroll 16
    for (i = 0; i < 4; i++)
        x[i] = _mm256_set1_epi32((int)CHACHA_CONSTANTS[i]);
#pragma GCC unroll 16
    for (i = 0; i < 8; i++)
        x[4 + i] = _mm256_set1_epi32((int)key[i]);
    x[12] = block;
    x[13] = _mm256_setzero_si256();
    x[14] = low;
    x[15] = high;
    QUARTERS256(0, 4, 8, 12, 1, 5, 9, 13)
    QUARTERS256(2, 6, 10, 14, 3, 7, 11, 15)
    chacha256_other_rounds(key, block, low, high, x);
}

/* Eight blocks of key stream of one packet (chacha_first_columns), word by word. */
CHAPOLY_AVX2 CHAPOLY_INLINE void chacha256_blocks_of_one(const uint32_t key[8], const uint32_t columns[16],
                                                         uint64_t counter, __m256i block, __m256i x[16])
{
    const __m256i rotate16 = CHACHA256_ROTATE16, rotate8 = CHACHA256_ROTATE8;
    int i;
#pragma GCC unroll 16
    for (i = 0; i < 16; i++)
        x[i] = _mm256_set1_epi32((int)columns[i]);
    x[12] = block;
    QUARTER256(0, 4, 8, 12)
    chacha256_other_rounds(key, block, _mm256_set1_epi32((int)counter), _mm256_set1_epi32((int)(counter >> 32)), x);
}

/* An 8 x 8 transposition: from one word of 8 blocks a vector to half a block a vector. */
CHAPOLY_AVX2 CHAPOLY_INLINE void transpose256(__m256i x[8])
{
    __m256i y[8];
    int i;
#pragma GCC unroll 16
    for (i = 0; i < 8; i += 4) {
        const __m256i a = _mm256_unpacklo_epi32(x[i], x[i + 1]), b = _mm256_unpackhi_epi32(x[i], x[i + 1]);
        const __m256i c = _mm256_unpacklo_epi32(x[i + 2], x[i + 3]), d = _mm256_unpackhi_epi32(x[i + 2], x[i + 3]);
        y[i] = _mm256_unpacklo_epi64(a, c); /* words i..i+3 of the blocks 0 and 4; y[i + 1] of 1 and 5; ... */
        y[i + 1] = _mm256_unpackhi_epi64(a, c);
        y[i + 2] = _mm256_unpacklo_epi64(b, d);
        y[i + 3] = _mm256_unpackhi_epi64(b, d);
    }
#pragma GCC unroll 16
    for (i = 0; i < 4; i++) {
        x[i] = _mm256_permute2x128_si256(y[i], y[4 + i], 0x20);
        x[4 + i] = _mm256_permute2x128_si256(y[i], y[4 + i], 0x31);
    }
}

CHAPOLY_AVX2 CHAPOLY_INLINE void xor256(uint8_t *text, __m256i stream)
{
    _mm256_storeu_si256((__m256i *)text, _mm256_xor_si256(stream, _mm256_loadu_si256((const __m256i *)text)));
}

/* The one-time keys of the lanes in use: the first half of the packets' block 0. */
CHAPOLY_AVX2 CHAPOLY_KERNEL void chacha256_keys(const uint32_t key[8], const struct poly_lanes *lanes,
                                                struct poly_keys *keys)
{
    uint32_t low[CHAPOLY_GROUP], high[CHAPOLY_GROUP];
    __m256i x[16];
    int i, first;
    for (i = 0; i < CHAPOLY_GROUP; i++) {
        low[i] = (uint32_t)lanes->counter[i];
        high[i] = (uint32_t)(lanes->counter[i] >> 32);
    }
    for (first = 0; first < lanes->count; first += 8) {
        chacha256_blocks(key, _mm256_setzero_si256(), _mm256_loadu_si256((const __m256i *)(low + first)),
                         _mm256_loadu_si256((const __m256i *)(high + first)), x);
#pragma GCC unroll 16
        for (i = 0; i < 8; i++)
            _mm256_store_si256((__m256i *)&keys->word[i][first], x[i]);
    }
}

/* Eight whole blocks of one packet. */
CHAPOLY_AVX2 CHAPOLY_INLINE void chacha256_xor_runs(const uint32_t key[8], const struct chacha_run *run, int n)
{
    const __m256i lanes = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
    __m256i x[16];
    int i;
    assert(n == 1);
    chacha256_blocks_of_one(key, run->columns, run->counter,
                            _mm256_add_epi32(_mm256_set1_epi32((int)run->block), lanes), x);
    transpose256(x);
    transpose256(x + 8);
#pragma GCC unroll 16
    for (i = 0; i < 8; i++) {
        xor256(run->text + 64 * i, x[i]);
        xor256(run->text + 64 * i + 32, x[8 + i]);
    }
}

/* The first `count` (1..8) blocks of the queue, wherever they belong. */
CHAPOLY_AVX2 CHAPOLY_INLINE void chacha256_xor_queued(const uint32_t key[8], const struct chacha_queue *queue,
                                                      int count)
{
    uint8_t end[CHAPOLY_BLOCK];
    __m256i x[16];
    int i;
    chacha256_blocks(key, _mm256_load_si256((const __m256i *)queue->block),
                     _mm256_load_si256((const __m256i *)queue->low), _mm256_load_si256((const __m256i *)queue->high),
                     x);
    transpose256(x);
    transpose256(x + 8);
    for (i = 0; i < count; i++) {
        const uint32_t room = (uint32_t)queue->room[i];
        uint8_t *const text = (uint8_t *)queue->text[i];
        if (room == CHAPOLY_BLOCK) {
            xor256(text, x[i]);
            xor256(text + 32, x[8 + i]);
        } else {
            memcpy(end, text, room);
            xor256(end, x[i]);
            xor256(end + 32, x[8 + i]);
            memcpy(text, end, room);
        }
    }
    wipe(end, sizeof(end)); /* key stream behind the text's end */
}

#define CHACHA(name) chacha256_##name
#define CHACHA_TARGET CHAPOLY_AVX2
#define CHACHA_PASS 8
#define CHACHA_PASSES 1
#include "chacha20poly1305/chacha_texts.inc"
#undef CHACHA
#undef CHACHA_TARGET
#undef CHACHA_PASS
#undef CHACHA_PASSES

#endif
