"""The send path, in the order of the functions below:

1. `send_step`, which a thread calls inside the gate (handoff), reads until the TUN is empty or the batch is 64
   packets or 64 KiB.
2. `outbound` finds the peer that owns the destination, and a keypair; without one the packet is staged.
3. `plan_frame` checks a superframe and decides its datagrams' lengths; `send_batch_plan_packet` appends a packet, where
   it was read, to the run before it if both go to the same peer and have the same length.
4. `pass_on` reserves the counters, cuts and seals every run and sends it, a run in one send where the kernel segments
   (seal). With helpers it hands the batch to them (reorder), which cut and seal, unless the TUN is empty and no batch
   is on its way: a hop gains nothing then.

The control plane calls `send_staged` with all gates held, so no thread is in here meanwhile.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from pywg.dataplane.crypto.aead_contexts cimport AeadContexts, aead_contexts_free, aead_contexts_init
from pywg.dataplane.reorder.pool cimport pool_wake
from pywg.dataplane.reorder.reorder cimport reorder_destroy, reorder_finish, reorder_finish_held, reorder_has_room
from pywg.dataplane.reorder.reorder cimport reorder_hold, reorder_init, reorder_is_empty, reorder_next, reorder_release
from pywg.dataplane.reorder.reorder cimport reorder_submit, reorder_submit_worked, reorder_turns, reorder_work
from pywg.dataplane.send.routing_loop cimport looks_like_transport, routing_loop_closes
from pywg.dataplane.send.seal cimport BATCH_BYTES, BATCH_PACKETS, READ_MAX, SendBatch, send_batch_forget_peers
from pywg.dataplane.send.seal cimport send_batch_free, send_batch_init, send_batch_next_frame, send_batch_next_packet
from pywg.dataplane.send.seal cimport send_batch_next_segments, send_batch_plan_frame, send_batch_plan_packet
from pywg.dataplane.send.seal cimport send_batch_reserve, send_batch_seal, send_batch_send, sending
from pywg.dataplane.send.segment cimport SEG_NO_ROOM, SEG_UNKNOWN_GSO, Superframe, finish_checksum, segment_cut
from pywg.dataplane.send.segment cimport segment_plan
from pywg.dataplane.send.unreachable cimport ICMP_BURST, ICMP_PER_SECOND, ICMP_REPLY_MAX, icmp_send, icmp_unreachable
from pywg.dataplane.state.allowedips cimport allowedips_lookup
from pywg.dataplane.state.counters cimport count
from pywg.dataplane.state.dataplane cimport Dataplane, gates_are_mine
from pywg.dataplane.state.events cimport events_raise, events_signal
from pywg.dataplane.state.gate cimport gate_is_mine
from pywg.dataplane.state.peer cimport EVENT_HANDSHAKE_WANTED, Peer, StagedPacket, can_seal, has_endpoint
from pywg.dataplane.state.staged cimport stage_packet, staged_any, staged_free, staged_take
from pywg.dataplane.state.token_bucket cimport token_bucket_take
from pywg.dataplane.state.tunnel_ends cimport tunnel_ends_note
from pywg.dataplane.sys cimport linux
from pywg.dataplane.sys.atomic cimport load64, load8, store64, store8, store_int
from pywg.dataplane.sys.checks cimport c_assert
from pywg.dataplane.sys.clock cimport elapsed_ns, now_ns
from pywg.dataplane.sys.linux cimport EAGAIN, EBADF, EBADFD, EINTR, ENODEV, read, write
from pywg.dataplane.wire.ecn cimport ECN_MASK
from pywg.dataplane.wire.ip cimport PROTO_UDP, UDP_LEN, IpView, ip_read, ip_tos
from pywg.dataplane.wire.limits cimport STAGED_PACKETS
from pywg.dataplane.wire.run cimport Run
from pywg.dataplane.wire.udp_tunnel cimport udp_tunnel_inner
from pywg.dataplane.wire.virtio cimport VNET_F_NEEDS_CSUM, VNET_GSO_NONE, VNET_HDR_MAX, VnetHdr
from pywg.dataplane.wire.wireguard cimport WG_HEADER_LEN

cdef enum:
    ASK_AGAIN_MS = 250              # how often at most a peer asks the control plane for a handshake
    HEAVY_BYTES = 16384             # of one batch: more than acknowledgements and the like


cdef SendPath *send_path_new(Dataplane *dp, int slots) noexcept nogil:
    """`slots`: batches that may be on their way at once; 1 without helpers. NULL: no memory."""
    cdef SendPath *e = <SendPath *>calloc(1, sizeof(SendPath))
    cdef int i
    if e == NULL:
        return NULL
    e.dp = dp
    aead_contexts_init(&e.contexts, dp.aead)
    reorder_init(&e.reorder, slots, dp.send_kick, e, seal_slot, send_slot)
    e.batches = <SendBatch *>calloc(slots, sizeof(SendBatch))
    if e.batches == NULL:
        send_path_free(e)
        return NULL
    e.batch = &e.batches[0]
    for i in range(slots):
        e.batch_count += 1
        if send_batch_init(&e.batches[i]) < 0:
            send_path_free(e)
            return NULL
    return e


cdef void send_path_turns(SendPath *e, int looks) noexcept nogil:
    """Before the helpers start: each thread sends what it has sealed, when it is its turn (`reorder_turns`)."""
    reorder_turns(&e.reorder, looks, &e.dp.counters.tx_turns, &e.dp.counters.tx_turns_late)


cdef void send_path_free(SendPath *e) noexcept nogil:
    cdef int i
    if e == NULL:
        return
    for i in range(e.batch_count):
        send_batch_free(&e.batches[i])
    free(e.batches)
    aead_contexts_free(&e.contexts)
    reorder_destroy(&e.reorder)
    free(e)


# ---- 1. a batch

cdef bint send_step(SendPath *e) noexcept nogil:
    """Reads and passes on one batch, inside the gate. False: there is nothing to do until poll() says so."""
    cdef Dataplane *dp = e.dp
    cdef uint64_t now
    cdef uint32_t packets = 0, taken = 0
    cdef uint8_t *packet
    cdef ssize_t n
    cdef bint more = True
    c_assert(gate_is_mine(&e.dp.send_gate))
    if not ready(e) or dp.tun_fd < 0:
        return False
    now = e.now = now_ns()
    while packets < BATCH_PACKETS and taken < BATCH_BYTES and e.filling:
        # Checked for each packet: staged packets may have filled the batch.
        packet = send_batch_next_packet(e.batch, RUNS_FOR_A_FRAME)
        if packet == NULL:
            break
        n = read(dp.tun_fd, packet - dp.vnet_hdr_len, READ_MAX)
        if n <= 0:
            more = read_failed(e, linux.errno if n < 0 else ENODEV)     # 0: the end of the file
            break
        packets += 1
        if n <= dp.vnet_hdr_len:
            count(&dp.counters.tx_malformed)
            continue
        taken += <uint32_t>n
        outbound(e, packet, <uint32_t>n - dp.vnet_hdr_len, now)
    if more or taken >= HEAVY_BYTES:
        e.heavy_ns = now
    count(&dp.counters.tx_packets, packets)
    if e.filling:
        pass_on(e, not more, now)
    return more and not e.backlog


cdef bint ready(SendPath *e) noexcept nogil:
    """Whether a full socket's backlog is sent, and there is a batch to fill."""
    if e.pool == NULL:
        e.filling = not e.backlog or send(e, e.batch)
        store8(&e.backlog, not e.filling)
        return e.filling
    if load8(&e.reorder.backlog):
        reorder_finish(&e.reorder, True)
    e.no_free_batch = False
    # Where all batches wait to be sealed, this thread seals one.
    while not next_batch(e) and not e.backlog:
        if not reorder_work(&e.reorder, &e.contexts) and not reorder_has_room(&e.reorder):
            e.no_free_batch = True
            return False
    return e.filling


