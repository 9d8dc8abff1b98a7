# distutils: libraries = crypto
# cython: language_level=3, cdivision=True, wraparound=False, boundscheck=False
"""The inbound path, guided: UDP messages in, TUN frames and handshake messages out, while sessions come and go.

The input's bytes choose what happens, with `receive_thread` as it is shipped. The target is the kernel (kernel.h),
the control plane while that thread waits, and its helper. It seals with the sessions' keys before it damages some:
an input gets behind the tags. Each datagram is opened by libcrypto before the thread has it, and judged by the rules of
the paper: what is authentic, new and allowed has to arrive at the TUN, unchanged but for its ECN field, once, in the
order of its flow, and nothing else; each datagram that is refused is in one counter, the right one. With two shards, as
the input chooses, either receives any datagram, one batch after the other. The target ends the process at what is
wrong.
"""
from libc.errno cimport EINTR, ENOMEM
from libc.stdint cimport uint32_t, uint8_t
from libc.stdlib cimport calloc, malloc
from libc.string cimport memcpy, memset

from pywg.dataplane.crypto.aead cimport AeadBackend
from pywg.dataplane.crypto.blake2s cimport blake2s_key
from pywg.dataplane.crypto.cookie_mac cimport macs_identify, macs_init
from pywg.dataplane.receive.receive cimport ReceivePath, receive_path_hold, receive_path_new, receive_path_release
from pywg.dataplane.receive.receive cimport receive_step
from pywg.dataplane.reorder.reorder cimport reorder_is_empty
from pywg.dataplane.state.counters cimport Counters, count as due
from pywg.dataplane.state.dataplane cimport gates_enter, gates_leave
from pywg.dataplane.state.gate cimport gate_enter, gate_leave
from pywg.dataplane.state.tunnel_ends cimport KnownEnds
from pywg.dataplane.sys.clock cimport SECOND_NS
from pywg.dataplane.sys.linux cimport POLLIN, pollfd
from pywg.dataplane.threads.loops cimport receive_thread
from pywg.dataplane.udp.receive cimport RECEIVE_LEN
from pywg.dataplane.wire.virtio cimport VNET_HDR_MAX

from tests.fuzz.native.ciphers cimport choose, is_cheap
from tests.fuzz.native.common cimport LAYOUTS, PEERS, end_peer, end_session, idle_helper, layout_slots, need, settle
from tests.fuzz.native.common cimport world_make, world_ready, world_restore, world_second
from tests.fuzz.native.faults cimport faults
from tests.fuzz.native.harness cimport KERNEL_TUN, KERNEL_UDP4, KERNEL_UDP6, Chance, chance_begin, chance_below
from tests.fuzz.native.harness cimport chance_is_over, chance_next, kernel
from tests.fuzz.native.inbound_kernel cimport receive, send, tun_write
from tests.fuzz.native.inbound_model cimport check
from tests.fuzz.native.inbound_peers cimport add_peer, begin_handshake, begin_peer, begin_session, choose_offloads
from tests.fuzz.native.inbound_peers cimport first_flow, hear, note_ends, renew_flow
from tests.fuzz.native.inbound_state cimport FEW_BYTES, FEW_DATAGRAMS, FLOWS, MANY_BYTES, MANY_DATAGRAMS, PENDING, SEEN
from tests.fuzz.native.inbound_state cimport STORE, Harness, Pending, Seen

cdef enum:
    KEY = 0x5a


cdef int wait(void *driver, pollfd *fds, unsigned long count) noexcept nogil:
    """The thread is outside its gate: what the control plane does, it does now."""
    cdef Harness *b = <Harness *>driver
    cdef Chance *c = &b.chance
    cdef uint32_t what
    cdef int n = 0
    cdef unsigned long i
    need(count == 4 and fds[0].fd == b.world.dp.receive_kick, b"waiting for something else")
    if chance_is_over(c):
        b.world.dp.stop = True
        return 0
    what = chance_below(c, 256)
    if b.receive_path.pool != NULL and what & 8 == 0:
        settle(&b.receive_path.reorder, &b.world.helper)
    if what & 16:
        operate(b)
    if what & 224 == 224:
        kernel.now_ns += chance_next(c) >> (36 + chance_below(c, 28))
    elif what & 224 == 192:
        if what & 4:
            return -EINTR
        due(&b.expected.rx_wait_error)
        return -ENOMEM
    if b.loaded:
        b.world.dp.shared.events.loaded_until_ns = kernel.now_ns + SECOND_NS
    fds[0].revents = POLLIN if what & 4 else 0
    fds[1].revents = POLLIN if what & 3 != 2 else 0
    fds[2].revents = POLLIN if what & 3 != 1 else 0
    fds[3].revents = 0
    if b.two and what & 3 == 3:
        fds[1].revents = fds[2].revents = 0
        receive_by_second(b, what & 4 != 0)
    for i in range(4):
        if fds[i].fd < 0:
            fds[i].revents = 0
        n += fds[i].revents != 0
    return n


