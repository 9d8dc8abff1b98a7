/* ChaCha20 (RFC 8439 section 2.3) with AVX-512: 16 blocks a pass, one state word a vector, one block a lane. */
#ifndef PYWG_CHAPOLY_CHACHA_AVX512_H
#define PYWG_CHAPOLY_CHACHA_AVX512_H

#include "chacha20poly1305/common.h"

#define QUARTERS512(...) QUARTERS512_BY(STEP512, __VA_ARGS__)
#define QUARTERS512_OF_TWO(...) QUARTERS512_BY(STEP512_OF_TWO, __VA_ARGS__)
#define QUARTERS512_BY(step, a0, b0, c0, d0, a1, b1, c1, d1, a2, b2, c2, d2, a3, b3, c3, d3) \
    step(a0, b0, d0, a1, b1, d1, a2, b2, d2, a3, b3, d3, 16) \
    step(c0, d0, b0, c1, d1, b1, c2, d2, b2, c3, d3, b3, 12) \
    step(a0, b0, d0, a1, b1, d1, a2, b2, d2, a3, b3, d3, 8) \
    step(c0, d0, b0, c1, d1, b1, c2, d2, b2, c3, d3, b3, 7)
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

/* Two passes at a time: the four chains of one leave the processor waiting for results. Their states fill all 32
 * registers, so each instruction changes one in place: of intrinsics the compiler would give the results registers of
 * their own, and spill. */
#define ADD512(a, b) __asm__("vpaddd %1, %0, %0" : "+v"(a) : "v"(b));
#define XOR512(a, b) __asm__("vpxord %1, %0, %0" : "+v"(a) : "v"(b));
#define ROTATE512(a, bits) __asm__("vprold %1, %0, %0" : "+v"(a) : "i"(bits));
#define STEP512_OF_TWO(a0, b0, d0, a1, b1, d1, a2, b2, d2, a3, b3, d3, bits) \
    ADD512(x[a0], x[b0]) ADD512(y[a0], y[b0]) ADD512(x[a1], x[b1]) ADD512(y[a1], y[b1]) \
    ADD512(x[a2], x[b2]) ADD512(y[a2], y[b2]) ADD512(x[a3], x[b3]) ADD512(y[a3], y[b3]) \
    XOR512(x[d0], x[a0]) XOR512(y[d0], y[a0]) XOR512(x[d1], x[a1]) XOR512(y[d1], y[a1]) \
    XOR512(x[d2], x[a2]) XOR512(y[d2], y[a2]) XOR512(x[d3], x[a3]) XOR512(y[d3], y[a3]) \
    ROTATE512(x[d0], bits) ROTATE512(y[d0], bits) ROTATE512(x[d1], bits) ROTATE512(y[d1], bits) \
    ROTATE512(x[d2], bits) ROTATE512(y[d2], bits) ROTATE512(x[d3], bits) ROTATE512(y[d3], bits)

/* Which blocks the sixteen lanes have. */
struct chacha512_blocks {
    __m512i number, low, high; /* low and high are the halves of the packet's counter */
};

/* A packet's blocks after the first column round (chacha_first_columns). */
CHAPOLY_AVX512 CHAPOLY_INLINE void chacha512_begin_run(const struct chacha_run *run, struct chacha512_blocks *blocks,
                                                       __m512i x[16])
{
    const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    int i;
    blocks->number = _mm512_add_epi32(_mm512_set1_epi32((int)run->block), lanes);
    blocks->low = _mm512_set1_epi32((int)run->counter);
    blocks->high = _mm512_set1_epi32((int)(run->counter >> 32));
#pragma GCC unroll 16
    for (i = 0; i < 16; i++)
        x[i] = _mm512_set1_epi32((int)run->columns[i]);
    x[12] = blocks->number;
    QUARTER512(0, 4, 8, 12)
}

/* Any blocks after the first column round. */
CHAPOLY_AVX512 CHAPOLY_INLINE void chacha512_begin(const uint32_t key[8], const struct chacha512_blocks *blocks,
                                                   __m512i x[16])
{
    int i;
#pragma GCC unroll 16
    for (i = 0; i < 4; i++)
        x[i] = _mm512_set1_epi32((int)CHACHA_CONSTANTS[i]);
#pragma GCC unroll 16
    for (i = 0; i < 8; i++)
        x[4 + i] = _mm512_set1_epi32((int)key[i]);
    x[12] = blocks->number;
    x[13] = _mm512_setzero_si512();
    x[14] = blocks->low;
    x[15] = blocks->high;
    QUARTERS512(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)
}

/* Adds what the state began as: then x is the key stream. */
CHAPOLY_AVX512 CHAPOLY_INLINE void chacha512_add_beginning(const uint32_t key[8],
                                                           const struct chacha512_blocks *blocks, __m512i x[16])
{
    int i;
#pragma GCC unroll 16
    for (i = 0; i < 4; i++)
        x[i] = _mm512_add_epi32(x[i], _mm512_set1_epi32((int)CHACHA_CONSTANTS[i]));
#pragma GCC unroll 16
    for (i = 0; i < 8; i++)
        x[4 + i] = _mm512_add_epi32(x[4 + i], _mm512_set1_epi32((int)key[i]));
    x[12] = _mm512_add_epi32(x[12], blocks->number);
    x[14] = _mm512_add_epi32(x[14], blocks->low);
    x[15] = _mm512_add_epi32(x[15], blocks->high);
}