cdef bint next_batch(SendPath *e) noexcept nogil:
    """With helpers: takes the next batch to fill. False: none is free, or a full socket blocks them."""
    cdef int slot = reorder_next(&e.reorder)
    store8(&e.backlog, load8(&e.reorder.backlog))
    e.filling = slot >= 0 and not e.backlog
    if e.filling:
        e.batch = &e.batches[slot]
    return e.filling


cdef bint read_failed(SendPath *e, int error) noexcept nogil:
    """True: try again at once."""
    cdef Dataplane *dp = e.dp
    if error == EAGAIN:
        return False
    if error == EINTR:
        return True
    count(&dp.counters.tx_tun_error)
    if error == EBADFD or error == ENODEV or error == EBADF:
        store_int(&dp.tun_fd, -1)
        store8(&dp.shared.events.tun_gone, 1)
        events_signal(&dp.shared.events)
        return False
    # Other errors pass (EIO while the link comes or goes), but reading again at once would spin.
    e.failing = True
    return False


# ---- 2. the peer of a packet

cdef void outbound(SendPath *e, uint8_t *packet, uint32_t packet_len, uint64_t now) noexcept nogil:
    cdef Dataplane *dp = e.dp
    cdef VnetHdr *hdr = <VnetHdr *>(packet - dp.vnet_hdr_len)
    cdef Peer *peer
    cdef IpView ip
    if not ip_read(&ip, packet, packet_len):
        count(&dp.counters.tx_malformed)
        return
    peer = <Peer *>allowedips_lookup(dp.shared.allowed, ip.destination, ip.address_len)
    if peer == NULL or not has_endpoint(peer):
        count(&dp.counters.tx_no_peer if peer == NULL else &dp.counters.tx_no_endpoint)
        answer_unreachable(e, &ip, now)
        return
    if looks_like_transport(&ip) and routing_loop_closes(dp, peer, &ip, now):
        count(&dp.counters.tx_routing_loop)
        return
    if dp.vnet_hdr_len != 0 and hdr.gso_type != VNET_GSO_NONE:
        plan_frame(e, peer, hdr, &ip, now)
        return
    if dp.vnet_hdr_len != 0 and hdr.flags & VNET_F_NEEDS_CSUM:
        if hdr.csum_start != ip.l4_offset and dp.tunnels:
            note_tunnel(dp, hdr, &ip, now)
        if finish_checksum(hdr, packet, packet_len) != 0:
            count(&dp.counters.tx_malformed)
            return
    if may_send(e, peer, now):
        send_batch_plan_packet(e.batch, peer, packet, packet_len, ip.tos & ECN_MASK, dp.mtu)
    else:
        stage_packet(dp, peer, packet, packet_len)
        if can_seal(sending(peer), now):
            plan_staged(e, peer, now)


