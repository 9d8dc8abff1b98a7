# distutils: libraries = crypto
# cython: language_level=3, cdivision=True, wraparound=False, boundscheck=False
"""What is due of the datagrams that the thread receives, and whether it came: packets at the TUN, and counters.

Each datagram is opened by libcrypto before the thread has it, and judged by the rules of the paper.
"""
from libc.stdint cimport uint32_t, uint64_t, uint8_t
from libc.string cimport memcmp, memcpy, memmove

from pywg.dataplane.crypto.blake2s cimport blake2s_mac
from pywg.dataplane.receive.coalesce cimport COALESCE_TUNNELS
from pywg.dataplane.receive.open cimport DATAGRAMS_MAX
from pywg.dataplane.state.counters cimport Counters, count as due
from pywg.dataplane.state.replay cimport REPLAY_WINDOW
from pywg.dataplane.sys.clock cimport SECOND_NS
from pywg.dataplane.wire.endpoint cimport Endpoint
from pywg.dataplane.wire.limits cimport REJECT_AFTER_MESSAGES
from pywg.dataplane.wire.wireguard cimport COOKIE_REPLY_LEN, INITIATION_LEN, MAC_LEN, RESPONSE_LEN, TAG_LEN
from pywg.dataplane.wire.wireguard cimport TRANSPORT_MIN_LEN, WG_HEADER_LEN, TransportHeader

from tests.fuzz.native.ciphers cimport session_open
from tests.fuzz.native.common cimport FIRST_INDEX, PEERS, Session, need, need_equal
from tests.fuzz.native.harness cimport TUNNEL_PORT, Superframe, decapsulated, get16, ip_header_len, kernel
from tests.fuzz.native.harness cimport may_be_one_flow, number_address, packet_is, same_flow, superframe_piece
from tests.fuzz.native.harness cimport superframe_read
from tests.fuzz.native.inbound_state cimport ASKERS, FLOWS, PENDING, SEEN, STORE, Asker, Harness, Pending, Seen


cdef void judge_message(Harness *b, const uint8_t *data, uint32_t len, uint32_t stride, uint8_t tos, bint truncated,
                        const Endpoint *source) noexcept nogil:
    cdef uint32_t at = 0, one
    if truncated:
        due(&b.expected.rx_truncated)
        return
    if len == 0:
        due(&b.expected.rx_malformed)
        due(&b.expected.rx_datagrams)
    while at < len:
        one = min(stride, len - at)
        due(&b.expected.rx_datagrams)
        judge(b, data + at, one, tos, source)
        at += one


cdef void judge(Harness *b, const uint8_t *datagram, uint32_t len, uint8_t tos, const Endpoint *source) noexcept nogil:
    cdef uint32_t kind = 0
    if len >= 4:
        memcpy(&kind, datagram, 4)
    if kind == 4 and len >= TRANSPORT_MIN_LEN:
        judge_transport(b, datagram, len, tos, source)
    elif kind == 3 and len == COOKIE_REPLY_LEN:
        b.admitted += 1
    elif (kind == 1 and len == INITIATION_LEN) or (kind == 2 and len == RESPONSE_LEN):
        judge_handshake(b, datagram, len)
    else:
        due(&b.expected.rx_malformed)


cdef void judge_handshake(Harness *b, const uint8_t *message, uint32_t len) noexcept nogil:
    cdef uint8_t digest[MAC_LEN]
    cdef Asker *asker
    cdef uint32_t i, index
    cdef bint known = len == INITIATION_LEN or b.receive_path == b.second_path  # the first shard asks for the index
    memcpy(&index, message + 8, 4)
    for i in range(<uint32_t>PEERS):
        if b.world.peers[i] != NULL and b.handshakes[i] == index:
            known = True
    if not known:
        due(&b.expected.rx_unknown_index)
        return
    blake2s_mac(b.mac1_state, message, len - 2 * MAC_LEN, digest)
    if memcmp(digest, message + len - 2 * MAC_LEN, MAC_LEN) != 0:
        due(&b.expected.rx_bad_mac1)
    else:
        b.admitted += 1
        memcpy(&index, message + 4, 4)
        asker = &b.askers[index % ASKERS]
        asker.index = index
        memcpy(asker.mac1, digest, MAC_LEN)