cdef void receive_by_second(Harness *b, bint six) noexcept nogil:
    """A batch of the second shard's, behind all that the first has: what arrives is judged in this order."""
    cdef ReceivePath *first = b.receive_path
    settle(&first.reorder, &b.world.helper)
    b.receive_path = b.second_path
    b.second_path.ready4 = not six
    b.second_path.ready6 = six
    gate_enter(&b.second.receive_gate)
    receive_step(b.second_path)
    gate_leave(&b.second.receive_gate)
    b.receive_path = first


cdef void operate(Harness *b) noexcept nogil:
    cdef Chance *c = &b.chance
    cdef uint32_t what = chance_below(c, 32), i = what % PEERS
    settle(&b.receive_path.reorder, &b.world.helper)
    gates_enter(b.world.dp)
    receive_path_hold(b.receive_path)
    check(b)
    if what < 12:
        begin_session(b, chance_below(c, PEERS), what & 1 != 0, what & 2 != 0)
    elif what < 14:
        end_session(&b.world, chance_below(c, max(b.world.session_count, <uint32_t>1)))
    elif what < 16:
        if b.world.peers[i] == NULL:
            add_peer(b, i)
            begin_session(b, i, True, False)
        else:
            end_peer(&b.world, i)
    elif what < 20 and b.world.peers[i] != NULL:
        begin_handshake(b, i)
    elif what == 20:
        kernel.now_ns += chance_next(c) >> (26 + chance_below(c, 30))
    elif what == 21:
        choose_offloads(b, chance_below(c, 64))
    elif what == 26:
        note_ends(b)
    elif what == 22:
        b.failing = not b.failing
    elif what == 23:
        hear(b)
    elif what == 24:
        b.loaded = not b.loaded
    elif what == 25:
        i = chance_below(c, 8)
        b.world.dp.fd4 = KERNEL_UDP4 if i & 1 == 0 else -1
        b.world.dp.fd6 = KERNEL_UDP6 if i & 2 == 0 else -1
        b.world.dp.tun_fd = KERNEL_TUN if i & 4 == 0 else -1
        b.second.fd4 = b.world.dp.fd4
        b.second.fd6 = b.world.dp.fd6
        b.second.tun_fd = b.world.dp.tun_fd
    else:
        renew_flow(b, &b.flows[chance_below(c, FLOWS)])
    receive_path_release(b.receive_path)
    gates_leave(b.world.dp)


cdef void make(Harness *b, const AeadBackend *aead) noexcept nogil:
    cdef uint8_t[32] key
    cdef uint32_t i
    memset(key, KEY, 32)
    b.scratch = <uint8_t *>malloc(RECEIVE_LEN)
    b.frame = <uint8_t *>malloc(65535 + VNET_HDR_MAX)
    b.piece = <uint8_t *>malloc(65535)
    b.seen = <Seen *>calloc(SEEN, sizeof(Seen))
    b.pending = <Pending *>calloc(PENDING, sizeof(Pending))
    b.store = <uint8_t *>malloc(STORE)
    need(b.scratch != NULL and b.frame != NULL and b.piece != NULL and b.seen != NULL and b.pending != NULL
         and b.store != NULL, b"no memory")
    world_make(&b.world, aead)
    b.world.cheap = is_cheap(aead)
    need(macs_init(&b.world.dp.macs) == 0, b"no memory")
    macs_identify(&b.world.dp.macs, key, key)
    blake2s_key(b.mac1_state, key, 32)
    make_second(b)
    world_ready(&b.world)
    for i in range(<uint32_t>LAYOUTS):
        b.paths[i] = receive_path_new(b.world.dp, layout_slots(<int>i), 2 * <int>i)
        b.paths_before[i] = <ReceivePath *>malloc(sizeof(ReceivePath))
        need(b.paths[i] != NULL and b.paths_before[i] != NULL, b"no memory")
        if i:
            b.paths[i].pool = idle_helper(aead, &b.paths[i].reorder)
        b.paths[i].admission.sources.key[0] = 1      # which sources share a bucket
        b.paths[i].admission.sources.key[1] = 2
        b.paths_before[i][0] = b.paths[i][0]


cdef void make_second(Harness *b) noexcept nogil:
    b.second = world_second(&b.world)
    b.second_before = b.second[0]
    b.second_path = receive_path_new(b.second, 1, 0)
    b.second_path_before = <ReceivePath *>malloc(sizeof(ReceivePath))
    need(b.second_path != NULL and b.second_path_before != NULL, b"no memory")
    b.second_path_before[0] = b.second_path[0]