cdef void note_tunnel(Dataplane *dp, const VnetHdr *hdr, const IpView *ip, uint64_t now) noexcept nogil:
    """Notes the end of a UDP tunnel behind the TUN, if the kernel leaves a checksum in a tunnel to be finished."""
    cdef uint32_t inner
    if ip.protocol != PROTO_UDP or ip.fragment or ip.total_len - ip.l4_offset < UDP_LEN or ip.l4_offset == 0:
        return
    inner = udp_tunnel_inner(ip.packet, ip.l4_offset, ip.total_len)
    if inner != 0 and hdr.csum_start > inner:
        tunnel_ends_note(&dp.shared.tunnel_ends, ip, now)


cdef void answer_unreachable(SendPath *e, const IpView *ip, uint64_t now) noexcept nogil:
    """Sends the inner sender an unreachable, if the RFCs allow an answer and the rate limit does."""
    cdef Dataplane *dp = e.dp
    cdef int fd = dp.icmp4_fd if ip.version == 4 else dp.icmp6_fd
    cdef uint32_t len
    cdef bint written
    if not token_bucket_take(&e.icmp, now, ICMP_PER_SECOND, ICMP_BURST):
        return
    len = icmp_unreachable(ip, e.reply + VNET_HDR_MAX)
    c_assert(len <= ICMP_REPLY_MAX)
    if len == 0:
        return
    if fd >= 0:
        if icmp_send(fd, e.reply + VNET_HDR_MAX, len):
            count(&dp.counters.tx_unreachable_sent)
            return
        count(&dp.counters.tx_unreachable_error)
    memset(e.reply, 0, VNET_HDR_MAX)
    written = write(dp.tun_fd, e.reply + VNET_HDR_MAX - dp.vnet_hdr_len, len + dp.vnet_hdr_len) >= 0
    count(&dp.counters.tx_unreachable_sent if written else &dp.counters.tx_unreachable_error)


