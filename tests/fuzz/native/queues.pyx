"""Fuzz target: packets that wait for a session, and events on their way to the control plane, beside plain lists."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memset

from pywg.dataplane.state.dataplane cimport Dataplane, dataplane_new, gates_enter
from pywg.dataplane.state.events cimport MESSAGE_RING, UNDER_LOAD_AT, Message, events_confirmed
from pywg.dataplane.state.events cimport events_drop_message, events_forget, events_next_message, events_push
from pywg.dataplane.state.events cimport events_raise, events_rearm, events_take
from pywg.dataplane.state.peer cimport EVENT_CONFIRMED, Peer, StagedPacket
from pywg.dataplane.state.peers cimport peer_new
from pywg.dataplane.state.staged cimport stage_packet, staged_drop_all, staged_free, staged_take
from pywg.dataplane.sys.clock cimport SECOND_NS
from pywg.dataplane.wire.endpoint cimport Endpoint
from pywg.dataplane.wire.wireguard cimport INITIATION_LEN

from tests.fuzz.native.common cimport need, need_equal
from tests.fuzz.native.input cimport Input, input8, input16, input_left, input_start

cdef enum:
    PEERS = 6
    STAGED_MOST = 128           # of a peer (paper: left to the implementation; the kernel's MAX_STAGED_PACKETS)
    LONGEST = 512

cdef struct Queue:              # of a peer: lengths of its packets, oldest first
    uint32_t len[STAGED_MOST]
    uint8_t mark[STAGED_MOST]
    uint32_t count

cdef Dataplane *dp = NULL
cdef Peer *peers[PEERS]
cdef Queue queues[PEERS]
cdef uint64_t bytes_staged
cdef uint64_t dropped

cdef uint32_t bits[PEERS]       # events of each peer
cdef uint32_t confirmed[PEERS]
cdef int waiting[PEERS]         # peers with events, in the order in which they came
cdef int waiting_count

cdef uint64_t pushed, taken
cdef uint32_t[MESSAGE_RING] message_lens
cdef uint8_t[MESSAGE_RING] message_marks


# ---- staged packets

cdef void leave(uint32_t peer) noexcept nogil:
    """The oldest goes."""
    cdef uint32_t i
    cdef Queue *q = &queues[peer]
    q.count -= 1
    bytes_change(-<int>q.len[0])
    for i in range(q.count):
        q.len[i] = q.len[i + 1]
        q.mark[i] = q.mark[i + 1]


cdef void bytes_change(int by) noexcept nogil:
    global bytes_staged
    bytes_staged += <uint64_t>by


cdef void stage(uint32_t peer, uint32_t len, uint8_t mark) noexcept nogil:
    global dropped
    cdef uint8_t packet[LONGEST]
    cdef Queue *q = &queues[peer]
    memset(packet, mark, len)
    stage_packet(dp, peers[peer], packet, len)
    if q.count == STAGED_MOST:
        leave(peer)
        dropped += 1
    if bytes_staged + len > dp.shared.staged_max:
        dropped += 1
        return
    q.len[q.count] = len
    q.mark[q.count] = mark
    q.count += 1
    bytes_change(<int>len)


cdef void take(uint32_t peer) noexcept nogil:
    cdef StagedPacket *packet = staged_take(dp, peers[peer])
    cdef Queue *q = &queues[peer]
    need((packet != NULL) == (q.count != 0), b"a staged packet that is there or not")
    if packet == NULL:
        return
    need_equal(packet.len, q.len[0], b"the length of a staged packet")
    need(packet.len == 0 or (packet.data[0] == q.mark[0] and packet.data[packet.len - 1] == q.mark[0]),
         b"another staged packet")
    leave(peer)
    staged_free(packet)


cdef void drop_all(uint32_t peer) noexcept nogil:
    global dropped
    staged_drop_all(dp, peers[peer])
    while queues[peer].count:
        leave(peer)
        dropped += 1


cdef void staged_step(Input *input, uint32_t what, uint32_t peer) noexcept nogil:
    cdef uint32_t n, len
    if what < 5:
        n = 1 if what < 4 else 1 + input8(input) % 48
        len = input16(input) % LONGEST
        while n:
            n -= 1
            stage(peer, len, <uint8_t>(len + n))
    elif what < 7:
        take(peer)
    else:
        drop_all(peer)
    need_equal(dp.shared.staged_bytes, bytes_staged, b"bytes of staged packets")
    need(bytes_staged <= dp.shared.staged_max, b"more bytes than may be staged")
    need_equal(peers[peer].staged_count, queues[peer].count, b"staged packets")
    need_equal(dp.counters.tx_staged_dropped, dropped, b"staged packets dropped")


# ---- events of peers

cdef void note(uint32_t peer, uint32_t events) noexcept nogil:
    global waiting_count
    if bits[peer] == 0:
        waiting[waiting_count] = <int>peer
        waiting_count += 1
    bits[peer] |= events


cdef void forget(int place) noexcept nogil:
    global waiting_count
    cdef int i
    bits[waiting[place]] = 0
    waiting_count -= 1
    for i in range(place, waiting_count):
        waiting[i] = waiting[i + 1]


cdef void take_events() noexcept nogil:
    cdef uint32_t events = 0, index = 0
    cdef Peer *peer = events_take(&dp.shared.events, &events, &index)
    need((peer != NULL) == (waiting_count != 0), b"a peer with events that is there or not")
    if peer == NULL:
        return
    need(peer == peers[waiting[0]], b"another peer with events")
    need_equal(events, bits[waiting[0]], b"the events of a peer")
    need(not events & EVENT_CONFIRMED or index == confirmed[waiting[0]], b"another keypair confirmed")
    forget(0)


cdef void events_step(Input *input, uint32_t what, uint32_t peer) noexcept nogil:
    cdef uint32_t value = input8(input)
    cdef bint quiet = bits[peer] != 0
    cdef int i
    if what < 3:
        value = (value | 1) & ~<uint32_t>EVENT_CONFIRMED
        events_raise(&dp.shared.events, peers[peer], value)
        note(peer, value)
    elif what < 4:
        events_confirmed(&dp.shared.events, peers[peer], value)
        confirmed[peer] = value
        note(peer, EVENT_CONFIRMED)
    elif what < 6:
        take_events()
        return
    elif what < 7:
        events_forget(&dp.shared.events, peers[peer])
        for i in range(waiting_count):
            if waiting[i] == <int>peer:
                forget(i)
                break
        return
    else:
        events_rearm(&dp.shared.events)
        need(dp.shared.events.signalled == 0, b"a control plane that would not be woken")
        return
    need(quiet or dp.shared.events.signalled == 1, b"an event that nobody is told of")


# ---- handshake messages

cdef void push(uint32_t len, uint8_t mark) noexcept nogil:
    global pushed
    cdef Endpoint source
    cdef uint8_t data[INITIATION_LEN]
    cdef uint64_t now = 7 * SECOND_NS + mark, loaded = dp.shared.events.loaded_until_ns
    memset(&source, mark, sizeof(source))
    memset(data, mark, sizeof(data))
    need(events_push(&dp.shared.events, &source, data, len, now) == (pushed - taken < MESSAGE_RING),
         b"room in the ring")
    need_equal(dp.shared.events.loaded_until_ns, now + SECOND_NS if pushed - taken >= UNDER_LOAD_AT else loaded,
               b"the end of the load")
    if pushed - taken < MESSAGE_RING:
        message_lens[pushed % MESSAGE_RING] = len
        message_marks[pushed % MESSAGE_RING] = mark
        pushed += 1
        need(dp.shared.events.signalled == 1, b"a message that nobody is told of")


cdef void pull() noexcept nogil:
    global taken
    cdef Message *message = events_next_message(&dp.shared.events)
    cdef uint8_t mark = message_marks[taken % MESSAGE_RING]
    need((message != NULL) == (pushed != taken), b"a message that is there or not")
    if message == NULL:
        return
    need_equal(message.len, message_lens[taken % MESSAGE_RING], b"the length of a message")
    if message.len:
        need(message.data[0] == mark and message.data[message.len - 1] == mark, b"another message")
        need((<uint8_t *>&message.source)[0] == mark, b"another source")
    events_drop_message(&dp.shared.events)
    taken += 1


cdef void messages_step(Input *input, uint32_t what) noexcept nogil:
    cdef uint32_t n = 1
    if what < 5:
        push(input8(input) % (INITIATION_LEN + 1), <uint8_t>what)
    elif what < 7:
        pull()
    else:
        n = input16(input) % (MESSAGE_RING + 2)
        # So many are taken from, or added to, the ring at once: what is between them does not matter.
        if input8(input) & 1:
            n = <uint32_t>min(<uint64_t>n, pushed - taken)
            skip_taken(n)
        else:
            n = <uint32_t>min(<uint64_t>n, MESSAGE_RING - (pushed - taken))
            skip_pushed(n)


cdef void skip_taken(uint32_t n) noexcept nogil:
    global taken
    taken += n
    dp.shared.events.taken = taken


cdef void skip_pushed(uint32_t n) noexcept nogil:
    """Messages without a byte. The ring's slots are set, so that what was there is not mistaken for one."""
    global pushed
    cdef uint64_t i
    for i in range(max(pushed + n, <uint64_t>4) - min(<uint64_t>n, <uint64_t>4), pushed + n):
        message_lens[i % MESSAGE_RING] = dp.shared.events.ring[i % MESSAGE_RING].len = 0
    pushed += n
    dp.shared.events.written = pushed


