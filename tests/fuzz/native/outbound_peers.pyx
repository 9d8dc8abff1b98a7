# distutils: libraries = crypto
# cython: language_level=3, cdivision=True, wraparound=False, boundscheck=False
"""The control plane of what is sent: peers, their endpoints and sessions, offloads."""
from libc.stdint cimport uint16_t, uint32_t, uint8_t
from libc.string cimport memset

from pywg.dataplane.send.send cimport send_path_hold, send_path_release
from pywg.dataplane.state.allowedips cimport allowedips_insert
from pywg.dataplane.state.dataplane cimport gates_enter, gates_leave
from pywg.dataplane.state.peer cimport BATCH_DATAGRAMS, Keypair, Peer
from pywg.dataplane.state.peers cimport keypair_publish
from pywg.dataplane.sys.atomic cimport store_pointer
from pywg.dataplane.sys.clock cimport SECOND_NS
from pywg.dataplane.wire.limits cimport REJECT_AFTER_MESSAGES

from tests.fuzz.native.common cimport Session, make_peer, make_session, need, settle
from tests.fuzz.native.harness cimport chance_below, chance_next, chance_one_in, kernel
from tests.fuzz.native.outbound_state cimport SESSIONS, Harness


cdef void hold(Harness *b) noexcept nogil:
    """All that was submitted is worked on: here helpers are this driver."""
    settle(&b.send_path.reorder, &b.helper)
    gates_enter(b.dp)
    send_path_hold(b.send_path)


cdef void release(Harness *b) noexcept nogil:
    send_path_release(b.send_path)
    gates_leave(b.dp)


cdef void add_peer(Harness *b, uint32_t i) noexcept nogil:
    cdef Peer *peer = make_peer(b.dp, i)
    cdef uint8_t address[16]
    b.peers[i] = peer
    if i == 0:      # the outer addresses of all: a tunnel in a tunnel
        memset(address, 192, 16)
        allowedips_insert(b.dp.allowed, address, 4, 8, &peer.allowed)
        allowedips_insert(b.dp.allowed, address, 16, 8, &peer.allowed)
    set_endpoint(b, peer)


cdef void set_endpoint(Harness *b, Peer *peer) noexcept nogil:
    cdef uint32_t what = chance_below(&b.chance, 8)
    memset(&peer.endpoint, 0, sizeof(peer.endpoint))
    if what == 0:
        return
    peer.endpoint.ip_len = 4 if what < 5 else 16
    peer.endpoint.port = <uint16_t>chance_next(&b.chance)
    memset(peer.endpoint.ip, 192, peer.endpoint.ip_len)
    peer.endpoint.ip[peer.endpoint.ip_len - 1] = <uint8_t>peer.id
    if what % 2:
        peer.endpoint.local_len = peer.endpoint.ip_len
        memset(peer.endpoint.local_ip, 7, peer.endpoint.local_len)
        peer.endpoint.scope_id = chance_below(&b.chance, 2)


cdef void begin_session(Harness *b, uint32_t i, bint confirmed) noexcept nogil:
    """`confirmed`: packets are sealed with it from now on; else only once RX has seen one under it."""
    cdef Session *session = &b.sessions[b.session_count]
    cdef Keypair *keypair
    if b.session_count == SESSIONS or b.peers[i] == NULL:
        return
    keypair = make_session(&b.chance, b.peers[i], session, b.session_count, confirmed)
    keypair.birth_ns = kernel.now_ns - chance_below(&b.chance, 190) * SECOND_NS * chance_below(&b.chance, 2)
    if chance_one_in(&b.chance, 4):
        keypair.next_counter = chance_next(&b.chance) >> chance_below(&b.chance, 64)
    if chance_one_in(&b.chance, 16):
        keypair.next_counter = REJECT_AFTER_MESSAGES - BATCH_DATAGRAMS - chance_below(&b.chance, 100)
    session.next_counter = keypair.next_counter
    need(keypair_publish(b.dp, keypair, confirmed) == 0, b"no memory")
    if confirmed:
        b.peers[i].sending = keypair
    b.session_count += 1


cdef void confirm(Peer *peer) noexcept nogil:
    """As RX does, at any time: what a peer's first packet under a new keypair shows is sealed with from now on."""
    if peer != NULL and peer.next != NULL:
        store_pointer(<void **>&peer.sending, peer.next)
        peer.next = NULL


cdef void choose_offloads(Harness *b) noexcept nogil:
    cdef uint32_t[8] mtus
    mtus = [1280, 1420, 1500, 8920, 16384, 32768, 65520, 65535]
    b.dp.mtu = mtus[chance_below(&b.chance, 8)] if not chance_one_in(&b.chance, 8) else chance_below(&b.chance, 65536)
    b.dp.vnet_hdr_len = 10 if not chance_one_in(&b.chance, 4) else 12 * <int>chance_below(&b.chance, 2)
    b.dp.gso4 = <uint8_t>(not chance_one_in(&b.chance, 4))
    b.dp.gso6 = <uint8_t>(not chance_one_in(&b.chance, 4))
    b.dp.gso_equal_tail = <uint8_t>(not chance_one_in(&b.chance, 4))
