"""The ordered end of the receive path (deliver.pxd)."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from pywg.dataplane.receive.coalesce cimport coalesce_free, coalesce_new
from pywg.dataplane.receive.flow cimport FLOW_UNKNOWN, flow_lane
from pywg.dataplane.receive.open cimport DATAGRAMS_MAX, Group, ReceiveBatch
from pywg.dataplane.receive.writer cimport COALESCE_PACKETS, writer_add, writer_begin, writer_flush, writer_free
from pywg.dataplane.receive.writer cimport writer_init
from pywg.dataplane.reorder.reorder cimport LANES_MAX
from pywg.dataplane.state.activity cimport activity_begins, activity_ends
from pywg.dataplane.state.allowedips cimport allowedips_is_of
from pywg.dataplane.state.counters cimport count
from pywg.dataplane.state.dataplane cimport Dataplane, gates_are_mine, has_shards
from pywg.dataplane.state.events cimport events_confirmed, events_raise
from pywg.dataplane.state.peer cimport EVENT_REKEY_WANTED, Keypair, Peer, heard_from
from pywg.dataplane.state.replay cimport replay_accept
from pywg.dataplane.sys.atomic cimport add64, store64, store_pointer
from pywg.dataplane.sys.checks cimport c_assert, static_fits
from pywg.dataplane.sys.clock cimport SECOND_NS, elapsed_ns
from pywg.dataplane.sys.linux cimport pthread_mutex_lock, pthread_mutex_unlock
from pywg.dataplane.udp.receive cimport ReceiveMeta
from pywg.dataplane.wire.ip cimport IpView, ip_read
from pywg.dataplane.wire.limits cimport RECEIVER_REKEY_TIME
from pywg.dataplane.wire.wireguard cimport TAG_LEN, TRANSPORT_MIN_LEN, WG_HEADER_LEN, TransportHeader

cdef enum:                  # what becomes of a packet, if it is new: it takes one of the lanes, or
    NOT_IP = LANES_MAX
    SOURCE_NOT_ALLOWED
    END_OF_LIST = 0xFFFF    # behind the last packet of a lane


cdef int delivery_init(Delivery *d, Dataplane *dp, int lanes) noexcept nogil:
    """0, or -1: no memory. `d` is all zeros, and to be freed in either case."""
    cdef int i
    c_assert(lanes <= LANES_MAX)
    static_fits(DATAGRAMS_MAX, END_OF_LIST)
    d.dp = dp
    d.lanes = lanes
    for i in range(max(lanes, 1)):
        if writer_init(&d.writers[i], dp) < 0:
            return -1
    return 0


cdef void delivery_free(Delivery *d) noexcept nogil:
    cdef int i
    for i in range(LANES_MAX):
        writer_free(&d.writers[i])
    delivery_forget_prepared(d)


cdef int delivery_prepare(Delivery *d, int vnet_hdr_len) noexcept nogil:
    """Makes what `delivery_renew` switches to: another virtio header. 0, or -1: no memory, and nothing is prepared."""
    cdef int i
    for i in range(max(d.lanes, 1)):
        d.prepared[i] = coalesce_new(COALESCE_PACKETS, vnet_hdr_len)
        if d.prepared[i] == NULL:
            delivery_forget_prepared(d)
            return -1
    return 0


cdef void delivery_forget_prepared(Delivery *d) noexcept nogil:
    cdef int i
    for i in range(LANES_MAX):
        if d.prepared[i] != NULL:
            coalesce_free(d.prepared[i])
        d.prepared[i] = NULL


cdef void delivery_renew(Delivery *d) noexcept nogil:
    """Switches to what is prepared, between two batches."""
    cdef int i
    c_assert(gates_are_mine(d.dp))
    for i in range(max(d.lanes, 1)):
        c_assert(d.prepared[i] != NULL)
        coalesce_free(d.writers[i].coalescer)
        d.writers[i].coalescer = d.prepared[i]
        d.prepared[i] = NULL


# ---- beside other batches

cdef inline uint32_t text_len(const ReceiveBatch *b, uint32_t at) noexcept nogil:
    """Bytes of the inner packet and its padding; 0: a keepalive."""
    return b.wire_lens[at] - WG_HEADER_LEN - TAG_LEN


cdef inline int inspect(const Dataplane *dp, const Peer *peer, const ReceiveBatch *b, uint32_t at, IpView *ip,
                        int lanes) noexcept nogil:
    """A lane, FLOW_UNKNOWN, or why the packet is refused.

    Cryptokey routing: the inner source must be the peer's.
    """
    if not ip_read(ip, b.datagrams[at] + WG_HEADER_LEN, text_len(b, at)) or ip.total_len == 0:
        return NOT_IP
    if not allowedips_is_of(dp.shared.allowed, &peer.allowed, ip.source, ip.address_len):
        return SOURCE_NOT_ALLOWED
    return flow_lane(ip, lanes) if lanes > 1 else 0


cdef void delivery_inspect(Delivery *d, ReceiveBatch *b) noexcept nogil:
    """Notes what becomes of each packet of an opened batch. With one of an unknown flow, the batch goes together."""
    cdef const Group *group
    cdef uint32_t i, j, at
    cdef int fate
    cdef IpView ip
    b.together = False
    for i in range(b.group_count):
        group = &b.groups[i]
        for j in range(group.count):
            at = group.first + j
            if not (group.authentic >> j) & 1 or text_len(b, at) == 0:
                continue
            fate = inspect(d.dp, group.keypair.peer, b, at, &ip, d.lanes)
            if fate == FLOW_UNKNOWN:
                b.together = True
                fate = 0
            b.fates[at] = <uint8_t>fate


# ---- in order: what a message says of its peer

cdef void deliver(Delivery *d, ReceiveBatch *b) noexcept nogil:
    """Takes the authentic and new messages of an opened batch. What they say of their peer is noted once a group."""
    cdef uint32_t i
    for i in range(<uint32_t>LANES_MAX):
        b.first_in_lane[i] = END_OF_LIST
    if not d.lanes:
        writer_begin(&d.writers[0], b.now)
    for i in range(b.group_count):
        deliver_group(d, b, &b.groups[i])


cdef void deliver_group(Delivery *d, ReceiveBatch *b, const Group *group) noexcept nogil:
    """What the order of delivery guards with one shard, the lock guards with several: their orders are apart."""
    cdef Peer *peer = group.keypair.peer
    if has_shards(d.dp):
        pthread_mutex_lock(&peer.receive_lock)
        deliver_to(d, b, group)
        pthread_mutex_unlock(&peer.receive_lock)
    else:
        deliver_to(d, b, group)


cdef inline void deliver_to(Delivery *d, ReceiveBatch *b, const Group *group) noexcept nogil:
    cdef Dataplane *dp = d.dp
    cdef Keypair *keypair = group.keypair
    cdef Peer *peer = keypair.peer
    cdef ReceiveMeta *known = NULL
    cdef uint32_t i, at
    cdef uint64_t bytes = 0, packets = 0
    cdef bint data = False
    cdef int fate
    cdef IpView ip
    for i in range(group.count):
        at = group.first + i
        if not (group.authentic >> i) & 1:
            count(&dp.counters.rx_forged)
            continue
        if not replay_accept(&keypair.window, (<TransportHeader *>b.datagrams[at]).counter):
            count(&dp.counters.rx_replayed)
            continue
        if b.sources[at] != known:
            known = b.sources[at]
            heard_from(peer, &known.source)
        if text_len(b, at) == 0:
            count(&dp.counters.rx_keepalives)
            bytes += TRANSPORT_MIN_LEN
            continue
        data = True
        fate = b.fates[at] if d.lanes else inspect(dp, peer, b, at, &ip, 0)
        if fate >= LANES_MAX:
            count(&dp.counters.rx_not_ip if fate == NOT_IP else &dp.counters.rx_source_not_allowed)
            continue
        bytes += b.wire_lens[at]
        packets += 1
        if d.lanes:
            append(b, 0 if b.together else fate, <uint16_t>at)
        else:
            writer_add(&d.writers[0], &ip, known.tos)
    if known != NULL:
        add64(&peer.rx_bytes, bytes)
        count(&dp.counters.rx_packets, packets)
        note_received(dp, keypair, data, b.now)


cdef inline void append(ReceiveBatch *b, int lane, uint16_t at) noexcept nogil:
    """Puts a packet at the end of the lane's list."""
    b.next_in_lane[at] = END_OF_LIST
    if b.first_in_lane[lane] == END_OF_LIST:
        b.first_in_lane[lane] = at
    else:
        b.next_in_lane[b.last_in_lane[lane]] = at
    b.last_in_lane[lane] = at


