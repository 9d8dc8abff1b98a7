"""The ordered end of the receive path (deliver.pxd).

`deliver` takes what is authentic and new, and checks that the peer owns the inner source; `write_frames` writes what
the coalescer made of it.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from pywg.dataplane.receive.coalesce cimport COALESCE_MAX_IOV, Coalescer, coalesce_add, coalesce_count, coalesce_frame
from pywg.dataplane.receive.coalesce cimport coalesce_free, coalesce_new, coalesce_reset
from pywg.dataplane.receive.open cimport Group, ReceiveBatch
from pywg.dataplane.state.activity cimport activity_begins, activity_ends
from pywg.dataplane.state.allowedips cimport allowedips_lookup
from pywg.dataplane.state.counters cimport count
from pywg.dataplane.state.dataplane cimport Dataplane, gates_are_mine
from pywg.dataplane.state.events cimport events_confirmed, events_raise
from pywg.dataplane.state.peer cimport EVENT_REKEY_WANTED, Keypair, Peer, heard_from
from pywg.dataplane.state.replay cimport replay_accept
from pywg.dataplane.sys cimport linux
from pywg.dataplane.sys.atomic cimport add64, load_int, store64, store_pointer
from pywg.dataplane.sys.checks cimport c_assert
from pywg.dataplane.sys.clock cimport SECOND_NS
from pywg.dataplane.sys.linux cimport EINTR, writev
from pywg.dataplane.udp.receive cimport ReceiveMeta
from pywg.dataplane.wire.ecn cimport ecn_decapsulate
from pywg.dataplane.wire.ip cimport IpView, ip_read
from pywg.dataplane.wire.limits cimport RECEIVER_REKEY_TIME
from pywg.dataplane.wire.wireguard cimport TAG_LEN, TRANSPORT_MIN_LEN, WG_HEADER_LEN, TransportHeader


cdef int delivery_init(Delivery *d, Dataplane *dp) noexcept nogil:
    """0, or -1: no memory. `d` is all zeros, and to be freed in either case."""
    d.dp = dp
    d.coalescer = coalesce_new(COALESCE_PACKETS, 0)
    return 0 if d.coalescer != NULL else -1


cdef void delivery_free(Delivery *d) noexcept nogil:
    if d.coalescer != NULL:
        coalesce_free(d.coalescer)
    d.coalescer = NULL


cdef int delivery_renew(Delivery *d, int vnet_hdr_len) noexcept nogil:
    """Switches to another virtio header, between two batches. 0, or -1: no memory, and all is as it was."""
    cdef Coalescer *renewed = coalesce_new(COALESCE_PACKETS, vnet_hdr_len)
    c_assert(gates_are_mine(d.dp))
    if renewed == NULL:
        return -1
    coalesce_free(d.coalescer)
    d.coalescer = renewed
    return 0


# ---- what a message says of its peer

cdef void deliver(Delivery *d, ReceiveBatch *b) noexcept nogil:
    """Takes the authentic and new messages of an opened batch. What they say of their peer is noted once a group."""
    cdef uint32_t i
    for i in range(b.group_count):
        deliver_group(d, b, &b.groups[i])


cdef void deliver_group(Delivery *d, ReceiveBatch *b, const Group *group) noexcept nogil:
    cdef Dataplane *dp = d.dp
    cdef Keypair *keypair = group.keypair
    cdef Peer *peer = keypair.peer
    cdef ReceiveMeta *known = NULL
    cdef uint8_t *datagram
    cdef uint32_t i, at, wire_len
    cdef uint64_t bytes = 0, packets = 0
    cdef bint data = False
    for i in range(group.count):
        at = group.first + i
        datagram = b.datagrams[at]
        wire_len = b.wire_lens[at]
        if not (group.authentic >> i) & 1:
            count(&dp.counters.rx_forged)
            continue
        if not replay_accept(&keypair.window, (<TransportHeader *>datagram).counter):
            count(&dp.counters.rx_replayed)
            continue
        if b.sources[at] != known:
            known = b.sources[at]
            heard_from(peer, &known.source)
        if wire_len == TRANSPORT_MIN_LEN:
            count(&dp.counters.rx_keepalives)
            bytes += wire_len
            continue
        data = True
        if take_packet(d, peer, datagram + WG_HEADER_LEN, wire_len - WG_HEADER_LEN - TAG_LEN, known.tos):
            bytes += wire_len
            packets += 1
    if known != NULL:
        add64(&peer.rx_bytes, bytes)
        count(&dp.counters.rx_packets, packets)
        note_received(dp, keypair, data, b.now)


cdef void note_received(Dataplane *dp, Keypair *keypair, bint data, uint64_t now) noexcept nogil:
    """Of a group that had an authentic and new message. `data`: not keepalives alone."""
    cdef Peer *peer = keypair.peer
    if keypair == peer.next:
        # The kernel's wg_noise_received_with_keypair(): a keypair that another has replaced since never seals. This is
        # done here and not by the control plane: the answer to this very packet must not go out under an old key.
        peer.next = NULL
        store_pointer(<void **>&peer.sending, NULL if keypair.expired else keypair)
        events_confirmed(&dp.events, peer, keypair.local_index)
    store64(&peer.last_received, now)
    activity_ends(&peer.unanswered_since)
    if data:
        activity_begins(&dp.events, peer, &peer.keepalive_owed_since, now)
    if (keypair.initiator and now - keypair.birth_ns >= RECEIVER_REKEY_TIME * SECOND_NS
            and now - peer.receive_rekey_asked_ns >= SECOND_NS):
        peer.receive_rekey_asked_ns = now
        events_raise(&dp.events, peer, EVENT_REKEY_WANTED)


# ---- to the TUN

cdef bint take_packet(Delivery *d, Peer *peer, uint8_t *packet, uint32_t text_len, uint8_t outer_tos) noexcept nogil:
    """Cryptokey routing: the inner source must be the peer's. The IP header's own length cuts off the padding.

    False: the packet is not delivered.
    """
    cdef Dataplane *dp = d.dp
    cdef IpView ip
    if not ip_read(&ip, packet, text_len) or ip.total_len == 0:
        count(&dp.counters.rx_not_ip)
        return False
    if <Peer *>allowedips_lookup(dp.allowed, ip.source, ip.address_len) != peer:
        count(&dp.counters.rx_source_not_allowed)
        return False
    ecn_decapsulate(&ip, outer_tos)
    ip.len = ip.total_len
    if coalesce_add(d.coalescer, &ip, dp.coalesce) != 0:
        write_frames(d)
        coalesce_add(d.coalescer, &ip, dp.coalesce)
    return True


cdef void write_frames(Delivery *d) noexcept nogil:
    """Writes the coalescer's frames to the TUN. A frame that the TUN refuses is counted; the others go on."""
    cdef Dataplane *dp = d.dp
    cdef int i, n, tun = load_int(&dp.tun_fd), frames = coalesce_count(d.coalescer)
    cdef ssize_t written
    for i in range(frames):
        n = coalesce_frame(d.coalescer, i, d.iov, COALESCE_MAX_IOV)
        if n <= 0 or tun < 0:
            count(&dp.counters.rx_tun_error)
            continue
        written = writev(tun, d.iov, n)
        while written < 0 and linux.errno == EINTR:
            written = writev(tun, d.iov, n)
        count(&dp.counters.rx_tun_writes if written >= 0 else &dp.counters.rx_tun_error)
    coalesce_reset(d.coalescer)
