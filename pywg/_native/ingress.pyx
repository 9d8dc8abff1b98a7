"""Inbound flow, in the order of the functions below:

1. `ingress_thread` waits for the sockets, enters its gate and runs one `step`: up to 16 UDP messages of each socket.
2. `inbound` cuts a message that GRO merged into datagrams and tells handshake messages from transport data.
3. `handshake_message` checks length, MAC1 or index, and queues the message for the control plane.
4. `transport_message` finds the keypair and gathers what waits for it; `open_pending` opens up to 64 in place, asks the
   replay window, and notes what each tells.
5. `deliver` checks that the peer owns the inner source; `write_frames` writes what the coalescer made of the batch.

Nothing is believed of a datagram before its tag holds: the window, the endpoint and the timers move only after that.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
from pywg._native cimport linux
from pywg._native.aead cimport open_batch
from pywg._native.allowedips cimport allowedips_lookup4, allowedips_lookup6
from pywg._native.atomic cimport add64, fence, load8, load64, store64, store_pointer, swap8
from pywg._native.bucket cimport bucket_take
from pywg._native.clock cimport now_ns
from pywg._native.coalesce cimport COALESCE_MAX_IOV, coalesce_add, coalesce_count, coalesce_frame, coalesce_free
from pywg._native.coalesce cimport Coalescer, coalesce_new, coalesce_reset
from pywg._native.counters cimport RX_BAD_MAC1, RX_CONGESTION_DROPPED, RX_DATAGRAMS, RX_EXPIRED, RX_FORGED
from pywg._native.counters cimport RX_KEEPALIVES, RX_MALFORMED
from pywg._native.counters cimport RX_NOT_IP, RX_PACKETS, RX_QUEUE_FULL, RX_RECEIVE_ERROR, RX_RECEIVES, RX_REPLAYED
from pywg._native.counters cimport RX_SOURCE_NOT_ALLOWED, RX_TRUNCATED, RX_TUN_ERROR, RX_TUN_WRITES, RX_UNDER_LOAD
from pywg._native.counters cimport RX_UNKNOWN_INDEX, count
from pywg._native.dataplane cimport Dataplane
from pywg._native.ecn cimport ecn_decapsulate
from pywg._native.events cimport NO_PEER, events_confirmed, events_push, events_raise
from pywg._native.gate cimport gate_enter, gate_leave
from pywg._native.index_table cimport IndexEntry, index_table_find
from pywg._native.linux cimport EINTR, POLLIN, poll, pollfd, pthread_mutex_lock, pthread_mutex_unlock, read, writev
from pywg._native.mac cimport mac1_holds, mac2_holds
from pywg._native.replay cimport replay_accept, replay_plausible
from pywg._native.session cimport EVENT_ACTIVITY, EVENT_ENDPOINT_MOVED, EVENT_REKEY_WANTED
from pywg._native.session cimport REJECT_AFTER_TIME_S, REKEY_ON_RECEIVE_S, SECOND_NS
from pywg._native.session cimport Endpoint, Keypair, Peer, same_endpoint
from pywg._native.udp cimport udp_receive, udp_received, udp_receiver_free, udp_receiver_new
from pywg._native.wire cimport COOKIE_REPLY_LEN, INITIATION_LEN, MESSAGE_COOKIE_REPLY, MESSAGE_INITIATION
from pywg._native.wire cimport MESSAGE_RESPONSE, MESSAGE_TRANSPORT, RESPONSE_LEN, TAG_LEN, TRANSPORT_MIN_LEN
from pywg._native.wire cimport WG_HEADER_LEN, TransportHeader


cdef Ingress *ingress_new(Dataplane *dp) noexcept nogil:
    """NULL: no memory."""
    cdef Ingress *e = <Ingress *>calloc(1, sizeof(Ingress))
    if e == NULL:
        return NULL
    e.dp = dp
    e.receiver = udp_receiver_new()
    e.coalescer = coalesce_new(COALESCE_PACKETS, 0)
    if e.receiver == NULL or e.coalescer == NULL:
        ingress_free(e)
        return NULL
    return e


cdef void ingress_free(Ingress *e) noexcept nogil:
    if e == NULL:
        return
    udp_receiver_free(e.receiver)
    if e.coalescer != NULL:
        coalesce_free(e.coalescer)
    free(e)


# ---- 1. the thread

cdef void *ingress_thread(void *arg) noexcept nogil:
    cdef Ingress *e = <Ingress *>arg
    cdef Dataplane *dp = e.dp
    cdef bint more
    while not load8(&dp.stop):
        gate_enter(&dp.rx_gate)
        more = step(e)
        gate_leave(&dp.rx_gate)
        if not more:
            wait(dp)
    return NULL


cdef void wait(Dataplane *dp) noexcept nogil:
    cdef pollfd fds[3]
    cdef uint64_t ignored
    add64(&dp.rx_waits, 1)
    fence()     # either the descriptors below are today's, or Plane.settle() sees this thread waiting
    fds[0].fd = dp.rx_kick
    fds[1].fd = dp.fd4
    fds[2].fd = dp.fd6
    fds[0].events = fds[1].events = fds[2].events = POLLIN
    if poll(fds, 3, -1) > 0 and fds[0].revents != 0:
        read(dp.rx_kick, &ignored, sizeof(ignored))
    add64(&dp.rx_waits, 1)


cdef bint step(Ingress *e) noexcept nogil:
    """One batch of each socket, inside the gate. False: there is nothing to do until poll() says so."""
    cdef bint more = False
    if e.vnet_hdr_len != e.dp.vnet_hdr_len and not renew_coalescer(e):
        return False
    if e.dp.fd4 >= 0:
        more = receive(e, e.dp.fd4)
    if e.dp.fd6 >= 0:
        more = receive(e, e.dp.fd6) or more
    return more


cdef bint renew_coalescer(Ingress *e) noexcept nogil:
    """For another virtio header. False: no memory, and nothing can be received until there is."""
    cdef Coalescer *renewed = coalesce_new(COALESCE_PACKETS, e.dp.vnet_hdr_len)
    if renewed == NULL:
        return False
    coalesce_free(e.coalescer)
    e.coalescer = renewed
    e.vnet_hdr_len = e.dp.vnet_hdr_len
    return True


cdef bint receive(Ingress *e, int fd) noexcept nogil:
    cdef Received *message
    cdef int i, n
    cdef uint64_t now
    n = udp_receive(e.receiver, fd)
    if n < 0:
        # A socket's pending error (ICMP) is gone once it was told; after any other, poll() says when to try again.
        count(e.dp.counters, RX_RECEIVE_ERROR)
        return False
    if n == 0:
        return False
    count(e.dp.counters, RX_RECEIVES)
    now = now_ns()
    for i in range(n):
        message = &e.messages[i]
        udp_received(e.receiver, i, message)
        if message.truncated:
            count(e.dp.counters, RX_TRUNCATED)
        else:
            inbound(e, message, now)
    open_pending(e, now)
    write_frames(e)
    return True


# ---- 2. datagrams

cdef void inbound(Ingress *e, Received *message, uint64_t now) noexcept nogil:
    cdef uint32_t at = 0, n = 0, len, kind
    cdef uint8_t *datagram
    if message.len == 0:
        n = 1
        count(e.dp.counters, RX_MALFORMED)
    while at < message.len:
        datagram = message.data + at
        len = message.len - at if message.len - at < message.stride else message.stride
        at += message.stride
        n += 1
        if len < 4:
            count(e.dp.counters, RX_MALFORMED)
            continue
        memcpy(&kind, datagram, 4)      # the type, and three bytes that are zero
        if kind == MESSAGE_TRANSPORT:
            transport_message(e, message, datagram, len, now)
        else:
            handshake_message(e, &message.source, datagram, len, kind, now)
    count(e.dp.counters, RX_DATAGRAMS, n)


# ---- 3. handshake messages

cdef void handshake_message(Ingress *e, const Endpoint *source, uint8_t *datagram, uint32_t len, uint32_t kind,
                            uint64_t now) noexcept nogil:
    cdef Dataplane *dp = e.dp
    cdef uint32_t peer = NO_PEER, index
    cdef IndexEntry *entry
    if not ((kind == MESSAGE_INITIATION and len == INITIATION_LEN) or (kind == MESSAGE_RESPONSE and len == RESPONSE_LEN)
            or (kind == MESSAGE_COOKIE_REPLY and len == COOKIE_REPLY_LEN)):
        count(dp.counters, RX_MALFORMED)
        return
    if kind != MESSAGE_INITIATION:
        memcpy(&index, datagram + (8 if kind == MESSAGE_RESPONSE else 4), 4)
        entry = index_table_find(&dp.indices, index)
        # A response answers a handshake in flight; a cookie reply may also come for one that has become a keypair.
        if entry == NULL or (kind == MESSAGE_RESPONSE and entry.keypair != NULL):
            count(dp.counters, RX_UNKNOWN_INDEX)
            return
        peer = entry.peer.id
    if not dp.macs.has_key or (kind != MESSAGE_COOKIE_REPLY and not mac1_holds(&dp.macs, datagram, len)):
        count(dp.counters, RX_BAD_MAC1)
        return
    # Under load the core answers a message without a good cookie with one. That has to cost less than it gives, so a
    # flood gets so many answers and no more; who has a cookie is let through.
    if (kind != MESSAGE_COOKIE_REPLY and now < load64(&dp.events.loaded_until_ns)
            and not mac2_holds(&dp.macs, datagram, len, source)
            and not bucket_take(&e.without_cookie, now, COOKIE_REPLIES_PER_SECOND, COOKIE_REPLIES_BURST)):
        count(dp.counters, RX_UNDER_LOAD)
        return
    if not events_push(&dp.events, source, datagram, len, peer, now):
        count(dp.counters, RX_QUEUE_FULL)


# ---- 4. transport data

cdef void transport_message(Ingress *e, Received *message, uint8_t *datagram, uint32_t len,
                            uint64_t now) noexcept nogil:
    """Adds the message to those that wait for the same keypair, if there is any hope for it."""
    cdef Dataplane *dp = e.dp
    cdef TransportHeader *header = <TransportHeader *>datagram
    cdef Pending *pending = &e.pending
    cdef IndexEntry *entry
    if len < TRANSPORT_MIN_LEN:
        count(dp.counters, RX_MALFORMED)
        return
    entry = index_table_find(&dp.indices, header.receiver_index)
    if entry == NULL or entry.keypair == NULL:
        count(dp.counters, RX_UNKNOWN_INDEX)
        return
    if now - entry.keypair.birth_ns >= REJECT_AFTER_TIME_S * SECOND_NS:
        count(dp.counters, RX_EXPIRED)
        return
    if not replay_plausible(&entry.keypair.window, header.counter):
        count(dp.counters, RX_REPLAYED)
        return
    if pending.count == PENDING_MAX or pending.keypair != entry.keypair:
        open_pending(e, now)
    pending.keypair = entry.keypair
    pending.datagrams[pending.count] = datagram
    pending.wire_lens[pending.count] = len
    pending.messages[pending.count] = message
    pending.count += 1


cdef void open_pending(Ingress *e, uint64_t now) noexcept nogil:
    """Opens what waits, and takes what is authentic and new in its order."""
    cdef Dataplane *dp = e.dp
    cdef Pending *pending = &e.pending
    cdef Keypair *keypair = pending.keypair
    cdef Received *known = NULL
    cdef uint8_t *datagram
    cdef uint64_t authentic
    cdef int i
    if pending.count == 0:
        return
    authentic = open_batch(&keypair.opener, pending.datagrams, pending.wire_lens, pending.count)
    for i in range(pending.count):
        datagram = pending.datagrams[i]
        if not (authentic >> i) & 1:
            count(dp.counters, RX_FORGED)
            continue
        if not replay_accept(&keypair.window, (<TransportHeader *>datagram).counter):
            count(dp.counters, RX_REPLAYED)
            continue
        if pending.messages[i] != known:
            known = pending.messages[i]
            note_source(dp, keypair.peer, &known.source)
        note_received(dp, keypair, pending.wire_lens[i] != TRANSPORT_MIN_LEN, now)
        deliver(e, keypair.peer, datagram + WG_HEADER_LEN, pending.wire_lens[i], known.tos)
    pending.count = 0


cdef void note_source(Dataplane *dp, Peer *peer, const Endpoint *source) noexcept nogil:
    """Roaming (paper section 6.5): an authentic packet is from where its peer is now."""
    if same_endpoint(&peer.endpoint, source):
        return
    pthread_mutex_lock(&peer.endpoint_lock)
    peer.endpoint = source[0]
    pthread_mutex_unlock(&peer.endpoint_lock)
    events_raise(&dp.events, peer, EVENT_ENDPOINT_MOVED)


cdef void note_received(Dataplane *dp, Keypair *keypair, bint data, uint64_t now) noexcept nogil:
    cdef Peer *peer = keypair.peer
    if keypair.unconfirmed:
        keypair.unconfirmed = False
        # At once, and not by way of the control plane: the answer to this very packet must not go out under an old key.
        store_pointer(<void **>&peer.sending, keypair)
        events_confirmed(&dp.events, peer, keypair.local_index)
    store64(&peer.last_received, now)
    store64(&peer.unanswered_since, 0)
    if data and load64(&peer.keepalive_owed_since) == 0:
        store64(&peer.keepalive_owed_since, now)
        fence()     # either this thread sees the event armed, or Plane.activity() sees the start
        if load8(&peer.activity_armed) and swap8(&peer.activity_armed, 0):
            events_raise(&dp.events, peer, EVENT_ACTIVITY)
    if (keypair.initiator and now - keypair.birth_ns >= REKEY_ON_RECEIVE_S * SECOND_NS
            and now - peer.rx_rekey_asked_ns >= SECOND_NS):
        peer.rx_rekey_asked_ns = now
        events_raise(&dp.events, peer, EVENT_REKEY_WANTED)


# ---- 5. to the TUN

cdef void deliver(Ingress *e, Peer *peer, uint8_t *packet, uint32_t wire_len, uint8_t outer_tos) noexcept nogil:
    """Cryptokey routing: the inner source must be the peer's. Padding is cut off by the IP header's own length."""
    cdef Dataplane *dp = e.dp
    cdef uint32_t text_len = wire_len - WG_HEADER_LEN - TAG_LEN
    cdef uint32_t len
    cdef Peer *owner
    if text_len == 0:
        count(dp.counters, RX_KEEPALIVES)
        add64(&peer.rx_bytes, wire_len)
        return
    if text_len >= 20 and packet[0] >> 4 == 4:
        len = (<uint32_t>packet[2] << 8) | packet[3]
        owner = <Peer *>allowedips_lookup4(dp.allowed, packet + 12)
        if len < 20 or len > text_len:
            count(dp.counters, RX_NOT_IP)
            return
    elif text_len >= 40 and packet[0] >> 4 == 6:
        len = ((<uint32_t>packet[4] << 8) | packet[5]) + 40
        owner = <Peer *>allowedips_lookup6(dp.allowed, packet + 8)
        if len > text_len:
            count(dp.counters, RX_NOT_IP)
            return
    else:
        count(dp.counters, RX_NOT_IP)
        return
    if owner != peer:
        count(dp.counters, RX_SOURCE_NOT_ALLOWED)
        return
    add64(&peer.rx_bytes, wire_len)
    if not ecn_decapsulate(packet, outer_tos):
        count(dp.counters, RX_CONGESTION_DROPPED)
        return
    count(dp.counters, RX_PACKETS)
    if coalesce_add(e.coalescer, packet, len, dp.coalesce) != 0:
        write_frames(e)
        coalesce_add(e.coalescer, packet, len, dp.coalesce)


cdef void write_frames(Ingress *e) noexcept nogil:
    """Writes the batch to the TUN. A frame that the TUN refuses is counted; the others go on."""
    cdef Dataplane *dp = e.dp
    cdef int i, n, frames = coalesce_count(e.coalescer)
    cdef ssize_t written
    for i in range(frames):
        n = coalesce_frame(e.coalescer, i, e.iov, COALESCE_MAX_IOV)
        if n <= 0 or dp.tun_fd < 0:
            count(dp.counters, RX_TUN_ERROR)
            continue
        written = writev(dp.tun_fd, e.iov, n)
        while written < 0 and linux.errno == EINTR:
            written = writev(dp.tun_fd, e.iov, n)
        count(dp.counters, RX_TUN_WRITES if written >= 0 else RX_TUN_ERROR)
    coalesce_reset(e.coalescer)
