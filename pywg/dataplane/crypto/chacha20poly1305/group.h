/* Sealing and opening one group of packets with the kernels of a level. */
#ifndef PYWG_CHAPOLY_GROUP_H
#define PYWG_CHAPOLY_GROUP_H

#include "chacha20poly1305/dispatch.h"

enum {
    STREAM_BLOCKS = 64, /* four passes of the widest kernel: two packets of full length */
    PART_LEN = 128      /* joining two parts costs as much as some blocks */
};

struct chapoly_work {
    uint32_t key[8];
    struct poly_lanes lanes;
    struct poly_keys one_time;
    struct poly_tags tags;
    struct chapoly_group stream_of; /* for each packet, its whole key stream within `stream`, from block 0 on */
    uint32_t stream_len;            /* bytes of `stream` that were written, and have to be wiped */
    uint8_t stream[STREAM_BLOCKS * CHAPOLY_BLOCK] __attribute__((aligned(64)));
};

static inline void start_work(struct chapoly_work *work, const uint8_t key[32])
{
    memcpy(work->key, key, sizeof(work->key));
    work->stream_len = 0;
}

static inline void forget_work(int level, struct chapoly_work *work)
{
    wipe(work->key, sizeof(work->key));
    wipe(&work->one_time, sizeof(work->one_time));
    wipe(&work->tags, sizeof(work->tags));
    wipe(work->stream, work->stream_len);
    forget_kernels(level);
}

static inline uint32_t blocks_of(uint32_t len, uint32_t block_len)
{
    return len / block_len + (len % block_len != 0);
}

/* Lanes a packet: as many as fit into one vector for all packets, unless joining them costs more than it saves. */
static inline int parts_for(int level, const struct chapoly_group *group)
{
    uint32_t longest = 0;
    int i, parts = vector_lanes(level);
    for (i = 0; i < group->count; i++)
        longest = group->len[i] > longest ? group->len[i] : longest;
    while (parts > 1 && (parts * group->count > vector_lanes(level) || longest < PART_LEN * (uint32_t)parts))
        parts /= 2;
    return parts;
}

/* Sets a lane to the part `index` of a packet. All parts have the same length but the first, which has the rest. */
static inline void set_lane(struct poly_lanes *lanes, int lane, const struct chapoly_group *group, int packet,
                            uint32_t index, uint32_t blocks, uint32_t part_blocks)
{
    const uint32_t after = ((uint32_t)lanes->parts - 1 - index) * part_blocks;
    const uint32_t end = blocks > after ? blocks - after : 0, begin = end > part_blocks ? end - part_blocks : 0;
    lanes->text[lane] = group->text[packet] + 16 * begin;
    lanes->len[lane] = (after == 0 ? group->len[packet] : 16 * end) - 16 * begin;
    lanes->after[lane] = after;
    lanes->whole_len[lane] = group->len[packet];
    lanes->counter[lane] = group->counter[packet];
    lanes->packet[lane] = packet;
}

static inline void set_lanes(struct poly_lanes *lanes, const struct chapoly_group *group, int parts)
{
    int packet, part, lane = 0;
    assert(group->count > 0 && group->count * parts <= CHAPOLY_GROUP);
    lanes->parts = parts;
    lanes->count = group->count * parts;
    for (packet = 0; packet < group->count; packet++) {
        const uint32_t blocks = blocks_of(group->len[packet], 16);
        const uint32_t part_blocks = parts == 1 ? blocks : blocks_of(blocks, (uint32_t)parts);
        for (part = 0; part < parts; part++)
            set_lane(lanes, lane++, group, packet, (uint32_t)part, blocks, part_blocks);
    }
    for (; lane < CHAPOLY_GROUP; lane++) {
        lanes->text[lane] = lanes->text[0];
        lanes->len[lane] = lanes->len[0];
        lanes->after[lane] = lanes->after[0];
        lanes->whole_len[lane] = lanes->whole_len[0];
        lanes->counter[lane] = lanes->counter[0];
        lanes->packet[lane] = 0;
    }
}

static inline void put_tag(const struct chapoly_work *work, int packet, uint8_t *tag)
{
    memcpy(tag, &work->tags.low[packet * work->lanes.parts], 8);
    memcpy(tag + 8, &work->tags.high[packet * work->lanes.parts], 8);
}

