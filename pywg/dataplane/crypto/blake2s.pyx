"""Keyed BLAKE2s (blake2s.pxd)."""
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy, memset
from pywg.dataplane.sys.checks cimport c_assert, static_fits
from pywg.dataplane.sys.libcrypto cimport OPENSSL_cleanse

cdef extern from * nogil:
    """
    #include <stdint.h>
    #include <string.h>

    static const uint32_t pywg_blake2s_iv[8] = {
        0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19,
    };

    #define PYWG_ROTATED(x, n) ((x) >> (n) | (x) << (32 - (n)))
    #define PYWG_G(a, b, c, d, x, y) do { \\
        v[a] += v[b] + m[x]; v[d] = PYWG_ROTATED(v[d] ^ v[a], 16); \\
        v[c] += v[d]; v[b] = PYWG_ROTATED(v[b] ^ v[c], 12); \\
        v[a] += v[b] + m[y]; v[d] = PYWG_ROTATED(v[d] ^ v[a], 8); \\
        v[c] += v[d]; v[b] = PYWG_ROTATED(v[b] ^ v[c], 7); \\
    } while (0)
    #define PYWG_ROUND(s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, sa, sb, sc, sd, se, sf) do { \\
        PYWG_G(0, 4, 8, 12, s0, s1); PYWG_G(1, 5, 9, 13, s2, s3); \\
        PYWG_G(2, 6, 10, 14, s4, s5); PYWG_G(3, 7, 11, 15, s6, s7); \\
        PYWG_G(0, 5, 10, 15, s8, s9); PYWG_G(1, 6, 11, 12, sa, sb); \\
        PYWG_G(2, 7, 8, 13, sc, sd); PYWG_G(3, 4, 9, 14, se, sf); \\
    } while (0)

    /* Section 3.2: one block of 64 bytes, `total` bytes so far with it; `last` is all ones for the last one. */
    static void pywg_blake2s_compress(uint32_t *h, const uint8_t *block, uint32_t total, uint32_t last)
    {
        uint32_t v[16], m[16];
        memcpy(m, block, 64);       /* little-endian, as wireguard.pxd asserts */
        memcpy(v, h, 32);
        memcpy(v + 8, pywg_blake2s_iv, 32);
        v[12] ^= total;
        v[14] ^= last;
        PYWG_ROUND(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        PYWG_ROUND(14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3);
        PYWG_ROUND(11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4);
        PYWG_ROUND(7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8);
        PYWG_ROUND(9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13);
        PYWG_ROUND(2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9);
        PYWG_ROUND(12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11);
        PYWG_ROUND(13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10);
        PYWG_ROUND(6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5);
        PYWG_ROUND(10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0);
        for (int i = 0; i < 8; i++)
            h[i] ^= v[i] ^ v[i + 8];
    }
    """
    const uint32_t *BLAKE2S_IV "pywg_blake2s_iv"
    void blake2s_compress "pywg_blake2s_compress"(uint32_t *h, const uint8_t *block, uint32_t total, uint32_t last)

cdef enum:
    BLAKE2S_BLOCK_LEN = 64
    KEY_LEN_MAX = 32


cdef void blake2s_key(uint8_t *state, const uint8_t *key, uint32_t key_len) noexcept nogil:
    """Writes BLAKE2S_STATE_LEN bytes, for MACs under a key of 1 to 32 bytes. The state is as secret as the key."""
    cdef uint32_t h[8]
    cdef uint8_t block[BLAKE2S_BLOCK_LEN]
    static_fits(KEY_LEN_MAX, BLAKE2S_BLOCK_LEN)
    c_assert(key_len <= KEY_LEN_MAX)
    memcpy(h, BLAKE2S_IV, BLAKE2S_STATE_LEN)
    h[0] ^= 0x01010000 | key_len << 8 | BLAKE2S_MAC_LEN     # section 2.5: fan-out and depth 1
    memset(block, 0, BLAKE2S_BLOCK_LEN)
    memcpy(block, key, key_len)
    blake2s_compress(h, block, BLAKE2S_BLOCK_LEN, 0)
    memcpy(state, h, BLAKE2S_STATE_LEN)
    OPENSSL_cleanse(block, BLAKE2S_BLOCK_LEN)
    OPENSSL_cleanse(h, BLAKE2S_STATE_LEN)


cdef void blake2s_mac(const uint8_t *state, const uint8_t *data, uint32_t data_len, uint8_t *mac) noexcept nogil:
    """Writes the MAC of at least one byte of data: BLAKE2S_MAC_LEN bytes."""
    cdef uint32_t h[8]
    cdef uint8_t block[BLAKE2S_BLOCK_LEN]
    cdef uint32_t at = 0
    memcpy(h, state, BLAKE2S_STATE_LEN)
    while data_len - at > BLAKE2S_BLOCK_LEN:
        at += BLAKE2S_BLOCK_LEN
        blake2s_compress(h, data + at - BLAKE2S_BLOCK_LEN, BLAKE2S_BLOCK_LEN + at, 0)
    memset(block, 0, BLAKE2S_BLOCK_LEN)
    memcpy(block, data + at, data_len - at)
    blake2s_compress(h, block, BLAKE2S_BLOCK_LEN + data_len, 0xFFFFFFFF)
    memcpy(mac, h, BLAKE2S_MAC_LEN)
    OPENSSL_cleanse(h, BLAKE2S_STATE_LEN)
