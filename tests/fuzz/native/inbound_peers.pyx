# distutils: libraries = crypto
# cython: language_level=3, cdivision=True, wraparound=False, boundscheck=False
"""The control plane of what is received: peers, handshakes, sessions, offloads, and what the threads tell it."""
from libc.stdint cimport uint32_t, uint8_t
from libc.string cimport memcmp, memcpy, memset

from pywg.dataplane.crypto.blake2s cimport blake2s_mac
from pywg.dataplane.receive.admit cimport note_sent
from pywg.dataplane.receive.coalesce cimport COALESCE_TUNNELS
from pywg.dataplane.receive.deliver cimport Delivery, delivery_prepare, delivery_renew
from pywg.dataplane.state.events cimport Message, events_drop_message, events_next_message, events_rearm, events_take
from pywg.dataplane.state.peers cimport handshake_open, keypair_publish
from pywg.dataplane.state.tunnel_ends cimport tunnel_ends_forget, tunnel_ends_note
from pywg.dataplane.sys.atomic cimport store8
from pywg.dataplane.sys.clock cimport SECOND_NS
from pywg.dataplane.wire.endpoint cimport Endpoint
from pywg.dataplane.wire.ip cimport IpView, ip_read
from pywg.dataplane.wire.limits cimport REJECT_AFTER_MESSAGES
from pywg.dataplane.wire.wireguard cimport COOKIE_REPLY_LEN, INITIATION_LEN, MAC_LEN, RESPONSE_LEN, TransportHeader

from tests.fuzz.native.common cimport Session, make_peer, make_session, need
from tests.fuzz.native.harness cimport TRAFFIC_RAW, TRAFFIC_TCP, TRAFFIC_UDP, TUNNEL, TUNNEL_CHECKED, TUNNEL_GENEVE
from tests.fuzz.native.harness cimport TUNNEL_INSIDE6, Chance, chance_below, chance_next, kernel, make_tunnel
from tests.fuzz.native.harness cimport number_address, tunnel_front
from tests.fuzz.native.inbound_state cimport FLOWS, HANDSHAKE_INDEX, Flow, Harness


cdef void add_peer(Harness *b, uint32_t i) noexcept nogil:
    make_peer(&b.world, i)
    begin_peer(b, i)


cdef void begin_peer(Harness *b, uint32_t i) noexcept nogil:
    b.rx_bytes[i] = 0
    memset(&b.endpoints[i], 0, sizeof(Endpoint))
    begin_handshake(b, i)


cdef void begin_handshake(Harness *b, uint32_t i) noexcept nogil:
    b.handshake_count += 1
    b.handshakes[i] = HANDSHAKE_INDEX + b.handshake_count
    need(handshake_open(b.world.dp, b.world.peers[i], b.handshakes[i]) == 0, b"no memory")
    memset(b.world.peers[i].cookie_key, <int>b.handshake_count, 32)
    memset(b.scratch, <int>b.handshake_count, INITIATION_LEN)
    memcpy(b.scratch + 4, &b.handshakes[i], 4)
    note_sent(b.world.peers[i], b.scratch, INITIATION_LEN)


cdef void begin_session(Harness *b, uint32_t i, bint confirmed, bint odd) noexcept nogil:
    cdef Session *session = make_session(&b.world, i, confirmed)
    cdef Chance *c = &b.chance
    cdef uint32_t k, what
    if session == NULL:
        return
    session.birth_ns = kernel.now_ns
    if odd:
        what = chance_below(c, 8)
        if what & 1:
            session.birth_ns -= chance_below(c, 190) * SECOND_NS
        if what & 2:
            session.next_counter = chance_next(c) >> chance_below(c, 64)
        if what & 4:
            session.next_counter = REJECT_AFTER_MESSAGES - chance_below(c, 200)
    session.keypair.birth_ns = session.birth_ns
    for k in range(b.world.session_count - 1):
        if b.world.sessions[k].peer == i and b.world.sessions[k].greatest == 0:
            b.world.sessions[k].may_send = False
    session.may_send = not confirmed
    need(keypair_publish(b.world.dp, session.keypair, confirmed) == 0, b"no memory")


