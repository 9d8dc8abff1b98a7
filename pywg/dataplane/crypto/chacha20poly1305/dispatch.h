/* The kernels that this CPU can run, the choice of a level's kernels, and wiping what they leave behind. */
#ifndef PYWG_CHAPOLY_DISPATCH_H
#define PYWG_CHAPOLY_DISPATCH_H

#include "chacha20poly1305/chacha_avx2.h"
#include "chacha20poly1305/chacha_avx512.h"
#include "chacha20poly1305/common.h"
#include "chacha20poly1305/poly26.h"
#include "chacha20poly1305/poly_ifma.h"

/* Whether the operating system saves these registers (Intel SDM volume 1, section 13.3). Only on CPUs with AVX2. */
__attribute__((target("xsave"))) static inline int registers_saved(uint32_t wanted)
{
    return ((uint32_t)_xgetbv(0) & wanted) == wanted;
}

static inline int best_level(void)
{
    enum { XMM_YMM = 0x06, OPMASK_ZMM = 0xe0 };
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi2") || !registers_saved(XMM_YMM))
        return CHAPOLY_NONE;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512vl") ||
        !__builtin_cpu_supports("avx512bw") || !registers_saved(XMM_YMM | OPMASK_ZMM))
        return CHAPOLY_LEVEL_AVX2;
    return __builtin_cpu_supports("avx512ifma") ? CHAPOLY_LEVEL_IFMA : CHAPOLY_LEVEL_AVX512;
}

/* 64-bit lanes of a vector. */
static inline int vector_lanes(int level)
{
    return level == CHAPOLY_LEVEL_AVX2 ? 4 : 8;
}

static inline void one_time_keys(int level, const uint32_t key[8], const struct poly_lanes *lanes,
                                 struct poly_keys *keys)
{
    if (level == CHAPOLY_LEVEL_AVX2)
        chacha256_keys(key, lanes, keys);
    else
        chacha512_keys(key, lanes, keys);
}

static inline void add_key_stream(int level, const uint32_t key[8], const struct chapoly_group *group, uint32_t which,
                                  uint32_t first_block)
{
    if (level == CHAPOLY_LEVEL_AVX2)
        chacha256_texts(key, group, which, first_block);
    else
        chacha512_texts(key, group, which, first_block);
}

static inline void authenticate(int level, const struct poly_keys *keys, const struct poly_lanes *lanes,
                                int with_lengths, struct poly_tags *tags)
{
    if (level == CHAPOLY_LEVEL_AVX2)
        poly26x4_tags(keys, lanes, with_lengths, tags);
    else if (level == CHAPOLY_LEVEL_AVX512)
        poly26x8_tags(keys, lanes, with_lengths, tags);
    else
        poly44_tags(keys, lanes, with_lengths, tags);
}

#define LOW_VECTORS \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", \
        "xmm13", "xmm14", "xmm15"
#define HIGH_VECTORS \
    "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", \
        "xmm28", "xmm29", "xmm30", "xmm31"
#define CALL_REGISTERS "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11"
#define CLEAR_CALL_REGISTERS \
    "xor %%eax, %%eax\n\txor %%ecx, %%ecx\n\txor %%edx, %%edx\n\txor %%esi, %%esi\n\txor %%edi, %%edi\n\t" \
    "xor %%r8d, %%r8d\n\txor %%r9d, %%r9d\n\txor %%r10d, %%r10d\n\txor %%r11d, %%r11d\n\t"
#define CLEAR(a, b, c, d) CLEAR_ONE(a) CLEAR_ONE(b) CLEAR_ONE(c) CLEAR_ONE(d)
#define CLEAR_ONE(n) "vpxorq %%xmm" #n ", %%xmm" #n ", %%xmm" #n "\n\t" /* clears all of zmm n */

CHAPOLY_AVX2 CHAPOLY_KERNEL void forget_registers256(void)
{
    __asm__ __volatile__(CLEAR_CALL_REGISTERS "vzeroall" : : : "memory", "cc", CALL_REGISTERS, LOW_VECTORS);
}

CHAPOLY_AVX512 CHAPOLY_KERNEL void forget_registers512(void)
{
    __asm__ __volatile__(CLEAR(16, 17, 18, 19) CLEAR(20, 21, 22, 23) CLEAR(24, 25, 26, 27)
                             CLEAR(28, 29, 30, 31) CLEAR_CALL_REGISTERS "vzeroall"
                         :
                         :
                         : "memory", "cc", CALL_REGISTERS, LOW_VECTORS, HIGH_VECTORS);
}

/* These wipe what the kernels spilled: that lies below their caller's frame, as does these functions' own frame. */
CHAPOLY_KERNEL void forget_stack(void)
{
    uint8_t below[CHAPOLY_STACK];
    wipe(below, sizeof(below));
}

CHAPOLY_KERNEL void forget_deep_stack(void)
{
    uint8_t below[CHAPOLY_DEEP_STACK];
    wipe(below, sizeof(below));
}

/* libc's copies of texts take the widest registers of the processor, whatever the level. */
static inline void forget_kernels(int level)
{
    if (level == CHAPOLY_LEVEL_AVX512)
        forget_deep_stack();
    else
        forget_stack();
    if (level == CHAPOLY_LEVEL_AVX2 && !__builtin_cpu_supports("avx512vl"))
        forget_registers256();
    else
        forget_registers512();
}

#endif
