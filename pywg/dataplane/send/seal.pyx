"""Batches of packets to send (seal.pxd)."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset
from pywg.dataplane.crypto.aead cimport AEAD_BATCH, Aead, aead_use, seal_batch
from pywg.dataplane.crypto.aead_contexts cimport AeadContexts, aead_contexts_forget
from pywg.dataplane.send.segment cimport Superframe, segment_cut
from pywg.dataplane.state.activity cimport activity_begins, activity_ends
from pywg.dataplane.state.counters cimport count
from pywg.dataplane.state.dataplane cimport Dataplane
from pywg.dataplane.state.events cimport events_raise
from pywg.dataplane.state.gate cimport gate_is_mine
from pywg.dataplane.state.peer cimport BATCH_DATAGRAMS, EVENT_REKEY_WANTED, Keypair, Peer, keypair_seal_key
from pywg.dataplane.sys.atomic cimport load64, store64
from pywg.dataplane.sys.checks cimport c_assert, static_fits
from pywg.dataplane.sys.clock cimport SECOND_NS, elapsed_ns
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
    # The virtio header is read where WireGuard's will be written, and the tag of the packet before.
    static_fits(VNET_HDR_MAX, WG_HEADER_LEN + RING_FRONT)
    static_fits(RING_FRONT, TAG_LEN)
    static_fits(MAX_RUNS, SEND_BATCH)               # each is queued, in a sender that is empty
    static_fits(RUN_MAX_DATAGRAMS * MAX_RUNS, BATCH_DATAGRAMS)
    b.ring = <uint8_t *>malloc(RING_FRONT + RING_LEN)
    b.segments = <uint8_t *>malloc(SEGMENTS_LEN)
    if b.ring != NULL:
        b.ring += RING_FRONT
    return 0 if b.ring != NULL and b.segments != NULL else -1


cdef void send_batch_free(SendBatch *b) noexcept nogil:
    if b.ring != NULL:
        b.ring -= RING_FRONT
        OPENSSL_cleanse(b.ring, RING_FRONT + RING_LEN)
    if b.segments != NULL:
        OPENSSL_cleanse(b.segments, SEGMENTS_LEN)
    free(b.ring)
    free(b.segments)
    b.ring = b.segments = NULL


# ---- planning

cdef void plan_run(SendBatch *b, Peer *peer, uint8_t ecn, const Run *run, Superframe *frame) noexcept nogil:
    """Adds a run. `send_batch_next_packet` said that there is room for it."""
    cdef PlannedRun *planned = &b.runs[b.run_count]
    c_assert(b.run_count < MAX_RUNS)
    c_assert(run.count > 0)
    b.run_count += 1
    planned.run = run[0]
    planned.peer = peer
    planned.tos = ecn
    planned.frame = frame
    planned.sealed = 0


cdef void send_batch_plan_frame(SendBatch *b, Peer *peer, uint8_t ecn, const Run *runs, int n) noexcept nogil:
    """Adds a superframe that is where `send_batch_next_packet` said; it is cut to where `send_batch_next_segments` did.

    It is what `send_batch_next_frame` describes, and these are its runs. Its bytes stay until they are cut.
    """
    cdef Superframe *frame = send_batch_next_frame(b)
    cdef int i
    c_assert(n > 0)
    c_assert(frame.frame == b.ring + b.ring_used + WG_HEADER_LEN)
    b.frame_count += 1
    b.ring_used += (WG_HEADER_LEN + frame.frame_len + TAG_LEN + 15) & ~<uint32_t>15
    c_assert(b.ring_used <= RING_LEN)
    for i in range(n):
        c_assert(runs[i].base == b.segments + b.segments_used)
        plan_run(b, peer, ecn, &runs[i], frame)
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
    plan_run(b, peer, ecn, &run, NULL)


# ---- reserving

cdef void send_batch_reserve(SendBatch *b, Dataplane *dp, uint64_t now) noexcept nogil:
    """Gives each run its keypair, counters and address, in the order of the runs. Inside the gate."""
    cdef int i = 0
    c_assert(gate_is_mine(&dp.send_gate))
    while i < b.run_count:
        i = reserve_for_peer(b, dp, i, now)


cdef int reserve_for_peer(SendBatch *b, Dataplane *dp, int first, uint64_t now) noexcept nogil:
    """The same of one peer's runs in a row. The first run after them."""
    cdef PlannedRun *planned
    cdef Peer *peer = b.runs[first].peer
    cdef Keypair *keypair = sending(peer)
    cdef uint64_t counter
    cdef bint data = False
    cdef int i = first
    pthread_mutex_lock(&peer.lock)      # no other shard's thread may reserve the same counters
    counter = keypair.next_counter
    while i < b.run_count and b.runs[i].peer == peer:
        planned = &b.runs[i]
        planned.keypair = keypair
        planned.first_counter = counter
        counter += planned.run.count
        planned.to = peer.endpoint
        data = data or planned.run.inner_len != 0
        i += 1
    store64(&keypair.next_counter, counter)
    pthread_mutex_unlock(&peer.lock)
    note_sent(dp, peer, keypair, data, now)
    return i


