"""The writing side of the receiver-index table (index_table.pxd)."""
from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free
from pywg.dataplane.state.peer cimport Keypair, Peer
from pywg.dataplane.sys.checks cimport c_assert

cdef enum:
    FIRST_SIZE = 64


cdef int index_table_init(IndexTable *table) noexcept nogil:
    """0, or -1 when there is no memory."""
    table.slots = <IndexEntry *>calloc(FIRST_SIZE, sizeof(IndexEntry))
    table.mask = FIRST_SIZE - 1
    table.used = 0
    return 0 if table.slots != NULL else -1


cdef void index_table_free(IndexTable *table) noexcept nogil:
    free(table.slots)
    table.slots = NULL


cdef int grow(IndexTable *table) noexcept nogil:
    cdef IndexTable bigger
    cdef uint32_t i
    bigger.mask = (table.mask << 1) | 1
    bigger.used = 0
    bigger.slots = <IndexEntry *>calloc(<size_t>bigger.mask + 1, sizeof(IndexEntry))
    if bigger.slots == NULL:
        return -1
    for i in range(table.mask + 1):
        if table.slots[i].peer != NULL:
            index_table_put(&bigger, table.slots[i].index, table.slots[i].peer, table.slots[i].keypair)
    free(table.slots)
    table[0] = bigger
    return 0


cdef int index_table_make_room(IndexTable *table) noexcept nogil:
    """Makes sure that the next index can be put. 0, or -1 when there is no memory."""
    return grow(table) if (table.used + 1) * 2 > table.mask + 1 else 0


cdef int index_table_put(IndexTable *table, uint32_t index, Peer *peer, Keypair *keypair) noexcept nogil:
    """Adds the index, or changes what an index that is there names. 0, or -1 when there is no memory."""
    cdef IndexEntry *entry = index_table_find(table, index)
    cdef uint32_t i
    if entry == NULL:
        if index_table_make_room(table) < 0:
            return -1
        i = index & table.mask
        while table.slots[i].peer != NULL:
            i = (i + 1) & table.mask
        entry = &table.slots[i]
        table.used += 1
        c_assert(table.used * 2 <= table.mask + 1)      # so every search ends at a free slot
    entry.index = index
    entry.peer = peer
    entry.keypair = keypair
    return 0


cdef void index_table_remove(IndexTable *table, uint32_t index) noexcept nogil:
    """Removes the index. Entries behind it move up into the gap, so that no lookup has to pass a tombstone."""
    cdef IndexEntry *entry = index_table_find(table, index)
    cdef uint32_t hole, i, home
    if entry == NULL:
        return
    hole = <uint32_t>(entry - table.slots)
    i = hole
    while True:
        i = (i + 1) & table.mask
        if table.slots[i].peer == NULL:
            break
        home = table.slots[i].index & table.mask
        if ((i - home) & table.mask) >= ((i - hole) & table.mask):
            table.slots[hole] = table.slots[i]
            hole = i
    table.slots[hole].peer = NULL
    table.slots[hole].keypair = NULL
    table.used -= 1
