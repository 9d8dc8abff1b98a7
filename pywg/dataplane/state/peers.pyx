"""Peers and keypairs, from the control plane's side (peers.pxd)."""
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
from pywg.dataplane.crypto.secret cimport secret_alloc, secret_free
from pywg.dataplane.state.allowedips cimport allowedips_remove_owner
from pywg.dataplane.state.dataplane cimport Dataplane, gates_are_mine
from pywg.dataplane.state.events cimport events_forget
from pywg.dataplane.state.index_table cimport IndexEntry, IndexTable, index_table_find, index_table_make_room
from pywg.dataplane.state.index_table cimport index_table_put, index_table_remove
from pywg.dataplane.state.peer cimport Keypair, Peer
from pywg.dataplane.state.staged cimport staged_drop_all
from pywg.dataplane.sys.checks cimport c_assert
from pywg.dataplane.sys.linux cimport pthread_mutex_destroy, pthread_mutex_init
from pywg.dataplane.wire.wireguard cimport KEY_LEN


cdef Peer *peer_new(uint32_t id) noexcept nogil:
    """A peer that only the caller knows of. NULL: no memory."""
    cdef Peer *peer = <Peer *>calloc(1, sizeof(Peer))
    if peer != NULL:
        # What the two directions write, and what both read, are in no common cache line, wherever the peer is.
        c_assert(<const uint8_t *>&peer.unanswered_since - <const uint8_t *>&peer.last_data_sent >= 64 + 8)
        c_assert(<const uint8_t *>&peer.rx_bytes - <const uint8_t *>&peer.activity_armed >= 64)
        peer.id = id
        peer.activity_armed = True
        pthread_mutex_init(&peer.lock, NULL)
        pthread_mutex_init(&peer.receive_lock, NULL)
    return peer


cdef void peer_free(Dataplane *dp, Peer *peer) noexcept nogil:
    """Takes the peer out of everything that can lead to it, then frees it."""
    c_assert(gates_are_mine(dp))
    handshake_close(dp, peer)
    while peer.keypairs != NULL:
        keypair_retire(dp, peer.keypairs)
    staged_drop_all(dp, peer)
    allowedips_remove_owner(dp.shared.allowed, &peer.allowed)
    events_forget(&dp.shared.events, peer)
    dp.shared.peers_freed += 1
    pthread_mutex_destroy(&peer.receive_lock)
    pthread_mutex_destroy(&peer.lock)
    free(peer)


cdef Keypair *keypair_new(Peer *peer, const uint8_t *send_key, const uint8_t *receive_key) noexcept nogil:
    """A keypair that is not published yet: needs no gate. NULL: no memory."""
    cdef Keypair *keypair = <Keypair *>calloc(1, sizeof(Keypair))
    if keypair == NULL:
        return NULL
    keypair.peer = peer
    keypair.keys = secret_alloc()
    if keypair.keys == NULL:
        free(keypair)
        return NULL
    memcpy(keypair.keys, send_key, KEY_LEN)
    memcpy(keypair.keys + KEY_LEN, receive_key, KEY_LEN)
    return keypair


cdef int keypair_publish(Dataplane *dp, Keypair *keypair, bint confirmed) noexcept nogil:
    """Lets a keypair open from now on. Not `confirmed`: it becomes the peer's `next`; otherwise the peer has no `next`.

    0, or -1: no memory, and all is as it was.
    """
    c_assert(gates_are_mine(dp))
    if index_table_make_room(&dp.shared.indices) < 0 or index_table_make_room(&dp.shared.remote_indices) < 0:
        return -1
    index_table_put(&dp.shared.indices, keypair.local_index, keypair.peer, keypair)
    index_table_put(&dp.shared.remote_indices, keypair.remote_index, keypair.peer, keypair)
    keypair.next_of_peer = keypair.peer.keypairs
    keypair.peer.keypairs = keypair
    keypair.peer.next = NULL if confirmed else keypair
    if keypair.peer.has_handshake and keypair.peer.handshake_index == keypair.local_index:
        keypair.peer.has_handshake = False
    return 0


cdef void keypair_retire(Dataplane *dp, Keypair *keypair) noexcept nogil:
    """Takes a published keypair back and wipes it. Another keypair may have its indices by now."""
    cdef Keypair **link = &keypair.peer.keypairs
    c_assert(gates_are_mine(dp))
    while link[0] != keypair:
        link = &link[0].next_of_peer
    link[0] = keypair.next_of_peer
    if keypair.peer.sending == keypair:
        keypair.peer.sending = NULL
    if keypair.peer.next == keypair:
        keypair.peer.next = NULL
    remove_index(&dp.shared.indices, keypair.local_index, keypair)
    remove_index(&dp.shared.remote_indices, keypair.remote_index, keypair)
    keypair_free(keypair)


cdef void keypairs_expire(Peer *peer) noexcept nogil:
    """Makes the peer's keypairs of now open only, and never seal (wg_noise_expire_current_peer_keypairs in Linux)."""
    cdef Keypair *keypair = peer.keypairs
    while keypair != NULL:
        keypair.expired = True
        keypair = keypair.next_of_peer


cdef void remove_index(IndexTable *table, uint32_t index, const Keypair *keypair) noexcept nogil:
    """Removes the index if it is this keypair's."""
    cdef IndexEntry *entry = index_table_find(table, index)
    if entry != NULL and entry.keypair == keypair:
        index_table_remove(table, index)


cdef void keypair_free(Keypair *keypair) noexcept nogil:
    secret_free(keypair.keys)
    free(keypair)


cdef int handshake_open(Dataplane *dp, Peer *peer, uint32_t index) noexcept nogil:
    """Adds the index of our initiation in flight; a peer has one at a time. 0, or -1: no memory."""
    c_assert(gates_are_mine(dp))
    handshake_close(dp, peer)
    if index_table_put(&dp.shared.indices, index, peer, NULL) < 0:
        return -1
    peer.handshake_index = index
    peer.has_handshake = True
    return 0


cdef void handshake_close(Dataplane *dp, Peer *peer) noexcept nogil:
    cdef IndexEntry *entry
    c_assert(gates_are_mine(dp))
    if not peer.has_handshake:
        return
    peer.has_handshake = False
    entry = index_table_find(&dp.shared.indices, peer.handshake_index)
    if entry != NULL and entry.peer == peer and entry.keypair == NULL:
        index_table_remove(&dp.shared.indices, peer.handshake_index)
