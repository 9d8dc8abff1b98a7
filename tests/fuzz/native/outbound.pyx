# distutils: libraries = crypto
# cython: language_level=3, cdivision=True, wraparound=False, boundscheck=False
"""The outbound path, guided: TUN frames in, datagrams out, while sessions, peers and sockets come and go.

The input's bytes choose what happens. The target is the kernel (kernel.h), the control plane between two steps, RX
where it confirms a keypair in the middle of one, and the peers: every datagram of theirs is opened by libcrypto, and
has to hold what was read, undamaged and in order. It ends the process at what is wrong. A burst may be planned: it
comes to the limits of a batch (plans.h). With two shards either sends, one batch after the other, and what waits for a
socket in one is overtaken by the other's: then no counter comes twice, in any order.
"""
from libc.stdint cimport uint32_t, uint64_t, uint8_t
from libc.stdlib cimport calloc, malloc

from pywg.dataplane.crypto.aead cimport AeadBackend
from pywg.dataplane.crypto.aead_contexts cimport AeadContexts
from pywg.dataplane.reorder.reorder cimport reorder_is_empty
from pywg.dataplane.send.seal cimport BATCH_BYTES, MAX_RUNS
from pywg.dataplane.send.send cimport RUNS_FOR_A_FRAME, SendPath, send_path_new, send_staged, send_step
from pywg.dataplane.state.gate cimport gate_enter, gate_leave
from pywg.dataplane.state.staged cimport staged_drop_all
from pywg.dataplane.sys.clock cimport SECOND_NS
from pywg.dataplane.wire.run cimport RUN_MAX_DATAGRAMS

from tests.fuzz.native.ciphers cimport choose, is_cheap
from tests.fuzz.native.common cimport LAYOUTS, PEERS, end_peer, end_session, idle_helper, layout_slots, make_peer, need
from tests.fuzz.native.common cimport need_equal, settle, world_make, world_ready, world_restore, world_second
from tests.fuzz.native.harness cimport KERNEL_ICMP4, KERNEL_ICMP6, KERNEL_TUN, KERNEL_UDP4, KERNEL_UDP6, TRAFFIC_TCP
from tests.fuzz.native.harness cimport TRAFFIC_UDP, Chance
from tests.fuzz.native.harness cimport chance_begin, chance_below, chance_is_over, chance_next
from tests.fuzz.native.harness cimport ip_header_len, kernel, l4_header_len
from tests.fuzz.native.outbound_kernel cimport send, send_icmp, tun_read, tun_write
from tests.fuzz.native.outbound_peers cimport begin_session, choose_offloads, confirm, hold, release, set_endpoint
from tests.fuzz.native.outbound_state cimport FEW_BYTES, FEW_FRAMES, HEALTHY, MANY_BYTES, MANY_FRAMES, Harness
from tests.fuzz.native.outbound_state cimport PlanTerms, plan_add, plan_end, plan_part


cdef bint step(Harness *b) noexcept nogil:
    cdef bint more
    gate_enter(&b.path.dp.send_gate)
    more = send_step(b.path)
    gate_leave(&b.path.dp.send_gate)
    return more


cdef void work(Harness *b, int steps, bint settles) noexcept nogil:
    """As the thread does, until there is nothing to do, but not more often than `steps` times."""
    while steps > 0 and step(b):
        steps -= 1
    if settles:
        settle(&b.path.reorder, &b.world.helper)


cdef void burst(Harness *b, uint32_t what) noexcept nogil:
    """Some frames, that for one peer perhaps, which perhaps has no session yet, and gets it in the middle."""
    cdef Chance *c = &b.chance
    cdef uint32_t how = chance_below(c, 256)
    cdef SendPath *first = b.path
    b.frames_left = 1 + how % 16
    b.burst_peer = what % PEERS
    if how >= 128 and b.burst_peer:
        begin_anew(b, b.burst_peer, False)
        b.until_confirmed = 1 + <int>chance_below(c, 160)
        b.frames_left += <uint32_t>b.until_confirmed
    if b.two and how & 64:
        b.path = b.second_path
    work(b, 64 if how & 16 == 0 else 1, how & 32 == 0)
    b.path = first
    b.until_confirmed = 0
    b.repeated = 0


cdef void begin_anew(Harness *b, uint32_t i, bint confirmed) noexcept nogil:
    """A peer that is there, and whose session is another one from now on, or once it is confirmed."""
    hold(b)
    if b.world.peers[i] == NULL:
        make_peer(&b.world, i)
    b.world.peers[i].sending = NULL
    begin_session(b, i, confirmed, False)
    release(b)


