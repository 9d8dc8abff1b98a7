# distutils: libraries = crypto
# cython: language_level=3, cdivision=True, wraparound=False, boundscheck=False
"""A plane, its peers and sessions, from their making to their end (common.pxd)."""
from libc.stdint cimport uint8_t, uint32_t

from pywg.dataplane.crypto.aead cimport AeadBackend
from pywg.dataplane.crypto.aead_contexts cimport AeadContexts, aead_contexts_free, aead_contexts_init
from pywg.dataplane.reorder.pool cimport Pool, pool_new
from pywg.dataplane.reorder.reorder cimport SLOTS_MAX, Reorder, reorder_work
from pywg.dataplane.state.allowedips cimport allowedips_insert
from pywg.dataplane.state.dataplane cimport Dataplane, dataplane_free, dataplane_new
from pywg.dataplane.state.peer cimport Keypair, Peer
from pywg.dataplane.state.peers cimport keypair_new, keypair_retire, peer_free, peer_new
from pywg.dataplane.sys.libcrypto cimport EVP_CIPHER_CTX_free, EVP_CIPHER_CTX_new, EVP_chacha20_poly1305
from pywg.dataplane.sys.libcrypto cimport EVP_CipherInit_ex

from tests.fuzz.native.harness cimport (
    KERNEL_TUN, KERNEL_UDP4, KERNEL_UDP6, Chance, chance_below, chance_bytes, chance_one_in, kernel, peer_address,
)


cdef Dataplane *make_plane(const AeadBackend *aead, AeadContexts *helper) noexcept nogil:
    cdef Dataplane *dp = dataplane_new(aead)
    need(dp != NULL, b"no memory")
    aead_contexts_init(helper, aead)
    dp.tun_fd = KERNEL_TUN
    dp.fd4 = KERNEL_UDP4
    dp.fd6 = KERNEL_UDP6
    return dp


cdef int slots(Chance *c) noexcept nogil:
    """Of a path's ring; 1: without helpers."""
    return 1 if chance_one_in(c, 2) else 2 + <int>chance_below(c, SLOTS_MAX - 1)


cdef Pool *idle_helper(const AeadBackend *aead, Reorder *reorder) noexcept nogil:
    """Never started: the driver is the helper, in `settle`."""
    return pool_new(1, aead, reorder, reorder)


cdef void settle(Reorder *reorder, AeadContexts *helper) noexcept nogil:
    """All that was submitted is worked on."""
    while reorder_work(reorder, helper):
        pass


cdef void end_plane(Dataplane *dp, AeadContexts *helper, Session *sessions, uint32_t count) noexcept nogil:
    cdef uint32_t i
    for i in range(count):
        EVP_CIPHER_CTX_free(sessions[i].seal)
        EVP_CIPHER_CTX_free(sessions[i].open)
    dataplane_free(dp)
    aead_contexts_free(helper)
    kernel.now_ns = 0


cdef Peer *make_peer(Dataplane *dp, uint32_t id) noexcept nogil:
    """With the allowed IPs of `peer_address`."""
    cdef Peer *peer = peer_new(id)
    cdef uint8_t address[16]
    need(peer != NULL, b"no memory")
    peer_address(address, 4, id, 0)
    need(allowedips_insert(dp.allowed, address, 4, 16, &peer.allowed) == 0, b"no memory")
    peer_address(address, 6, id, 0)
    need(allowedips_insert(dp.allowed, address, 16, 64, &peer.allowed) == 0, b"no memory")
    return peer


cdef void end_peer(Dataplane *dp, Peer **peers, uint32_t id, Session *sessions, uint32_t count) noexcept nogil:
    """And all of its sessions."""
    cdef uint32_t i
    for i in range(count):
        if sessions[i].peer == id:
            sessions[i].keypair = NULL
    peer_free(dp, peers[id])
    peers[id] = NULL


cdef Keypair *make_session(Chance *c, Peer *peer, Session *session, uint32_t number, bint initiator) noexcept nogil:
    """Its keypair, which is to be published."""
    chance_bytes(c, session.key, 32)
    session.seal = EVP_CIPHER_CTX_new()
    session.open = EVP_CIPHER_CTX_new()
    need(session.seal != NULL and session.open != NULL
         and EVP_CipherInit_ex(session.seal, EVP_chacha20_poly1305(), NULL, session.key, NULL, 1)
         and EVP_CipherInit_ex(session.open, EVP_chacha20_poly1305(), NULL, session.key, NULL, 0), b"no context")
    session.keypair = keypair_new(peer, session.key, session.key)
    need(session.keypair != NULL, b"no memory")
    session.peer = <uint32_t>peer.id
    session.keypair.local_index = session.keypair.remote_index = FIRST_INDEX + number
    session.keypair.initiator = initiator
    return session.keypair


cdef void end_session(Dataplane *dp, Chance *c, Session *sessions, uint32_t count) noexcept nogil:
    """Of one of them, which may have ended before."""
    cdef Session *session
    if count == 0:
        return
    session = &sessions[chance_below(c, count)]
    if session.keypair != NULL:
        keypair_retire(dp, session.keypair)
        session.keypair = NULL
