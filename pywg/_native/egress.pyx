"""Outbound flow, in the order of the functions below:

1. `egress_thread` waits for the TUN, enters its gate and runs one `step`, which reads until the TUN is empty or the
   batch is 64 packets or 64 KiB.
2. `outbound` finds the peer that owns the destination, and a keypair; without one the packet is staged.
3. `plan_frame` cuts a superframe into datagrams; `plan_packet` appends a packet, where it was read, to the run before
   it if both go to the same peer and have the same length.
4. `transmit` seals every run and queues it; udp sends what is queued, a run in one send where the kernel segments.

The control plane calls `egress_send_staged` with both gates held, so it never meets the thread in here.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset
from pywg._native cimport linux
from pywg._native.aead cimport seal_run
from pywg._native.allowedips cimport allowedips_lookup4, allowedips_lookup6
from pywg._native.atomic cimport add64, fence, load8, load64, load_pointer, store8, store64, swap8
from pywg._native.bucket cimport bucket_take
from pywg._native.clock cimport now_ns
from pywg._native.counters cimport TX_MALFORMED, TX_NO_ENDPOINT, TX_NO_PEER, TX_NO_ROOM, TX_PACKETS, TX_SEAL_FAILED
from pywg._native.counters cimport TX_ROUTING_LOOP, TX_TUN_ERROR, TX_UNKNOWN_GSO, TX_UNREACHABLE_SENT, count
from pywg._native.dataplane cimport Dataplane
from pywg._native.events cimport events_raise, events_signal
from pywg._native.gate cimport gate_enter, gate_leave
from pywg._native.icmp cimport ICMP_BURST, ICMP_PER_SECOND, icmp_unreachable
from pywg._native.libcrypto cimport OPENSSL_cleanse
from pywg._native.linux cimport EAGAIN, EBADF, EBADFD, EINTR, ENODEV, POLLIN, POLLOUT, poll, pollfd
from pywg._native.linux cimport pthread_mutex_lock, pthread_mutex_unlock, read, write
from pywg._native.loop cimport is_own_message
from pywg._native.segment cimport RUN_MAX_DATAGRAMS, RUN_MAX_WIRE_LEN, SEG_NO_ROOM, SEG_UNKNOWN_GSO
from pywg._native.segment cimport Run, finish_checksum, segment_frame
from pywg._native.session cimport EVENT_ACTIVITY, EVENT_HANDSHAKE_WANTED, EVENT_REKEY_WANTED
from pywg._native.session cimport REKEY_AFTER_MESSAGES, REKEY_AFTER_TIME_S, SECOND_NS
from pywg._native.session cimport Endpoint, Keypair, Peer, StagedPacket, can_seal
from pywg._native.staged cimport stage_packet, staged_free, staged_take
from pywg._native.udp cimport udp_flush, udp_forget_peers, udp_queue
from pywg._native.wire cimport TAG_LEN, VNET_F_NEEDS_CSUM, VNET_GSO_NONE, WG_HEADER_LEN, VnetHdr, padded_len

cdef enum:
    ASK_AGAIN_MS = 250              # how often at most a peer asks the control plane for a handshake
    ERROR_PAUSE_MS = 10             # after a TUN error that is not the end of the TUN


cdef Egress *egress_new(Dataplane *dp) noexcept nogil:
    """NULL: no memory."""
    cdef Egress *e = <Egress *>calloc(1, sizeof(Egress))
    if e == NULL:
        return NULL
    e.dp = dp
    e.ring = <uint8_t *>malloc(RING_LEN)
    e.segments = <uint8_t *>malloc(SEGMENTS_LEN)
    if e.ring == NULL or e.segments == NULL:
        egress_free(e)
        return NULL
    return e


cdef void egress_free(Egress *e) noexcept nogil:
    if e == NULL:
        return
    if e.ring != NULL:
        OPENSSL_cleanse(e.ring, RING_LEN)
    if e.segments != NULL:
        OPENSSL_cleanse(e.segments, SEGMENTS_LEN)
    free(e.ring)
    free(e.segments)
    free(e)


# ---- 1. the thread

cdef void *egress_thread(void *arg) noexcept nogil:
    cdef Egress *e = <Egress *>arg
    cdef Dataplane *dp = e.dp
    cdef bint more
    while not load8(&dp.stop):
        gate_enter(&dp.tx_gate)
        more = step(e)
        gate_leave(&dp.tx_gate)
        if not more:
            wait(e)
    return NULL


cdef void wait(Egress *e) noexcept nogil:
    """Until the TUN has a packet, or, when UDP is full, until it is not; or until the control plane kicks."""
    cdef Dataplane *dp = e.dp
    cdef pollfd fds[2]
    cdef uint64_t ignored
    add64(&dp.tx_waits, 1)
    fence()     # either the descriptors below are today's, or Plane.settle() sees this thread waiting
    fds[0].fd = dp.tx_kick
    fds[0].events = POLLIN
    if e.blocked:
        # Just the socket that is full: the other one would end every poll() at once.
        fds[1].fd = dp.fd4 if e.sender.queue[e.sender.sent].to.ip_len == 4 else dp.fd6
        fds[1].events = POLLOUT
    else:
        fds[1].fd = dp.tun_fd if not e.failing else -1
        fds[1].events = POLLIN
    if poll(fds, 2, ERROR_PAUSE_MS if e.failing else -1) > 0 and fds[0].revents != 0:
        read(dp.tx_kick, &ignored, sizeof(ignored))
    e.failing = False
    add64(&dp.tx_waits, 1)


cdef bint step(Egress *e) noexcept nogil:
    """One batch, inside the gate. False: there is nothing to do until poll() says so."""
    cdef Dataplane *dp = e.dp
    cdef uint64_t now
    cdef uint32_t packets = 0, taken = 0
    cdef uint8_t *packet
    cdef ssize_t n
    cdef bint more = True
    if e.blocked:
        if not udp_flush(&e.sender, dp):
            return False
        e.blocked = False
    if dp.tun_fd < 0:
        return False
    now = now_ns()
    while (packets < BATCH_PACKETS and taken < BATCH_BYTES and e.run_count <= MAX_RUNS - RUNS_FOR_A_FRAME
           and not e.blocked):
        packet = e.ring + e.ring_used + WG_HEADER_LEN
        n = read(dp.tun_fd, packet - dp.vnet_hdr_len, FRAME_MAX - TAG_LEN)
        if n <= 0:
            more = read_failed(e, linux.errno if n < 0 else ENODEV)     # 0: the end of the file
            break
        packets += 1
        if n <= dp.vnet_hdr_len:
            count(dp.counters, TX_MALFORMED)
            continue
        taken += <uint32_t>n
        outbound(e, packet, <uint32_t>n - dp.vnet_hdr_len, now)
    count(dp.counters, TX_PACKETS, packets)
    return transmit(e, now) and more


cdef bint read_failed(Egress *e, int error) noexcept nogil:
    """True: try again at once."""
    cdef Dataplane *dp = e.dp
    if error == EAGAIN:
        return False
    if error == EINTR:
        return True
    count(dp.counters, TX_TUN_ERROR)
    if error == EBADFD or error == ENODEV or error == EBADF:
        dp.tun_fd = -1
        store8(&dp.events.tun_gone, 1)
        events_signal(&dp.events)
        return False
    # Anything else passes (EIO while the link comes or goes): not as fast as a loop can turn, though.
    e.failing = True
    return False


# ---- 2. whose packet it is

cdef void outbound(Egress *e, uint8_t *packet, uint32_t packet_len, uint64_t now) noexcept nogil:
    cdef Dataplane *dp = e.dp
    cdef VnetHdr *hdr = <VnetHdr *>(packet - dp.vnet_hdr_len)
    cdef Peer *peer
    cdef uint8_t tos
    if packet_len >= 20 and packet[0] >> 4 == 4:
        peer = <Peer *>allowedips_lookup4(dp.allowed, packet + 16)
        tos = packet[1]
    elif packet_len >= 40 and packet[0] >> 4 == 6:
        peer = <Peer *>allowedips_lookup6(dp.allowed, packet + 24)
        tos = <uint8_t>(packet[0] << 4) | (packet[1] >> 4)
    else:
        count(dp.counters, TX_MALFORMED)
        return
    if peer == NULL or peer.endpoint.ip_len == 0:
        count(dp.counters, TX_NO_PEER if peer == NULL else TX_NO_ENDPOINT)
        answer_unreachable(e, packet, packet_len, now)
        return
    if is_own_message(peer, packet, packet_len):
        count(dp.counters, TX_ROUTING_LOOP)
        return
    if dp.vnet_hdr_len != 0 and hdr.gso_type != VNET_GSO_NONE:
        plan_frame(e, peer, hdr, packet, packet_len, tos & 3, now)
        return
    if dp.vnet_hdr_len != 0 and hdr.flags & VNET_F_NEEDS_CSUM and finish_checksum(hdr, packet, packet_len) != 0:
        count(dp.counters, TX_MALFORMED)
        return
    if may_send(e, peer, now):
        plan_packet(e, peer, packet, packet_len, tos & 3)
    else:
        stage_packet(dp, peer, packet, packet_len)
        if can_seal(sending(peer), now):
            plan_staged(e, peer, now)


cdef void answer_unreachable(Egress *e, const uint8_t *packet, uint32_t packet_len, uint64_t now) noexcept nogil:
    """Tells the inner sender, if it may be told and was not told too much already."""
    cdef Dataplane *dp = e.dp
    cdef uint32_t len
    if not bucket_take(&e.icmp, now, ICMP_PER_SECOND, ICMP_BURST):
        return
    len = icmp_unreachable(packet, packet_len, e.reply + 16)
    if len != 0:
        memset(e.reply, 0, 16)
        write(dp.tun_fd, e.reply + 16 - dp.vnet_hdr_len, len + dp.vnet_hdr_len)
        count(dp.counters, TX_UNREACHABLE_SENT)


cdef inline Keypair *sending(const Peer *peer) noexcept nogil:
    return <Keypair *>load_pointer(<void *const *>&peer.sending)


cdef bint may_send(Egress *e, Peer *peer, uint64_t now) noexcept nogil:
    """Notes that the peer has data to send. False: it has to be staged, behind what is, or for want of a keypair."""
    cdef Dataplane *dp = e.dp
    store64(&peer.last_data_sent, now)
    if not can_seal(sending(peer), now):
        if now - peer.handshake_asked_ns > ASK_AGAIN_MS * 1000000ULL:
            peer.handshake_asked_ns = now
            events_raise(&dp.events, peer, EVENT_HANDSHAKE_WANTED)
        return False
    return peer.staged_first == NULL


# ---- 3. runs

cdef void plan_frame(Egress *e, Peer *peer, const VnetHdr *hdr, uint8_t *packet, uint32_t packet_len, uint8_t ecn,
                     uint64_t now) noexcept nogil:
    """A superframe becomes one run, or more when it holds more than one UDP send may."""
    cdef Dataplane *dp = e.dp
    cdef Run runs[RUNS_FOR_A_FRAME]
    cdef uint8_t *out = e.segments + e.segments_used
    cdef PlannedRun *planned
    cdef int i, n
    n = segment_frame(hdr, packet, packet_len, dp.mtu, out, SEGMENTS_LEN - e.segments_used, runs, RUNS_FOR_A_FRAME)
    if n <= 0:
        count(dp.counters, TX_UNKNOWN_GSO if n == SEG_UNKNOWN_GSO else TX_NO_ROOM if n == SEG_NO_ROOM else TX_MALFORMED)
        return
    if not may_send(e, peer, now):
        for i in range(n):
            stage_run(dp, peer, &runs[i])
        if can_seal(sending(peer), now):
            plan_staged(e, peer, now)
        return
    for i in range(n):
        planned = &e.runs[e.run_count]
        e.run_count += 1
        planned.run = runs[i]
        planned.peer = peer
        planned.tos = ecn
        e.segments_used += run_len(&runs[i])


cdef inline uint32_t run_len(const Run *run) noexcept nogil:
    return (run.count - 1) * run.stride + run.last_wire


cdef void stage_run(Dataplane *dp, Peer *peer, const Run *run) noexcept nogil:
    cdef uint32_t i
    for i in range(run.count):
        stage_packet(dp, peer, run.base + i * run.stride + WG_HEADER_LEN,
                     run.inner_len if i + 1 < run.count else run.last_len)


cdef void plan_packet(Egress *e, Peer *peer, uint8_t *packet, uint32_t packet_len, uint8_t ecn) noexcept nogil:
    """The packet stands at the ring's free end, with room for the header before it."""
    cdef uint32_t padded = padded_len(packet_len, e.dp.mtu)
    cdef uint32_t wire = WG_HEADER_LEN + padded + TAG_LEN
    cdef uint8_t *base = packet - WG_HEADER_LEN
    cdef PlannedRun *last = &e.runs[e.run_count - 1]
    memset(packet + packet_len, 0, padded - packet_len)
    e.ring_used += wire
    if (e.run_count > 0 and last.peer == peer and last.tos == ecn and last.run.base + run_len(&last.run) == base
            and last.run.last_wire == last.run.stride and wire <= last.run.stride
            and last.run.count < RUN_MAX_DATAGRAMS and run_len(&last.run) + wire <= RUN_MAX_WIRE_LEN):
        last.run.count += 1
        last.run.last_len = packet_len
        last.run.last_wire = wire
        return
    last = &e.runs[e.run_count]
    e.run_count += 1
    last.peer = peer
    last.tos = ecn
    last.run.base = base
    last.run.count = 1
    last.run.inner_len = last.run.last_len = packet_len
    last.run.stride = last.run.last_wire = wire