cdef void start(Input *input) noexcept nogil:
    global bytes_staged, dropped, waiting_count, pushed, taken
    cdef uint32_t i
    for i in range(PEERS):
        staged_drop_all(dp, peers[i])
        events_forget(&dp.shared.events, peers[i])
        queues[i].count = 0
        bits[i] = confirmed[i] = 0
    memset(&dp.counters, 0, sizeof(dp.counters))
    bytes_staged = dropped = 0
    waiting_count = 0
    dp.shared.staged_max = input16(input)
    # Numbers of messages that go on to where they were first used, and round.
    pushed = taken = dp.shared.events.written = dp.shared.events.taken = input16(input)
    dp.shared.events.loaded_until_ns = 0
    dp.shared.events.signalled = 1     # nobody waits for the eventfd, until it is armed


cdef int one(const uint8_t *data, size_t size) noexcept nogil:
    """Two bytes for the ceiling of what is staged, two for the ring's place, then steps."""
    cdef Input input
    cdef uint32_t step
    input_start(&input, data, size)
    start(&input)
    while input_left(&input):
        step = input8(&input)
        if step & 3 < 2:
            staged_step(&input, step >> 2 & 7, (step >> 5) % PEERS)
        elif step & 3 == 2:
            events_step(&input, step >> 2 & 7, (step >> 5) % PEERS)
        else:
            messages_step(&input, step >> 2 & 7)
    return 0


def address(str _aead: str) -> int:
    """Where the target is. The plane that it uses is made here, once; nothing is sealed in it."""
    global dp
    cdef uint32_t i
    dp = dataplane_new(NULL)
    need(dp != NULL, b"no memory")
    gates_enter(dp)
    for i in range(PEERS):
        peers[i] = peer_new(i)
        need(peers[i] != NULL, b"no memory")
    return <uintptr_t>&one