/* Whether the packets are so few and short that their key blocks fit into the passes for their texts. */
static inline int streams_first(int level, const struct chapoly_group *group)
{
    const uint32_t pass = 2 * (uint32_t)vector_lanes(level), keys = (uint32_t)group->count;
    uint32_t texts = 0;
    int i;
    for (i = 0; i < group->count; i++) {
        if (group->len[i] > STREAM_BLOCKS * CHAPOLY_BLOCK)
            return 0;
        texts += blocks_of(group->len[i], CHAPOLY_BLOCK);
    }
    return keys + texts <= STREAM_BLOCKS &&
           blocks_of(keys + texts, pass) < blocks_of(keys, pass) + blocks_of(texts, pass);
}

/* The whole key stream of a group, one-time keys first, to be added to the texts later. */
static inline void make_streams(int level, struct chapoly_work *work, const struct chapoly_group *group)
{
    struct chapoly_group *const streams = &work->stream_of;
    uint8_t *at = work->stream;
    uint32_t len;
    int i, j;
    *streams = *group;
    for (i = 0; i < group->count; i++) {
        streams->text[i] = at;
        streams->len[i] = CHAPOLY_BLOCK * (1 + blocks_of(group->len[i], CHAPOLY_BLOCK));
        at += streams->len[i];
    }
    assert((size_t)(at - work->stream) <= sizeof(work->stream));
    len = (uint32_t)(at - work->stream);
    if (len > work->stream_len) /* what an earlier group has left behind a shorter stream has to be wiped, too */
        work->stream_len = len;
    memset(work->stream, 0, len);
    add_key_stream(level, work->key, streams, 0xffff, 0);
    for (i = 0; i < CHAPOLY_GROUP; i++)
        for (j = 0; j < 8; j++)
            work->one_time.word[j][i] = load_u32(streams->text[work->lanes.packet[i]] + 4 * j);
}

CHAPOLY_AVX2 CHAPOLY_KERNEL void add_bytes(uint8_t *restrict text, const uint8_t *restrict stream, uint32_t len)
{
    uint32_t i;
    for (i = 0; i < len; i++)
        text[i] ^= stream[i];
}

static inline void add_streams(const struct chapoly_work *work, const struct chapoly_group *group, uint32_t which)
{
    int i;
    for (i = 0; i < group->count; i++)
        if (which >> i & 1)
            add_bytes(group->text[i], work->stream_of.text[i] + CHAPOLY_BLOCK, group->len[i]);
}

static inline void seal_group(int level, struct chapoly_work *work, const struct chapoly_group *group)
{
    int i;
    set_lanes(&work->lanes, group, parts_for(level, group));
    if (streams_first(level, group)) {
        make_streams(level, work, group);
        add_streams(work, group, 0xffff);
    } else {
        one_time_keys(level, work->key, &work->lanes, &work->one_time);
        add_key_stream(level, work->key, group, 0xffff, 1);
    }
    authenticate(level, &work->one_time, &work->lanes, 1, &work->tags);
    for (i = 0; i < group->count; i++)
        put_tag(work, i, group->text[i] + group->len[i]);
}

/* Bit i: the tag behind text i is right. No branch depends on where tags differ. */
static inline uint32_t compare_tags(const struct chapoly_work *work, const struct chapoly_group *group)
{
    uint32_t same = 0;
    int i;
    for (i = 0; i < group->count; i++) {
        const uint8_t *const tag = group->text[i] + group->len[i];
        const int lane = i * work->lanes.parts;
        const uint64_t difference =
            (work->tags.low[lane] ^ load_u64(tag)) | (work->tags.high[lane] ^ load_u64(tag + 8));
        same |= (uint32_t)(((difference | (0 - difference)) >> 63) ^ 1) << i;
    }
    return same;
}

static inline uint32_t open_group(int level, struct chapoly_work *work, const struct chapoly_group *group)
{
    const int streams = streams_first(level, group);
    uint32_t authentic;
    set_lanes(&work->lanes, group, parts_for(level, group));
    if (streams)
        make_streams(level, work, group);
    else
        one_time_keys(level, work->key, &work->lanes, &work->one_time);
    authenticate(level, &work->one_time, &work->lanes, 1, &work->tags);
    authentic = compare_tags(work, group);
    if (streams)
        add_streams(work, group, authentic);
    else
        add_key_stream(level, work->key, group, authentic, 1);
    return authentic;
}

#endif
