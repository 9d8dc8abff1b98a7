"""The bytes that a target is given (input.h)."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef extern from "input.h" nogil:
    struct Input "input":
        const uint8_t *at
        const uint8_t *end
    void input_start(Input *input, const uint8_t *data, size_t len)
    size_t input_left(const Input *input)
    void input_bytes(Input *input, void *to, size_t len)
    uint32_t input8(Input *input)
    uint32_t input16(Input *input)
    uint32_t input32(Input *input)
    uint64_t input64(Input *input)
    uint32_t input_below(Input *input, uint32_t below)
