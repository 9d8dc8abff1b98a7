/* Four packets side by side: loads of texts and keys into 64-bit lanes, for Poly1305 with AVX2. */
#ifndef PYWG_CHAPOLY_LANES_AVX2_H
#define PYWG_CHAPOLY_LANES_AVX2_H

#include "chacha20poly1305/common.h"

/* Two words of four lanes' one-time keys, as one of 64 bits. */
CHAPOLY_AVX2 CHAPOLY_INLINE __m256i join_words256(const struct poly_keys *keys, int first_word, int first_lane)
{
    const __m128i low = _mm_load_si128((const __m128i *)&keys->word[first_word][first_lane]);
    const __m128i high = _mm_load_si128((const __m128i *)&keys->word[first_word + 1][first_lane]);
    return _mm256_or_si256(_mm256_cvtepu32_epi64(low), _mm256_slli_epi64(_mm256_cvtepu32_epi64(high), 32));
}

/* tag = h + s modulo 2^128. */
CHAPOLY_AVX2 CHAPOLY_INLINE void add_pad256(__m256i low, __m256i high, const struct poly_keys *keys, int first_lane,
                                            struct poly_tags *tags)
{
    const __m256i sign = _mm256_set1_epi64x((long long)(1ULL << 63)); /* AVX2 compares signed numbers alone */
    const __m256i pad_low = join_words256(keys, 4, first_lane), pad_high = join_words256(keys, 6, first_lane);
    __m256i carry;
    low = _mm256_add_epi64(low, pad_low);
    carry = _mm256_cmpgt_epi64(_mm256_xor_si256(pad_low, sign), _mm256_xor_si256(low, sign));
    high = _mm256_sub_epi64(_mm256_add_epi64(high, pad_high), carry);
    _mm256_store_si256((__m256i *)&tags->low[first_lane], low);
    _mm256_store_si256((__m256i *)&tags->high[first_lane], high);
}

/* A 4 x 4 transposition: word[i] becomes the lanes' 64-bit word i. */
CHAPOLY_AVX2 CHAPOLY_INLINE void transpose_words256(__m256i word[4])
{
    const __m256i a = _mm256_unpacklo_epi64(word[0], word[1]), b = _mm256_unpackhi_epi64(word[0], word[1]);
    const __m256i c = _mm256_unpacklo_epi64(word[2], word[3]), d = _mm256_unpackhi_epi64(word[2], word[3]);
    word[0] = _mm256_permute2x128_si256(a, c, 0x20);
    word[1] = _mm256_permute2x128_si256(b, d, 0x20);
    word[2] = _mm256_permute2x128_si256(a, c, 0x31);
    word[3] = _mm256_permute2x128_si256(b, d, 0x31);
}

/* 32 bytes of each of four texts, from `offset` on. */
CHAPOLY_AVX2 CHAPOLY_INLINE void load_chunk256(const uint8_t *const text[4], uint32_t offset, __m256i word[4])
{
    int i;
#pragma GCC unroll 16
    for (i = 0; i < 4; i++)
        word[i] = _mm256_loadu_si256((const __m256i *)(text[i] + offset));
    transpose_words256(word);
}

/* As load_chunk256, but texts may end: zeros follow. The copied bytes are on the wire, so they are no secret. */
CHAPOLY_AVX2 CHAPOLY_INLINE void load_ends256(const uint8_t *const text[4], const uint32_t len[4], uint32_t offset,
                                              __m256i word[4])
{
    uint8_t end[32];
    int i;
#pragma GCC unroll 16
    for (i = 0; i < 4; i++) {
        const uint32_t left = len[i] > offset ? len[i] - offset : 0;
        if (left >= 32) {
            word[i] = _mm256_loadu_si256((const __m256i *)(text[i] + offset));
        } else {
            memset(end, 0, sizeof(end));
            if (left != 0)
                memcpy(end, text[i] + offset, left);
            word[i] = _mm256_loadu_si256((const __m256i *)end);
        }
    }
    transpose_words256(word);
}

/* The lanes whose text goes on at `offset`, as all ones. */
CHAPOLY_AVX2 CHAPOLY_INLINE __m256i going_on256(const uint32_t len[4], uint32_t offset)
{
    return _mm256_cmpgt_epi64(_mm256_cvtepu32_epi64(_mm_loadu_si128((const __m128i *)len)),
                              _mm256_set1_epi64x((long long)offset));
}

/* The lanes whose number has this bit, as all ones. */
CHAPOLY_AVX2 CHAPOLY_INLINE __m256i has_bit256(const uint32_t number[4], uint32_t bit)
{
    const __m256i wanted = _mm256_set1_epi64x((long long)bit);
    const __m256i numbers = _mm256_cvtepu32_epi64(_mm_loadu_si128((const __m128i *)number));
    return _mm256_cmpeq_epi64(_mm256_and_si256(numbers, wanted), wanted);
}

/* Every lane gets what the lane `distance` (1 or 2) away has, within pairs or all four. */
CHAPOLY_AVX2 CHAPOLY_INLINE __m256i swap256(__m256i v, int distance)
{
    return distance == 1 ? _mm256_permute4x64_epi64(v, 0xb1) : _mm256_permute4x64_epi64(v, 0x4e);
}

#endif