cdef void planned_burst(Harness *b) noexcept nogil:
    """Packets that wait for a session, which is confirmed in the middle, and what is read behind them."""
    cdef Chance *c = &b.chance
    cdef PlanTerms terms
    cdef uint32_t what = chance_below(c, 256), i
    cdef bint offloads = b.world.dp.vnet_hdr_len != 0, waits = what & 3 != 3
    cdef int _part
    b.mood = HEALTHY if what & 4 == 0 else b.mood
    b.frames_left = 0
    work(b, 64, True)
    b.burst_peer = 1 + (what >> 3) % (PEERS - 1)
    b.plan_version = 4 if what & 32 else 6
    b.plan_protocol = TRAFFIC_TCP if what & 64 else TRAFFIC_UDP
    begin_anew(b, b.burst_peer, not waits)
    if what < 224:
        gate_enter(&b.world.dp.send_gate)
        for i in range(<uint32_t>PEERS):
            if b.world.peers[i] != NULL:
                staged_drop_all(b.world.dp, b.world.peers[i])   # else it is in the way of what is planned
        gate_leave(&b.world.dp.send_gate)
    if b.world.peers[b.burst_peer].endpoint.ip_len == 0:
        set_endpoint(b, b.world.peers[b.burst_peer], 1 + b.burst_peer)
    terms.shortest = ip_header_len(b.plan_version)
    terms.headers = terms.shortest + l4_header_len(b.plan_protocol)
    terms.mtu = b.world.dp.mtu
    terms.batch_bytes = BATCH_BYTES
    terms.staged_bytes = <uint32_t>b.world.dp.shared.staged_max
    terms.datagrams = RUN_MAX_DATAGRAMS
    terms.runs = MAX_RUNS
    terms.runs_of_a_frame = RUNS_FOR_A_FRAME
    b.plan.count = b.plan.at = 0
    if waits:
        for _part in range(1 + <int>chance_below(c, 2)):
            plan_part(&b.plan, c, &terms, offloads, True)
            if chance_below(c, 3) == 0:
                plan_end(&b.plan, c, &terms, False)
        b.until_confirmed = 1 + <int>b.plan.count
        if chance_below(c, 4):
            plan_add(&b.plan, 0, 0)     # the thread has slept before it is confirmed
    plan_part(&b.plan, c, &terms, offloads, False)
    plan_end(&b.plan, c, &terms, offloads)
    b.frames_left = b.plan.count
    work(b, 64, True)
    work(b, 64, True)
    b.until_confirmed = 0
    b.plan.count = b.plan.at = 0


cdef void operate(Harness *b) noexcept nogil:
    cdef Chance *c = &b.chance
    cdef uint32_t what = chance_below(c, 64), i = chance_below(c, PEERS)
    if what < 42:
        burst(b, what)
    elif what < 46:
        if b.heavy and b.bytes_left >= MANY_BYTES // 2:
            b.bytes_left -= MANY_BYTES // 2
            planned_burst(b)
    else:
        hold(b)
        control(b, what, i)
        release(b)


cdef void control(Harness *b, uint32_t what, uint32_t i) noexcept nogil:
    """What the control plane does, and time."""
    cdef Chance *c = &b.chance
    if what < 50:
        begin_session(b, i, what & 1 != 0, what & 2 != 0)
    elif what == 50:
        confirm(b.world.peers[i])
    elif what == 51:
        end_session(&b.world, chance_below(c, max(b.world.session_count, <uint32_t>1)))
    elif what < 54 and b.world.peers[i] != NULL:
        send_staged(b.second_path if b.two and chance_below(c, 2) else b.path, b.world.peers[i], what == 52,
                    kernel.now_ns)
    elif what == 54 and b.world.peers[i] != NULL:
        set_endpoint(b, b.world.peers[i], chance_below(c, 8))
    elif what < 57:
        b.mood = <int>chance_below(c, 3)
    elif what == 57:
        kernel.now_ns += chance_next(c) >> (26 + chance_below(c, 30))
    elif what == 58:
        choose_offloads(b)
    elif what == 59:
        if b.world.peers[i] != NULL:
            end_peer(&b.world, i)
        else:
            make_peer(&b.world, i)
            set_endpoint(b, b.world.peers[i], 1 + i)
    elif what == 60:
        b.world.dp.tun_fd = KERNEL_TUN
        b.world.dp.fd4 = KERNEL_UDP4 if b.world.dp.fd4 < 0 or i else -1
        b.world.dp.fd6 = KERNEL_UDP6 if b.world.dp.fd6 < 0 or i != 1 else -1
        b.second.tun_fd = KERNEL_TUN
        b.second.fd4 = b.world.dp.fd4
        b.second.fd6 = b.world.dp.fd6
    elif what == 61:
        b.world.dp.icmp4_fd = KERNEL_ICMP4 if i & 1 == 0 else -1
        b.world.dp.icmp6_fd = KERNEL_ICMP6 if i & 2 == 0 else -1
        b.second.icmp4_fd = b.world.dp.icmp4_fd
        b.second.icmp6_fd = b.world.dp.icmp6_fd


