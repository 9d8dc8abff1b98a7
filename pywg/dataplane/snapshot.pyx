"""Events, activity and counters, read for Python (snapshot.pxd). `Plane` says what they mean to the caller."""
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t, uint64_t
from pywg.dataplane.receive.coalesce cimport COALESCE_TCP, COALESCE_UDP
from pywg.dataplane.state.activity cimport activity_arm
from pywg.dataplane.state.counters cimport Counters
from pywg.dataplane.state.dataplane cimport Dataplane
from pywg.dataplane.state.events cimport DEVICE_TUN_GONE, DEVICE_UNDER_LOAD, Message, events_drop_message
from pywg.dataplane.state.events cimport events_next_message, events_rearm, events_signal, events_take
from pywg.dataplane.state.peer cimport Peer
from pywg.dataplane.sys cimport linux
from pywg.dataplane.sys.atomic cimport load64, load8
from pywg.dataplane.sys.clock cimport now_ns
from pywg.dataplane.wire.endpoint cimport from_endpoint

cdef enum:
    PEERS_A_MESSAGE = 4             # peers whose events one call returns, for each message of its limit


cdef tuple snapshot_events(Dataplane *dp, int limit):
    """([(message, source)], [(peer, flags, confirmed index)], device flags), as Plane.drain() returns it.

    Raises OSError, and takes nothing, where the descriptor stays readable: the loop would call again at once, for ever.
    """
    cdef list messages = []
    cdef list happened = []
    cdef uint32_t flags, confirmed_index
    cdef Message *message
    cdef Peer *peer
    if not events_rearm(&dp.events):
        raise OSError(linux.errno, "the plane's events can't be read")
    while len(messages) < limit:
        message = events_next_message(&dp.events)
        if message == NULL:
            break
        messages.append((
            PyBytes_FromStringAndSize(<const char *>message.data, message.len), from_endpoint(&message.source),
        ))
        events_drop_message(&dp.events)
    while len(happened) < PEERS_A_MESSAGE * limit:
        peer = events_take(&dp.events, &flags, &confirmed_index)
        if peer == NULL:
            break
        happened.append((peer.id, flags, confirmed_index))
    if len(messages) == limit or len(happened) == PEERS_A_MESSAGE * limit:
        events_signal(&dp.events)
    return messages, happened, device_flags(dp)


cdef int device_flags(Dataplane *dp) noexcept:
    cdef int flags = 0
    if load8(&dp.events.tun_gone):
        flags |= DEVICE_TUN_GONE
    if load64(&dp.events.loaded_until_ns) > now_ns():
        flags |= DEVICE_UNDER_LOAD
    return flags


cdef tuple snapshot_activity(Peer *peer):
    """(unanswered since, keepalive owed since, last traversal, last data sent). Arms the event, or not (activity)."""
    activity_arm(peer)
    return (
        load64(&peer.unanswered_since) / 1e9, load64(&peer.keepalive_owed_since) / 1e9,
        max(load64(&peer.last_sent), load64(&peer.last_received)) / 1e9, load64(&peer.last_data_sent) / 1e9,
    )


cdef dict snapshot_counters(const Dataplane *dp):
    cdef Counters counters
    cdef const uint64_t *now = <const uint64_t *>&dp.counters
    cdef uint64_t *copies = <uint64_t *>&counters
    cdef size_t i
    for i in range(sizeof(Counters) // sizeof(uint64_t)):
        copies[i] = load64(&now[i])
    return counters     # by the names of its members


cdef dict snapshot_offloads(const Dataplane *dp, bint udp_gso):
    """`udp_gso`: whether the configuration asks for it."""
    return {
        "tun_vnet_hdr": dp.vnet_hdr_len != 0,
        "udp_gso4": dp.fd4 >= 0 and dp.gso4 != 0,
        "udp_gso6": dp.fd6 >= 0 and dp.gso6 != 0,
        "udp_gso_equal_tail": udp_gso and dp.gso_equal_tail != 0,
        "coalesce_tcp": (dp.coalesce & COALESCE_TCP) != 0,
        "coalesce_udp": (dp.coalesce & COALESCE_UDP) != 0,
    }
