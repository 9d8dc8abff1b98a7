"""Poly1305 (RFC 8439 section 2.5) over whole blocks, one message at a time, with limbs of 44 bits.

For messages too short for the kernels of chacha20poly1305/. Constant time: no branch or lookup depends on the input.
"""
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy, memset

cdef extern from * nogil:
    """
    #include <stdint.h>
    #include <string.h>

    typedef unsigned __int128 pywg_u128;

    struct pywg_poly1305 {
        uint64_t r[3], h[3], pad[2];
    };

    #define PYWG_MASK44 0xFFFFFFFFFFFULL
    #define PYWG_MASK42 0x3FFFFFFFFFFULL

    static void pywg_poly1305_start(struct pywg_poly1305 *p, const uint8_t *key)
    {
        uint64_t t[2];
        memcpy(t, key, 16);
        memset(p, 0, sizeof *p);
        p->r[0] = t[0] & 0xFFC0FFFFFFFULL;
        p->r[1] = (t[0] >> 44 | t[1] << 20) & 0xFFFFFC0FFFFULL;
        p->r[2] = t[1] >> 24 & 0x00FFFFFFC0FULL;
        memcpy(p->pad, key + 16, 16);
    }

    /* A block of 16 bytes: h = (h + block) * r modulo 2^130 - 5, not reduced to the end. */
    static void pywg_poly1305_block(struct pywg_poly1305 *p, const uint8_t *block)
    {
        const uint64_t r0 = p->r[0], r1 = p->r[1], r2 = p->r[2], s1 = r1 * 20, s2 = r2 * 20;
        uint64_t t[2], h0, h1, h2, carry;
        pywg_u128 d0, d1, d2;
        memcpy(t, block, 16);
        h0 = p->h[0] + (t[0] & PYWG_MASK44);
        h1 = p->h[1] + ((t[0] >> 44 | t[1] << 20) & PYWG_MASK44);
        h2 = p->h[2] + ((t[1] >> 24 & PYWG_MASK42) | 1ULL << 40);
        d0 = (pywg_u128)h0 * r0 + (pywg_u128)h1 * s2 + (pywg_u128)h2 * s1;
        d1 = (pywg_u128)h0 * r1 + (pywg_u128)h1 * r0 + (pywg_u128)h2 * s2;
        d2 = (pywg_u128)h0 * r2 + (pywg_u128)h1 * r1 + (pywg_u128)h2 * r0;
        d1 += (uint64_t)(d0 >> 44);
        d2 += (uint64_t)(d1 >> 44);
        carry = (uint64_t)(d2 >> 42);
        h0 = ((uint64_t)d0 & PYWG_MASK44) + carry * 5;
        p->h[0] = h0 & PYWG_MASK44;
        p->h[1] = ((uint64_t)d1 & PYWG_MASK44) + (h0 >> 44);
        p->h[2] = (uint64_t)d2 & PYWG_MASK42;
    }

    static void pywg_poly1305_finish(struct pywg_poly1305 *p, uint8_t *tag)
    {
        uint64_t h0 = p->h[0], h1 = p->h[1], h2 = p->h[2], g0, g1, g2, mask, t[2];
        for (int i = 0; i < 2; i++) {
            h2 += h1 >> 44;
            h1 &= PYWG_MASK44;
            h0 += (h2 >> 42) * 5;
            h2 &= PYWG_MASK42;
            h1 += h0 >> 44;
            h0 &= PYWG_MASK44;
        }
        /* h - p, and that if it isn't negative */
        g0 = h0 + 5;
        g1 = h1 + (g0 >> 44);
        g0 &= PYWG_MASK44;
        g2 = h2 + (g1 >> 44) - (1ULL << 42);
        g1 &= PYWG_MASK44;
        mask = (g2 >> 63) - 1;
        h0 = (h0 & ~mask) | (g0 & mask);
        h1 = (h1 & ~mask) | (g1 & mask);
        h2 = (h2 & ~mask) | (g2 & mask);
        h0 += p->pad[0] & PYWG_MASK44;
        h1 += ((p->pad[0] >> 44 | p->pad[1] << 20) & PYWG_MASK44) + (h0 >> 44);
        h2 += (p->pad[1] >> 24 & PYWG_MASK42) + (h1 >> 44);
        h0 &= PYWG_MASK44;
        h1 &= PYWG_MASK44;
        t[0] = h0 | h1 << 44;
        t[1] = h1 >> 20 | h2 << 24;
        memcpy(tag, t, 16);
    }
    """
    struct Poly1305 "pywg_poly1305":
        pass
    void poly1305_start "pywg_poly1305_start"(Poly1305 *p, const uint8_t *key)
    void poly1305_block "pywg_poly1305_block"(Poly1305 *p, const uint8_t *block)
    void poly1305_finish "pywg_poly1305_finish"(Poly1305 *p, uint8_t *tag)


cdef inline void poly1305_padded(Poly1305 *p, const uint8_t *data, uint32_t data_len) noexcept nogil:
    """Adds the data, with zeros up to a whole block (RFC 8439 section 2.8)."""
    cdef uint8_t block[16]
    cdef uint32_t at = 0
    while at + 16 <= data_len:
        poly1305_block(p, data + at)
        at += 16
    if at < data_len:
        memset(block, 0, 16)
        memcpy(block, data + at, data_len - at)
        poly1305_block(p, block)
