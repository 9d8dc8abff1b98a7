"""Staged packets (staged.pxd)."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
from pywg.dataplane.state.counters cimport count
from pywg.dataplane.state.dataplane cimport Dataplane
from pywg.dataplane.state.gate cimport gate_is_mine
from pywg.dataplane.state.peer cimport Peer, StagedPacket
from pywg.dataplane.sys.atomic cimport add64, add64_ordered, store_pointer
from pywg.dataplane.sys.checks cimport c_assert
from pywg.dataplane.sys.libcrypto cimport OPENSSL_cleanse
from pywg.dataplane.sys.linux cimport pthread_mutex_lock, pthread_mutex_unlock
from pywg.dataplane.wire.limits cimport STAGED_PACKETS


cdef void stage_packet(Dataplane *dp, Peer *peer, const uint8_t *packet, uint32_t packet_len) noexcept nogil:
    """Copies a packet to the end of the peer's queue; a full queue loses its oldest packet."""
    cdef StagedPacket *staged
    c_assert(gate_is_mine(&dp.send_gate))
    pthread_mutex_lock(&peer.lock)
    if peer.staged_count == STAGED_PACKETS:
        staged_free(take(dp, peer))
        count(&dp.counters.tx_staged_dropped)
    staged = staged_new(dp, packet, packet_len)
    if staged != NULL:
        put(peer, staged)
    else:
        count(&dp.counters.tx_staged_dropped)
    pthread_mutex_unlock(&peer.lock)


cdef StagedPacket *staged_new(Dataplane *dp, const uint8_t *packet, uint32_t packet_len) noexcept nogil:
    """A copy. NULL: there is no memory, or all peers together have as much as they may."""
    cdef StagedPacket *staged = NULL
    if add64_ordered(&dp.shared.staged_bytes, packet_len) <= dp.shared.staged_max:
        staged = <StagedPacket *>malloc(sizeof(StagedPacket) + packet_len)
    if staged == NULL:
        give_back(dp, packet_len)
        return NULL
    staged.next = NULL
    staged.len = packet_len
    memcpy(staged.data, packet, packet_len)
    return staged


cdef void give_back(Dataplane *dp, uint32_t packet_len) noexcept nogil:
    add64(&dp.shared.staged_bytes, <uint64_t>0 - packet_len)


# With the peer's lock

cdef void put(Peer *peer, StagedPacket *staged) noexcept nogil:
    if peer.staged_last != NULL:
        peer.staged_last.next = staged
    else:
        store_pointer(<void **>&peer.staged_first, staged)
    peer.staged_last = staged
    peer.staged_count += 1


cdef StagedPacket *take(Dataplane *dp, Peer *peer) noexcept nogil:
    cdef StagedPacket *staged = peer.staged_first
    if staged != NULL:
        store_pointer(<void **>&peer.staged_first, staged.next)
        if staged.next == NULL:
            peer.staged_last = NULL
        peer.staged_count -= 1
        give_back(dp, staged.len)
    return staged


cdef StagedPacket *staged_take(Dataplane *dp, Peer *peer) noexcept nogil:
    """Takes the oldest packet, which the caller has to free; NULL when there is none."""
    cdef StagedPacket *staged
    c_assert(gate_is_mine(&dp.send_gate))
    pthread_mutex_lock(&peer.lock)
    staged = take(dp, peer)
    pthread_mutex_unlock(&peer.lock)
    return staged


cdef void staged_free(StagedPacket *packet) noexcept nogil:
    """Wipes the packet, as it is plain text, and frees it."""
    OPENSSL_cleanse(packet.data, packet.len)
    free(packet)


cdef void staged_drop_all(Dataplane *dp, Peer *peer) noexcept nogil:
    cdef StagedPacket *staged = staged_take(dp, peer)
    while staged != NULL:
        staged_free(staged)
        count(&dp.counters.tx_staged_dropped)
        staged = staged_take(dp, peer)
