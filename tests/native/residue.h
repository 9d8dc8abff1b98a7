/* What a function leaves behind on the stack and in the registers of its thread. */
#ifndef PYWG_TESTS_RESIDUE_H
#define PYWG_TESTS_RESIDUE_H

#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

enum { RESIDUE_STACK = 256 << 10, RESIDUE_VECTORS = 32 * 64, RESIDUE_GENERAL = 9, RESIDUE_UNTOUCHED = 0xA5 };

typedef void (*residue_function)(void *argument);

struct residue {
    residue_function function;
    void *argument;
    uint8_t *stack;                 /* of the thread; kept from one use to the next, so that its addresses are the same */
    uint8_t *found;                 /* RESIDUE_STACK bytes: the stack below the caller of `function`, from its end on */
    uint64_t general[RESIDUE_GENERAL]; /* registers that a call may change */
    uint8_t vectors[RESIDUE_VECTORS];  /* 64 bytes a register */
};

static int residue_begin(struct residue *residue)
{
    residue->stack = mmap(NULL, 2 * RESIDUE_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    residue->found = residue->stack + RESIDUE_STACK;
    return residue->stack == MAP_FAILED ? -1 : 0;
}

static void residue_end(struct residue *residue)
{
    munmap(residue->stack, 2 * RESIDUE_STACK);
}

#if defined(__x86_64__)
__attribute__((target("avx512f"))) static inline __attribute__((always_inline)) void residue_store512(uint8_t *to)
{
    __asm__ __volatile__(
        "vmovdqu64 %%zmm0, 0(%0)\n\tvmovdqu64 %%zmm1, 64(%0)\n\tvmovdqu64 %%zmm2, 128(%0)\n\t"
        "vmovdqu64 %%zmm3, 192(%0)\n\tvmovdqu64 %%zmm4, 256(%0)\n\tvmovdqu64 %%zmm5, 320(%0)\n\t"
        "vmovdqu64 %%zmm6, 384(%0)\n\tvmovdqu64 %%zmm7, 448(%0)\n\tvmovdqu64 %%zmm8, 512(%0)\n\t"
        "vmovdqu64 %%zmm9, 576(%0)\n\tvmovdqu64 %%zmm10, 640(%0)\n\tvmovdqu64 %%zmm11, 704(%0)\n\t"
        "vmovdqu64 %%zmm12, 768(%0)\n\tvmovdqu64 %%zmm13, 832(%0)\n\tvmovdqu64 %%zmm14, 896(%0)\n\t"
        "vmovdqu64 %%zmm15, 960(%0)\n\tvmovdqu64 %%zmm16, 1024(%0)\n\tvmovdqu64 %%zmm17, 1088(%0)\n\t"
        "vmovdqu64 %%zmm18, 1152(%0)\n\tvmovdqu64 %%zmm19, 1216(%0)\n\tvmovdqu64 %%zmm20, 1280(%0)\n\t"
        "vmovdqu64 %%zmm21, 1344(%0)\n\tvmovdqu64 %%zmm22, 1408(%0)\n\tvmovdqu64 %%zmm23, 1472(%0)\n\t"
        "vmovdqu64 %%zmm24, 1536(%0)\n\tvmovdqu64 %%zmm25, 1600(%0)\n\tvmovdqu64 %%zmm26, 1664(%0)\n\t"
        "vmovdqu64 %%zmm27, 1728(%0)\n\tvmovdqu64 %%zmm28, 1792(%0)\n\tvmovdqu64 %%zmm29, 1856(%0)\n\t"
        "vmovdqu64 %%zmm30, 1920(%0)\n\tvmovdqu64 %%zmm31, 1984(%0)\n\t"
        :
        : "r"(to)
        : "memory");
}

__attribute__((target("avx"))) static inline __attribute__((always_inline)) void residue_store256(uint8_t *to)
{
    __asm__ __volatile__(
        "vmovdqu %%ymm0, 0(%0)\n\tvmovdqu %%ymm1, 64(%0)\n\tvmovdqu %%ymm2, 128(%0)\n\tvmovdqu %%ymm3, 192(%0)\n\t"
        "vmovdqu %%ymm4, 256(%0)\n\tvmovdqu %%ymm5, 320(%0)\n\tvmovdqu %%ymm6, 384(%0)\n\tvmovdqu %%ymm7, 448(%0)\n\t"
        "vmovdqu %%ymm8, 512(%0)\n\tvmovdqu %%ymm9, 576(%0)\n\tvmovdqu %%ymm10, 640(%0)\n\t"
        "vmovdqu %%ymm11, 704(%0)\n\tvmovdqu %%ymm12, 768(%0)\n\tvmovdqu %%ymm13, 832(%0)\n\t"
        "vmovdqu %%ymm14, 896(%0)\n\tvmovdqu %%ymm15, 960(%0)\n\t"
        :
        : "r"(to)
        : "memory");
}

/* A new thread begins with the registers of the one that made it. */
#define RESIDUE_CLEAR(n) "vpxorq %%zmm" #n ", %%zmm" #n ", %%zmm" #n "\n\t"
__attribute__((target("avx512f"))) static inline __attribute__((always_inline)) void residue_clear512(void)
{
    __asm__ __volatile__(
        RESIDUE_CLEAR(16) RESIDUE_CLEAR(17) RESIDUE_CLEAR(18) RESIDUE_CLEAR(19) RESIDUE_CLEAR(20) RESIDUE_CLEAR(21)
        RESIDUE_CLEAR(22) RESIDUE_CLEAR(23) RESIDUE_CLEAR(24) RESIDUE_CLEAR(25) RESIDUE_CLEAR(26) RESIDUE_CLEAR(27)
        RESIDUE_CLEAR(28) RESIDUE_CLEAR(29) RESIDUE_CLEAR(30) RESIDUE_CLEAR(31) "vzeroall"
        :
        :
        : "memory");
}

__attribute__((target("avx"))) static inline __attribute__((always_inline)) void residue_clear256(void)
{
    __asm__ __volatile__("vzeroall" : : : "memory");
}

/* Calls it, below the red zone, and notes the registers before anything else uses them. */
static inline __attribute__((always_inline)) void residue_call(residue_function function, void *argument,
                                                               uint64_t *general)
{
    register residue_function called __asm__("r12") = function;
    register uint64_t *to __asm__("r13") = general;
    __asm__ __volatile__("mov %%rsp, %%rbx\n\tsub $256, %%rsp\n\tand $-64, %%rsp\n\tcall *%1\n\t"
                         "mov %%rax, 0(%2)\n\tmov %%rcx, 8(%2)\n\tmov %%rdx, 16(%2)\n\tmov %%rsi, 24(%2)\n\t"
                         "mov %%rdi, 32(%2)\n\tmov %%r8, 40(%2)\n\tmov %%r9, 48(%2)\n\tmov %%r10, 56(%2)\n\t"
                         "mov %%r11, 64(%2)\n\tmov %%rbx, %%rsp"
                         : "+D"(argument)
                         : "r"(called), "r"(to)
                         : "rax", "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "cc", "memory");
}

/* A copy that needs no stack and no vector. */
static inline __attribute__((always_inline)) void residue_copy(uint8_t *to, const uint8_t *from, size_t count)
{
    __asm__ __volatile__("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
}

#define RESIDUE_BODY(name, target_attribute, store, clear)                                                                     \
    target_attribute static void *name(void *given)                                                                     \
    {                                                                                                                   \
        struct residue *residue = given;                                                                                \
        uint8_t *here;                                                                                                  \
        clear();                                                                                                        \
        residue_call(residue->function, residue->argument, residue->general);                                           \
        store(residue->vectors);                                                                                        \
        __asm__ __volatile__("mov %%rsp, %0" : "=r"(here));                                                             \
        residue_copy(residue->found, residue->stack, (size_t)(here - residue->stack));                                  \
        return NULL;                                                                                                    \
    }
RESIDUE_BODY(residue_body512, __attribute__((target("avx512f"), noinline)), residue_store512, residue_clear512)
RESIDUE_BODY(residue_body256, __attribute__((target("avx"), noinline)), residue_store256, residue_clear256)

static inline int residue_here(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx") != 0;
}
#else
static inline int residue_here(void)
{
    return 0;
}
#endif

/* Runs `function(argument)` in a thread on the stack, and takes what it left. -1: not on this machine. */
static int residue_take(struct residue *residue, residue_function function, void *argument)
{
#if defined(__x86_64__)
    pthread_attr_t attributes;
    pthread_t thread;
    int failed;
    if (!residue_here())
        return -1;
    residue->function = function;
    residue->argument = argument;
    memset(residue->stack, RESIDUE_UNTOUCHED, 2 * RESIDUE_STACK);
    memset(residue->vectors, 0, sizeof(residue->vectors));
    pthread_attr_init(&attributes);
    failed = pthread_attr_setstack(&attributes, residue->stack, RESIDUE_STACK) ||
             pthread_create(&thread, &attributes,
                            __builtin_cpu_supports("avx512f") ? residue_body512 : residue_body256, residue);
    pthread_attr_destroy(&attributes);
    if (!failed)
        pthread_join(thread, NULL);
    return failed ? -1 : 0;
#else
    return -1;
#endif
}

#endif