cdef bint may_send(SendPath *e, Peer *peer, uint64_t now) noexcept nogil:
    """Notes that there is data for the peer. False: stage it, for want of a keypair or behind other staged packets."""
    cdef Dataplane *dp = e.dp
    store64(&peer.last_data_sent, now)
    if not can_seal(sending(peer), now):
        if elapsed_ns(now, load64(&peer.handshake_asked_ns)) > ASK_AGAIN_MS * 1000000ULL:
            store64(&peer.handshake_asked_ns, now)
            events_raise(&dp.shared.events, peer, EVENT_HANDSHAKE_WANTED)
        return False
    return not staged_any(peer)


# ---- 3. runs

cdef void plan_frame(SendPath *e, Peer *peer, const VnetHdr *hdr, const IpView *ip, uint64_t now) noexcept nogil:
    """Plans a superframe as one run, or more where it exceeds one UDP send. The thread that seals it cuts it."""
    cdef Dataplane *dp = e.dp
    cdef Run runs[RUNS_FOR_A_FRAME]
    cdef Superframe *frame = send_batch_next_frame(e.batch)
    cdef uint32_t room
    cdef uint8_t *out = send_batch_next_segments(e.batch, &room)
    cdef int i, n = segment_plan(frame, hdr, dp.vnet_hdr_len, ip, dp.mtu, out, room, runs, RUNS_FOR_A_FRAME)
    if n <= 0:
        if n == SEG_UNKNOWN_GSO:
            count(&dp.counters.tx_unknown_gso)
        else:
            count(&dp.counters.tx_no_room if n == SEG_NO_ROOM else &dp.counters.tx_malformed)
        return
    if frame.front:
        note_tunnel(dp, hdr, ip, now)
    if may_send(e, peer, now):
        send_batch_plan_frame(e.batch, peer, ip.tos & ECN_MASK, runs, n)
        return
    for i in range(n):
        segment_cut(frame, &runs[i], 0, runs[i].count)
        stage_run(dp, peer, &runs[i])
    if can_seal(sending(peer), now):
        plan_staged(e, peer, now)


cdef void stage_run(Dataplane *dp, Peer *peer, const Run *run) noexcept nogil:
    cdef uint32_t i
    for i in range(run.count):
        stage_packet(dp, peer, run.base + i * run.stride + WG_HEADER_LEN,
                     run.inner_len if i + 1 < run.count else run.last_len)


cdef bint plan_staged(SendPath *e, Peer *peer, uint64_t now) noexcept nogil:
    """Plans all packets staged for a peer that has a keypair, and passes a batch on whenever it is full.

    No more than can have waited before: what other shards add meanwhile they plan themselves, and this one keeps its
    gate no longer, and goes no further behind `can_seal`. False: the socket is full, or there is no other batch.
    """
    cdef StagedPacket *staged
    cdef uint8_t *packet
    cdef int taken = 0
    while taken < STAGED_PACKETS and staged_any(peer):
        packet = send_batch_next_packet(e.batch, 1)
        if packet == NULL:
            if not pass_on(e, False, now):
                return False
            continue
        staged = staged_take(e.dp, peer)
        if staged == NULL:
            break               # another shard has taken the last one
        taken += 1
        c_assert(staged.len <= READ_MAX)
        memcpy(packet, staged.data, staged.len)
        send_batch_plan_packet(e.batch, peer, packet, staged.len, ip_tos(packet) & ECN_MASK, e.dp.mtu)
        staged_free(staged)
    return True


