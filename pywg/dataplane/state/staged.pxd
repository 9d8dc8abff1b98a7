"""Staged packets: inner packets that wait for a session. At most STAGED_PACKETS a peer (limits.pxd): the oldest goes.

Each is an allocation of its own, with a ceiling (`staged_max`) for all peers together, so that no peer can use up a
pool that others need. Inside a sending gate.
"""
from libc.stdint cimport uint8_t, uint32_t
from pywg.dataplane.state.dataplane cimport Dataplane
from pywg.dataplane.state.peer cimport Peer, StagedPacket
from pywg.dataplane.sys.atomic cimport load_pointer

cdef enum:
    STAGED_BYTES = 16 * 1024 * 1024     # `staged_max` by default

cdef void stage_packet(Dataplane *dp, Peer *peer, const uint8_t *packet, uint32_t packet_len) noexcept nogil
cdef StagedPacket *staged_take(Dataplane *dp, Peer *peer) noexcept nogil
cdef void staged_free(StagedPacket *packet) noexcept nogil
cdef void staged_drop_all(Dataplane *dp, Peer *peer) noexcept nogil


cdef inline bint staged_any(const Peer *peer) noexcept nogil:
    """Whether a packet waits. Another shard's thread may take or add one at once."""
    return load_pointer(<void *const *>&peer.staged_first) != NULL
