# distutils: libraries = crypto
# cython: language_level=3, cdivision=True, wraparound=False, boundscheck=False
"""Datagrams of senders: right, late, repeated, forged, damaged, merged by GRO; and handshake messages."""
from libc.stdint cimport uint32_t, uint64_t, uint8_t
from libc.string cimport memcpy, memset

from pywg.dataplane.crypto.blake2s cimport BLAKE2S_STATE_LEN, blake2s_key, blake2s_mac
from pywg.dataplane.crypto.cookie_mac cimport COOKIE_LEN, make_cookie
from pywg.dataplane.crypto.xchacha20poly1305 cimport XNONCE_LEN, xchacha_seal
from pywg.dataplane.receive.coalesce cimport COALESCE_TUNNELS
from pywg.dataplane.state.replay cimport REPLAY_WINDOW
from pywg.dataplane.wire.endpoint cimport Endpoint
from pywg.dataplane.wire.limits cimport REJECT_AFTER_MESSAGES
from pywg.dataplane.wire.wireguard cimport COOKIE_REPLY_LEN, INITIATION_LEN, MAC_LEN, RESPONSE_LEN, TAG_LEN
from pywg.dataplane.wire.wireguard cimport WG_HEADER_LEN, TransportHeader

from tests.fuzz.native.ciphers cimport session_seal
from tests.fuzz.native.common cimport FIRST_INDEX, PEERS, Session, need
from tests.fuzz.native.harness cimport TRAFFIC_TCP, TRAFFIC_UDP, Chance, chance_below, chance_bytes, chance_short_len
from tests.fuzz.native.harness cimport finish_packet, finish_tunnel, ip_header_len, kernel, l4_header_len, make_packet
from tests.fuzz.native.harness cimport make_tunnel, number_address, peer_address, put16, tunnel_front, tunnel_inside
from tests.fuzz.native.inbound_state cimport FLOWS, MTU, UDP_MAX, Flow, Harness


cdef uint32_t transport(Harness *b, uint8_t *data, uint32_t *stride) noexcept nogil:
    """A datagram, or some that GRO has merged, of one session or two; the length."""
    cdef Chance *c = &b.chance
    cdef uint32_t[2] sessions
    cdef uint32_t what = chance_below(c, 256), n = 1, i, len = 0, inner_len, text_len, spare
    cdef Flow *flow = &b.flows[chance_below(c, FLOWS)]
    if b.world.session_count == 0:
        return 0
    b.clean = what & 3 != 3
    sessions[0] = chance_below(c, b.world.session_count)
    sessions[1] = chance_below(c, b.world.session_count) if what >= 240 else sessions[0]
    inner_len = min(chance_short_len(c, MTU), <uint32_t>UDP_MAX - 32)
    if b.world.cheap:       # the first one of a message, too, is one of the few bytes
        if inner_len > b.bytes_left:
            inner_len &= 63
        b.bytes_left -= min(inner_len, b.bytes_left)
    if what & 12 == 8:
        n = 2 + chance_below(c, 16)
    elif what & 12 == 12:
        n = 2 + chance_below(c, 256)
    if b.flood:
        n = UDP_MAX
        inner_len = 40 if what & 16 else 0
    text_len = inner_len if what & 32 else (inner_len + 15) & ~<uint32_t>15
    if inner_len and what & 192 == 192:
        text_len = inner_len + chance_below(c, 40)
    text_len = min(text_len, <uint32_t>UDP_MAX - 32)
    spare = chance_below(c, text_len + 1) if what & 192 == 64 else 0    # that the last one is shorter
    for i in range(n):
        if len + text_len + 32 > UDP_MAX or (i and not may_have(b, text_len)):
            n = i
            break
        if i + 1 < n:
            len += datagram(b, data + len, sessions[i & 1], flow, inner_len, text_len)
        else:
            len += datagram(b, data + len, sessions[i & 1], flow, inner_len - min(spare, inner_len), text_len - spare)
    if n > 1 or what == 0:
        stride[0] = text_len + 32
    return len


