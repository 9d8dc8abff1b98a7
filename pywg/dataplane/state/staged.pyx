"""Staged packets (staged.pxd)."""
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
from pywg.dataplane.state.counters cimport count
from pywg.dataplane.state.dataplane cimport Dataplane
from pywg.dataplane.state.gate cimport gate_is_mine
from pywg.dataplane.state.peer cimport Peer, StagedPacket
from pywg.dataplane.sys.checks cimport c_assert
from pywg.dataplane.sys.libcrypto cimport OPENSSL_cleanse
from pywg.dataplane.wire.limits cimport STAGED_PACKETS


cdef void stage_packet(Dataplane *dp, Peer *peer, const uint8_t *packet, uint32_t packet_len) noexcept nogil:
    """Copies a packet to the end of the peer's queue; a full queue loses its oldest packet."""
    cdef StagedPacket *staged
    c_assert(gate_is_mine(&dp.send_gate))
    if peer.staged_count == STAGED_PACKETS:
        staged_free(staged_take(dp, peer))
        count(&dp.counters.tx_staged_dropped)
    if dp.staged_bytes + packet_len > dp.staged_max:
        count(&dp.counters.tx_staged_dropped)
        return
    staged = <StagedPacket *>malloc(sizeof(StagedPacket) + packet_len)
    if staged == NULL:
        count(&dp.counters.tx_staged_dropped)
        return
    staged.next = NULL
    staged.len = packet_len
    memcpy(staged.data, packet, packet_len)
    if peer.staged_last != NULL:
        peer.staged_last.next = staged
    else:
        peer.staged_first = staged
    peer.staged_last = staged
    peer.staged_count += 1
    dp.staged_bytes += packet_len


cdef StagedPacket *staged_take(Dataplane *dp, Peer *peer) noexcept nogil:
    """Takes the oldest packet, which the caller has to free; NULL when there is none."""
    cdef StagedPacket *staged = peer.staged_first
    c_assert(gate_is_mine(&dp.send_gate))
    if staged != NULL:
        peer.staged_first = staged.next
        if staged.next == NULL:
            peer.staged_last = NULL
        peer.staged_count -= 1
        dp.staged_bytes -= staged.len
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