/* From after the first column round to the key stream of one pass. */
CHAPOLY_AVX512 CHAPOLY_INLINE void chacha512_one(const uint32_t key[8], const struct chacha512_blocks *blocks,
                                                 __m512i x[16])
{
    int i;
    for (i = 0; i < 9; i++) {
        QUARTERS512(0, 5, 10, 15, 1, 6, 11, 12, 2, 7, 8, 13, 3, 4, 9, 14)
        QUARTERS512(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)
    }
    QUARTERS512(0, 5, 10, 15, 1, 6, 11, 12, 2, 7, 8, 13, 3, 4, 9, 14)
    chacha512_add_beginning(key, blocks, x);
}

/* The same of two passes. */
CHAPOLY_AVX512 CHAPOLY_INLINE void chacha512_two(const uint32_t key[8], const struct chacha512_blocks blocks[2],
                                                 __m512i x[16], __m512i y[16])
{
    int i;
    for (i = 0; i < 9; i++) {
        QUARTERS512_OF_TWO(0, 5, 10, 15, 1, 6, 11, 12, 2, 7, 8, 13, 3, 4, 9, 14)
        QUARTERS512_OF_TWO(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)
    }
    QUARTERS512_OF_TWO(0, 5, 10, 15, 1, 6, 11, 12, 2, 7, 8, 13, 3, 4, 9, 14)
    chacha512_add_beginning(key, &blocks[0], x);
    chacha512_add_beginning(key, &blocks[1], y);
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
    const struct chacha512_blocks blocks = {
        _mm512_setzero_si512(), _mm512_permutex2var_epi32(first, even, second),
        _mm512_permutex2var_epi32(first, odd, second)};
    __m512i x[16];
    int i;
    chacha512_begin(key, &blocks, x);
    chacha512_one(key, &blocks, x);
#pragma GCC unroll 16
    for (i = 0; i < 8; i++)
        _mm512_store_si512(keys->word[i], x[i]);
}

/* Adds the key stream to sixteen blocks of one text. */
CHAPOLY_AVX512 CHAPOLY_INLINE void chacha512_add_to_run(__m512i x[16], uint8_t *text)
{
    int i;
    transpose512(x);
#pragma GCC unroll 16
    for (i = 0; i < 16; i++)
        _mm512_storeu_si512(text + 64 * i, _mm512_xor_si512(x[i], _mm512_loadu_si512(text + 64 * i)));
}

CHAPOLY_AVX512 CHAPOLY_INLINE void chacha512_xor_runs(const uint32_t key[8], const struct chacha_run *run, int n)
{
    struct chacha512_blocks blocks[2];
    __m512i x[16], y[16];
    chacha512_begin_run(&run[0], &blocks[0], x);
    if (n == 1) {
        chacha512_one(key, blocks, x);
    } else {
        chacha512_begin_run(&run[1], &blocks[1], y);
        chacha512_two(key, blocks, x, y);
        chacha512_add_to_run(y, run[1].text);
    }
    chacha512_add_to_run(x, run[0].text);
}

CHAPOLY_AVX512 CHAPOLY_INLINE void chacha512_begin_queued(const uint32_t key[8], const struct chacha_queue *queue,
                                                          int first, struct chacha512_blocks *blocks, __m512i x[16])
{
    blocks->number = _mm512_load_si512(queue->block + first);
    blocks->low = _mm512_load_si512(queue->low + first);
    blocks->high = _mm512_load_si512(queue->high + first);
    chacha512_begin(key, blocks, x);
}

/* Adds the key stream to the queue's blocks from `first` on, sixteen or as many as there are, wherever they belong. */
CHAPOLY_AVX512 CHAPOLY_INLINE void chacha512_add_to_queued(__m512i x[16], const struct chacha_queue *queue, int first,
                                                           int count)
{
    int i;
    transpose512(x);
#pragma GCC unroll 16
    for (i = 0; i < 16; i++) {
        const int room = first + i < count ? queue->room[first + i] : 0;
        uint8_t *const text = (uint8_t *)queue->text[first + i];
        if (room == CHAPOLY_BLOCK) {
            _mm512_storeu_si512(text, _mm512_xor_si512(x[i], _mm512_loadu_si512(text)));
        } else if (room != 0) {
            const __mmask64 bytes = _bzhi_u64(~0ULL, (unsigned)room);
            _mm512_mask_storeu_epi8(text, bytes, _mm512_xor_si512(x[i], _mm512_maskz_loadu_epi8(bytes, text)));
        }
    }
}

CHAPOLY_AVX512 CHAPOLY_INLINE void chacha512_xor_queued(const uint32_t key[8], const struct chacha_queue *queue,
                                                        int count)
{
    struct chacha512_blocks blocks[2];
    __m512i x[16], y[16];
    chacha512_begin_queued(key, queue, 0, &blocks[0], x);
    if (count <= 16) {
        chacha512_one(key, blocks, x);
    } else {
        chacha512_begin_queued(key, queue, 16, &blocks[1], y);
        chacha512_two(key, blocks, x, y);
        chacha512_add_to_queued(y, queue, 16, count);
    }
    chacha512_add_to_queued(x, queue, 0, count);
}

#define CHACHA(name) chacha512_##name
#define CHACHA_TARGET CHAPOLY_AVX512
#define CHACHA_PASS 16
#define CHACHA_PASSES 2
#include "chacha20poly1305/chacha_texts.inc"
#undef CHACHA
#undef CHACHA_TARGET
#undef CHACHA_PASS
#undef CHACHA_PASSES

#endif