# ---- 4. seal and send

cdef bint pass_on(SendPath *e, bint drained, uint64_t now) noexcept nogil:
    """Seals and sends the planned runs, or hands them to helpers. False: no more can be planned now.

    `drained`: the TUN had no more packets.
    """
    cdef Dataplane *dp = e.dp
    cdef SendBatch *b = e.batch
    if b.run_count == 0:
        return True
    send_batch_reserve(b, dp, now)
    if e.pool == NULL:
        send_batch_seal(b, dp, &e.contexts)
        e.filling = send(e, b)
        store8(&e.backlog, not e.filling)
        return e.filling
    if reorder_is_empty(&e.reorder) and (drained or e.on_hold):
        send_batch_seal(b, dp, &e.contexts)
        reorder_submit_worked(&e.reorder)
        if e.on_hold:
            reorder_finish_held(&e.reorder)
        else:
            reorder_finish(&e.reorder, False)
    else:
        reorder_submit(&e.reorder)
        count(&dp.counters.tx_shared)
        if not drained:
            pool_wake(e.pool)
        else:
            # This thread has nothing else to do: it works on the slots itself, instead of waking a helper.
            while reorder_work(&e.reorder, &e.contexts):
                pass
    return next_batch(e)


cdef bint send(SendPath *e, SendBatch *b) noexcept nogil:
    """Sends the batch. False: the socket is full."""
    if send_batch_send(b, e.dp):
        return True
    store8(&e.backlog_family, b.sender.queue[b.sender.sent].to.ip_len)
    return False


cdef void seal_slot(void *owner, int slot, AeadContexts *contexts) noexcept nogil:
    cdef SendPath *e = <SendPath *>owner
    send_batch_seal(&e.batches[slot], e.dp, contexts)


cdef bint send_slot(void *owner, int slot) noexcept nogil:
    cdef SendPath *e = <SendPath *>owner
    return send(e, &e.batches[slot])


# ---- the control plane, inside both gates

cdef void send_path_hold(SendPath *e) noexcept nogil:
    """Returns when no helper has a slot of this direction; none gets one before `send_path_release`.

    By then messages that wait for a full socket point to no peer: peers may be freed next.
    """
    cdef int i
    c_assert(gates_are_mine(e.dp))
    if e.pool != NULL:
        reorder_hold(&e.reorder)
        e.on_hold = True
    for i in range(e.batch_count):
        send_batch_forget_peers(&e.batches[i])


cdef void send_path_release(SendPath *e) noexcept nogil:
    c_assert(gates_are_mine(e.dp))
    if e.pool != NULL:
        e.on_hold = False
        reorder_release(&e.reorder)


cdef bint send_staged(SendPath *e, Peer *peer, bint keepalive_if_none, uint64_t now) noexcept nogil:
    """Sends the staged packets, or an empty one (wg_packet_send_keepalive in Linux). False: not sent, or not all.

    Without a usable keypair it asks for a handshake, if there is something to send, which then begins the session.
    """
    c_assert(gates_are_mine(e.dp))
    if not has_endpoint(peer):
        return False
    if not can_seal(sending(peer), now):
        if keepalive_if_none or staged_any(peer):
            events_raise(&e.dp.shared.events, peer, EVENT_HANDSHAKE_WANTED)
        return False
    if not (ready(e) if e.pool == NULL else next_batch(e)):
        return False
    if not staged_any(peer):
        if keepalive_if_none:
            send_batch_plan_packet(e.batch, peer, send_batch_next_packet(e.batch, 1), 0, 0, e.dp.mtu)
    elif not plan_staged(e, peer, now):
        return False
    return pass_on(e, True, now)