cdef void judge_transport(Harness *b, const uint8_t *datagram, uint32_t len, uint8_t tos,
                          const Endpoint *source) noexcept nogil:
    cdef TransportHeader header
    cdef Session *session
    cdef uint32_t index, text_len = len - WG_HEADER_LEN - TAG_LEN
    memcpy(&header, datagram, sizeof(header))
    index = header.receiver_index - FIRST_INDEX
    if index >= b.world.session_count or b.world.sessions[index].keypair == NULL:
        due(&b.expected.rx_unknown_index)
        return
    session = &b.world.sessions[index]
    if kernel.now_ns - session.birth_ns >= 180 * SECOND_NS:
        due(&b.expected.rx_expired)
        return
    if session.batch != b.batch:
        session.batch = b.batch
        session.greatest_before = session.greatest
    if b.filtered and not is_new(b, index, header.counter, session.greatest_before, b.batch):
        due(&b.expected.rx_replayed)
        return
    if b.receive_path.pool != NULL:
        if b.added == DATAGRAMS_MAX:
            due(&b.expected.rx_queue_full)
            return
        b.added += 1
    memcpy(b.scratch, datagram + WG_HEADER_LEN, text_len + TAG_LEN)
    if (not session_open(session, b.world.cheap, header.counter, b.scratch, text_len)
            or not is_new(b, index, header.counter, session.greatest, ~<uint64_t>0)):
        due(&b.expected.rx_replayed)
        return
    accept(b, index, header.counter)
    b.endpoints[session.peer] = source[0]
    judge_text(b, session.peer, b.scratch, text_len, tos)


cdef void judge_text(Harness *b, uint32_t peer, uint8_t *text, uint32_t text_len, uint8_t tos) noexcept nogil:
    cdef uint32_t len, at
    cdef bint its = False
    if text_len == 0:
        due(&b.expected.rx_keepalives)
        b.rx_bytes[peer] += TRANSPORT_MIN_LEN
        return
    if text[0] >> 4 == 4 and text_len >= 20:
        len = get16(text + 2)
        its = text[12] == 10 and text[13] == peer or owns_outer(peer, text[12])
    elif text[0] >> 4 == 6 and text_len >= 40:
        len = get16(text + 4) + 40
        its = text[8] == 0xfd and text[8 + 7] == peer
        for at in range(1, 7):
            its = its and text[8 + at] == 0
        its = its or owns_outer(peer, text[8])
    else:
        len = 0
    if len < 20 or len > text_len:
        due(&b.expected.rx_not_ip)
    elif not its:
        due(&b.expected.rx_source_not_allowed)
    else:
        b.rx_bytes[peer] += text_len + TRANSPORT_MIN_LEN
        due(&b.expected.rx_packets)
        decapsulated(text, tos)
        expect(b, text, len)


cdef inline bint owns_outer(uint32_t peer, uint8_t first) noexcept nogil:
    """Whether an address that begins so is one of the outer ones, which are the first peer's (make_peer)."""
    return peer == 0 and first == 192


cdef bint is_new(Harness *b, uint32_t index, uint64_t counter, uint64_t greatest, uint64_t before) noexcept nogil:
    """Whether the window lets it pass: nothing accepted in batches below `before` is the same, or far ahead."""
    cdef uint32_t at = seen_at(b, index, counter)
    if counter >= REJECT_AFTER_MESSAGES or (counter + 1 <= greatest and greatest - (counter + 1) > REPLAY_WINDOW):
        return False
    return b.seen[at].input != b.input or b.seen[at].batch >= before


