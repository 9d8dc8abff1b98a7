/* The instructions that a function executes, one by one: the trap flag, and a handler that notes each address. */
#ifndef PYWG_TESTS_STEPS_H
#define PYWG_TESTS_STEPS_H

#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

enum { STEPS_RANGES = 64, STEPS_WORDS = 17 };

struct steps {
    uint64_t from[STEPS_RANGES], to[STEPS_RANGES]; /* of addresses that are noted */
    int ranges;
    uint64_t *at; /* what was noted: STEPS_WORDS a step with the registers, or the address alone */
    int registers;
    size_t count, room;
};

static struct steps *steps_now; /* of the one thread that is traced */

#if defined(__x86_64__)
enum { STEPS_TRAP_FLAG = 0x100 };

_Static_assert(REG_R8 == 0 && REG_RSP == 15 && REG_RIP == STEPS_WORDS - 1, "in the order of REGISTERS in steps.pyx");

static void steps_note(int number, siginfo_t *info, void *given)
{
    const greg_t *registers = ((ucontext_t *)given)->uc_mcontext.gregs;
    const uint64_t at = (uint64_t)registers[REG_RIP];
    struct steps *steps = steps_now;
    int i;
    for (i = 0; i < steps->ranges; i++)
        if (at >= steps->from[i] && at < steps->to[i]) {
            if (steps->count < steps->room && steps->registers)
                memcpy(steps->at + steps->count * STEPS_WORDS, registers, STEPS_WORDS * sizeof *steps->at);
            else if (steps->count < steps->room)
                steps->at[steps->count] = at;
            steps->count++;
            return;
        }
}

static int steps_begin(struct steps *steps, struct sigaction *before)
{
    struct sigaction noting;
    memset(&noting, 0, sizeof(noting));
    noting.sa_sigaction = steps_note;
    noting.sa_flags = SA_SIGINFO;
    steps_now = steps;
    steps->count = 0;
    if (sigaction(SIGTRAP, &noting, before) != 0)
        return -1;
    __asm__ __volatile__("pushfq\n\torq %0, (%%rsp)\n\tpopfq" : : "i"(STEPS_TRAP_FLAG) : "memory", "cc");
    return 0;
}

static void steps_end(const struct sigaction *before)
{
    __asm__ __volatile__("pushfq\n\tandq %0, (%%rsp)\n\tpopfq" : : "i"(~STEPS_TRAP_FLAG) : "memory", "cc");
    sigaction(SIGTRAP, before, NULL);
}
#else
static int steps_begin(struct steps *steps, struct sigaction *before)
{
    return -1;
}

static void steps_end(const struct sigaction *before)
{
}
#endif

/* What this instrument has to find: a comparison that ends at the first difference. */
static int steps_early_exit(const uint8_t *one, const uint8_t *other, size_t len)
{
    size_t i;
    for (i = 0; i < len; i++)
        if (*(const volatile uint8_t *)(one + i) != other[i])
            return 0;
    return 1;
}

#endif
