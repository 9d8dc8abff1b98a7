"""The control plane's changes to peers and keypairs: allocate, publish, take back, wipe. Callers hold both gates."""
from libc.stdint cimport uint8_t, uint32_t
from pywg.dataplane.state.dataplane cimport Dataplane
from pywg.dataplane.state.peer cimport Keypair, Peer

cdef Peer *peer_new(uint32_t id) noexcept nogil
cdef void peer_free(Dataplane *dp, Peer *peer) noexcept nogil
cdef Keypair *keypair_new(Peer *peer, const uint8_t *send_key, const uint8_t *receive_key) noexcept nogil
cdef int keypair_publish(Dataplane *dp, Keypair *keypair, bint confirmed) noexcept nogil
cdef void keypair_retire(Dataplane *dp, Keypair *keypair) noexcept nogil
cdef void keypairs_expire(Peer *peer) noexcept nogil
cdef void keypair_free(Keypair *keypair) noexcept nogil
cdef int handshake_open(Dataplane *dp, Peer *peer, uint32_t index) noexcept nogil
cdef void handshake_close(Dataplane *dp, Peer *peer) noexcept nogil
