/* Eight packets side by side: loads of texts and keys into 64-bit lanes, for both Poly1305 kernels with AVX-512. */
#ifndef PYWG_CHAPOLY_LANES_AVX512_H
#define PYWG_CHAPOLY_LANES_AVX512_H

#include "chacha20poly1305/common.h"

/* The 64-bit words `first_word / 2` of eight lanes' one-time keys. */
CHAPOLY_AVX512 CHAPOLY_INLINE __m512i join_words512(const struct poly_keys *keys, int first_word, int first_lane)
{
    const __m256i low = _mm256_load_si256((const __m256i *)&keys->word[first_word][first_lane]);
    const __m256i high = _mm256_load_si256((const __m256i *)&keys->word[first_word + 1][first_lane]);
    return _mm512_or_si512(_mm512_cvtepu32_epi64(low), _mm512_slli_epi64(_mm512_cvtepu32_epi64(high), 32));
}

/* tag = h + s modulo 2^128. */
CHAPOLY_AVX512 CHAPOLY_INLINE void add_pad512(__m512i low, __m512i high, const struct poly_keys *keys, int first_lane,
                                              struct poly_tags *tags)
{
    const __m512i pad_low = join_words512(keys, 4, first_lane), pad_high = join_words512(keys, 6, first_lane);
    __mmask8 carry;
    low = _mm512_add_epi64(low, pad_low);
    carry = _mm512_cmplt_epu64_mask(low, pad_low);
    high = _mm512_add_epi64(high, pad_high);
    high = _mm512_mask_add_epi64(high, carry, high, _mm512_set1_epi64(1));
    _mm512_store_si512(&tags->low[first_lane], low);
    _mm512_store_si512(&tags->high[first_lane], high);
}

/* An 8 x 8 transposition: word[i] becomes the lanes' 64-bit word i. */
CHAPOLY_AVX512 CHAPOLY_INLINE void transpose_words512(__m512i word[8])
{
    __m512i pair[8];
    int i;
#pragma GCC unroll 16
    for (i = 0; i < 8; i += 2) {
        pair[i] = _mm512_unpacklo_epi64(word[i], word[i + 1]);
        pair[i + 1] = _mm512_unpackhi_epi64(word[i], word[i + 1]);
    }
#pragma GCC unroll 16
    for (i = 0; i < 2; i++) {
        const __m512i a = _mm512_shuffle_i64x2(pair[i], pair[2 + i], 0x44);
        const __m512i b = _mm512_shuffle_i64x2(pair[4 + i], pair[6 + i], 0x44);
        const __m512i c = _mm512_shuffle_i64x2(pair[i], pair[2 + i], 0xee);
        const __m512i d = _mm512_shuffle_i64x2(pair[4 + i], pair[6 + i], 0xee);
        word[i] = _mm512_shuffle_i64x2(a, b, 0x88);
        word[2 + i] = _mm512_shuffle_i64x2(a, b, 0xdd);
        word[4 + i] = _mm512_shuffle_i64x2(c, d, 0x88);
        word[6 + i] = _mm512_shuffle_i64x2(c, d, 0xdd);
    }
}

/* 64 bytes of each of eight texts, from `offset` on. */
CHAPOLY_AVX512 CHAPOLY_INLINE void load_chunk512(const uint8_t *const text[8], uint32_t offset, __m512i word[8])
{
    int i;
#pragma GCC unroll 16
    for (i = 0; i < 8; i++)
        word[i] = _mm512_loadu_si512(text[i] + offset);
    transpose_words512(word);
}

/* As load_chunk512, but texts may end: zeros follow. */
CHAPOLY_AVX512 CHAPOLY_INLINE void load_ends512(const uint8_t *const text[8], const uint32_t len[8], uint32_t offset,
                                                __m512i word[8])
{
    int i;
#pragma GCC unroll 16
    for (i = 0; i < 8; i++) {
        const uint32_t left = len[i] > offset ? len[i] - offset : 0;
        const __mmask64 bytes = _bzhi_u64(~0ULL, left < 64 ? left : 64);
        word[i] = _mm512_maskz_loadu_epi8(bytes, left != 0 ? text[i] + offset : text[i]);
    }
    transpose_words512(word);
}

/* The lanes whose text goes on at `offset`. */
CHAPOLY_AVX512 CHAPOLY_INLINE __mmask8 going_on512(const uint32_t len[8], uint32_t offset)
{
    return _mm256_cmpgt_epu32_mask(_mm256_loadu_si256((const __m256i *)len), _mm256_set1_epi32((int)offset));
}

/* The lanes whose number has this bit. */
CHAPOLY_AVX512 CHAPOLY_INLINE __mmask8 has_bit512(const uint32_t number[8], uint32_t bit)
{
    return _mm256_test_epi32_mask(_mm256_loadu_si256((const __m256i *)number), _mm256_set1_epi32((int)bit));
}

/* Every lane gets what the lane `distance` (1, 2 or 4) away has, within pairs, quadruples or all eight. */
CHAPOLY_AVX512 CHAPOLY_INLINE __m512i swap512(__m512i v, int distance)
{
    const __m512i lanes = _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0);
    return _mm512_permutexvar_epi64(_mm512_xor_si512(lanes, _mm512_set1_epi64(distance)), v);
}

#endif