cdef uint32_t seen_at(Harness *b, uint32_t index, uint64_t counter) noexcept nogil:
    cdef uint32_t at = <uint32_t>(counter * 40503 + index * 7919)
    at &= SEEN - 1
    while b.seen[at].input == b.input and (b.seen[at].session != index or b.seen[at].counter != counter):
        at = (at + 1) & (SEEN - 1)
    return at


cdef void accept(Harness *b, uint32_t index, uint64_t counter) noexcept nogil:
    cdef Seen *seen = &b.seen[seen_at(b, index, counter)]
    seen.input = b.input
    seen.session = index
    seen.counter = counter
    seen.batch = b.batch
    b.world.sessions[index].greatest = max(b.world.sessions[index].greatest, counter + 1)


cdef void expect(Harness *b, const uint8_t *packet, uint32_t len) noexcept nogil:
    cdef Pending *pending
    if b.pending_count == PENDING:
        b.pending_count -= b.pending_first
        memmove(b.pending, b.pending + b.pending_first, b.pending_count * sizeof(Pending))
        b.pending_first = 0
    need(b.pending_count < PENDING, b"the target has no room")
    pending = &b.pending[b.pending_count]
    need(b.stored + len <= STORE, b"the target has no room")
    pending.packet = b.store + b.stored
    b.stored += len
    memcpy(pending.packet, packet, len)
    pending.len = len
    b.pending_count += 1


cdef void forget_packets(Harness *b) noexcept nogil:
    b.pending_first = b.pending_count = 0


cdef void arrive(Harness *b, const uint8_t *vnet, uint32_t vnet_len, const uint8_t *packet,
                 uint32_t len) noexcept nogil:
    cdef Superframe superframe
    cdef const char *wrong = superframe_read(&superframe, vnet, vnet_len, packet, len)
    cdef uint32_t i, one
    need(wrong == NULL, wrong)
    if superframe.tunnel:
        need(b.world.dp.coalesce & COALESCE_TUNNELS and end_is_noted(b, packet), b"a tunnel merged that nobody knows")
    else:
        need(superframe.pieces == 1 or b.world.dp.coalesce & (2 if vnet[1] == 5 else 1), b"merged, and may not be")
    for i in range(superframe.pieces):
        one = superframe_piece(&superframe, i, b.piece)
        take(b, &superframe, one)


cdef bint end_is_noted(Harness *b, const uint8_t *packet) noexcept nogil:
    """Whether a tunnel has sent from where the packet goes to."""
    cdef int version = packet[0] >> 4
    cdef const uint8_t *to = packet + (16 if version == 4 else 24)
    cdef uint8_t[16] address
    cdef uint32_t i
    for i in range(<uint32_t>FLOWS):
        number_address(address, version, i)
        if b.noted[version][i] and memcmp(to, address, 4 if version == 4 else 16) == 0:
            return get16(packet + ip_header_len(version) + 2) == TUNNEL_PORT
    return False


cdef void take(Harness *b, const Superframe *superframe, uint32_t len) noexcept nogil:
    """The packet in `piece` is the first of its flow that has not arrived yet."""
    cdef bint lanes = b.receive_path.delivery.lanes != 0
    cdef uint32_t i
    cdef Pending *pending
    for i in range(b.pending_first, b.pending_count):
        pending = &b.pending[i]
        if pending.packet == NULL:
            continue
        if lanes and not may_be_one_flow(pending.packet, pending.len, b.piece, len):
            continue
        if not lanes and not same_flow(pending.packet, pending.len, b.piece, len):
            continue
        need(packet_is(superframe, b.piece, len, pending.packet, pending.len), b"a packet is damaged or out of order")
        pending.packet = NULL
        while b.pending_first < b.pending_count and b.pending[b.pending_first].packet == NULL:
            b.pending_first += 1
        return
    need(False, b"a packet that nobody may have sent")


