"""Wiping of stacks and registers (traces.pxd)."""

cdef extern from * nogil:
    """
    #include <stddef.h>
    #include <stdint.h>
    #include <string.h>

    #if defined(__x86_64__)
    #define PYWG_CLEAR(n) "vpxorq %%zmm" #n ", %%zmm" #n ", %%zmm" #n "\\n\\t"
    #define PYWG_CLEAR_SSE(n) "pxor %%xmm" #n ", %%xmm" #n "\\n\\t"
    #define PYWG_LOW "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \\
        "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"
    #define PYWG_HIGH "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", \\
        "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31"

    __attribute__((target("avx512f"), noinline)) static void pywg_clear512(void)
    {
        __asm__ __volatile__(PYWG_CLEAR(16) PYWG_CLEAR(17) PYWG_CLEAR(18) PYWG_CLEAR(19) PYWG_CLEAR(20)
                             PYWG_CLEAR(21) PYWG_CLEAR(22) PYWG_CLEAR(23) PYWG_CLEAR(24) PYWG_CLEAR(25)
                             PYWG_CLEAR(26) PYWG_CLEAR(27) PYWG_CLEAR(28) PYWG_CLEAR(29) PYWG_CLEAR(30)
                             PYWG_CLEAR(31) "vzeroall" : : : PYWG_LOW, PYWG_HIGH);
    }

    __attribute__((target("avx"), noinline)) static void pywg_clear256(void)
    {
        __asm__ __volatile__("vzeroall" : : : PYWG_LOW);
    }

    /* Whatever the compiler was told to use, libc and libcrypto take the widest that the processor has. */
    static void pywg_clear_registers(void)
    {
        __builtin_cpu_init();
        if (__builtin_cpu_supports("avx512f"))
            pywg_clear512();
        else if (__builtin_cpu_supports("avx"))
            pywg_clear256();
        else
            __asm__ __volatile__(PYWG_CLEAR_SSE(0) PYWG_CLEAR_SSE(1) PYWG_CLEAR_SSE(2) PYWG_CLEAR_SSE(3)
                                 PYWG_CLEAR_SSE(4) PYWG_CLEAR_SSE(5) PYWG_CLEAR_SSE(6) PYWG_CLEAR_SSE(7)
                                 PYWG_CLEAR_SSE(8) PYWG_CLEAR_SSE(9) PYWG_CLEAR_SSE(10) PYWG_CLEAR_SSE(11)
                                 PYWG_CLEAR_SSE(12) PYWG_CLEAR_SSE(13) PYWG_CLEAR_SSE(14) PYWG_CLEAR_SSE(15)
                                 : : : PYWG_LOW);
    }
    #elif defined(__aarch64__)
    #define PYWG_CLEAR(n) "movi v" #n ".2d, #0\\n\\t"
    static void pywg_clear_registers(void)
    {
        __asm__ __volatile__(PYWG_CLEAR(0) PYWG_CLEAR(1) PYWG_CLEAR(2) PYWG_CLEAR(3) PYWG_CLEAR(4) PYWG_CLEAR(5)
                             PYWG_CLEAR(6) PYWG_CLEAR(7) PYWG_CLEAR(16) PYWG_CLEAR(17) PYWG_CLEAR(18) PYWG_CLEAR(19)
                             PYWG_CLEAR(20) PYWG_CLEAR(21) PYWG_CLEAR(22) PYWG_CLEAR(23) PYWG_CLEAR(24)
                             PYWG_CLEAR(25) PYWG_CLEAR(26) PYWG_CLEAR(27) PYWG_CLEAR(28) PYWG_CLEAR(29)
                             PYWG_CLEAR(30) PYWG_CLEAR(31)
                             : : : "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v16", "v17", "v18", "v19", "v20",
                                   "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31");
    }
    #else
    static void pywg_clear_registers(void)
    {
    }
    #endif

    /* What was called before lies below the caller's frame, as does this function's own. */
    __attribute__((noinline)) static void pywg_forget(size_t stack)
    {
        uint8_t below[stack];
        memset(below, 0, stack);
        __asm__ __volatile__("" : : "r"(below) : "memory");     /* the stores are not dead */
        pywg_clear_registers();
    #if defined(__x86_64__)
        __asm__ __volatile__("xor %%eax, %%eax; xor %%ecx, %%ecx; xor %%edx, %%edx; xor %%esi, %%esi; "
                             "xor %%edi, %%edi; xor %%r8d, %%r8d; xor %%r9d, %%r9d; "
                             "xor %%r10d, %%r10d; xor %%r11d, %%r11d"
                             : : : "cc", "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11");
    #endif
    }
    """
    void forget "pywg_forget"(size_t stack)


cdef void traces_forget(size_t stack) noexcept nogil:
    """Wipes so many bytes of this thread's stack below the caller, and the registers of vectors."""
    forget(stack)
