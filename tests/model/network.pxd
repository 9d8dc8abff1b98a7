"""What the worlds with a TUN and a socket share: packets, messages, peers, sessions, and a cipher that is none."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from pywg.dataplane.crypto.aead cimport Aead, AeadBackend
from pywg.dataplane.state.peer cimport Keypair, Peer
from pywg.dataplane.state.peers cimport keypair_new, peer_new
from pywg.dataplane.sys.clock cimport SECOND_NS
from pywg.dataplane.sys.linux cimport AF_INET, htons, mmsghdr, sockaddr_in
from pywg.dataplane.wire.wireguard cimport KEY_LEN, TAG_LEN, WG_HEADER_LEN, TransportHeader

from tests.model.engine cimport model_fault, model_ignore

cdef enum:
    PACKET_LEN = 28             # of the shortest one
    NUMBER_AT = 20              # its payload, which is the driver's
    NOW_S = 1000000             # as the engine says
    SEND_KEY = 1                # each byte of it
    RECEIVE_KEY = 2


cdef inline void put_packet(uint8_t *at, uint32_t len, int host, bint inbound) noexcept nogil:
    """An IPv4 packet to or from 10.0.0.<host>; the other address is one that no unreachable goes to."""
    memset(at, 0, PACKET_LEN)
    at[0] = 0x45
    at[2] = <uint8_t>(len >> 8)
    at[3] = <uint8_t>len
    at[8] = 64
    at[9] = 200
    at[12 if inbound else 16] = 10
    at[15 if inbound else 19] = <uint8_t>host


cdef inline uint8_t *put_message(mmsghdr *message, uint32_t index, uint64_t counter, uint32_t port) noexcept nogil:
    """A message of the shortest packet, from 0.0.0.0:<port>. Where the packet is to be."""
    cdef uint8_t *to = <uint8_t *>message.msg_hdr.msg_iov.iov_base
    cdef TransportHeader *header = <TransportHeader *>to
    cdef sockaddr_in *source = <sockaddr_in *>message.msg_hdr.msg_name
    memset(to, 0, WG_HEADER_LEN)
    header.type = 4
    header.receiver_index = index
    header.counter = counter
    memset(source, 0, sizeof(sockaddr_in))
    source.sin_family = AF_INET
    source.sin_port = htons(port)
    message.msg_hdr.msg_controllen = 0
    message.msg_len = WG_HEADER_LEN + PACKET_LEN + TAG_LEN
    return to + WG_HEADER_LEN


cdef inline Peer *new_peer(uint32_t number, uint32_t port) noexcept nogil:
    """At 0.0.0.0:<port>."""
    cdef Peer *peer = peer_new(number)
    peer.endpoint.ip_len = 4
    peer.endpoint.port = htons(port)
    # Timers and bytes, by relaxed atomics: no thread waits for them.
    model_ignore(&peer.tx_bytes, <uint8_t *>&peer.handshake_index - <uint8_t *>&peer.tx_bytes)
    model_ignore(&peer.unanswered_since, <uint8_t *>&peer.handshake_asked_ns - <uint8_t *>&peer.unanswered_since)
    model_ignore(&peer.rx_bytes, 2 * sizeof(uint64_t))
    return peer


cdef inline Keypair *new_session(Peer *peer, uint32_t local_index) noexcept nogil:
    cdef uint8_t[KEY_LEN] send_key, receive_key
    cdef Keypair *keypair
    memset(send_key, SEND_KEY, KEY_LEN)
    memset(receive_key, RECEIVE_KEY, KEY_LEN)
    keypair = keypair_new(peer, send_key, receive_key)
    keypair.local_index = local_index
    keypair.birth_ns = NOW_S * SECOND_NS
    return keypair


cdef inline bint seal_none(const Aead *aead, uint64_t first_counter, uint8_t **texts, const uint32_t *lens,
                           int n) noexcept nogil:
    if aead.key[0] != SEND_KEY:
        model_fault(b"sealed with another key")
    return True


cdef inline uint64_t open_none(const Aead *aead, const uint64_t *counters, uint8_t **texts, const uint32_t *lens,
                               int n) noexcept nogil:
    if aead.key[0] != RECEIVE_KEY:
        model_fault(b"opened with another key")
    return (<uint64_t>1 << n) - 1


cdef inline void no_cipher(AeadBackend *backend) noexcept nogil:
    memset(backend, 0, sizeof(AeadBackend))
    backend.name = b"none"
    backend.seal = seal_none
    backend.open = open_none
