"""The checks of a handshake message (admit.pxd), in the order in which it passes them."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy
from pywg.dataplane.crypto.cookie_mac cimport COOKIE_LEN, mac1_holds, mac1_of, mac2_holds, make_cookie
from pywg.dataplane.crypto.traces cimport TRACES_CALL, traces_forget
from pywg.dataplane.crypto.xchacha20poly1305 cimport xchacha_open, xchacha_seal
from pywg.dataplane.receive.budget cimport budget_allows, budget_spend
from pywg.dataplane.receive.ratelimiter cimport ratelimiter_init, ratelimiter_take
from pywg.dataplane.state.counters cimport count
from pywg.dataplane.state.events cimport events_push
from pywg.dataplane.state.gate cimport gate_is_mine
from pywg.dataplane.state.index_table cimport IndexEntry, index_table_find
from pywg.dataplane.state.peer cimport Peer
from pywg.dataplane.state.strays cimport strays_put
from pywg.dataplane.state.token_bucket cimport token_bucket_take
from pywg.dataplane.sys cimport linux
from pywg.dataplane.sys.atomic cimport load64, load_pointer, store64
from pywg.dataplane.sys.checks cimport c_assert, static_fits
from pywg.dataplane.sys.clock cimport SECOND_NS, now_ns
from pywg.dataplane.sys.libcrypto cimport OPENSSL_cleanse, RAND_bytes
from pywg.dataplane.udp.send cimport udp_queue, udp_send_once
from pywg.dataplane.wire.endpoint cimport Endpoint
from pywg.dataplane.wire.wireguard cimport HANDSHAKE_TOS, INITIATION_LEN, MESSAGE_COOKIE_REPLY, MESSAGE_INITIATION
from pywg.dataplane.wire.wireguard cimport MESSAGE_RESPONSE, RESPONSE_LEN, TAG_LEN

cdef enum:
    SENDER_AT = 4               # the sender's index in an initiation or a response
    RESPONSE_RECEIVER_AT = 8
    REPLY_RECEIVER_AT = 4       # in a cookie reply, and then
    REPLY_NONCE_AT = 8
    REPLY_COOKIE_AT = REPLY_NONCE_AT + XNONCE_LEN
    REPLY_MOST_NS = 20_000      # the most that each is charged: if it took longer, this thread lost its processor


cdef bint admission_init(Admission *a) noexcept nogil:
    """`a` is all zeros. False: the system has no random bytes."""
    if ratelimiter_init(&a.sources):
        return True
    linux.errno = linux.EIO     # libcrypto's own error is none of the system's
    return False


cdef void admission_message(Admission *a, Dataplane *dp, const Endpoint *source, const uint8_t *datagram, uint32_t len,
                            uint32_t kind, uint64_t now) noexcept nogil:
    """Takes a datagram that is no transport data: it goes to the control plane, is answered, or is counted."""
    c_assert(gate_is_mine(&dp.receive_gate))
    if kind == MESSAGE_INITIATION and len == INITIATION_LEN:
        handshake_message(a, dp, source, datagram, len, now)
    elif kind == MESSAGE_RESPONSE and len == RESPONSE_LEN:
        response(a, dp, source, datagram, len, now)
    elif kind == MESSAGE_COOKIE_REPLY and len == COOKIE_REPLY_LEN:
        cookie_reply(dp, source, datagram, now)
    else:
        count(&dp.counters.rx_malformed)


cdef void admission_stray(Dataplane *dp, const Endpoint *source, const uint8_t *datagram, uint32_t len,
                          uint32_t kind) noexcept nogil:
    """Leaves a message that came to another shard than the first to that one, which alone admits any (strays.pxd).

    If it may be worth that: else any datagram would take the way, and the room, of those that are.
    """
    cdef Dataplane *first = dp.shared.shards[0]
    cdef bint keyed = (kind == MESSAGE_INITIATION and len == INITIATION_LEN
                       or kind == MESSAGE_RESPONSE and len == RESPONSE_LEN)
    c_assert(gate_is_mine(&dp.receive_gate))    # so the control plane changes no key of MACs meanwhile
    if not keyed and (kind != MESSAGE_COOKIE_REPLY or len != COOKIE_REPLY_LEN):
        count(&dp.counters.rx_malformed)
    elif keyed and not mac1_holds(&first.macs, datagram, len):
        count(&dp.counters.rx_bad_mac1)
    elif not strays_put(&dp.shared.strays, source, datagram, len, first.receive_kick):
        count(&dp.counters.rx_other_shard)


cdef void response(Admission *a, Dataplane *dp, const Endpoint *source, const uint8_t *datagram, uint32_t len,
                   uint64_t now) noexcept nogil:
    """A response must name a handshake in flight, by its index."""
    cdef IndexEntry *entry
    cdef uint32_t index
    memcpy(&index, datagram + RESPONSE_RECEIVER_AT, 4)
    entry = index_table_find(&dp.shared.indices, index)
    if entry == NULL or entry.keypair != NULL:
        count(&dp.counters.rx_unknown_index)
        return
    handshake_message(a, dp, source, datagram, len, now)


cdef void handshake_message(Admission *a, Dataplane *dp, const Endpoint *source, const uint8_t *datagram, uint32_t len,
                            uint64_t now) noexcept nogil:
    if not mac1_holds(&dp.macs, datagram, len):
        count(&dp.counters.rx_bad_mac1)
        return
    if now < load64(&dp.shared.events.loaded_until_ns):
        a.traces = True
        if not mac2_holds(&dp.macs, datagram, len, source, now):
            ask_for_cookie(a, dp, source, datagram, len, now)
            return
        if not ratelimiter_take(&a.sources, source, now):
            hold_back(a, dp, now)
            count(&dp.counters.rx_source_limited)
            return
    hand_over(dp, source, datagram, len, now)


cdef void hold_back(Admission *a, Dataplane *dp, uint64_t now) noexcept nogil:
    """Counts a message that does not go to the control plane because there is load, and prolongs the load if need be.

    The messages held back don't reach the control plane's queue, which is soon empty. So their own number has to tell
    whether the load goes on: otherwise a flood would fill the queue anew each second.
    """
    if not token_bucket_take(&a.calm, now, CALM_PER_SECOND, CALM_BURST):
        store64(&dp.shared.events.loaded_until_ns, now + SECOND_NS)


cdef bint hand_over(Dataplane *dp, const Endpoint *source, const uint8_t *datagram, uint32_t len,
                    uint64_t now) noexcept nogil:
    """Pushes the message to the control plane. False: its queue is full."""
    cdef bint pushed = events_push(&dp.shared.events, source, datagram, len, now)
    count(&dp.counters.rx_handshakes if pushed else &dp.counters.rx_queue_full)
    return pushed


# ---- cookie replies that we send

cdef void ask_for_cookie(Admission *a, Dataplane *dp, const Endpoint *source, const uint8_t *datagram, uint32_t len,
                         uint64_t now) noexcept nogil:
    """Notes the sender for a cookie reply, if the budget allows one."""
    cdef Asker *asker
    hold_back(a, dp, now)
    if a.asker_count == ASKERS_MAX:
        answer(a, dp, now)
    if not budget_allows(&a.budget, now, a.pressure):
        count(&dp.counters.rx_under_load)
        return
    c_assert(a.asker_count < ASKERS_MAX)
    asker = &a.askers[a.asker_count]
    asker.source = source[0]
    memcpy(&asker.sender_index, datagram + SENDER_AT, 4)
    memcpy(asker.mac1, mac1_of(datagram, len), MAC_LEN)
    a.asker_count += 1


cdef bint make_reply(Dataplane *dp, const Asker *asker, const uint8_t *nonce, uint64_t now,
                     uint8_t *reply) noexcept nogil:
    cdef uint8_t cookie[COOKIE_LEN]
    cdef uint32_t kind = MESSAGE_COOKIE_REPLY
    if not make_cookie(&dp.macs, &asker.source, now, cookie):
        return False
    memcpy(reply, &kind, 4)
    memcpy(reply + REPLY_RECEIVER_AT, &asker.sender_index, 4)
    memcpy(reply + REPLY_NONCE_AT, nonce, XNONCE_LEN)
    xchacha_seal(dp.macs.cookie_key, nonce, cookie, COOKIE_LEN, asker.mac1, MAC_LEN, reply + REPLY_COOKIE_AT)
    OPENSSL_cleanse(cookie, COOKIE_LEN)
    return True


cdef void admission_answer(Admission *a, Dataplane *dp, uint64_t now) noexcept nogil:
    """Sends a cookie reply to each noted sender, from the address that it wrote to. To be called once a batch.

    The secrets of cookies leave no traces in this thread.

    `now`: of the batch, the same for all of its messages.
    """
    c_assert(gate_is_mine(&dp.receive_gate))
    if a.asker_count > 0:
        answer(a, dp, now)
    if a.traces:
        a.traces = False
        traces_forget(TRACES_CALL)


cdef void answer(Admission *a, Dataplane *dp, uint64_t now) noexcept nogil:
    cdef uint64_t began
    cdef uint32_t i, askers = a.asker_count
    cdef int sent = 0
    static_fits(ASKERS_MAX, SEND_BATCH)     # each is queued, in a sender that is empty
    c_assert(a.sender.count == 0)
    began = now_ns()
    a.asker_count = 0
    if RAND_bytes(<unsigned char *>a.nonces, <int>(askers * XNONCE_LEN)) == 1:
        for i in range(askers):
            if make_reply(dp, &a.askers[i], a.nonces[i], now, a.replies[i]):
                udp_queue(&a.sender, NULL, &a.askers[i].source, a.replies[i], COOKIE_REPLY_LEN, 0, HANDSHAKE_TOS)
        sent = udp_send_once(&a.sender, dp)
    count(&dp.counters.tx_cookie_replies, sent)
    count(&dp.counters.rx_under_load, askers - sent)
    budget_spend(&a.budget, min(now_ns() - began, <uint64_t>askers * REPLY_MOST_NS))


# ---- cookie replies that we receive

cdef void note_sent(Peer *peer, const uint8_t *message, uint32_t len) noexcept nogil:
    """Notes a message to the peer: a cookie reply may answer an initiation or a response. Under both gates."""
    peer.cookie_due = len == INITIATION_LEN or len == RESPONSE_LEN
    if peer.cookie_due:
        memcpy(&peer.sent_index, message + SENDER_AT, 4)
        memcpy(peer.sent_mac1, mac1_of(message, len), MAC_LEN)


cdef void cookie_reply(Dataplane *dp, const Endpoint *source, const uint8_t *datagram, uint64_t now) noexcept nogil:
    """Passes a cookie reply on to the core if it answers the last handshake message to a peer, once, while in flight.

    That message is our initiation, or our response as long as no packet has come under its keypair. A forged reply
    changes nothing.
    """
    cdef IndexEntry *entry
    cdef Peer *peer
    cdef uint8_t cookie[COOKIE_LEN]
    cdef uint32_t index
    cdef bint authentic
    memcpy(&index, datagram + REPLY_RECEIVER_AT, 4)
    entry = index_table_find(&dp.shared.indices, index)
    if entry == NULL or (entry.keypair != NULL and entry.keypair != load_pointer(<void *const *>&entry.peer.next)):
        count(&dp.counters.rx_unknown_index)
        return
    peer = entry.peer
    authentic = (dp.macs.has_key and peer.cookie_due and peer.sent_index == index
                 and xchacha_open(peer.cookie_key, datagram + REPLY_NONCE_AT, datagram + REPLY_COOKIE_AT,
                                  COOKIE_LEN + TAG_LEN, peer.sent_mac1, MAC_LEN, cookie))
    OPENSSL_cleanse(cookie, COOKIE_LEN)
    if not authentic:
        count(&dp.counters.rx_bad_cookie_reply)
    elif hand_over(dp, source, datagram, COOKIE_REPLY_LEN, now):
        peer.cookie_due = False
