# distutils: libraries = crypto
# cython: language_level=3, cdivision=True, wraparound=False, boundscheck=False
"""Datagrams of senders: right, late, repeated, forged, damaged, merged by GRO; and handshake messages."""
from libc.stdint cimport uint32_t, uint64_t, uint8_t
from libc.string cimport memcpy, memset

from pywg.dataplane.crypto.blake2s cimport BLAKE2S_STATE_LEN, blake2s_key, blake2s_mac
from pywg.dataplane.crypto.cookie_mac cimport COOKIE_LEN, make_cookie
from pywg.dataplane.crypto.evp cimport evp_seal
from pywg.dataplane.crypto.xchacha20poly1305 cimport XNONCE_LEN, xchacha_seal
from pywg.dataplane.state.replay cimport REPLAY_WINDOW
from pywg.dataplane.wire.endpoint cimport Endpoint
from pywg.dataplane.wire.limits cimport REJECT_AFTER_MESSAGES
from pywg.dataplane.wire.wireguard cimport COOKIE_REPLY_LEN, INITIATION_LEN, MAC_LEN, RESPONSE_LEN, TAG_LEN
from pywg.dataplane.wire.wireguard cimport WG_HEADER_LEN, TransportHeader

from tests.fuzz.native.common cimport FIRST_INDEX, PEERS, Session, need
from tests.fuzz.native.harness cimport TRAFFIC_TCP, TRAFFIC_UDP, Chance, chance_below, chance_bytes, chance_len
from tests.fuzz.native.harness cimport chance_next, chance_one_in, finish_packet, ip_header_len, kernel, l4_header_len
from tests.fuzz.native.harness cimport make_packet, number_address, peer_address, put16
from tests.fuzz.native.inbound_state cimport FLOWS, MTU, UDP_MAX, Flow, Harness


