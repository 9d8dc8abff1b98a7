"""Fuzz target: which of our own messages, on their way back through the TUN, close a loop; beside a plain graph.

A step is a packet to a peer's endpoint that goes through some peer, time that passes, an endpoint that moves, or a peer
that is freed.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memset

from pywg.dataplane.send.routing_loop cimport looks_like_transport, routing_loop_closes
from pywg.dataplane.state.dataplane cimport Dataplane, dataplane_new
from pywg.dataplane.state.events cimport events_take
from pywg.dataplane.state.gate cimport gate_enter
from pywg.dataplane.state.index_table cimport index_table_put
from pywg.dataplane.state.peer cimport EVENT_ROUTING_LOOP, Keypair, Peer
from pywg.dataplane.state.peers cimport peer_new
from pywg.dataplane.sys.clock cimport SECOND_NS
from pywg.dataplane.wire.ip cimport IpView, htons, ip_read

from tests.fuzz.native.common cimport need
from tests.fuzz.native.input cimport Input, input8, input_below, input_left, input_start

cdef enum:
    PEERS = 20                  # more than a loop that is looked for
    FIRST_INDEX = 0x1000
    NOBODY = PEERS              # an index that no session has
    LONGEST_LOOP = 16           # peers
    FIRST_PORT = 1000
    PLACES = 4                  # where an endpoint can be

cdef struct Model:
    uint64_t now
    uint32_t freed
    int through[PEERS]          # -1: none was seen
    uint64_t seen[PEERS]
    uint32_t seen_freed[PEERS]
    uint32_t place[PEERS]       # of the peer's endpoint
    uint64_t told[PEERS]

cdef Dataplane *dp = NULL
cdef Peer *peers[PEERS]
cdef Keypair keypairs[PEERS]
cdef uint8_t[68] packet


cdef void make_address(uint8_t *to, uint32_t place) noexcept nogil:
    """An IPv4 address for even places, IPv6 for odd ones."""
    memset(to, 0, 16)
    to[0] = 10 if place % 2 == 0 else 0xFD
    to[3] = <uint8_t>(place + 1)


cdef uint32_t address_len(uint32_t place) noexcept nogil:
    return 4 if place % 2 == 0 else 16


cdef void move(Model *m, uint32_t peer, uint32_t place) noexcept nogil:
    m.place[peer] = place
    make_address(peers[peer].endpoint.ip, place)
    peers[peer].endpoint.ip_len = <uint8_t>address_len(place)
    peers[peer].endpoint.port = htons(<uint16_t>(FIRST_PORT + place))


cdef uint32_t make_message(uint32_t to, uint32_t place, bint wrong_port) noexcept nogil:
    """The inner packet that a transport message to the peer `to` at a place is. Its length."""
    cdef uint32_t l4 = 20 if address_len(place) == 4 else 40
    cdef uint32_t len = l4 + 24
    cdef uint32_t index = FIRST_INDEX + to
    cdef uint32_t port = FIRST_PORT + place + <uint32_t>wrong_port
    memset(packet, 0, sizeof(packet))
    if l4 == 20:
        packet[0] = 0x45
        packet[3] = <uint8_t>len
        packet[9] = 17
        make_address(packet + 16, place)
    else:
        packet[0] = 0x60
        packet[5] = 24
        packet[6] = 17
        make_address(packet + 24, place)
    packet[l4 + 2] = <uint8_t>(port >> 8)
    packet[l4 + 3] = <uint8_t>port
    memset(packet + l4 + 4, 0, 20)
    packet[l4 + 8] = 4
    memcpy(packet + l4 + 12, &index, 4)
    return len


cdef bint closes(Model *m, uint32_t through, uint32_t to) noexcept nogil:
    """What the graph says: the steps of the last second lead from `through` back to the peer."""
    cdef int at = <int>through
    cdef int _i
    m.through[to] = at
    m.seen[to] = m.now
    m.seen_freed[to] = m.freed
    for _i in range(LONGEST_LOOP):
        if at == <int>to:
            return True
        if m.through[at] < 0 or m.seen_freed[at] != m.freed or m.now - m.seen[at] > SECOND_NS:
            return False
        at = m.through[at]
    return False


cdef void send(Model *m, uint32_t through, uint32_t to, uint32_t place, bint wrong_port) noexcept nogil:
    cdef IpView ip
    cdef uint32_t len = make_message(to, place, wrong_port)
    cdef uint32_t events = 0, index
    cdef bint closed, expected = False
    cdef Peer *raised
    need(ip_read(&ip, packet, len) and looks_like_transport(&ip), b"a message that does not look like one")
    closed = routing_loop_closes(dp, peers[through], &ip, m.now)
    if to != NOBODY and place == m.place[to] and not wrong_port:
        expected = closes(m, through, to)
    need(closed == expected, b"a loop that is closed or not")
    raised = events_take(&dp.shared.events, &events, &index)
    if expected and m.now - m.told[to] >= SECOND_NS:
        m.told[to] = m.now
        need(raised == peers[to] and events == EVENT_ROUTING_LOOP, b"a loop that nobody is told of")
    else:
        need(raised == NULL, b"a loop that is told of")


cdef void start(Model *m) noexcept nogil:
    cdef uint32_t i
    memset(m, 0, sizeof(Model))
    m.now = 100 * SECOND_NS
    dp.shared.peers_freed = 0
    for i in range(PEERS):
        m.through[i] = -1
        peers[i].through = NULL
        peers[i].through_seen_ns = peers[i].through_epoch = peers[i].loop_told_ns = 0
        peers[i].events = 0
        move(m, i, i % PLACES)


cdef int one(const uint8_t *data, size_t size) noexcept nogil:
    """Steps of three bytes."""
    cdef Input input
    cdef Model m
    cdef uint32_t step, a, b
    input_start(&input, data, size)
    start(&m)
    while input_left(&input):
        step = input8(&input)
        a = input_below(&input, PEERS)
        b = input_below(&input, PEERS + 1)
        if step < 200:
            send(&m, a, b, step % PLACES if step < 40 or b == NOBODY else m.place[b], step == 41)
        elif step < 230:
            m.now += (a + 1) * (SECOND_NS // 8)
        elif step < 240:
            m.now += SECOND_NS + <uint64_t>(b % 3) - 1      # just before, at, and after a second
        elif step < 250:
            move(&m, a, b % PLACES)
        else:
            m.freed += 1
            dp.shared.peers_freed += 1
    return 0


def address(str _aead: str) -> int:
    """Where the target is. The plane that it uses is made here, once; nothing is sealed in it."""
    global dp
    cdef uint32_t i
    dp = dataplane_new(NULL)
    need(dp != NULL, b"no memory")
    gate_enter(&dp.send_gate)
    dp.shared.events.signalled = 1     # nobody waits for the eventfd
    for i in range(PEERS):
        peers[i] = peer_new(i)
        keypairs[i].peer = peers[i]
        need(index_table_put(&dp.shared.remote_indices, FIRST_INDEX + i, peers[i], &keypairs[i]) == 0, b"no memory")
    return <uintptr_t>&one
