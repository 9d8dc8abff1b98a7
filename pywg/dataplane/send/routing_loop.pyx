"""Routing loops (routing_loop.pxd)."""
from libc.stdint cimport uint64_t
from libc.string cimport memcmp
from pywg.dataplane.state.dataplane cimport Dataplane
from pywg.dataplane.state.events cimport events_raise
from pywg.dataplane.state.gate cimport gate_is_mine
from pywg.dataplane.state.index_table cimport IndexEntry, index_table_find
from pywg.dataplane.state.peer cimport EVENT_ROUTING_LOOP, Peer
from pywg.dataplane.sys.checks cimport c_assert
from pywg.dataplane.sys.clock cimport SECOND_NS, elapsed_ns
from pywg.dataplane.sys.linux cimport pthread_mutex_lock, pthread_mutex_unlock
from pywg.dataplane.wire.ip cimport IpView, UdpHeader
from pywg.dataplane.wire.wireguard cimport TransportHeader

cdef enum:
    LOOP_PEERS_MAX = 16     # a loop of more peers is not looked for


cdef bint is_for(Peer *peer, const IpView *ip, const UdpHeader *udp) noexcept nogil:
    cdef bint is_its
    pthread_mutex_lock(&peer.lock)
    is_its = (peer.endpoint.ip_len == ip.address_len and peer.endpoint.port == udp.destination_port
              and memcmp(peer.endpoint.ip, ip.destination, ip.address_len) == 0)
    pthread_mutex_unlock(&peer.lock)
    return is_its


cdef Peer *next_through(const Dataplane *dp, const Peer *peer, uint64_t now) noexcept nogil:
    """The peer through which this one was reached in the last second; NULL: none was seen."""
    if (peer.through == NULL or peer.through_epoch != dp.shared.peers_freed
            or elapsed_ns(now, peer.through_seen_ns) > SECOND_NS):
        return NULL
    return peer.through


cdef bint routing_loop_closes(Dataplane *dp, Peer *through, const IpView *ip, uint64_t now) noexcept nogil:
    """Notes that what looks like a transport message is to go to the peer `through`.

    True: the message is ours, and would come back. The control plane hears of it at most once a second.
    """
    cdef const UdpHeader *udp = <const UdpHeader *>(ip.packet + ip.l4_offset)
    cdef const TransportHeader *header = <const TransportHeader *>(udp + 1)
    cdef IndexEntry *entry = index_table_find(&dp.shared.remote_indices, header.receiver_index)
    cdef bint closes
    c_assert(gate_is_mine(&dp.send_gate))
    c_assert(ip.l4_offset != 0)
    if entry == NULL or not is_for(entry.peer, ip, udp):
        return False        # another tunnel's: it takes no lock that all shards have
    pthread_mutex_lock(&dp.shared.loop_lock)
    closes = closes_loop(dp, through, entry.peer, now)
    pthread_mutex_unlock(&dp.shared.loop_lock)
    return closes


cdef bint closes_loop(Dataplane *dp, Peer *through, Peer *target, uint64_t now) noexcept nogil:
    """Notes that `target` is reached through `through`. True: and that through it. Under the lock, for all peers."""
    cdef Peer *at = through
    target.through = through
    target.through_seen_ns = now
    target.through_epoch = dp.shared.peers_freed
    for _ in range(LOOP_PEERS_MAX):
        if at == NULL:
            return False
        if at == target:
            if elapsed_ns(now, target.loop_told_ns) >= SECOND_NS:
                target.loop_told_ns = now
                events_raise(&dp.shared.events, target, EVENT_ROUTING_LOOP)
            return True
        at = next_through(dp, at, now)
    return False