cdef void check(Harness *b) noexcept nogil:
    cdef Counters both = b.world.dp.counters
    cdef const Counters *is_ = &both
    cdef const Counters *should = &b.expected
    cdef uint64_t told
    cdef Session *session
    cdef uint32_t i
    for i in range(<uint32_t>(sizeof(Counters) / sizeof(uint64_t))):
        (<uint64_t *>&both)[i] += (<const uint64_t *>&b.second.counters)[i]
    if b.world.dp.tun_fd < 0:
        forget_packets(b)
    need(b.pending_first == b.pending_count, b"a packet has not arrived")
    b.pending_first = b.pending_count = 0
    need_equal(is_.rx_datagrams, should.rx_datagrams, b"datagrams")
    need_equal(is_.rx_receives, should.rx_receives, b"receives")
    need_equal(is_.rx_receive_error, should.rx_receive_error, b"receive errors")
    need_equal(is_.rx_wait_error, should.rx_wait_error, b"wait errors")
    need_equal(is_.rx_truncated, should.rx_truncated, b"truncated")
    need_equal(is_.rx_malformed, should.rx_malformed, b"malformed")
    need_equal(is_.rx_bad_mac1, should.rx_bad_mac1, b"bad MAC1")
    need_equal(is_.rx_expired, should.rx_expired, b"expired")
    need_equal(is_.rx_forged + is_.rx_replayed, should.rx_replayed, b"forged or replayed")
    need_equal(is_.rx_source_not_allowed, should.rx_source_not_allowed, b"source not allowed")
    need_equal(is_.rx_not_ip, should.rx_not_ip, b"not IP")
    need_equal(is_.rx_keepalives, should.rx_keepalives, b"keepalives")
    need_equal(is_.rx_packets, should.rx_packets, b"packets")
    need_equal(is_.rx_tun_writes, should.rx_tun_writes, b"TUN writes")
    if b.world.dp.tun_fd < 0:     # frames that nobody has seen
        b.expected.rx_tun_error = is_.rx_tun_error
    need_equal(is_.rx_tun_error, should.rx_tun_error, b"TUN errors")
    need_equal(is_.tx_cookie_replies, should.tx_cookie_replies, b"cookie replies")
    # The two that messages of the handshake, too, can end in: when, the order in which groups are opened decides.
    need(is_.rx_unknown_index >= should.rx_unknown_index, b"unknown indices")
    need(is_.rx_queue_full >= should.rx_queue_full, b"queue full")
    told = is_.rx_unknown_index + is_.rx_queue_full
    told += is_.rx_handshakes + is_.rx_under_load + is_.rx_source_limited
    told += is_.tx_cookie_replies + is_.rx_bad_cookie_reply + is_.rx_other_shard
    told += <uint64_t>b.world.dp.shared.strays.count       # on their way to the first shard
    told -= should.rx_unknown_index + should.rx_queue_full
    need_equal(told, b.admitted, b"handshake messages")
    for i in range(<uint32_t>PEERS):
        if b.world.peers[i] != NULL:
            need_equal(b.world.peers[i].rx_bytes, b.rx_bytes[i], b"bytes of a peer")
            need(memcmp(&b.world.peers[i].endpoint, &b.endpoints[i], sizeof(Endpoint)) == 0, b"an endpoint")
    for i in range(b.world.session_count):
        session = &b.world.sessions[i]
        if session.keypair == NULL:
            continue
        if b.world.peers[session.peer].next == session.keypair:
            need(session.greatest == 0, b"a keypair that was confirmed is still the next one")
        if b.world.peers[session.peer].sending == session.keypair:
            need(session.greatest != 0 and session.may_send, b"sending with a keypair that was not confirmed")
    if b.world.dp.shared.events.loaded_until_ns == 0:
        need_equal(is_.rx_under_load + is_.rx_source_limited + is_.tx_cookie_replies, 0,
                   b"messages held back without load")