cdef bint may_have(Harness *b, uint32_t text_len) noexcept nogil:
    """Whether the input may have one more datagram."""
    if b.datagrams_left == 0 or b.bytes_left < text_len:
        return False
    b.datagrams_left -= 1
    b.bytes_left -= text_len
    return True


cdef uint32_t datagram(Harness *b, uint8_t *at, uint32_t index, Flow *flow, uint32_t inner_len,
                       uint32_t text_len) noexcept nogil:
    """`clean` messages take no byte of the input for a datagram, others at least one."""
    cdef Chance *c = &b.chance
    cdef Session *session = &b.world.sessions[index]
    cdef TransportHeader *header = <TransportHeader *>at
    cdef uint64_t counter = session.next_counter
    cdef uint32_t what = chance_below(c, 64) if not b.clean else 0
    if what < 32:
        pass
    elif what < 36:
        counter -= 1 + chance_below(c, 12)                          # again, or late
    elif what < 40:
        counter += chance_below(c, 80)                              # leaves a gap
    elif what < 43:
        counter -= REPLAY_WINDOW - 3 + chance_below(c, 8)
    elif what < 46:
        counter += <uint64_t>1 << chance_below(c, 17)
    elif what == 46:
        counter = REJECT_AFTER_MESSAGES + 2 - chance_below(c, 6)
    if counter - session.next_counter <= 1 << 16:
        session.next_counter = counter + 1
    memset(header, 0, sizeof(TransportHeader))
    header.type = 4
    header.receiver_index = FIRST_INDEX + index
    header.counter = counter
    inner(b, at + WG_HEADER_LEN, session.peer, flow, inner_len, text_len, what)
    need(session_seal(session, b.world.cheap, counter, at + WG_HEADER_LEN, text_len), b"sealing failed")
    if what == 63:
        at[chance_below(c, text_len + 32)] ^= <uint8_t>1 << chance_below(c, 8)
    return text_len + WG_HEADER_LEN + TAG_LEN


cdef void inner(Harness *b, uint8_t *text, uint32_t peer, Flow *flow, uint32_t len, uint32_t text_len,
                uint32_t what) noexcept nogil:
    """Fills `text`: a packet of the flow, and padding; where that has no room, bytes that are none."""
    cdef Chance *c = &b.chance
    cdef uint32_t ip_len = ip_header_len(flow.version), l4_len = l4_header_len(flow.protocol)
    cdef uint8_t *l4 = text + ip_len
    cdef bint options = flow.options and flow.protocol == TRAFFIC_TCP and len >= ip_len + l4_len + 12
    len = min(len, <uint32_t>65535)
    if flow.tunnel and b.world.dp.coalesce & COALESCE_TUNNELS and len >= shortest_tunnelled(flow):
        memset(text + len, 0, text_len - len)
        tunnelled(b, text, peer, flow, len, text_len, what)
        return
    if len < ip_len + l4_len:
        memset(text, <int>flow.version << 4, text_len)
        if what:
            chance_bytes(c, text, min(text_len, <uint32_t>24))
        return
    memset(text + len, 0, text_len - len)
    b.number += 1
    make_packet(text, flow.version, flow.protocol, len, b.number, flow.seq)
    ip_of_flow(c, text, peer, flow, what)
    if flow.version == 4:
        flow.id += flow.step
    if options:
        l4[12] = 0x80
        memset(l4 + 20, 1, 12)
    if flow.protocol == TRAFFIC_TCP:
        tcp_of_flow(c, l4, flow, len - ip_len - l4_len - (12 if options else 0), what)
    finish_packet(text, flow.version, flow.protocol, len)
    if what == 53:
        text[chance_below(c, ip_len + l4_len)] ^= <uint8_t>1 << chance_below(c, 8)
    elif what == 54 and flow.protocol == TRAFFIC_UDP:
        put16(l4 + 6, 0)
    elif what == 55 or what == 56:
        odd(b, text, flow.version, text_len)
    elif what == 57:
        chance_bytes(c, text, min(text_len, <uint32_t>60))