cdef void note_received(Dataplane *dp, Keypair *keypair, bint data, uint64_t now) noexcept nogil:
    """Of a group that had an authentic and new message. `data`: not keepalives alone."""
    cdef Peer *peer = keypair.peer
    if keypair == peer.next:
        # The kernel's wg_noise_received_with_keypair(): a keypair that another has replaced since never seals. This is
        # done here and not by the control plane: the answer to this very packet must not go out under an old key.
        store_pointer(<void **>&peer.next, NULL)
        store_pointer(<void **>&peer.sending, NULL if keypair.expired else keypair)
        events_confirmed(&dp.shared.events, peer, keypair.local_index)
    store64(&peer.last_received, now)
    activity_ends(&peer.unanswered_since)
    if data:
        activity_begins(&dp.shared.events, peer, &peer.keepalive_owed_since, now)
    if (keypair.initiator and now - keypair.birth_ns >= RECEIVER_REKEY_TIME * SECOND_NS
            and elapsed_ns(now, peer.receive_rekey_asked_ns) >= SECOND_NS):
        peer.receive_rekey_asked_ns = now
        events_raise(&dp.shared.events, peer, EVENT_REKEY_WANTED)


# ---- to the TUN

cdef void delivery_write(Delivery *d, ReceiveBatch *b, int lane) noexcept nogil:
    """Writes the packets of a delivered batch that take this lane; without lanes, all."""
    cdef Writer *writer = &d.writers[lane]
    cdef uint16_t at
    cdef IpView ip
    if d.lanes:
        writer_begin(writer, b.now)
        at = b.first_in_lane[lane]
        while at != END_OF_LIST:
            ip_read(&ip, b.datagrams[at] + WG_HEADER_LEN, text_len(b, at))
            writer_add(writer, &ip, b.sources[at].tos)
            at = b.next_in_lane[at]
    writer_flush(writer)
