# distutils: libraries = crypto
# cython: language_level=3, cdivision=True, wraparound=False, boundscheck=False
"""The control plane of what is sent: peers, their endpoints and sessions, offloads."""
from libc.stdint cimport uint16_t, uint32_t, uint8_t
from libc.string cimport memset

from pywg.dataplane.send.send cimport send_path_hold, send_path_release
from pywg.dataplane.state.dataplane cimport gates_enter, gates_leave
from pywg.dataplane.state.peer cimport COUNTERS_TO_SPARE, Peer
from pywg.dataplane.state.peers cimport keypair_publish
from pywg.dataplane.state.tunnel_ends cimport tunnel_ends_forget
from pywg.dataplane.sys.atomic cimport store_pointer
from pywg.dataplane.sys.clock cimport SECOND_NS
from pywg.dataplane.wire.limits cimport REJECT_AFTER_MESSAGES

from tests.fuzz.native.common cimport Session, make_session, need, settle
from tests.fuzz.native.harness cimport chance_below, chance_next, kernel
from tests.fuzz.native.outbound_state cimport SEEN_BYTES, Harness


cdef void hold(Harness *b) noexcept nogil:
    """All that was submitted is worked on: here helpers are this target."""
    settle(&b.path.reorder, &b.world.helper)
    gates_enter(b.world.dp)
    send_path_hold(b.path)
    send_path_hold(b.second_path)


cdef void release(Harness *b) noexcept nogil:
    send_path_release(b.second_path)
    send_path_release(b.path)
    gates_leave(b.world.dp)


cdef void set_endpoint(Harness *b, Peer *peer, uint32_t what) noexcept nogil:
    """0: it is not known."""
    memset(&peer.endpoint, 0, sizeof(peer.endpoint))
    if what == 0:
        return
    peer.endpoint.ip_len = 4 if what < 5 else 16
    peer.endpoint.port = <uint16_t>(0x1234 + what)
    memset(peer.endpoint.ip, 192, peer.endpoint.ip_len)
    peer.endpoint.ip[peer.endpoint.ip_len - 1] = <uint8_t>peer.id
    if what % 2:
        peer.endpoint.local_len = peer.endpoint.ip_len
        memset(peer.endpoint.local_ip, 7, peer.endpoint.local_len)
        peer.endpoint.scope_id = what & 4


cdef void begin_session(Harness *b, uint32_t i, bint confirmed, bint odd) noexcept nogil:
    """`confirmed`: packets are sealed with it from now on; else only once RX has seen one under it."""
    cdef Session *session = make_session(&b.world, i, confirmed)
    cdef uint32_t what
    if session == NULL:
        return
    session.keypair.birth_ns = kernel.now_ns
    if odd:
        what = chance_below(&b.chance, 8)
        if what & 1:
            session.keypair.birth_ns -= chance_below(&b.chance, 190) * SECOND_NS
        if what & 2:
            session.keypair.next_counter = chance_next(&b.chance) >> chance_below(&b.chance, 64)
        if what & 4:
            session.keypair.next_counter = REJECT_AFTER_MESSAGES - COUNTERS_TO_SPARE - chance_below(&b.chance, 100)
    session.next_counter = session.keypair.next_counter
    b.first_counters[b.world.session_count - 1] = session.next_counter
    memset(b.seen[b.world.session_count - 1], 0, SEEN_BYTES if b.two else 0)
    need(keypair_publish(b.world.dp, session.keypair, confirmed) == 0, b"no memory")
    if confirmed:
        b.world.peers[i].sending = session.keypair


cdef void confirm(Peer *peer) noexcept nogil:
    """As RX does, at any time: what a peer's first packet under a new keypair shows is sealed with from now on."""
    if peer != NULL and peer.next != NULL:
        store_pointer(<void **>&peer.sending, peer.next)
        peer.next = NULL


cdef void choose_offloads(Harness *b) noexcept nogil:
    cdef uint32_t what = chance_below(&b.chance, 256), mtu = chance_below(&b.chance, 16)
    cdef uint32_t[8] mtus
    cdef int[4] headers
    mtus = [1420, 1280, 1500, 8920, 16384, 32768, 65520, 65535]
    headers = [10, 24, 12, 0]
    b.world.dp.mtu = mtus[mtu] if mtu < 8 else 1420 if mtu < 15 else chance_below(&b.chance, 65536)
    b.world.dp.vnet_hdr_len = headers[what & 3]
    b.world.dp.tunnels = headers[what & 3] == 24 and what & 32 == 0
    tunnel_ends_forget(&b.world.dp.shared.tunnel_ends)
    b.world.dp.gso4 = what & 4 == 0
    b.world.dp.gso6 = what & 8 == 0
    b.world.dp.gso_equal_tail = what & 16 == 0
    b.second.mtu = b.world.dp.mtu
    b.second.vnet_hdr_len = b.world.dp.vnet_hdr_len
    b.second.tunnels = b.world.dp.tunnels
    b.second.gso4 = b.world.dp.gso4
    b.second.gso6 = b.world.dp.gso6
    b.second.gso_equal_tail = b.world.dp.gso_equal_tail
