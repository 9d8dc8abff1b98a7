/* Shared by the kernels of every level: the shape of a group of packets, and wiping secrets.
 *
 * A group is at most 16 packets under one key. Each kernel maps packets, or the blocks of packets, to vector lanes.
 * Lengths, counters and addresses are public and may decide branches; keys, key stream, texts, accumulators and tags
 * may not.
 */
#ifndef PYWG_CHAPOLY_COMMON_H
#define PYWG_CHAPOLY_COMMON_H

#include <assert.h>
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The bits of r that Poly1305 keeps (RFC 8439 section 2.5). */
#define POLY_CLAMP_LOW 0x0ffffffc0fffffffULL
#define POLY_CLAMP_HIGH 0x0ffffffc0ffffffcULL

#define CHAPOLY_INLINE static inline __attribute__((always_inline))
#define CHAPOLY_KERNEL static __attribute__((noinline)) /* so that forget_stack can wipe its frame */
#define CHAPOLY_AVX2 __attribute__((target("avx2,bmi2")))
#define CHAPOLY_AVX512 __attribute__((target("avx512f,avx512vl,avx512bw,avx2,bmi2")))
#define CHAPOLY_IFMA __attribute__((target("avx512ifma,avx512f,avx512vl,avx512bw,avx2,bmi2")))

enum {
    CHAPOLY_GROUP = 16,
    CHAPOLY_BLOCK = 64,
    CHAPOLY_STACK = 8192,      /* more than a kernel spills, */
    CHAPOLY_DEEP_STACK = 12288 /* but for Poly1305 with AVX-512 without IFMA */
};

/* Some packets under one key. The nonce is 4 zero bytes and the little-endian counter. */
struct chapoly_group {
    uint8_t *text[CHAPOLY_GROUP];
    uint32_t len[CHAPOLY_GROUP];
    uint64_t counter[CHAPOLY_GROUP];
    int count;
};

/* How Poly1305 sees a group: a lane has one packet or, where packets are few, one of its consecutive parts. */
struct poly_lanes {
    const uint8_t *text[CHAPOLY_GROUP];
    uint32_t len[CHAPOLY_GROUP];       /* a whole number of blocks, but for a packet's last part */
    uint32_t after[CHAPOLY_GROUP];     /* blocks of the packet that follow this part */
    uint32_t whole_len[CHAPOLY_GROUP]; /* of the packet */
    uint64_t counter[CHAPOLY_GROUP];   /* of the packet */
    int packet[CHAPOLY_GROUP];
    int count; /* lanes in use; the others repeat the first, so that no kernel has to tell them apart */
    int parts; /* lanes a packet: a power of 2, and not more than a vector has */
};

/* The lanes' one-time keys (RFC 8439 section 2.6), word by word as ChaCha20's lanes leave them: r, then s. */
struct poly_keys {
    uint32_t word[8][CHAPOLY_GROUP] __attribute__((aligned(64)));
};

/* The lanes' tags; a packet has the same in all its lanes. */
struct poly_tags {
    uint64_t low[CHAPOLY_GROUP] __attribute__((aligned(64)));
    uint64_t high[CHAPOLY_GROUP] __attribute__((aligned(64)));
};

/* As many whole blocks of one packet as a pass computes. */
struct chacha_run {
    const uint32_t *columns; /* the packet's chacha_first_columns */
    uint64_t counter;        /* the packet's */
    uint32_t block;          /* the first one's number */
    uint8_t *text;
};

/* Blocks that wait for their pass. Room for two of the widest passes, which are computed at once, and for one more: up
 * to one is queued behind most of two. */
enum { CHACHA_QUEUE = 3 * CHAPOLY_GROUP };
struct chacha_queue {
    uint32_t block[CHACHA_QUEUE] __attribute__((aligned(64)));
    uint32_t low[CHACHA_QUEUE] __attribute__((aligned(64))); /* halves of the packet's counter */
    uint32_t high[CHACHA_QUEUE] __attribute__((aligned(64)));
    int32_t room[CHACHA_QUEUE] __attribute__((aligned(64))); /* bytes of the block that are text: 1..64 */
    uintptr_t text[CHACHA_QUEUE] __attribute__((aligned(64)));
    int count;
};

static const uint32_t CHACHA_CONSTANTS[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};

CHAPOLY_INLINE uint32_t load_u32(const uint8_t *from)
{
    uint32_t word;
    memcpy(&word, from, sizeof(word));
    return word;
}

CHAPOLY_INLINE uint64_t load_u64(const uint8_t *from)
{
    uint64_t word;
    memcpy(&word, from, sizeof(word));
    return word;
}

#define CHACHA_ROTATE(word, bits) ((word) << (bits) | (word) >> (32 - (bits)))

/* The quarter round (RFC 8439 section 2.1) of column `column` (0..3) of a state. */
CHAPOLY_INLINE void chacha_column(uint32_t x[16], int column)
{
    uint32_t a = x[column], b = x[4 + column], c = x[8 + column], d = x[12 + column];
    a += b;
    d = CHACHA_ROTATE(d ^ a, 16);
    c += d;
    b = CHACHA_ROTATE(b ^ c, 12);
    a += b;
    d = CHACHA_ROTATE(d ^ a, 8);
    c += d;
    b = CHACHA_ROTATE(b ^ c, 7);
    x[column] = a;
    x[4 + column] = b;
    x[8 + column] = c;
    x[12 + column] = d;
}

/* What the columns 1 to 3 of all of a packet's blocks are after the first column round: the block's number is in
 * column 0. That one is left as it is before the round. */
CHAPOLY_INLINE void chacha_first_columns(const uint32_t key[8], uint64_t counter, uint32_t x[16])
{
    memcpy(x, CHACHA_CONSTANTS, sizeof(CHACHA_CONSTANTS));
    memcpy(x + 4, key, 8 * sizeof(key[0]));
    x[12] = 0;
    x[13] = 0;
    x[14] = (uint32_t)counter;
    x[15] = (uint32_t)(counter >> 32);
    chacha_column(x, 1);
    chacha_column(x, 2);
    chacha_column(x, 3);
}

CHAPOLY_INLINE void wipe(void *at, size_t len)
{
    memset(at, 0, len);
    __asm__ __volatile__("" : : "r"(at) : "memory"); /* keeps the compiler from dropping the stores as dead */
}

#endif