cdef void doze(void *driver) noexcept nogil:
    """The thread pauses after an error: no time of anybody's goes by."""


cdef void begin(Harness *b, const uint8_t *data, size_t len) noexcept nogil:
    cdef Chance *c = &b.chance
    cdef uint32_t layout, sessions, i
    chance_begin(c, data, len)
    kernel.driver = b
    kernel.tun_write = tun_write
    kernel.send = send
    kernel.receive = receive
    kernel.wait = wait
    kernel.kick = b.world.dp.receive_kick
    faults.doze = doze
    kernel.now_ns = 1000 * SECOND_NS
    b.input += 1
    layout = chance_below(c, 48)
    b.heavy = layout >= 45 and not b.world.cheap
    b.receive_path = b.paths[0 if layout % 6 < 4 else layout % 6 - 3]
    b.threads.dp = b.world.dp
    b.threads.receive_path = b.receive_path
    b.datagrams_left = MANY_DATAGRAMS if b.heavy else FEW_DATAGRAMS
    b.bytes_left = MANY_BYTES if b.heavy else FEW_BYTES
    b.handshake_count = b.number = b.added = b.stored = b.pending_first = b.pending_count = 0
    b.batch = b.admitted = 0
    b.failing = b.flood = b.clean = b.filtered = False
    memset(&b.expected, 0, sizeof(Counters))
    memset(b.askers, 0, sizeof(b.askers))
    sessions = chance_below(c, 128)
    b.loaded = sessions & 48 == 48
    b.two = sessions & 64 != 0
    b.world.dp.shared.shard_count = 2 if b.two else 1
    for i in range(<uint32_t>FLOWS):
        first_flow(&b.flows[i], i)
    gates_enter(b.world.dp)
    choose_offloads(b, chance_below(c, 64))
    note_ends(b)
    for i in range(<uint32_t>PEERS):
        begin_peer(b, i)
        begin_session(b, i, sessions & 1 << i != 0, False)
    gates_leave(b.world.dp)


cdef void end(Harness *b) noexcept nogil:
    """All has arrived; then nothing is left."""
    cdef ReceivePath *path = b.receive_path
    cdef bint limited = b.world.dp.shared.events.loaded_until_ns != 0
    cdef int i
    settle(&path.reorder, &b.world.helper)
    check(b)
    hear(b)
    need(b.world.dp.shared.strays.count == 0, b"a stray that nobody took")
    world_restore(&b.world)
    b.second[0] = b.second_before
    kernel.wait = NULL
    kernel.kick = 0
    faults.doze = NULL
    for i in range(LAYOUTS):
        if path == b.paths[i]:
            restore_path(path, b.paths_before[i], limited)
    restore_path(b.second_path, b.second_path_before, False)


cdef void restore_path(ReceivePath *path, const ReceivePath *before, bint limited) noexcept nogil:
    """Not what it has for all inputs: the coalescers, and the contexts with the memory of a library's.

    `limited`: sources have perhaps been counted.
    """
    cdef int i
    need(reorder_is_empty(&path.reorder), b"what was received was never delivered")
    for i in range(path.batch_count):
        need(path.batches[i].group_count == 0 and path.batches[i].datagram_count == 0, b"a batch that is not empty")
    memcpy(path, before, <size_t>(<const char *>&before.delivery - <const char *>before))
    path.reorder = before.reorder
    path.admission.calm = before.admission.calm
    path.admission.budget = before.admission.budget
    path.admission.pressure = before.admission.pressure
    need(path.admission.asker_count == 0, b"an asker without an answer")
    for i in range(max(path.delivery.lanes, 1)):
        if path.delivery.writers[i].coalescer.tunnels.version or path.delivery.writers[i].coalescer.tunnels.any:
            memset(&path.delivery.writers[i].coalescer.tunnels, 0, sizeof(KnownEnds))
    if limited:
        memset(path.admission.sources.buckets, 0, sizeof(path.admission.sources.buckets))


cdef const AeadBackend *backend = NULL
cdef Harness *harness = NULL


cdef int one(const uint8_t *data, size_t len) noexcept nogil:
    global harness
    if harness == NULL:
        harness = <Harness *>calloc(1, sizeof(Harness))
        need(harness != NULL, b"no memory")
        make(harness, backend)
    begin(harness, data, len)
    receive_thread(&harness.threads)
    end(harness)
    return 0


def address(aead: str) -> int:
    """Of `one`, with that backend."""
    global backend
    backend = choose(aead)
    return <unsigned long long><void *>&one
