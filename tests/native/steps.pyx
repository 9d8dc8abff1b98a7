"""The addresses of the instructions that a call executes, in their order: whether a branch depends on a secret.

Of two calls that differ in secrets alone. The processor's trap flag stops after each instruction, so it works for those
of every extension, as no emulator does. The registers before each instruction tell the addresses that it uses.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

cdef extern from "<signal.h>" nogil:
    struct sigaction_ "sigaction":
        pass

cdef extern from "steps.h" nogil:
    enum:
        STEPS_RANGES
        STEPS_WORDS
    struct c_steps "steps":
        uint64_t from_ "from"[STEPS_RANGES]
        uint64_t to[STEPS_RANGES]
        int ranges
        uint64_t *at
        int registers
        size_t count
        size_t room
    int steps_begin(c_steps *steps, sigaction_ *before)
    void steps_end(const sigaction_ *before)
    bint steps_early_exit(const uint8_t *one, const uint8_t *other, size_t len)

cdef enum:
    ROOM = 4_000_000
    ROOM_WITH_REGISTERS = 1_000_000

REGISTERS = ("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rdi", "rsi", "rbp", "rbx", "rdx", "rax", "rcx",
             "rsp", "rip")


def trace(function, ranges: list[tuple[int, int]], *, bint registers=False) -> bytes:
    """Calls `function()`; the addresses within `ranges` of what it executes, 8 bytes each.

    `registers`: REGISTERS before each of these instructions, 8 bytes each.
    RuntimeError where the machine can't tell, or they are more than some million.
    """
    cdef c_steps steps
    cdef sigaction_ before
    cdef int failed
    cdef size_t words = STEPS_WORDS if registers else 1
    if len(ranges) > STEPS_RANGES:
        raise ValueError(f"up to {STEPS_RANGES} ranges")
    memset(&steps, 0, sizeof(steps))
    for low, high in ranges:
        steps.from_[steps.ranges] = low
        steps.to[steps.ranges] = high
        steps.ranges += 1
    steps.registers = registers
    steps.room = ROOM_WITH_REGISTERS if registers else ROOM
    steps.at = <uint64_t *>malloc(steps.room * words * sizeof(uint64_t))
    if steps.at == NULL:
        raise MemoryError
    try:
        failed = steps_begin(&steps, &before)
        if failed:
            raise RuntimeError("instructions are traced on x86-64 alone")
        try:
            function()
        finally:
            steps_end(&before)
        if steps.count > steps.room:
            raise RuntimeError("too many instructions")
        return PyBytes_FromStringAndSize(<char *>steps.at, steps.count * words * sizeof(uint64_t))
    finally:
        free(steps.at)


def early_exit(bytes one: bytes, bytes other: bytes) -> bool:
    """Whether both are the same, by a comparison that ends at the first difference."""
    return steps_early_exit(<const uint8_t *>PyBytes_AS_STRING(one), <const uint8_t *>PyBytes_AS_STRING(other),
                            min(len(one), len(other)))
