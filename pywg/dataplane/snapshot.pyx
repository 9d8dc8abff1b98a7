"""Events, activity and counters, read for Python (snapshot.pxd). `Plane` says what they mean to the caller."""
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset
from pywg.dataplane.receive.coalesce cimport COALESCE_TCP, COALESCE_TUNNELS, COALESCE_UDP
from pywg.dataplane.state.activity cimport activity_arm
from pywg.dataplane.state.batch_sizes cimport BATCH_SIZES, BATCH_STEP
from pywg.dataplane.state.counters cimport Counters
from pywg.dataplane.state.dataplane cimport GSO_OFF, Dataplane
from pywg.dataplane.state.events cimport DEVICE_TUN_GONE, DEVICE_UNDER_LOAD, EventQueue, Message
from pywg.dataplane.state.events cimport events_drop_message, events_next_message, events_raise, events_rearm
from pywg.dataplane.state.events cimport events_signal, events_take
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
    Raises MemoryError where there is none for the first that waits. Where there is none for a later one, that waits on.
    """
    cdef list messages = []
    cdef list happened = []
    cdef tuple taken
    if not events_rearm(&dp.shared.events):
        raise OSError(linux.errno, "the plane's events can't be read")
    try:
        taken = (messages, happened, device_flags(dp))
        take_messages(&dp.shared.events, messages, limit)
        take_peers(&dp.shared.events, happened, PEERS_A_MESSAGE * limit)
    except MemoryError:
        events_signal(&dp.shared.events)
        if not messages and not happened:
            raise
    if len(messages) == limit or len(happened) == PEERS_A_MESSAGE * limit:
        events_signal(&dp.shared.events)
    return taken


cdef int take_messages(EventQueue *queue, list messages, int limit) except -1:
    cdef Message *message
    while len(messages) < limit:
        message = events_next_message(queue)
        if message == NULL:
            break
        messages.append((
            PyBytes_FromStringAndSize(<const char *>message.data, message.len), from_endpoint(&message.source),
        ))
        events_drop_message(queue)
    return 0


cdef int take_peers(EventQueue *queue, list happened, int limit) except -1:
    cdef uint32_t flags, confirmed_index
    cdef Peer *peer
    while len(happened) < limit:
        peer = events_take(queue, &flags, &confirmed_index)
        if peer == NULL:
            break
        try:
            happened.append((peer.id, flags, confirmed_index))
        except MemoryError:
            events_raise(queue, peer, flags)    # to the end of the list, with what was raised meanwhile
            raise
    return 0


cdef int device_flags(Dataplane *dp) noexcept:
    cdef int flags = 0
    if load8(&dp.shared.events.tun_gone):
        flags |= DEVICE_TUN_GONE
    if load64(&dp.shared.events.loaded_until_ns) > now_ns():
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
    cdef const uint64_t *now
    cdef uint64_t *sums = <uint64_t *>&counters
    cdef size_t i
    cdef int shard
    memset(sums, 0, sizeof(Counters))
    for shard in range(dp.shared.shard_count):
        now = <const uint64_t *>&dp.shared.shards[shard].counters
        for i in range(sizeof(Counters) // sizeof(uint64_t)):
            sums[i] += load64(&now[i])
    return counters     # by the names of its members


cdef dict snapshot_batches(const Dataplane *dp):
    """{"tx_1": calls that sent one datagram, "tx_4": that sent 2 to 4, ..., "tx_more": more than all these}, and rx."""
    cdef uint64_t tx[BATCH_SIZES]
    cdef uint64_t rx[BATCH_SIZES]
    cdef const Dataplane *shard
    cdef int i, j
    memset(tx, 0, sizeof(tx))
    memset(rx, 0, sizeof(rx))
    for i in range(dp.shared.shard_count):
        shard = dp.shared.shards[i]
        for j in range(BATCH_SIZES):
            tx[j] += load64(&shard.batches.tx[j])
            rx[j] += load64(&shard.batches.rx[j])
    return batch_sizes("tx", tx) | batch_sizes("rx", rx)


cdef dict batch_sizes(str direction, const uint64_t *sizes):
    cdef dict found = {}
    cdef uint32_t last = 1
    cdef int i
    for i in range(BATCH_SIZES - 1):
        found[f"{direction}_{last}"] = sizes[i]
        last *= BATCH_STEP
    found[f"{direction}_more"] = sizes[BATCH_SIZES - 1]
    return found


cdef dict snapshot_offloads(const Dataplane *dp, bint udp_gso):
    """`udp_gso`: whether the configuration asks for it. What a kernel has refused to one shard is not in use."""
    cdef bint gso4 = True, gso6 = True, refused = False
    cdef int i
    for i in range(dp.shared.shard_count):
        gso4 = gso4 and dp.shared.shards[i].gso4 != GSO_OFF
        gso6 = gso6 and dp.shared.shards[i].gso6 != GSO_OFF
        refused = refused or load8(&dp.shared.shards[i].tunnels_refused)
    return {
        "tun_vnet_hdr": dp.vnet_hdr_len != 0,
        "tun_tunnels": dp.tunnels != 0,
        "udp_gso4": dp.fd4 >= 0 and gso4,
        "udp_gso6": dp.fd6 >= 0 and gso6,
        "udp_gso_equal_tail": udp_gso and dp.gso_equal_tail != 0,
        "coalesce_tcp": (dp.coalesce & COALESCE_TCP) != 0,
        "coalesce_udp": (dp.coalesce & COALESCE_UDP) != 0,
        "coalesce_tunnels": (dp.coalesce & COALESCE_TUNNELS) != 0 and not refused,
    }