# ---- 4. seal and send

cdef bint transmit(Egress *e, uint64_t now) noexcept nogil:
    """Seals and sends all that is planned; then the ring is free again. False: UDP is full."""
    cdef Dataplane *dp = e.dp
    cdef PlannedRun *planned
    cdef Peer *peer
    cdef Keypair *keypair
    cdef Endpoint to
    cdef int i
    for i in range(e.run_count):
        planned = &e.runs[i]
        peer = planned.peer
        keypair = sending(peer)
        if seal_run(&keypair.sealer, &planned.run, keypair.remote_index, keypair.next_counter) != 0:
            # A counter is never used twice, whatever happened.
            keypair.next_counter += planned.run.count
            count(dp.counters, TX_SEAL_FAILED)
            continue
        keypair.next_counter += planned.run.count
        note_sent(dp, peer, keypair, &planned.run, now)
        pthread_mutex_lock(&peer.endpoint_lock)
        to = peer.endpoint
        pthread_mutex_unlock(&peer.endpoint_lock)
        udp_queue(&e.sender, peer, &to, planned.run.base, run_len(&planned.run),
                  planned.run.stride if planned.run.count > 1 else 0, planned.tos)
    e.run_count = 0
    e.ring_used = 0
    e.segments_used = 0
    if e.sender.count != 0 and not udp_flush(&e.sender, dp):
        udp_forget_peers(&e.sender)
        e.blocked = True
        return False
    e.blocked = False
    return True


