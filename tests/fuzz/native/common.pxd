"""What both targets have: a plane on the descriptors of kernel.h, peers with addresses of their own, and sessions.

Plane, peers and the sessions' contexts are made once. After each input they are put back to what they were when they
were made: what an input does depends on nothing that came before.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdio cimport fprintf, stderr
from libc.stdlib cimport abort

from pywg.dataplane.crypto.aead cimport AeadBackend
from pywg.dataplane.crypto.aead_contexts cimport AeadContexts
from pywg.dataplane.reorder.pool cimport Pool
from pywg.dataplane.reorder.reorder cimport Reorder
from pywg.dataplane.state.dataplane cimport Dataplane, Shared
from pywg.dataplane.state.peer cimport Keypair, Peer
from pywg.dataplane.sys.libcrypto cimport EVP_CIPHER_CTX

cdef enum:
    PEERS = 5
    SESSIONS = 24
    FIRST_INDEX = 0x1000        # of a session; those of the later ones follow
    LAYOUTS = 3                 # of a path: without helpers, and with the fewest and the most slots


cdef struct Session:
    uint8_t key[32]             # of both directions
    EVP_CIPHER_CTX *seal
    EVP_CIPHER_CTX *open
    Keypair *keypair            # NULL once it is retired
    uint32_t peer
    uint64_t next_counter       # of the sender; no datagram to it may have a lower one
    # For what is received:
    uint64_t birth_ns
    bint may_send               # the first datagram confirms it, and nothing has replaced it before that
    uint64_t greatest           # the greatest counter accepted, plus one
    uint64_t batch              # the last one that had a message of it,
    uint64_t greatest_before    # and what was accepted before that one


cdef struct World:
    Dataplane *dp
    bint cheap                  # the cipher (ciphers.pyx)
    AeadContexts helper
    Peer *peers[PEERS]          # NULL: it is gone
    bint new[PEERS]             # it is not the one that was made at first
    Session sessions[SESSIONS]
    uint32_t session_count
    Dataplane dp_before
    Shared shared_before
    Peer peers_before[PEERS]


cdef inline void need(bint holds, const char *what) noexcept nogil:
    if not holds:
        fprintf(stderr, b"Assertion of the target: %s\n", what)
        abort()


cdef inline void need_equal(uint64_t is_, uint64_t should, const char *what) noexcept nogil:
    if is_ != should:
        fprintf(stderr, b"Assertion of the target: %s: %llu, and not %llu\n", what, <unsigned long long>is_,
                <unsigned long long>should)
        abort()


cdef void world_make(World *w, const AeadBackend *aead) noexcept nogil
cdef Dataplane *world_second(World *w) noexcept nogil
cdef void world_ready(World *w) noexcept nogil
cdef void world_restore(World *w) noexcept nogil
cdef int layout_slots(int layout) noexcept nogil
cdef Pool *idle_helper(const AeadBackend *aead, Reorder *reorder) noexcept nogil
cdef void settle(Reorder *reorder, AeadContexts *helper) noexcept nogil
cdef void make_peer(World *w, uint32_t id) noexcept nogil
cdef void end_peer(World *w, uint32_t id) noexcept nogil
cdef Session *make_session(World *w, uint32_t peer, bint initiator) noexcept nogil
cdef void end_session(World *w, uint32_t number) noexcept nogil