cdef void make(Harness *b, const AeadBackend *aead) noexcept nogil:
    cdef uint32_t i
    world_make(&b.world, aead)
    b.world.cheap = is_cheap(aead)
    for i in range(<uint32_t>PEERS):
        set_endpoint(b, b.world.peers[i], 1 + i)
    b.second = world_second(&b.world)
    b.second_before = b.second[0]
    b.second_path = send_path_new(b.second, layout_slots(0))
    need(b.second_path != NULL, b"no memory")
    b.second_path_before = b.second_path[0]
    world_ready(&b.world)
    for i in range(<uint32_t>LAYOUTS):
        b.paths[i] = send_path_new(b.world.dp, layout_slots(<int>i))
        need(b.paths[i] != NULL, b"no memory")
        if i:
            b.paths[i].pool = idle_helper(aead, &b.paths[i].reorder)
        b.paths_before[i] = b.paths[i][0]
    b.scratch = <uint8_t *>malloc(65536 + 256)
    need(b.scratch != NULL, b"no memory")


cdef void begin(Harness *b, const uint8_t *data, size_t len) noexcept nogil:
    cdef Chance *c = &b.chance
    cdef uint32_t layout, staged, sessions, i
    chance_begin(c, data, len)
    kernel.driver = b
    kernel.tun_read = tun_read
    kernel.tun_write = tun_write
    kernel.send = send
    kernel.send_icmp = send_icmp
    kernel.now_ns = 1000 * SECOND_NS
    layout = chance_below(c, 48)
    b.path = b.paths[0 if layout % 6 < 4 else layout % 6 - 3]
    b.heavy = layout >= 42 and not b.world.cheap
    choose_offloads(b)
    staged = chance_below(c, 16)
    b.two = staged >= 8 and not b.heavy
    b.world.dp.shared.shard_count = 2 if b.two else 1
    staged %= 8
    b.world.dp.shared.staged_max = (
        <uint64_t>1 << 24 if staged < 4 else 65536 + chance_below(c, 65536) if staged < 7 else 5000)
    sessions = chance_below(c, 64)
    b.mood = HEALTHY
    b.number = b.frames_left = b.repeated = 0
    b.until_confirmed = 0
    b.burst_peer = 0
    b.frames = b.datagrams = 0
    b.bytes_left = MANY_BYTES if b.heavy else FEW_BYTES
    b.frames_max = MANY_FRAMES if b.heavy else FEW_FRAMES
    b.plan.count = b.plan.at = 0
    for i in range(<uint32_t>PEERS):
        b.arrived[i] = 0
    hold(b)
    for i in range(<uint32_t>PEERS):
        begin_session(b, i, sessions & 1 << i == 0, False)
    release(b)


cdef void end(Harness *b) noexcept nogil:
    """All that was queued goes; then nothing is left."""
    cdef SendPath *first = b.path
    cdef int i
    b.mood = HEALTHY
    b.frames_left = 0
    b.path = b.second_path
    flush(b)
    b.path = first
    flush(b)
    need_equal(b.world.dp.counters.tx_packets + b.second.counters.tx_packets, b.frames, b"frames")
    need_equal(b.world.dp.counters.tx_datagrams + b.second.counters.tx_datagrams, b.datagrams, b"datagrams")
    need_equal(b.world.dp.counters.tx_seal_failed + b.second.counters.tx_seal_failed, 0, b"runs that were not sealed")
    hold(b)
    release(b)
    world_restore(&b.world)
    b.second[0] = b.second_before
    restore_path(b.second_path, &b.second_path_before)
    for i in range(LAYOUTS):
        if b.path == b.paths[i]:
            restore_path(b.path, &b.paths_before[i])


cdef void flush(Harness *b) noexcept nogil:
    cdef int rounds = 0
    while rounds < 100 and (step(b) or b.path.backlog or not reorder_is_empty(&b.path.reorder)):
        settle(&b.path.reorder, &b.world.helper)
        rounds += 1
    need(not b.path.backlog and reorder_is_empty(&b.path.reorder), b"what was queued never went")


cdef void restore_path(SendPath *path, const SendPath *before) noexcept nogil:
    cdef AeadContexts contexts = path.contexts      # with the memory of a library's
    cdef int i
    path[0] = before[0]
    path.contexts = contexts
    for i in range(path.batch_count):
        need(path.batches[i].run_count == 0 and path.batches[i].ring_used == 0, b"a batch that is not empty")
        path.batches[i].sender.failed = 0


cdef const AeadBackend *backend = NULL
cdef Harness *harness = NULL


cdef int one(const uint8_t *data, size_t len) noexcept nogil:
    global harness
    if harness == NULL:
        harness = <Harness *>calloc(1, sizeof(Harness))
        need(harness != NULL, b"no memory")
        make(harness, backend)
    begin(harness, data, len)
    while not chance_is_over(&harness.chance):
        operate(harness)
    end(harness)
    return 0


def address(aead: str) -> int:
    """Of `one`, with that backend."""
    global backend
    backend = choose(aead)
    return <unsigned long long><void *>&one
