/* Poly1305 for AVX2, and for AVX-512 without IFMA. */
#ifndef PYWG_CHAPOLY_POLY26_H
#define PYWG_CHAPOLY_POLY26_H

#include "chacha20poly1305/lanes_avx2.h"
#include "chacha20poly1305/lanes_avx512.h"

#define POLY(name) poly26x4_##name
#define POLY_LIMBS 5
#define POLY_TARGET CHAPOLY_AVX2
#define POLY_PAD _mm256_set1_epi64x(1LL << 24)
#include "chacha20poly1305/vector_avx2.inc"
#include "chacha20poly1305/poly26.inc"
#include "chacha20poly1305/vector_end.inc"

#define POLY(name) poly26x8_##name
#define POLY_LIMBS 5
#define POLY_TARGET CHAPOLY_AVX512
#define POLY_PAD _mm512_set1_epi64(1LL << 24)
#include "chacha20poly1305/vector_avx512.inc"
#include "chacha20poly1305/poly26.inc"
#include "chacha20poly1305/vector_end.inc"

#endif
