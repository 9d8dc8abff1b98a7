/* Poly1305 (RFC 8439 section 2.5) with AVX-512 IFMA: limbs of 44, 44 and 42 bits, eight lanes a vector.
 *
 * vpmadd52 multiplies 52-bit numbers and adds the product's low or high 52 bits. Bounds: r0, r1 < 2^44 and r2 < 2^36
 * (r is clamped), so 20 r1 < 2^49 and 20 r2 < 2^41; after a multiplication h0 < 2^51, h1 < 2^44 and h2 < 2^42, and a
 * message limb adds less than 2^44. Powers of r have r1 < 2^44 + 2^7 and r2 < 2^42, so 20 r1 < 2^49, 20 r2 < 2^47: what
 * is multiplied with them is settled before (h0 < 2^44, h1 < 2^44 + 2^7), and the bounds hold again. They also hold for
 * the sum of such a product and a message times r: its low sums are below 2^55, its high ones below 2^41, 2^40 and
 * 2^38 + 2^30, so the last carry is below 2^48 + 2^41, and h0 below 2^51.
 */
#ifndef PYWG_CHAPOLY_POLY_IFMA_H
#define PYWG_CHAPOLY_POLY_IFMA_H

#include "chacha20poly1305/lanes_avx512.h"

#define MASK44 0xfffffffffffULL
#define MASK42 0x3ffffffffffULL

struct poly44_factor {
    __m512i r[3];
    __m512i r1_20, r2_20; /* 20 r1 and 20 r2: 2^132 is 20 modulo 2^130 - 5 */
};

struct poly44_state {
    __m512i h[3];
    struct poly44_factor r;
};

/* Sums of products: of low[i] + 2^52 high[i], times 2^(44 i). */
struct poly44_sums {
    __m512i low[3], high[3];
};

CHAPOLY_IFMA CHAPOLY_INLINE void poly44_set_factor(struct poly44_factor *f, const __m512i r[3])
{
    f->r[0] = r[0];
    f->r[1] = r[1];
    f->r[2] = r[2];
    f->r1_20 = _mm512_add_epi64(_mm512_slli_epi64(r[1], 4), _mm512_slli_epi64(r[1], 2));
    f->r2_20 = _mm512_add_epi64(_mm512_slli_epi64(r[2], 4), _mm512_slli_epi64(r[2], 2));
}

CHAPOLY_IFMA CHAPOLY_INLINE void poly44_add_product(struct poly44_sums *s, const __m512i h[3],
                                                    const struct poly44_factor *f)
{
    s->low[0] = _mm512_madd52lo_epu64(s->low[0], h[2], f->r1_20);
    s->high[0] = _mm512_madd52hi_epu64(s->high[0], h[2], f->r1_20);
    s->low[1] = _mm512_madd52lo_epu64(s->low[1], h[2], f->r2_20);
    s->high[1] = _mm512_madd52hi_epu64(s->high[1], h[2], f->r2_20);
    s->low[2] = _mm512_madd52lo_epu64(s->low[2], h[2], f->r[0]);
    s->high[2] = _mm512_madd52hi_epu64(s->high[2], h[2], f->r[0]);
    s->low[0] = _mm512_madd52lo_epu64(s->low[0], h[1], f->r2_20);
    s->high[0] = _mm512_madd52hi_epu64(s->high[0], h[1], f->r2_20);
    s->low[1] = _mm512_madd52lo_epu64(s->low[1], h[1], f->r[0]);
    s->high[1] = _mm512_madd52hi_epu64(s->high[1], h[1], f->r[0]);
    s->low[2] = _mm512_madd52lo_epu64(s->low[2], h[1], f->r[1]);
    s->high[2] = _mm512_madd52hi_epu64(s->high[2], h[1], f->r[1]);
    s->low[0] = _mm512_madd52lo_epu64(s->low[0], h[0], f->r[0]);
    s->high[0] = _mm512_madd52hi_epu64(s->high[0], h[0], f->r[0]);
    s->low[1] = _mm512_madd52lo_epu64(s->low[1], h[0], f->r[1]);
    s->high[1] = _mm512_madd52hi_epu64(s->high[1], h[0], f->r[1]);
    s->low[2] = _mm512_madd52lo_epu64(s->low[2], h[0], f->r[2]);
    s->high[2] = _mm512_madd52hi_epu64(s->high[2], h[0], f->r[2]);
}

/* h = the sums, partly reduced. */
CHAPOLY_IFMA CHAPOLY_INLINE void poly44_reduce(__m512i h[3], const struct poly44_sums *s)
{
    const __m512i mask44 = _mm512_set1_epi64(MASK44), mask42 = _mm512_set1_epi64(MASK42);
    __m512i low0 = s->low[0], low1 = s->low[1], low2 = s->low[2], carry;
    carry = _mm512_add_epi64(_mm512_srli_epi64(low0, 44), _mm512_slli_epi64(s->high[0], 8));
    low1 = _mm512_add_epi64(low1, carry);
    carry = _mm512_add_epi64(_mm512_srli_epi64(low1, 44), _mm512_slli_epi64(s->high[1], 8));
    low2 = _mm512_add_epi64(low2, carry);
    carry = _mm512_add_epi64(_mm512_srli_epi64(low2, 42), _mm512_slli_epi64(s->high[2], 10));
    low0 = _mm512_add_epi64(_mm512_and_si512(low0, mask44), carry);
    h[0] = _mm512_add_epi64(low0, _mm512_slli_epi64(carry, 2));
    h[1] = _mm512_and_si512(low1, mask44);
    h[2] = _mm512_and_si512(low2, mask42);
}

