/* For valgrind: seals and opens with keys that it is told are undefined. A branch or an address that depends on one is
 * an error then, in AVX2's kernels: it knows no AVX-512. With an argument, an address depends on the key: to be found.
 */
#include <stdint.h>
#include <string.h>
#include <valgrind/memcheck.h>

#include "chacha20poly1305/chapoly.h"

enum { TEXTS = 16, FEW = 2, ROOM = 2048, TAG = 16, LEVEL = CHAPOLY_LEVEL_AVX2 };

static uint8_t memory[TEXTS][ROOM + TAG];
static volatile uint8_t table[256];

/* The steps of open_group, with the word in between that it is public whether a tag is right. */
static uint32_t open_texts(const uint8_t key[32], const struct chapoly_group *group)
{
    struct chapoly_work work;
    uint32_t authentic;

    memset(&work.lanes, 0, sizeof(work.lanes));
    start_work(&work, key);
    set_lanes(&work.lanes, group, parts_for(LEVEL, group));
    one_time_keys(LEVEL, work.key, &work.lanes, &work.one_time);
    authenticate(LEVEL, &work.one_time, &work.lanes, 1, &work.tags);
    authentic = compare_tags(&work, group);
    VALGRIND_MAKE_MEM_DEFINED(&authentic, sizeof(authentic));
    add_key_stream(LEVEL, work.key, group, authentic, 1);
    forget_work(LEVEL, &work);
    return authentic;
}

int main(int count, char **arguments)
{
    uint8_t key[32] = {1, 2, 3};
    struct chapoly_group group = {.count = TEXTS};
    uint32_t authentic;
    int i;

    if (chapoly_best() < LEVEL)
        return 2;
    for (i = 0; i < TEXTS; i++) {
        group.text[i] = memory[i];
        group.len[i] = (uint32_t)(i * i * 9 % ROOM);
        group.counter[i] = (uint64_t)i + 7;
    }
    VALGRIND_MAKE_MEM_UNDEFINED(key, sizeof(key));
    VALGRIND_MAKE_MEM_UNDEFINED(memory, sizeof(memory));
    chapoly_seal(LEVEL, key, 7, group.text, group.len, FEW);
    chapoly_seal(LEVEL, key, 7, group.text, group.len, TEXTS);
    authentic = open_texts(key, &group);
    if (count > 1)
        ((volatile uint8_t *)memory[0])[0] = table[key[0]];
    return authentic == (1 << TEXTS) - 1 ? 0 : 1;
}
