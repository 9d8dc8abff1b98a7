/* A cipher that costs little and keeps nothing secret. Like a real one it depends on the key, the counter, and each
 * byte of the text: what is sealed twice, in part, with another key or under another counter does not open. */
#ifndef PYWG_FUZZ_CHEAP_H
#define PYWG_FUZZ_CHEAP_H

#include <stdint.h>
#include <string.h>

#include "unwatched.h"

enum { CHEAP_TAG = 16 };

static inline uint64_t cheap_word(const uint8_t *key, uint64_t counter)
{
    uint64_t word;
    memcpy(&word, key, 8);
    word = (word ^ counter ^ 0x6a09e667f3bcc908u) * 0x9e3779b97f4a7c15u;
    return word ^ word >> 29;
}

/* The sum of the sealed bytes, by which the text is sealed or opened on the way. */
UNWATCHED static uint64_t cheap_pass(uint8_t *text, uint32_t len, uint64_t word, int seals)
{
    uint64_t sum = word ^ len, w;
    uint32_t i;
    for (i = 0; i + 8 <= len; i += 8) {
        memcpy(&w, text + i, 8);
        sum = (sum ^ w ^ (seals ? word : 0)) * 0xd1342543de82ef95u;
        w ^= word;
        memcpy(text + i, &w, 8);
    }
    for (; i < len; i++) {
        sum = (sum ^ text[i] ^ (seals ? (uint8_t)word : 0)) * 0xd1342543de82ef95u;
        text[i] ^= (uint8_t)word;
    }
    return sum;
}

/* The bytes that the loop is not watched in. */
static inline void cheap_touch(const uint8_t *text, uint32_t len)
{
    volatile uint8_t byte = text[0];
    byte = text[len + CHEAP_TAG - 1];
    (void)byte;
}

static inline void cheap_seal(const uint8_t *key, uint64_t counter, uint8_t *text, uint32_t len)
{
    uint64_t tag[2];
    cheap_touch(text, len);
    tag[0] = cheap_pass(text, len, cheap_word(key, counter), 1);
    tag[1] = ~tag[0];
    memcpy(text + len, tag, CHEAP_TAG);
}

static inline int cheap_open(const uint8_t *key, uint64_t counter, uint8_t *text, uint32_t len)
{
    uint64_t tag[2];
    cheap_touch(text, len);
    tag[0] = cheap_pass(text, len, cheap_word(key, counter), 0);
    tag[1] = ~tag[0];
    return memcmp(text + len, tag, CHEAP_TAG) == 0;
}

#endif
