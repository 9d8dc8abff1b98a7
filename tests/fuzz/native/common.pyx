# distutils: libraries = crypto
# cython: language_level=3, cdivision=True, wraparound=False, boundscheck=False
"""A plane, its peers and sessions: their making, and that they are as new after each input (common.pxd)."""
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memset

from pywg.dataplane.crypto.aead cimport AeadBackend
from pywg.dataplane.crypto.aead_contexts cimport AeadContexts, aead_contexts_init
from pywg.dataplane.reorder.pool cimport Pool, pool_new
from pywg.dataplane.reorder.reorder cimport SLOTS_MAX, Reorder, reorder_work
from pywg.dataplane.state.allowedips cimport allowedips_insert
from pywg.dataplane.state.dataplane cimport Dataplane, dataplane_add_shard, dataplane_new, gates_enter, gates_leave
from pywg.dataplane.state.events cimport events_forget
from pywg.dataplane.state.index_table cimport IndexTable, index_table_free, index_table_init
from pywg.dataplane.state.peer cimport Peer
from pywg.dataplane.state.peers cimport handshake_close, keypair_new, keypair_retire, peer_free, peer_new
from pywg.dataplane.state.staged cimport staged_drop_all
from pywg.dataplane.sys.libcrypto cimport EVP_CIPHER_CTX_new, EVP_chacha20_poly1305
from pywg.dataplane.sys.libcrypto cimport EVP_CipherInit_ex

from tests.fuzz.native.harness cimport KERNEL_TUN, KERNEL_UDP4, KERNEL_UDP6, peer_address


cdef void world_make(World *w, const AeadBackend *aead) noexcept nogil:
    """Once. The caller may add to the plane and the peers before `world_ready`."""
    cdef Session *session
    cdef uint32_t i
    memset(w, 0, sizeof(World))
    w.dp = dataplane_new(aead)
    need(w.dp != NULL, b"no memory")
    aead_contexts_init(&w.helper, aead)
    w.dp.tun_fd = KERNEL_TUN
    w.dp.fd4 = KERNEL_UDP4
    w.dp.fd6 = KERNEL_UDP6
    w.dp.shared.events.signalled = True    # no system call for each event
    for i in range(<uint32_t>SESSIONS):
        session = &w.sessions[i]
        memset(session.key, <int>i + 1, 32)
        session.seal = EVP_CIPHER_CTX_new()
        session.open = EVP_CIPHER_CTX_new()
        need(session.seal != NULL and session.open != NULL
             and EVP_CipherInit_ex(session.seal, EVP_chacha20_poly1305(), NULL, session.key, NULL, 1)
             and EVP_CipherInit_ex(session.open, EVP_chacha20_poly1305(), NULL, session.key, NULL, 0), b"no context")
    gates_enter(w.dp)
    for i in range(<uint32_t>PEERS):
        make_peer(w, i)
    gates_leave(w.dp)


cdef Dataplane *world_second(World *w) noexcept nogil:
    """Once, before `world_ready`: a second shard, of which the first knows only where an input has two."""
    cdef Dataplane *second = dataplane_add_shard(w.dp)
    need(second != NULL, b"no memory")
    second.tun_fd = KERNEL_TUN
    second.fd4 = KERNEL_UDP4
    second.fd6 = KERNEL_UDP6
    w.dp.shared.shard_count = 1
    return second


cdef void world_ready(World *w) noexcept nogil:
    """What there is now, each input begins with."""
    cdef uint32_t i
    w.dp_before = w.dp[0]
    w.shared_before = w.dp.shared[0]
    for i in range(<uint32_t>PEERS):
        w.peers_before[i] = w.peers[i][0]
        w.new[i] = False