cdef void note_sent(Dataplane *dp, Peer *peer, const Keypair *keypair, const Run *run, uint64_t now) noexcept nogil:
    store64(&peer.last_sent, now)
    store64(&peer.keepalive_owed_since, 0)
    if run.inner_len != 0 and load64(&peer.unanswered_since) == 0:
        store64(&peer.unanswered_since, now)
        fence()     # either this thread sees the event armed, or Plane.activity() sees the start
        if load8(&peer.activity_armed) and swap8(&peer.activity_armed, 0):
            events_raise(&dp.events, peer, EVENT_ACTIVITY)
    if keypair.initiator and (now - keypair.birth_ns >= REKEY_AFTER_TIME_S * SECOND_NS
                              or keypair.next_counter >= REKEY_AFTER_MESSAGES):
        if now - peer.tx_rekey_asked_ns >= SECOND_NS:
            peer.tx_rekey_asked_ns = now
            events_raise(&dp.events, peer, EVENT_REKEY_WANTED)


cdef bint plan_staged(Egress *e, Peer *peer, uint64_t now) noexcept nogil:
    """Plans, and when the ring is full sends, all that is staged for a peer that has a keypair. False: UDP is full."""
    cdef StagedPacket *staged
    cdef uint8_t *packet
    while peer.staged_first != NULL:
        if e.run_count == MAX_RUNS or e.ring_used > BATCH_BYTES:
            if not transmit(e, now):
                return False
        staged = staged_take(e.dp, peer)
        packet = e.ring + e.ring_used + WG_HEADER_LEN
        memcpy(packet, staged.data, staged.len)
        plan_packet(e, peer, packet, staged.len, staged_ecn(packet))
        staged_free(staged)
    return True


cdef inline uint8_t staged_ecn(const uint8_t *packet) noexcept nogil:
    return packet[1] & 3 if packet[0] >> 4 == 4 else (packet[1] >> 4) & 3


cdef bint egress_send_staged(Egress *e, Peer *peer, bint keepalive_if_none, uint64_t now) noexcept nogil:
    """Sends what is staged, or an empty packet (the kernel's wg_packet_send_keepalive). False: not sent, or not all.

    A keepalive for which there is no keypair is a reason for a handshake, and the session then begins with one.
    """
    if peer.endpoint.ip_len == 0:
        return False
    if not can_seal(sending(peer), now):
        if keepalive_if_none:
            events_raise(&e.dp.events, peer, EVENT_HANDSHAKE_WANTED)
        return False
    if e.blocked:
        if not udp_flush(&e.sender, e.dp):
            return False
        e.blocked = False
    if peer.staged_first == NULL:
        if keepalive_if_none:
            plan_packet(e, peer, e.ring + e.ring_used + WG_HEADER_LEN, 0, 0)
    elif not plan_staged(e, peer, now):
        return False
    return transmit(e, now)
