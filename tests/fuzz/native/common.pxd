"""What both drivers have: a plane on the descriptors of kernel.h, peers with addresses of their own, and sessions."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdio cimport fprintf, stderr
from libc.stdlib cimport abort

from pywg.dataplane.crypto.aead cimport AeadBackend
from pywg.dataplane.crypto.aead_contexts cimport AeadContexts
from pywg.dataplane.reorder.pool cimport Pool
from pywg.dataplane.reorder.reorder cimport Reorder
from pywg.dataplane.state.dataplane cimport Dataplane
from pywg.dataplane.state.peer cimport Keypair, Peer
from pywg.dataplane.sys.libcrypto cimport EVP_CIPHER_CTX

from tests.fuzz.native.harness cimport Chance

cdef enum:
    PEERS = 5
    FIRST_INDEX = 0x1000        # of a session; those of the later ones follow


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


cdef inline void need(bint holds, const char *what) noexcept nogil:
    if not holds:
        fprintf(stderr, b"%s\n", what)
        abort()


cdef inline void need_equal(uint64_t is_, uint64_t should, const char *what) noexcept nogil:
    if is_ != should:
        fprintf(stderr, b"%s: %llu, and not %llu\n", what, <unsigned long long>is_, <unsigned long long>should)
        abort()


cdef Dataplane *make_plane(const AeadBackend *aead, AeadContexts *helper) noexcept nogil
cdef int slots(Chance *c) noexcept nogil
cdef Pool *idle_helper(const AeadBackend *aead, Reorder *reorder) noexcept nogil
cdef void settle(Reorder *reorder, AeadContexts *helper) noexcept nogil
cdef void end_plane(Dataplane *dp, AeadContexts *helper, Session *sessions, uint32_t count) noexcept nogil
cdef Peer *make_peer(Dataplane *dp, uint32_t id) noexcept nogil
cdef void end_peer(Dataplane *dp, Peer **peers, uint32_t id, Session *sessions, uint32_t count) noexcept nogil
cdef Keypair *make_session(Chance *c, Peer *peer, Session *session, uint32_t number, bint initiator) noexcept nogil
cdef void end_session(Dataplane *dp, Chance *c, Session *sessions, uint32_t count) noexcept nogil
