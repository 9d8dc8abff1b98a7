/* The bytes that a target is given, taken from the front. Behind their end there are zeros, so that every input means
 * something, and a shorter one is the same without its last steps. */
#ifndef PYWG_FUZZ_INPUT_H
#define PYWG_FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct input {
    const uint8_t *at, *end;
};

static inline void input_start(struct input *in, const uint8_t *data, size_t len)
{
    in->at = data;
    in->end = data + len;
}

static inline size_t input_left(const struct input *in)
{
    return (size_t)(in->end - in->at);
}

static inline void input_bytes(struct input *in, void *to, size_t len)
{
    const size_t there = len < input_left(in) ? len : input_left(in);
    memcpy(to, in->at, there);
    memset((uint8_t *)to + there, 0, len - there);
    in->at += there;
}

static inline uint32_t input8(struct input *in)
{
    return in->at < in->end ? *in->at++ : 0;
}

static inline uint32_t input16(struct input *in)
{
    uint16_t value;
    input_bytes(in, &value, 2);
    return value;
}

static inline uint32_t input32(struct input *in)
{
    uint32_t value;
    input_bytes(in, &value, 4);
    return value;
}

static inline uint64_t input64(struct input *in)
{
    uint64_t value;
    input_bytes(in, &value, 8);
    return value;
}

/* 0 .. below - 1, of one byte where that is enough. */
static inline uint32_t input_below(struct input *in, uint32_t below)
{
    return (below <= 256 ? input8(in) : input16(in)) % below;
}

#endif