cdef void note_sent(Dataplane *dp, Peer *peer, const Keypair *keypair, bint data, uint64_t now) noexcept nogil:
    """`data`: more than keepalives."""
    store64(&peer.last_sent, now)
    activity_ends(&peer.keepalive_owed_since)
    if data:
        activity_begins(&dp.shared.events, peer, &peer.unanswered_since, now)
    if (load64(&keypair.next_counter) >= REKEY_AFTER_MESSAGES
            or (keypair.initiator and now - keypair.birth_ns >= REKEY_AFTER_TIME * SECOND_NS)):
        if elapsed_ns(now, load64(&peer.send_rekey_asked_ns)) >= SECOND_NS:
            store64(&peer.send_rekey_asked_ns, now)
            events_raise(&dp.shared.events, peer, EVENT_REKEY_WANTED)


# ---- cutting, sealing and queueing

cdef struct Together:
    # Datagrams that one call of the cipher seals: of one keypair, with counters in a row, from any runs
    uint8_t *datagrams[AEAD_BATCH]
    uint32_t wire_lens[AEAD_BATCH]
    uint32_t count
    PlannedRun *runs[AEAD_BATCH]    # which they belong to,
    uint32_t of_run[AEAD_BATCH]     # so many of them to each
    int run_count
    const Keypair *keypair
    uint64_t first_counter


cdef void send_batch_seal(SendBatch *b, Dataplane *dp, AeadContexts *contexts) noexcept nogil:
    """Cuts, seals and queues every run. `contexts`: the calling thread's."""
    cdef PlannedRun *planned
    cdef Together together
    cdef int i
    c_assert(b.sender.count == 0)
    together.count = 0
    together.keypair = NULL
    for i in range(b.run_count):
        planned = &b.runs[i]
        if (planned.keypair != together.keypair
                or planned.first_counter != together.first_counter + together.count):
            seal_together(&together, &contexts.sealer)
        add_run(&together, planned, &contexts.sealer)
    seal_together(&together, &contexts.sealer)
    aead_contexts_forget(contexts)
    for i in range(b.run_count):
        planned = &b.runs[i]
        # A run that was not sealed whole is not sent; its counters are not used again.
        if planned.sealed != planned.run.count:
            count(&dp.counters.tx_seal_failed)
        elif not udp_queue(&b.sender, planned.peer, &planned.to, planned.run.base, run_len(&planned.run),
                           planned.run.stride if planned.run.count > 1 else 0, planned.tos):
            count(&dp.counters.tx_no_room)


cdef void add_run(Together *together, PlannedRun *planned, Aead *sealer) noexcept nogil:
    """Adds a run's datagrams, cut if need be, and seals whenever as many are together as a call takes."""
    cdef Run *run = &planned.run
    cdef uint32_t done = 0, n, i
    while done < run.count:
        if together.count == 0:
            together.run_count = 0
            together.keypair = planned.keypair
            together.first_counter = planned.first_counter + done
        n = min(AEAD_BATCH - together.count, run.count - done)
        if planned.frame != NULL:
            segment_cut(planned.frame, run, done, n)
        for i in range(done, done + n):
            together.datagrams[together.count] = run.base + i * run.stride
            together.wire_lens[together.count] = run.stride if i + 1 < run.count else run.last_wire
            together.count += 1
        c_assert(together.run_count < AEAD_BATCH)
        together.runs[together.run_count] = planned
        together.of_run[together.run_count] = n
        together.run_count += 1
        done += n
        if together.count == AEAD_BATCH:
            seal_together(together, sealer)


cdef void seal_together(Together *together, Aead *sealer) noexcept nogil:
    """Seals what is together, if anything is. What could not be sealed is not noted as sealed."""
    cdef const Keypair *keypair = together.keypair
    cdef uint32_t n = together.count
    cdef int i
    c_assert(n <= AEAD_BATCH)
    together.count = 0
    if n == 0:
        return
    if (aead_use(sealer, keypair_seal_key(keypair)) != 0
            or seal_batch(sealer, together.datagrams, together.wire_lens, <int>n, keypair.remote_index,
                          together.first_counter) != 0):
        return
    for i in range(together.run_count):
        together.runs[i].sealed += together.of_run[i]


cdef bint send_batch_send(SendBatch *b, Dataplane *dp) noexcept nogil:
    """Sends what is queued. True: all is sent, and the batch is empty.

    False: the socket is full, and the rest waits for the next call.
    """
    b.run_count = 0
    b.ring_used = 0
    b.segments_used = 0
    b.frame_count = 0
    return b.sender.count == 0 or udp_flush(&b.sender, dp)


cdef void send_batch_forget_peers(SendBatch *b) noexcept nogil:
    """Drops every pointer to a peer from a batch that was sealed: its peers may be freed."""
    udp_forget_peers(&b.sender)
