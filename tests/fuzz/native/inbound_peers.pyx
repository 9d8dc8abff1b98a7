# distutils: libraries = crypto
# cython: language_level=3, cdivision=True, wraparound=False, boundscheck=False
"""The control plane of what is received: peers, handshakes, sessions, offloads, and what the threads tell it."""
from libc.stdint cimport uint16_t, uint32_t, uint8_t
from libc.string cimport memcmp, memcpy, memset

from pywg.dataplane.crypto.blake2s cimport blake2s_mac
from pywg.dataplane.receive.admit cimport note_sent
from pywg.dataplane.receive.deliver cimport delivery_renew
from pywg.dataplane.state.events cimport Message, events_drop_message, events_next_message, events_rearm, events_take
from pywg.dataplane.state.peer cimport Keypair
from pywg.dataplane.state.peers cimport handshake_open, keypair_publish
from pywg.dataplane.sys.clock cimport SECOND_NS
from pywg.dataplane.wire.endpoint cimport Endpoint
from pywg.dataplane.wire.limits cimport REJECT_AFTER_MESSAGES
from pywg.dataplane.wire.wireguard cimport COOKIE_REPLY_LEN, INITIATION_LEN, MAC_LEN, RESPONSE_LEN, TransportHeader

from tests.fuzz.native.common cimport Session, make_peer, make_session, need
from tests.fuzz.native.harness cimport TRAFFIC_RAW, TRAFFIC_TCP, TRAFFIC_UDP, Chance, chance_below, chance_bytes
from tests.fuzz.native.harness cimport chance_next, chance_one_in, kernel
from tests.fuzz.native.inbound_state cimport FLOWS, HANDSHAKE_INDEX, SESSIONS, Flow, Harness


cdef void add_peer(Harness *b, uint32_t i) noexcept nogil:
    b.peers[i] = make_peer(b.dp, i)
    b.rx_bytes[i] = 0
    memset(&b.endpoints[i], 0, sizeof(Endpoint))
    begin_handshake(b, i)


cdef void begin_handshake(Harness *b, uint32_t i) noexcept nogil:
    b.handshake_count += 1
    b.handshakes[i] = HANDSHAKE_INDEX + b.handshake_count
    need(handshake_open(b.dp, b.peers[i], b.handshakes[i]) == 0, b"no memory")
    chance_bytes(&b.chance, b.peers[i].cookie_key, 32)
    chance_bytes(&b.chance, b.scratch, INITIATION_LEN)
    memcpy(b.scratch + 4, &b.handshakes[i], 4)
    note_sent(b.peers[i], b.scratch, INITIATION_LEN)


cdef void begin_session(Harness *b, uint32_t i, bint confirmed) noexcept nogil:
    cdef Session *session = &b.sessions[b.session_count]
    cdef Keypair *keypair
    cdef Chance *c = &b.chance
    cdef uint32_t k
    if b.session_count == SESSIONS or b.peers[i] == NULL:
        return
    keypair = make_session(c, b.peers[i], session, b.session_count, confirmed)
    session.birth_ns = kernel.now_ns
    if chance_one_in(c, 8):
        session.birth_ns -= chance_below(c, 190) * SECOND_NS
    keypair.birth_ns = session.birth_ns
    if chance_one_in(c, 4):
        session.next_counter = chance_next(c) >> chance_below(c, 64)
    if chance_one_in(c, 16):
        session.next_counter = REJECT_AFTER_MESSAGES - chance_below(c, 200)
    for k in range(b.session_count):
        if b.sessions[k].peer == i and b.sessions[k].greatest == 0:
            b.sessions[k].may_send = False
    session.may_send = not confirmed
    need(keypair_publish(b.dp, keypair, confirmed) == 0, b"no memory")
    b.session_count += 1


cdef void renew_flow(Harness *b, Flow *flow) noexcept nogil:
    cdef Chance *c = &b.chance
    flow.version = 4 if chance_one_in(c, 2) else 6
    flow.protocol = TRAFFIC_RAW if chance_one_in(c, 8) else TRAFFIC_TCP if chance_one_in(c, 2) else TRAFFIC_UDP
    flow.number = chance_below(c, FLOWS)
    flow.host = chance_below(c, 3)
    flow.seq = <uint32_t>chance_next(c)
    flow.id = <uint16_t>chance_next(c)
    flow.step = 1 if chance_one_in(c, 2) else 0
    flow.options = chance_one_in(c, 2)
    flow.tos = <uint8_t>chance_below(c, 4)


cdef void choose_offloads(Harness *b) noexcept nogil:
    cdef int[3] lens
    lens = [10, 12, 0]
    b.dp.vnet_hdr_len = lens[chance_below(&b.chance, 3)] if chance_one_in(&b.chance, 2) else 10
    b.dp.coalesce = <uint8_t>chance_below(&b.chance, 4) if chance_one_in(&b.chance, 2) else 3
    need(delivery_renew(&b.receive_path.delivery, b.dp.vnet_hdr_len) == 0, b"no memory")


cdef void hear(Harness *b) noexcept nogil:
    """All that the threads have told."""
    cdef Message *message
    cdef uint32_t events, index
    cdef uint8_t digest[MAC_LEN]
    events_rearm(&b.dp.events)
    while events_take(&b.dp.events, &events, &index) != NULL:
        need(events != 0, b"an event of nothing")
    while True:
        message = events_next_message(&b.dp.events)
        if message == NULL:
            return
        if message.len == COOKIE_REPLY_LEN:
            index = (<TransportHeader *>message.data).receiver_index - HANDSHAKE_INDEX
            need(message.data[0] == 3 and index <= b.handshake_count, b"a cookie reply to nobody")
            events_drop_message(&b.dp.events)
            continue
        need(message.len == INITIATION_LEN or message.len == RESPONSE_LEN, b"a message of that length")
        blake2s_mac(b.mac1_state, message.data, message.len - 2 * MAC_LEN, digest)
        need(memcmp(digest, message.data + message.len - 2 * MAC_LEN, MAC_LEN) == 0, b"a message without MAC1")
        events_drop_message(&b.dp.events)
