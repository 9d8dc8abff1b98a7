"""Fuzz target: receiver indices and replay windows, beside plain lists of what was put in and what was seen."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memset

from pywg.dataplane.state.index_table cimport IndexEntry, IndexTable, index_table_find, index_table_free
from pywg.dataplane.state.index_table cimport index_table_init, index_table_put, index_table_remove
from pywg.dataplane.state.peer cimport Keypair, Peer
from pywg.dataplane.state.replay cimport ReplayWindow, replay_accept, replay_plausible

from tests.fuzz.native.common cimport need, need_equal
from tests.fuzz.native.input cimport Input, input8, input16, input64, input_left, input_start

cdef enum:
    INDICES = 256
    PEERS = 4
    SPANS = 512                 # of counters that were seen, in the order in which they came
    BEHIND = 8128               # RFC 6479, with the paper's window: how far a counter may be behind the greatest
    RING = 8192

cdef uint64_t LIMIT = <uint64_t>0 - 1 - 8192    # Reject-After-Messages: 2^64 - 2^13 - 1

cdef struct Span:
    uint64_t first
    uint64_t count

cdef Peer peers[PEERS]
cdef Keypair keypairs[PEERS]
cdef int holder[INDICES]        # -1: it is not in the table
cdef Span spans[SPANS]
cdef uint32_t span_count


# ---- indices

cdef uint32_t index_of(uint32_t number, uint32_t shift) noexcept nogil:
    """Many share their low bits, where the table looks first; some are at the table's end, and go round it."""
    return ((number & 7) << shift ^ (0x38 if number & 0x80 else 0)) | (number & 0x18) << 27 | (number >> 5) * 0x00100000


cdef void check_index(IndexTable *table, uint32_t number, uint32_t index) noexcept nogil:
    cdef IndexEntry *entry = index_table_find(table, index)
    cdef int peer = holder[number]
    need((entry != NULL) == (peer >= 0), b"an index that is there or not")
    if entry != NULL:
        need(entry.index == index and entry.peer == &peers[peer & 3], b"an index of another peer")
        need(entry.keypair == (&keypairs[peer & 3] if peer & 4 else NULL), b"an index of another keypair")


cdef void indices(Input *input) noexcept nogil:
    """Steps of two bytes: what is done, and with which index."""
    cdef IndexTable table
    cdef uint32_t step, number, shift = input8(input) & 7, used = 0
    need(index_table_init(&table) == 0, b"no memory")
    memset(holder, 0xFF, sizeof(holder))
    while input_left(input):
        step = input8(input)
        number = input8(input)
        if step & 8:
            used -= holder[number] >= 0
            holder[number] = -1
            index_table_remove(&table, index_of(number, shift))
        else:
            used += holder[number] < 0
            holder[number] = <int>(step & 7)
            need(index_table_put(&table, index_of(number, shift), &peers[step & 3],
                                 &keypairs[step & 3] if step & 4 else NULL) == 0, b"no memory")
        check_index(&table, number, index_of(number, shift))
    for number in range(INDICES):
        check_index(&table, number, index_of(number, shift))
    need_equal(table.used, used, b"indices in use")
    need(table.used * 2 <= table.mask + 1, b"a table that is too full")
    index_table_free(&table)


# ---- counters

cdef bint was_seen(uint64_t counter) noexcept nogil:
    cdef uint32_t i
    for i in range(span_count):
        if counter - spans[i].first < spans[i].count:
            return True
    return False


cdef void receive(ReplayWindow *window, uint64_t first, uint64_t count, uint64_t *next) noexcept nogil:
    """Counters in a row. `next`: the greatest that was accepted, plus one."""
    global span_count
    cdef uint64_t counter
    cdef bint fresh
    cdef uint64_t i
    for i in range(count):
        counter = first + i
        fresh = counter < LIMIT and (counter >= next[0] or next[0] - 1 - counter <= BEHIND) and not was_seen(counter)
        need(replay_plausible(window, counter) == fresh, b"a counter that seems fresh or not")
        need(replay_accept(window, counter) == fresh, b"a counter that is accepted or not")
        if not fresh:
            continue
        if span_count and spans[span_count - 1].first + spans[span_count - 1].count == counter:
            spans[span_count - 1].count += 1
        elif span_count < SPANS:
            spans[span_count].first = counter
            spans[span_count].count = 1
            span_count += 1
        next[0] = max(next[0], counter + 1)


cdef void counters(Input *input) noexcept nogil:
    """Steps: a byte says how a counter is chosen, and how many follow it."""
    global span_count
    cdef ReplayWindow window
    cdef uint64_t next = 0, counter, count, offset
    cdef uint32_t step
    memset(&window, 0, sizeof(window))
    span_count = 0
    while input_left(input) and span_count < SPANS:
        step = input8(input)
        count = 1 + (step >> 3 & 7) * (step >> 6) * 3
        offset = input16(input) if step & 7 else 0
        if step & 7 == 0:
            counter = input64(input)
        elif step & 7 == 1:
            counter = next + offset
        elif step & 7 == 2:
            counter = next - 1 - offset % RING
        elif step & 7 == 3:
            counter = next - 1 - BEHIND + offset % 5 - 2     # at the window's end
        elif step & 7 == 4:
            counter = next - 1 + offset % 131 * 64
        elif step & 7 == 5:
            counter = LIMIT - offset % 20
        elif step & 7 == 6:
            counter = next + offset % 5 * (RING // 2) + offset // 5 % 200 - 100
        else:
            counter = next - 1 - offset % 70
        receive(&window, counter, count, &next)


cdef int one(const uint8_t *data, size_t size) noexcept nogil:
    """The first byte: indices or counters."""
    cdef Input input
    input_start(&input, data, size)
    if input8(&input) & 1:
        indices(&input)
    else:
        counters(&input)
    return 0


def address(str _aead: str) -> int:
    """Where the target is."""
    return <uintptr_t>&one