cdef uint32_t transport(Harness *b, uint8_t *data, uint32_t *stride) noexcept nogil:
    """A datagram, or some that GRO has merged, of one session or two; the length."""
    cdef Chance *c = &b.chance
    cdef uint32_t[2] sessions
    cdef uint32_t n = 1, i, len = 0, inner_len = chance_len(c, 0, UDP_MAX - 32, MTU), text_len, one
    cdef uint32_t what = chance_below(c, 12), spare
    cdef Flow *flow = &b.flows[chance_below(c, FLOWS)]
    if b.session_count == 0:
        return 0
    b.clean = chance_one_in(c, 3)
    sessions[0] = some_session(b)
    sessions[1] = some_session(b) if chance_one_in(c, 6) else sessions[0]
    if what > 3:
        n = 2 + chance_below(c, 1 << (1 + what // 2 + 2 * b.clean))
    if b.flood or what == 11 and chance_one_in(c, 8):
        n = UDP_MAX
        if b.flood:
            inner_len = chance_below(c, 41) if chance_one_in(c, 4) else 0
    elif n > 1 and not chance_one_in(c, 4):
        inner_len = 28 + chance_below(c, 1392) if chance_one_in(c, 2) else 21 + chance_below(c, 100)
    text_len = inner_len if chance_one_in(c, 4) else (inner_len + 15) & ~<uint32_t>15
    if inner_len and chance_one_in(c, 8):
        text_len = inner_len + chance_below(c, 40)
    text_len = min(text_len, <uint32_t>UDP_MAX - 32)
    for i in range(n):
        if len + text_len + 32 > UDP_MAX:
            n = i
            break
        spare = chance_below(c, text_len + 1) if i + 1 == n and chance_one_in(c, 2) else 0
        if not b.clean and chance_one_in(c, 40):
            flow = &b.flows[chance_below(c, FLOWS)]
        one = datagram(b, data + len, sessions[i & 1], flow, inner_len - min(spare, inner_len), text_len - spare)
        len += one
    if n > 1 or chance_one_in(c, 8):
        stride[0] = text_len + 32
    return len


cdef uint32_t some_session(Harness *b) noexcept nogil:
    """Most often one of the last, and one that can still be used."""
    cdef Chance *c = &b.chance
    cdef uint32_t _try, index = 0
    for _try in range(8):
        index = chance_below(c, b.session_count)
        if b.session_count > 8 and not chance_one_in(c, 3):
            index = b.session_count - 1 - chance_below(c, 8)
        if (b.sessions[index].keypair != NULL and b.sessions[index].next_counter < REJECT_AFTER_MESSAGES
                or chance_one_in(c, 16)):
            break
    return index


cdef uint32_t datagram(Harness *b, uint8_t *at, uint32_t index, Flow *flow, uint32_t inner_len,
                       uint32_t text_len) noexcept nogil:
    cdef Chance *c = &b.chance
    cdef Session *session = &b.sessions[index]
    cdef TransportHeader *header = <TransportHeader *>at
    cdef uint64_t counter = session.next_counter
    cdef uint32_t what = chance_below(c, 240) if not b.clean else 240
    if what < 12:
        counter -= 1 + chance_below(c, 12)                          # again, or late
    elif what < 24:
        counter += chance_below(c, 12)                              # leaves a gap
    elif what < 30:
        counter -= REPLAY_WINDOW - 3 + chance_below(c, 6)
    elif what < 36:
        counter += <uint64_t>1 << chance_below(c, 16)
    elif what == 36 and chance_one_in(c, 16):
        counter = REJECT_AFTER_MESSAGES + 2 - chance_below(c, 6)
    if what == 240 or counter - session.next_counter <= 1 << 16:
        session.next_counter = counter + 1
    memset(header, 0, sizeof(TransportHeader))
    header.type = 4
    header.receiver_index = FIRST_INDEX + index
    header.counter = counter
    inner(b, at + WG_HEADER_LEN, session.peer, flow, inner_len, text_len)
    need(evp_seal(session.seal, counter, at + WG_HEADER_LEN, text_len), b"sealing failed")
    return text_len + WG_HEADER_LEN + TAG_LEN


cdef void inner(Harness *b, uint8_t *text, uint32_t peer, Flow *flow, uint32_t len, uint32_t text_len) noexcept nogil:
    """Fills `text`: a packet of the flow, and padding; where that has no room, bytes that are none."""
    cdef Chance *c = &b.chance
    cdef uint32_t ip_len = ip_header_len(flow.version), l4_len = l4_header_len(flow.protocol)
    cdef uint8_t *l4 = text + ip_len
    cdef bint options = flow.options and flow.protocol == TRAFFIC_TCP and len >= ip_len + l4_len + 12
    len = min(len, <uint32_t>65535)
    if len < ip_len + l4_len:
        chance_bytes(c, text, text_len)
        return
    memset(text + len, 0, text_len - len)
    b.number += 1
    make_packet(text, flow.version, flow.protocol, len, b.number, flow.seq)
    peer_address(text + (12 if flow.version == 4 else 8), flow.version,
                 peer if b.clean or not chance_one_in(c, 40) else chance_below(c, PEERS + 1), flow.host)
    number_address(text + (16 if flow.version == 4 else 24), flow.version, flow.number)
    text[1] |= flow.tos << (0 if flow.version == 4 else 4)
    if flow.version == 4:
        put16(text + 4, flow.id)
        text[6] = 0x40 if flow.step == 0 or not b.clean and chance_one_in(c, 200) else 0
        flow.id += flow.step
    if options:
        l4[12] = 0x80
        memset(l4 + 20, 1, 12)
    if flow.protocol == TRAFFIC_TCP:
        if chance_one_in(c, 24) and not b.clean:
            l4[13] |= 8
        if chance_one_in(c, 60) and not b.clean:
            l4[13] = <uint8_t>chance_next(c)
        if chance_one_in(c, 60) and not b.clean:
            l4[8 + chance_below(c, 12)] ^= 1
        flow.seq += len - ip_len - l4_len - (12 if options else 0)
        if chance_one_in(c, 40) and not b.clean:
            flow.seq += chance_below(c, 3)
    finish_packet(text, flow.version, flow.protocol, len)
    if b.clean:
        return
    if chance_one_in(c, 40):
        text[chance_below(c, ip_len + l4_len)] ^= <uint8_t>1 << chance_below(c, 8)
    if flow.protocol == TRAFFIC_UDP and chance_one_in(c, 60):
        put16(l4 + 6, 0)
    if chance_one_in(c, 24):
        odd(b, text, flow.version, text_len)


cdef void odd(Harness *b, uint8_t *text, int version, uint32_t text_len) noexcept nogil:
    """A header that is not what it was."""
    cdef Chance *c = &b.chance
    cdef uint32_t what = chance_below(c, 6)
    if what < 3:
        put16(text + (2 if version == 4 else 4),
              text_len - (0 if version == 4 else 40) + 3 - chance_below(c, 6) if what else chance_below(c, 65536))
    elif what == 3:
        text[0] = <uint8_t>((version << 4 if chance_one_in(c, 2) else 0) | chance_below(c, 256))
    elif what == 4:
        put16(text + 6, chance_below(c, 65536))     # a fragment, or another protocol
    else:
        text[9 if version == 4 else 6] = <uint8_t>chance_below(c, 60)


cdef uint32_t damaged(Harness *b, uint8_t *data, uint32_t len, uint32_t *stride) noexcept nogil:
    cdef Chance *c = &b.chance
    cdef uint32_t what = chance_below(c, 7), _i
    if what < 2 and len:
        for _i in range(1 + chance_below(c, 3)):
            data[chance_below(c, len)] ^= <uint8_t>1 << chance_below(c, 8)
    elif what == 2:
        return chance_below(c, len + 1)
    elif what == 3:
        return min(len, chance_below(c, 34))
    elif what == 4:
        stride[0] = 1 if chance_one_in(c, 2) else 3
        return min(len, <uint32_t>600)
    elif what == 5:
        stride[0] = len + chance_below(c, 3) * 40 + 1
    elif stride[0] > 2:
        stride[0] += 2 - chance_below(c, 5)
    return len


cdef uint32_t handshakes(Harness *b, uint8_t *data, const Endpoint *source, uint32_t *stride) noexcept nogil:
    """One, or some that GRO has merged."""
    cdef Chance *c = &b.chance
    cdef uint32_t n = 1 if not chance_one_in(c, 6) else 1 + chance_below(c, 1 << (1 + chance_below(c, 8))), i, len
    cdef uint32_t kind = 1 + chance_below(c, 3), index, peer
    cdef uint8_t *message
    len = INITIATION_LEN if kind == 1 else RESPONSE_LEN if kind == 2 else COOKIE_REPLY_LEN
    for i in range(n):
        message = data + i * len
        peer = chance_below(c, PEERS)
        chance_bytes(c, message, len)
        memset(message, 0, 4)
        message[0] = <uint8_t>kind
        index = b.handshakes[peer]
        if chance_one_in(c, 4) and b.session_count:
            index = FIRST_INDEX + chance_below(c, b.session_count)
        if kind != 1 and not chance_one_in(c, 6):
            memcpy(message + (8 if kind == 2 else 4), &index, 4)
        if kind != 3:
            write_macs(b, message, len, source)
        elif b.peers[peer] != NULL and not chance_one_in(c, 3):
            # What answers the last message to the peer, if there is one.
            memcpy(message + 4, &b.peers[peer].sent_index, 4)
            xchacha_seal(b.peers[peer].cookie_key, message + 8, message, COOKIE_LEN, b.peers[peer].sent_mac1, MAC_LEN,
                         message + 8 + XNONCE_LEN)
    if n > 1 or chance_one_in(c, 8):
        stride[0] = len
    if chance_one_in(c, 12):
        return n * len - chance_below(c, len)
    return n * len


cdef void write_macs(Harness *b, uint8_t *message, uint32_t len, const Endpoint *source) noexcept nogil:
    cdef Chance *c = &b.chance
    cdef uint8_t cookie[COOKIE_LEN]
    cdef uint8_t state[BLAKE2S_STATE_LEN]
    if chance_one_in(c, 5):
        return
    blake2s_mac(b.mac1_state, message, len - 2 * MAC_LEN, message + len - 2 * MAC_LEN)
    if chance_one_in(c, 3):
        memset(message + len - MAC_LEN, 0, MAC_LEN)
    elif chance_one_in(c, 2) and make_cookie(&b.dp.macs, source, kernel.now_ns, cookie):
        blake2s_key(state, cookie, COOKIE_LEN)
        blake2s_mac(state, message, len - MAC_LEN, message + len - MAC_LEN)