cdef void ip_of_flow(Chance *c, uint8_t *text, uint32_t peer, const Flow *flow, uint32_t what) noexcept nogil:
    """What the flow has in the IP header that routes it."""
    peer_address(text + (12 if flow.version == 4 else 8), flow.version,
                 peer if what != 47 else chance_below(c, PEERS + 1), flow.host)
    number_address(text + (16 if flow.version == 4 else 24), flow.version, flow.number)
    text[1] |= flow.tos << (0 if flow.version == 4 else 4)
    if flow.version == 4:
        put16(text + 4, flow.id)
        text[6] = 0x40 if flow.step == 0 or what == 48 else 0


cdef void tcp_of_flow(Chance *c, uint8_t *tcp, Flow *flow, uint32_t payload, uint32_t what) noexcept nogil:
    """What is odd about the segment, and the sequence number of the next one."""
    if what == 49:
        tcp[13] |= 8
    elif what == 50:
        tcp[13] = <uint8_t>chance_below(c, 256)
    elif what == 51:
        tcp[8 + chance_below(c, 12)] ^= 1
    flow.seq += payload
    if what == 52:
        flow.seq += 1 + chance_below(c, 3)


cdef uint32_t shortest_tunnelled(const Flow *flow) noexcept nogil:
    cdef uint32_t headers = ip_header_len(tunnel_inside(flow.tunnel)) + l4_header_len(TRAFFIC_TCP)
    return tunnel_front(flow.version, flow.tunnel) + headers


cdef void tunnelled(Harness *b, uint8_t *text, uint32_t peer, Flow *flow, uint32_t len, uint32_t text_len,
                    uint32_t what) noexcept nogil:
    """The same of a flow of TCP in a tunnel."""
    cdef Chance *c = &b.chance
    cdef uint32_t front = tunnel_front(flow.version, flow.tunnel), headers = shortest_tunnelled(flow)
    cdef int inside = tunnel_inside(flow.tunnel)
    cdef uint8_t *ip = text + front
    cdef uint8_t *tcp = ip + ip_header_len(inside)
    b.number += 1
    make_packet(ip, inside, TRAFFIC_TCP, len - front, b.number, flow.seq)
    peer_address(ip + (12 if inside == 4 else 8), inside, PEERS, flow.host)
    number_address(ip + (16 if inside == 4 else 24), inside, flow.number)
    if inside == 4:
        put16(ip + 4, flow.id)
        ip[6] = 0x40 if flow.step == 0 or what == 48 else 0
    tcp_of_flow(c, tcp, flow, len - headers, what)
    finish_packet(ip, inside, TRAFFIC_TCP, len - front)
    make_tunnel(text, flow.version, flow.tunnel, len)
    ip_of_flow(c, text, peer, flow, what)
    flow.id += flow.step
    finish_tunnel(text, flow.version, flow.tunnel, len)
    if what == 53:
        text[chance_below(c, headers)] ^= <uint8_t>1 << chance_below(c, 8)
    elif what == 54:
        ip[chance_below(c, headers - front)] ^= <uint8_t>1 << chance_below(c, 8)
        finish_tunnel(text, flow.version, flow.tunnel, len)
    elif what == 55 or what == 56:
        odd(b, text, flow.version, text_len)
    elif what == 57:
        odd(b, ip, inside, len - front)


