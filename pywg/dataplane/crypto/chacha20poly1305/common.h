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
    CHAPOLY_STACK = 8192 /* more than a kernel spills */
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

/* Blocks that wait for a pass. Room for two of the widest passes: up to one is queued behind most of another. */
struct chacha_queue {
    uint32_t block[2 * CHAPOLY_GROUP] __attribute__((aligned(64)));
    uint32_t low[2 * CHAPOLY_GROUP] __attribute__((aligned(64))); /* halves of the packet's counter */
    uint32_t high[2 * CHAPOLY_GROUP] __attribute__((aligned(64)));
    int32_t room[2 * CHAPOLY_GROUP] __attribute__((aligned(64))); /* bytes of the block that are text: 1..64 */
    uintptr_t text[2 * CHAPOLY_GROUP] __attribute__((aligned(64)));
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

CHAPOLY_INLINE void wipe(void *at, size_t len)
{
    memset(at, 0, len);
    __asm__ __volatile__("" : : "r"(at) : "memory"); /* keeps the compiler from dropping the stores as dead */
}

#endif