cdef void first_flow(Flow *flow, uint32_t i) noexcept nogil:
    """The flow of that number, at the beginning of an input."""
    flow.version = 4 if i & 1 == 0 else 6
    flow.protocol = TRAFFIC_RAW if i & 6 == 6 else TRAFFIC_TCP if i & 2 == 0 else TRAFFIC_UDP
    flow.number = i // 2
    flow.host = i & 1
    flow.seq = 0xFFFF0000
    flow.id = 0xFFF0
    flow.step = i & 4 == 0
    flow.options = i & 8 != 0
    flow.tos = 0
    flow.tunnel = 0
    if i & 10 == 10 and i & 4 == 0:     # two of each IP version: each kind, with what it may be around
        flow.tunnel = TUNNEL | (TUNNEL_INSIDE6 if (i ^ i >> 4) & 1 else 0) | (TUNNEL_GENEVE if i & 16 else 0)
        flow.tunnel |= TUNNEL_CHECKED if (i ^ i >> 4) & 1 == 0 else 0


cdef void renew_flow(Harness *b, Flow *flow) noexcept nogil:
    cdef uint32_t what = chance_below(&b.chance, 256)
    first_flow(flow, what % FLOWS)
    flow.tos = what >> 5 & 3
    flow.seq = <uint32_t>chance_below(&b.chance, 256) * 0x01010101
    flow.number = chance_below(&b.chance, FLOWS)


cdef void choose_offloads(Harness *b, uint32_t what) noexcept nogil:
    """0: those of a usual kernel."""
    cdef int[4] lens
    lens = [10, 12, 0, 24]
    b.world.dp.vnet_hdr_len = lens[what & 3]
    b.world.dp.coalesce = <uint8_t>(3 - (what >> 2 & 3))
    b.world.dp.coalesce |= COALESCE_TUNNELS if lens[what & 3] == 24 and what & 16 == 0 else 0
    b.refusing = what & 32 != 0
    tunnel_ends_forget(&b.world.dp.shared.tunnel_ends)
    store8(&b.world.dp.tunnels_refused, 0)
    memset(b.noted, 0, sizeof(b.noted))
    b.second.vnet_hdr_len = b.world.dp.vnet_hdr_len
    b.second.coalesce = b.world.dp.coalesce
    store8(&b.second.tunnels_refused, 0)
    renew(&b.receive_path.delivery)
    renew(&b.second_path.delivery)


cdef void renew(Delivery *d) noexcept nogil:
    if d.writers[0].coalescer.vnet_hdr_len != d.dp.vnet_hdr_len:
        need(delivery_prepare(d, d.dp.vnet_hdr_len) == 0, b"no memory")
        delivery_renew(d)


cdef void note_ends(Harness *b) noexcept nogil:
    """As the sending thread does of packets that go to where the flows come from."""
    cdef uint8_t[128] packet
    cdef uint32_t i
    cdef IpView ip
    cdef Flow *flow
    for i in range(<uint32_t>FLOWS):
        flow = &b.flows[i]
        if flow.tunnel and b.world.dp.coalesce & COALESCE_TUNNELS:
            make_tunnel(packet, flow.version, flow.tunnel, tunnel_front(flow.version, flow.tunnel))
            number_address(packet + (12 if flow.version == 4 else 8), flow.version, flow.number)
            need(ip_read(&ip, packet, sizeof(packet)), b"no packet of a tunnel")
            tunnel_ends_note(&b.world.dp.shared.tunnel_ends, &ip, kernel.now_ns)
            b.noted[flow.version][flow.number] = True


cdef void hear(Harness *b) noexcept nogil:
    """All that the threads have told."""
    cdef Message *message
    cdef uint32_t events, index
    cdef uint8_t digest[MAC_LEN]
    events_rearm(&b.world.dp.shared.events)
    while events_take(&b.world.dp.shared.events, &events, &index) != NULL:
        need(events != 0, b"an event of nothing")
    while True:
        message = events_next_message(&b.world.dp.shared.events)
        if message == NULL:
            return
        if message.len == COOKIE_REPLY_LEN:
            index = (<TransportHeader *>message.data).receiver_index - HANDSHAKE_INDEX
            need(message.data[0] == 3 and index <= b.handshake_count, b"a cookie reply to nobody")
            events_drop_message(&b.world.dp.shared.events)
            continue
        need(message.len == INITIATION_LEN or message.len == RESPONSE_LEN, b"a message of that length")
        blake2s_mac(b.mac1_state, message.data, message.len - 2 * MAC_LEN, digest)
        need(memcmp(digest, message.data + message.len - 2 * MAC_LEN, MAC_LEN) == 0, b"a message without MAC1")
        events_drop_message(&b.world.dp.shared.events)
