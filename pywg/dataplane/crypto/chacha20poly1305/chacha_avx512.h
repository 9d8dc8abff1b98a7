/* ChaCha20 (RFC 8439 section 2.3) with AVX-512: 16 blocks a pass, one state word a vector, one block a lane. */
#ifndef PYWG_CHAPOLY_CHACHA_AVX512_H
#define PYWG_CHAPOLY_CHACHA_AVX512_H

#include "chacha20poly1305/common.h"

#define QUARTERS512(a0, b0, c0, d0, a1, b1, c1, d1, a2, b2, c2, d2, a3, b3, c3, d3) \
    STEP512(a0, b0, d0, a1, b1, d1, a2, b2, d2, a3, b3, d3, 16) \
    STEP512(c0, d0, b0, c1, d1, b1, c2, d2, b2, c3, d3, b3, 12) \
    STEP512(a0, b0, d0, a1, b1, d1, a2, b2, d2, a3, b3, d3, 8) \
    STEP512(c0, d0, b0, c1, d1, b1, c2, d2, b2, c3, d3, b3, 7)
#define QUARTER512(a, b, c, d) \
    STEP512_ONE(a, b, d, 16) \
    STEP512_ONE(c, d, b, 12) \
    STEP512_ONE(a, b, d, 8) \
    STEP512_ONE(c, d, b, 7)
#define STEP512_ONE(a, b, d, bits) \
    x[a] = _mm512_add_epi32(x[a], x[b]); \
    x[d] = _mm512_rol_epi32(_mm512_xor_si512(x[d], x[a]), bits);
#define STEP512(a0, b0, d0, a1, b1, d1, a2, b2, d2, a3, b3, d3, bits) \
    x[a0] = _mm512_add_epi32(x[a0], x[b0]); \
    x[a1] = _mm512_add_epi32(x[a1], x[b1]); \
    x[a2] = _mm512_add_epi32(x[a2], x[b2]); \
    x[a3] = _mm512_add_epi32(x[a3], x[b3]); \
    x[d0] = _mm512_rol_epi32(_mm512_xor_si512(x[d0], x[a0]), bits); \
    x[d1] = _mm512_rol_epi32(_mm512_xor_si512(x[d1], x[a1]), bits); \
    x[d2] = _mm512_rol_epi32(_mm512_xor_si512(x[d2], x[a2]), bits); \
    x[d3] = _mm512_rol_epi32(_mm512_xor_si512(x[d3], x[a3]), bits);

/* The rounds behind the first column round, and the sum with what the state began as. `low` and `high` are the halves of
 * each lane's packet counter. */
CHAPOLY_AVX512 CHAPOLY_INLINE void chacha512_other_rounds(const uint32_t key[8], __m512i block, __m512i low,
                                                          __m512i high, __m512i x[16])
{
    int i;
    for (i = 0; i < 9; i++) {
        QUARTERS512(0, 5, 10, 15, 1, 6, 11, 12, 2, 7, 8, 13, 3, 4, 9, 14)
        QUARTERS512(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)
    }
    QUARTERS512(0, 5, 10, 15, 1, 6, 11, 12, 2, 7, 8, 13, 3, 4, 9, 14)
#pragma GCC unroll 16
    for (i = 0; i < 4; i++)
        x[i] = _mm512_add_epi32(x[i], _mm512_set1_epi32((int)CHACHA_CONSTANTS[i]));
#pragma GCC unroll 16
    for (i = 0; i < 8; i++)
        x[4 + i] = _mm512_add_epi32(x[4 + i], _mm512_set1_epi32((int)key[i]));
    x[12] = _mm512_add_epi32(x[12], block);
    x[14] = _mm512_add_epi32(x[14], low);
    x[15] = _mm512_add_epi32(x[15], high);
}

/* Sixteen blocks of key stream of any packets, word by word. */
CHAPOLY_AVX512 CHAPOLY_INLINE void chacha512_blocks(const uint32_t key[8], __m512i block, __m512i low, __m512i high,
                                                    __m512i x[16])
{
    int i;
#pragma GCC unroll 16
    for (i = 0; i < 4; i++)
        x[i] = _mm512_set1_epi32((int)CHACHA_CONSTANTS[i]);
#pragma GCC unroll 16
    for (i = 0; i < 8; i++)
        x[4 + i] = _mm512_set1_epi32((int)key[i]);
    x[12] = block;
    x[13] = _mm512_setzero_si512();
    x[14] = low;
    x[15] = high;
    QUARTERS512(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)
    chacha512_other_rounds(key, block, low, high, x);
}

/* Sixteen blocks of key stream of one packet (chacha_first_columns), word by word. */
CHAPOLY_AVX512 CHAPOLY_INLINE void chacha512_blocks_of_one(const uint32_t key[8], const uint32_t columns[16],
                                                           uint64_t counter, __m512i block, __m512i x[16])
{
    int i;
#pragma GCC unroll 16
    for (i = 0; i < 16; i++)
        x[i] = _mm512_set1_epi32((int)columns[i]);
    x[12] = block;
    QUARTER512(0, 4, 8, 12)
    chacha512_other_rounds(key, block, _mm512_set1_epi32((int)counter), _mm512_set1_epi32((int)(counter >> 32)), x);
}

