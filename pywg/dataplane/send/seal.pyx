"""Batches of packets to send (seal.pxd)."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset
from pywg.dataplane.crypto.aead cimport aead_use, seal_run
from pywg.dataplane.crypto.aead_contexts cimport AeadContexts, aead_contexts_forget
from pywg.dataplane.state.activity cimport activity_begins
from pywg.dataplane.state.counters cimport count
from pywg.dataplane.state.dataplane cimport Dataplane
from pywg.dataplane.state.events cimport events_raise
from pywg.dataplane.state.gate cimport gate_is_mine
from pywg.dataplane.state.peer cimport BATCH_DATAGRAMS, EVENT_REKEY_WANTED, Keypair, Peer, keypair_seal_key
from pywg.dataplane.sys.atomic cimport store64
from pywg.dataplane.sys.checks cimport c_assert, static_fits
from pywg.dataplane.sys.clock cimport SECOND_NS
from pywg.dataplane.sys.libcrypto cimport OPENSSL_cleanse
from pywg.dataplane.sys.linux cimport pthread_mutex_lock, pthread_mutex_unlock
from pywg.dataplane.udp.send cimport SEND_BATCH, udp_flush, udp_forget_peers, udp_queue
from pywg.dataplane.wire.limits cimport REKEY_AFTER_MESSAGES, REKEY_AFTER_TIME
from pywg.dataplane.wire.run cimport RUN_MAX_DATAGRAMS, RUN_MAX_WIRE_LEN, Run, run_len
from pywg.dataplane.wire.virtio cimport VNET_HDR_MAX
from pywg.dataplane.wire.wireguard cimport TAG_LEN, WG_HEADER_LEN, padded_len


cdef int send_batch_init(SendBatch *b) noexcept nogil:
    """0, or -1: no memory. `b` is all zeros, and to be freed in either case."""
    static_fits(READ_MAX % 16, 0)                   # padding ends at a multiple of 16
    static_fits(65535 + VNET_HDR_MAX, READ_MAX)     # an IP packet of any length
    static_fits(VNET_HDR_MAX, WG_HEADER_LEN)        # the virtio header is read where WireGuard's will be written
    static_fits(MAX_RUNS, SEND_BATCH)               # each is queued, in a sender that is empty
    static_fits(RUN_MAX_DATAGRAMS * MAX_RUNS, BATCH_DATAGRAMS)
    b.ring = <uint8_t *>malloc(RING_LEN)
    b.segments = <uint8_t *>malloc(SEGMENTS_LEN)
    return 0 if b.ring != NULL and b.segments != NULL else -1


cdef void send_batch_free(SendBatch *b) noexcept nogil:
    if b.ring != NULL:
        OPENSSL_cleanse(b.ring, RING_LEN)
    if b.segments != NULL:
        OPENSSL_cleanse(b.segments, SEGMENTS_LEN)
    free(b.ring)
    free(b.segments)
    b.ring = b.segments = NULL


# ---- planning

cdef void send_batch_plan(SendBatch *b, Peer *peer, uint8_t ecn, const Run *run) noexcept nogil:
    """Adds a run. `send_batch_next_packet` said that there is room for it."""
    cdef PlannedRun *planned = &b.runs[b.run_count]
    c_assert(b.run_count < MAX_RUNS)
    c_assert(run.count > 0)
    b.run_count += 1
    planned.run = run[0]
    planned.peer = peer
    planned.tos = ecn


cdef void send_batch_plan_segments(SendBatch *b, Peer *peer, uint8_t ecn, const Run *runs, int n) noexcept nogil:
    """Adds the runs of a superframe, which was cut to where `send_batch_next_segments` said."""
    cdef int i
    for i in range(n):
        c_assert(runs[i].base == b.segments + b.segments_used)
        send_batch_plan(b, peer, ecn, &runs[i])
        b.segments_used += run_len(&runs[i])
        c_assert(b.segments_used <= SEGMENTS_LEN)


cdef void send_batch_plan_packet(SendBatch *b, Peer *peer, uint8_t *packet, uint32_t packet_len, uint8_t ecn,
                                 uint32_t mtu) noexcept nogil:
    """Adds a packet, which is where `send_batch_next_packet` said, to the run before it or as a run of its own."""
    cdef uint32_t padded = padded_len(packet_len, mtu)
    cdef uint32_t wire = WG_HEADER_LEN + padded + TAG_LEN
    cdef PlannedRun *last = &b.runs[b.run_count - 1] if b.run_count > 0 else NULL
    cdef Run run
    run.base = packet - WG_HEADER_LEN
    c_assert(run.base == b.ring + b.ring_used)
    c_assert(b.ring_used + wire <= RING_LEN)
    memset(packet + packet_len, 0, padded - packet_len)
    b.ring_used += wire
    if (last != NULL and last.peer == peer and last.tos == ecn and last.run.base + run_len(&last.run) == run.base
            and last.run.last_wire == last.run.stride and wire <= last.run.stride
            and last.run.count < RUN_MAX_DATAGRAMS and run_len(&last.run) + wire <= RUN_MAX_WIRE_LEN):
        last.run.count += 1
        last.run.last_len = packet_len
        last.run.last_wire = wire
        return
    run.count = 1
    run.inner_len = run.last_len = packet_len
    run.stride = run.last_wire = wire
    send_batch_plan(b, peer, ecn, &run)


# ---- reserving

cdef void send_batch_reserve(SendBatch *b, Dataplane *dp, uint64_t now) noexcept nogil:
    """Gives each run its keypair, counters and address, in the order of the runs. Inside the gate."""
    cdef PlannedRun *planned
    cdef Peer *peer
    cdef int i
    c_assert(gate_is_mine(&dp.send_gate))
    for i in range(b.run_count):
        planned = &b.runs[i]
        peer = planned.peer
        planned.keypair = sending(peer)
        planned.first_counter = planned.keypair.next_counter
        planned.keypair.next_counter += planned.run.count
        pthread_mutex_lock(&peer.endpoint_lock)
        planned.to = peer.endpoint
        pthread_mutex_unlock(&peer.endpoint_lock)
        note_sent(dp, peer, planned.keypair, &planned.run, now)


cdef void note_sent(Dataplane *dp, Peer *peer, const Keypair *keypair, const Run *run, uint64_t now) noexcept nogil:
    store64(&peer.last_sent, now)
    store64(&peer.keepalive_owed_since, 0)
    if run.inner_len != 0:
        activity_begins(&dp.events, peer, &peer.unanswered_since, now)
    if (keypair.next_counter >= REKEY_AFTER_MESSAGES
            or (keypair.initiator and now - keypair.birth_ns >= REKEY_AFTER_TIME * SECOND_NS)):
        if now - peer.send_rekey_asked_ns >= SECOND_NS:
            peer.send_rekey_asked_ns = now
            events_raise(&dp.events, peer, EVENT_REKEY_WANTED)


# ---- sealing and sending

cdef void send_batch_seal(SendBatch *b, Dataplane *dp, AeadContexts *contexts) noexcept nogil:
    """Seals and queues every run. `contexts`: the calling thread's."""
    cdef PlannedRun *planned
    cdef int i
    c_assert(b.sender.count == 0)
    for i in range(b.run_count):
        planned = &b.runs[i]
        # A run that could not be sealed is not sent; its counters are not used again.
        if (aead_use(&contexts.sealer, keypair_seal_key(planned.keypair)) != 0
                or seal_run(&contexts.sealer, &planned.run, planned.keypair.remote_index, planned.first_counter) != 0):
            count(&dp.counters.tx_seal_failed)
            continue
        if not udp_queue(&b.sender, planned.peer, &planned.to, planned.run.base, run_len(&planned.run),
                         planned.run.stride if planned.run.count > 1 else 0, planned.tos):
            count(&dp.counters.tx_no_room)
    aead_contexts_forget(contexts)


cdef bint send_batch_send(SendBatch *b, Dataplane *dp) noexcept nogil:
    """Sends what is queued. True: all is sent, and the batch is empty.

    False: the socket is full, and the rest waits for the next call.
    """
    b.run_count = 0
    b.ring_used = 0
    b.segments_used = 0
    return b.sender.count == 0 or udp_flush(&b.sender, dp)


cdef void send_batch_forget_peers(SendBatch *b) noexcept nogil:
    """Drops every pointer to a peer from a batch that was sealed: its peers may be freed."""
    udp_forget_peers(&b.sender)
