"""Receiver indices: the keypair, or the peer with a handshake in flight, that a datagram names.

Open addressing over random 32-bit keys (the core draws them), at most half full, backward-shift deletion. A lookup
usually touches one cache line. Written under both gates, read under one.
"""
from libc.stdint cimport uint32_t
from pywg.dataplane.state.peer cimport Keypair, Peer

cdef struct IndexEntry:
    Peer *peer                  # NULL: the slot is free
    Keypair *keypair            # NULL: the index of a handshake in flight
    uint32_t index

cdef struct IndexTable:
    IndexEntry *slots
    uint32_t mask               # slots - 1
    uint32_t used

cdef int index_table_init(IndexTable *table) noexcept nogil
cdef void index_table_free(IndexTable *table) noexcept nogil
cdef int index_table_make_room(IndexTable *table) noexcept nogil
cdef int index_table_put(IndexTable *table, uint32_t index, Peer *peer, Keypair *keypair) noexcept nogil
cdef void index_table_remove(IndexTable *table, uint32_t index) noexcept nogil


cdef inline IndexEntry *index_table_find(const IndexTable *table, uint32_t index) noexcept nogil:
    cdef uint32_t i = index & table.mask
    while table.slots[i].peer != NULL:
        if table.slots[i].index == index:
            return &table.slots[i]
        i = (i + 1) & table.mask
    return NULL