/* A 16 x 16 transposition: from one word of 16 blocks a vector to one block a vector. */
CHAPOLY_AVX512 CHAPOLY_INLINE void transpose512(__m512i x[16])
{
    __m512i y[16];
    int i;
#pragma GCC unroll 16
    for (i = 0; i < 16; i += 4) {
        const __m512i a = _mm512_unpacklo_epi32(x[i], x[i + 1]), b = _mm512_unpackhi_epi32(x[i], x[i + 1]);
        const __m512i c = _mm512_unpacklo_epi32(x[i + 2], x[i + 3]), d = _mm512_unpackhi_epi32(x[i + 2], x[i + 3]);
        y[i] = _mm512_unpacklo_epi64(a, c); /* words i..i+3 of the blocks 0, 4, 8, 12; y[i + 1] of 1, 5, 9, 13; ... */
        y[i + 1] = _mm512_unpackhi_epi64(a, c);
        y[i + 2] = _mm512_unpacklo_epi64(b, d);
        y[i + 3] = _mm512_unpackhi_epi64(b, d);
    }
#pragma GCC unroll 16
    for (i = 0; i < 4; i++) {
        const __m512i a = _mm512_shuffle_i32x4(y[i], y[4 + i], 0x44), b = _mm512_shuffle_i32x4(y[i], y[4 + i], 0xee);
        const __m512i c = _mm512_shuffle_i32x4(y[8 + i], y[12 + i], 0x44);
        const __m512i d = _mm512_shuffle_i32x4(y[8 + i], y[12 + i], 0xee);
        x[i] = _mm512_shuffle_i32x4(a, c, 0x88);
        x[4 + i] = _mm512_shuffle_i32x4(a, c, 0xdd);
        x[8 + i] = _mm512_shuffle_i32x4(b, d, 0x88);
        x[12 + i] = _mm512_shuffle_i32x4(b, d, 0xdd);
    }
}

/* The one-time keys of all lanes: the first half of the packets' block 0. */
CHAPOLY_AVX512 CHAPOLY_KERNEL void chacha512_keys(const uint32_t key[8], const struct poly_lanes *lanes,
                                                  struct poly_keys *keys)
{
    const __m512i first = _mm512_loadu_si512(&lanes->counter[0]), second = _mm512_loadu_si512(&lanes->counter[8]);
    const __m512i even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i odd = _mm512_set_epi32(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
    __m512i x[16];
    int i;
    chacha512_blocks(key, _mm512_setzero_si512(), _mm512_permutex2var_epi32(first, even, second),
                     _mm512_permutex2var_epi32(first, odd, second), x);
#pragma GCC unroll 16
    for (i = 0; i < 8; i++)
        _mm512_store_si512(keys->word[i], x[i]);
}

/* Sixteen whole blocks of one packet. */
CHAPOLY_AVX512 CHAPOLY_INLINE void chacha512_xor_run(const uint32_t key[8], const uint32_t columns[16],
                                                     uint64_t counter, uint32_t block, uint8_t *text)
{
    const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    __m512i x[16];
    int i;
    chacha512_blocks_of_one(key, columns, counter, _mm512_add_epi32(_mm512_set1_epi32((int)block), lanes), x);
    transpose512(x);
#pragma GCC unroll 16
    for (i = 0; i < 16; i++)
        _mm512_storeu_si512(text + 64 * i, _mm512_xor_si512(x[i], _mm512_loadu_si512(text + 64 * i)));
}

/* The first `count` (1..16) blocks of the queue, wherever they belong. */
CHAPOLY_AVX512 CHAPOLY_INLINE void chacha512_xor_queued(const uint32_t key[8], const struct chacha_queue *queue,
                                                        int count)
{
    __m512i x[16];
    int i;
    chacha512_blocks(key, _mm512_load_si512(queue->block), _mm512_load_si512(queue->low),
                     _mm512_load_si512(queue->high), x);
    transpose512(x);
#pragma GCC unroll 16
    for (i = 0; i < 16; i++) {
        const __mmask64 bytes = i < count ? _bzhi_u64(~0ULL, queue->room[i]) : 0;
        uint8_t *const text = (uint8_t *)queue->text[i];
        _mm512_mask_storeu_epi8(text, bytes, _mm512_xor_si512(x[i], _mm512_maskz_loadu_epi8(bytes, text)));
    }
}

#define CHACHA(name) chacha512_##name
#define CHACHA_TARGET CHAPOLY_AVX512
#define CHACHA_PASS 16
#include "chacha20poly1305/chacha_texts.inc"
#undef CHACHA
#undef CHACHA_TARGET
#undef CHACHA_PASS

#endif