cdef void odd(Harness *b, uint8_t *text, int version, uint32_t text_len) noexcept nogil:
    """A header that is not what it was."""
    cdef Chance *c = &b.chance
    cdef uint32_t what = chance_below(c, 6)
    if what < 3:
        put16(text + (2 if version == 4 else 4),
              text_len - (0 if version == 4 else 40) + 3 - chance_below(c, 6) if what else chance_below(c, 65536))
    elif what == 3:
        text[0] = <uint8_t>(chance_below(c, 256))
    elif what == 4:
        put16(text + 6, chance_below(c, 65536))     # a fragment, or another protocol
    else:
        text[9 if version == 4 else 6] = <uint8_t>chance_below(c, 60)


cdef uint32_t damaged(Harness *b, uint8_t *data, uint32_t len, uint32_t *stride) noexcept nogil:
    cdef Chance *c = &b.chance
    cdef uint32_t what = chance_below(c, 7)
    if what < 2 and len:
        data[chance_below(c, min(len, <uint32_t>256))] ^= <uint8_t>(1 + chance_below(c, 255))
    elif what == 2:
        return chance_below(c, len + 1)
    elif what == 3:
        return min(len, chance_below(c, 34))
    elif what == 4:
        stride[0] = 1 + chance_below(c, 40)
        return min(len, 30 * stride[0])
    elif what == 5:
        stride[0] = len + chance_below(c, 3) * 40 + 1
    elif stride[0] > 2:
        stride[0] += 2 - chance_below(c, 5)
    return len


cdef uint32_t handshakes(Harness *b, uint8_t *data, const Endpoint *source, uint32_t *stride) noexcept nogil:
    """One, or some that GRO has merged."""
    cdef Chance *c = &b.chance
    cdef uint32_t what = chance_below(c, 256), n = 1, i, len, kind = 1 + what % 3, index, peer = chance_below(c, PEERS)
    cdef uint8_t *message
    len = INITIATION_LEN if kind == 1 else RESPONSE_LEN if kind == 2 else COOKIE_REPLY_LEN
    if what >= 208:
        n = 2 + chance_below(c, 8)
        if b.heavy:
            n = 2 + chance_below(c, 400)
    for i in range(n):
        if i and not may_have(b, len):
            n = i
            break
        message = data + i * len
        memset(message, <int>(what + i), len)
        memset(message, 0, 4)
        message[0] = <uint8_t>kind
        b.number += 1
        memcpy(message + 4, &b.number, 4)       # no other message has its sender's index
        index = b.handshakes[peer]
        if what & 24 == 24 and b.world.session_count:
            index = FIRST_INDEX + chance_below(c, b.world.session_count)
        if kind != 1 and what & 96 != 96:
            memcpy(message + (8 if kind == 2 else 4), &index, 4)
        if kind != 3:
            write_macs(b, message, len, source, what)
        elif b.world.peers[peer] != NULL and what & 4 == 0:
            # What answers the last message to the peer, if there is one.
            memcpy(message + 4, &b.world.peers[peer].sent_index, 4)
            xchacha_seal(b.world.peers[peer].cookie_key, message + 8, message, COOKIE_LEN,
                         b.world.peers[peer].sent_mac1, MAC_LEN, message + 8 + XNONCE_LEN)
    if n > 1 or what == 0:
        stride[0] = len
    if what == 255:
        return n * len - chance_below(c, len)
    return n * len


cdef void write_macs(Harness *b, uint8_t *message, uint32_t len, const Endpoint *source, uint32_t what) noexcept nogil:
    cdef uint8_t cookie[COOKIE_LEN]
    cdef uint8_t state[BLAKE2S_STATE_LEN]
    if what & 15 == 15:
        return
    blake2s_mac(b.mac1_state, message, len - 2 * MAC_LEN, message + len - 2 * MAC_LEN)
    if what & 128 == 0:
        memset(message + len - MAC_LEN, 0, MAC_LEN)
    elif make_cookie(&b.world.dp.macs, source, kernel.now_ns, cookie):
        blake2s_key(state, cookie, COOKIE_LEN)
        blake2s_mac(state, message, len - MAC_LEN, message + len - MAC_LEN)