cdef void world_restore(World *w) noexcept nogil:
    """All is as it was; nothing is left of sessions, staged packets and events, and of memory that was theirs."""
    cdef uint32_t i
    gates_enter(w.dp)
    for i in range(w.session_count):
        end_session(w, i)
    w.session_count = 0
    for i in range(<uint32_t>PEERS):
        if w.new[i]:
            if w.peers[i] != NULL:
                end_peer(w, i)
            make_peer(w, i)
            w.peers_before[i].allowed = w.peers[i].allowed
            w.new[i] = False
        handshake_close(w.dp, w.peers[i])
        staged_drop_all(w.dp, w.peers[i])
        events_forget(&w.dp.shared.events, w.peers[i])
        w.peers[i][0] = w.peers_before[i]
    gates_leave(w.dp)
    need_equal(w.dp.shared.staged_bytes, 0, b"staged bytes of no peer")
    need(w.dp.shared.events.first == NULL and w.dp.shared.events.last == NULL, b"an event of no peer")
    first_size(&w.dp.shared.indices, &w.shared_before.indices)
    first_size(&w.dp.shared.remote_indices, &w.shared_before.remote_indices)
    w.dp[0] = w.dp_before
    w.dp.shared[0] = w.shared_before


cdef void first_size(IndexTable *table, IndexTable *before) noexcept nogil:
    need_equal(table.used, 0, b"an index of nothing")
    if table.mask != before.mask:
        index_table_free(table)
        need(index_table_init(before) == 0, b"no memory")


cdef int layout_slots(int layout) noexcept nogil:
    """Of a path's ring; 1: without helpers."""
    return 1 if layout == 0 else 2 if layout == 1 else SLOTS_MAX


cdef Pool *idle_helper(const AeadBackend *aead, Reorder *reorder) noexcept nogil:
    """Never started: the target is the helper, in `settle`."""
    cdef Pool *pool = pool_new(1, aead, reorder, reorder)
    need(pool != NULL, b"no memory")
    return pool


cdef void settle(Reorder *reorder, AeadContexts *helper) noexcept nogil:
    """All that was submitted is worked on."""
    while reorder_work(reorder, helper):
        pass


cdef void make_peer(World *w, uint32_t id) noexcept nogil:
    """With the allowed IPs of `peer_address`."""
    cdef Peer *peer = peer_new(id)
    cdef uint8_t address[16]
    need(peer != NULL, b"no memory")
    w.peers[id] = peer
    w.new[id] = True
    peer_address(address, 4, id, 0)
    need(allowedips_insert(w.dp.shared.allowed, address, 4, 16, &peer.allowed) == 0, b"no memory")
    peer_address(address, 6, id, 0)
    need(allowedips_insert(w.dp.shared.allowed, address, 16, 64, &peer.allowed) == 0, b"no memory")
    if id == 0:     # the outer addresses of all: a tunnel in a tunnel
        memset(address, 192, 16)
        need(allowedips_insert(w.dp.shared.allowed, address, 4, 8, &peer.allowed) == 0, b"no memory")
        need(allowedips_insert(w.dp.shared.allowed, address, 16, 8, &peer.allowed) == 0, b"no memory")


cdef void end_peer(World *w, uint32_t id) noexcept nogil:
    """And all of its sessions."""
    cdef uint32_t i
    for i in range(w.session_count):
        if w.sessions[i].peer == id:
            w.sessions[i].keypair = NULL
    peer_free(w.dp, w.peers[id])
    w.peers[id] = NULL
    w.new[id] = True


cdef Session *make_session(World *w, uint32_t peer, bint initiator) noexcept nogil:
    """Its keypair is to be published. NULL: the peer is gone, or there are no more."""
    cdef Session *session = &w.sessions[w.session_count]
    if w.session_count == SESSIONS or w.peers[peer] == NULL:
        return NULL
    session.keypair = keypair_new(w.peers[peer], session.key, session.key)
    need(session.keypair != NULL, b"no memory")
    session.peer = peer
    session.next_counter = session.greatest = session.batch = session.greatest_before = 0
    session.birth_ns = 0
    session.may_send = False
    session.keypair.local_index = session.keypair.remote_index = FIRST_INDEX + w.session_count
    session.keypair.initiator = initiator
    w.session_count += 1
    return session


cdef void end_session(World *w, uint32_t number) noexcept nogil:
    """It may have ended before."""
    if number < w.session_count and w.sessions[number].keypair != NULL:
        keypair_retire(w.dp, w.sessions[number].keypair)
        w.sessions[number].keypair = NULL