CHAPOLY_IFMA CHAPOLY_INLINE void poly44_settle(__m512i h[3])
{
    h[1] = _mm512_add_epi64(h[1], _mm512_srli_epi64(h[0], 44));
    h[0] = _mm512_and_si512(h[0], _mm512_set1_epi64(MASK44));
}

/* One block a lane: low + 2^64 high + 2^88 pad. */
CHAPOLY_IFMA CHAPOLY_INLINE void poly44_limbs(__m512i m[3], __m512i low, __m512i high, __m512i pad)
{
    const __m512i mask44 = _mm512_set1_epi64(MASK44);
    const __m512i middle = _mm512_or_si512(_mm512_srli_epi64(low, 44), _mm512_slli_epi64(high, 20));
    m[0] = _mm512_and_si512(low, mask44);
    m[1] = _mm512_and_si512(middle, mask44);
    m[2] = _mm512_or_si512(_mm512_srli_epi64(high, 24), pad);
}

/* The r of the lanes first..first+7, clamped. */
CHAPOLY_IFMA CHAPOLY_INLINE void poly44_start(struct poly44_state *p, const struct poly_keys *keys, int first)
{
    const __m512i mask44 = _mm512_set1_epi64(MASK44);
    const __m512i low = _mm512_and_si512(join_words512(keys, 0, first), _mm512_set1_epi64(POLY_CLAMP_LOW));
    const __m512i high = _mm512_and_si512(join_words512(keys, 2, first), _mm512_set1_epi64(POLY_CLAMP_HIGH));
    const __m512i middle = _mm512_or_si512(_mm512_srli_epi64(low, 44), _mm512_slli_epi64(high, 20));
    const __m512i r[3] = {_mm512_and_si512(low, mask44), _mm512_and_si512(middle, mask44), _mm512_srli_epi64(high, 24)};
    poly44_set_factor(&p->r, r);
    p->h[0] = p->h[1] = p->h[2] = _mm512_setzero_si512();
}

/* Reduces h modulo 2^130 - 5, adds s modulo 2^128. */
CHAPOLY_IFMA CHAPOLY_INLINE void poly44_finish(struct poly44_state *p, const struct poly_keys *keys, int first,
                                               struct poly_tags *tags)
{
    const __m512i mask44 = _mm512_set1_epi64(MASK44), mask42 = _mm512_set1_epi64(MASK42);
    __m512i h0 = p->h[0], h1 = p->h[1], h2 = p->h[2], g0, g1, g2, carry;
    __mmask8 reduced;
    int i;
    for (i = 0; i < 2; i++) { /* twice: only in the first round can the carry from h2 make h0 too long */
        h1 = _mm512_add_epi64(h1, _mm512_srli_epi64(h0, 44));
        h0 = _mm512_and_si512(h0, mask44);
        h2 = _mm512_add_epi64(h2, _mm512_srli_epi64(h1, 44));
        h1 = _mm512_and_si512(h1, mask44);
        carry = _mm512_srli_epi64(h2, 42);
        h2 = _mm512_and_si512(h2, mask42);
        h0 = _mm512_add_epi64(h0, _mm512_add_epi64(carry, _mm512_slli_epi64(carry, 2)));
    }
    /* h + 5 reaches 2^130 exactly when h has to lose the modulus once more. */
    g0 = _mm512_add_epi64(h0, _mm512_set1_epi64(5));
    g1 = _mm512_add_epi64(h1, _mm512_srli_epi64(g0, 44));
    g2 = _mm512_add_epi64(h2, _mm512_srli_epi64(g1, 44));
    reduced = _mm512_test_epi64_mask(g2, _mm512_set1_epi64(1LL << 42));
    h0 = _mm512_mask_and_epi64(h0, reduced, g0, mask44);
    h1 = _mm512_mask_and_epi64(h1, reduced, g1, mask44);
    h2 = _mm512_mask_and_epi64(h2, reduced, g2, mask42);
    add_pad512(_mm512_or_si512(h0, _mm512_slli_epi64(h1, 44)),
               _mm512_or_si512(_mm512_srli_epi64(h1, 20), _mm512_slli_epi64(h2, 24)), keys, first, tags);
}

#define POLY(name) poly44_##name
#define POLY_LIMBS 3
#define POLY_TARGET CHAPOLY_IFMA
#define POLY_PAD _mm512_set1_epi64(1LL << 40)
#include "chacha20poly1305/vector_avx512.inc"
#include "chacha20poly1305/poly_group.inc"
#include "chacha20poly1305/vector_end.inc"

#endif
