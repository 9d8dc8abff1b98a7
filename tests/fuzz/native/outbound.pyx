# distutils: libraries = crypto
# cython: language_level=3, cdivision=True, wraparound=False, boundscheck=False
"""The outbound path under a driver: TUN frames in, datagrams out, while sessions, peers and sockets come and go.

A case is one data plane from its making to its end, by one seed. The driver is the kernel (kernel.h), the control plane
between two steps, RX where it confirms a keypair in the middle of one, and the peers: every datagram of theirs is
opened by libcrypto, and has to hold what was read, undamaged and in order. It ends the process at what is wrong.
Half of the bursts are planned: they come to the limits of a batch (plans.h).
"""
from libc.stdint cimport uint32_t, uint64_t, uint8_t
from libc.stdlib cimport calloc, free, malloc

from pywg.dataplane.crypto.aead cimport AeadBackend
from pywg.dataplane.crypto.aead_select cimport aead_choose
from pywg.dataplane.reorder.pool cimport pool_free
from pywg.dataplane.reorder.reorder cimport reorder_is_empty
from pywg.dataplane.send.seal cimport BATCH_BYTES, MAX_RUNS
from pywg.dataplane.send.send cimport RUNS_FOR_A_FRAME, send_path_free, send_path_new, send_staged, send_step
from pywg.dataplane.state.dataplane cimport gates_enter, gates_leave
from pywg.dataplane.state.gate cimport gate_enter, gate_leave
from pywg.dataplane.state.staged cimport staged_drop_all
from pywg.dataplane.wire.run cimport RUN_MAX_DATAGRAMS

from tests.fuzz.native.common cimport PEERS, end_peer, end_plane, end_session, idle_helper, make_plane, need, settle
from tests.fuzz.native.common cimport slots
from tests.fuzz.native.harness cimport TRAFFIC_TCP, TRAFFIC_UDP, Chance, chance_begin, chance_below, chance_is_over
from tests.fuzz.native.harness cimport chance_len, chance_next
from tests.fuzz.native.harness cimport chance_one_in, ip_header_len, kernel, l4_header_len
from tests.fuzz.native.outbound_kernel cimport send, tun_read, tun_write
from tests.fuzz.native.outbound_peers cimport add_peer, begin_session, choose_offloads, confirm, hold, release
from tests.fuzz.native.outbound_peers cimport set_endpoint
from tests.fuzz.native.outbound_state cimport HEALTHY, Harness, PlanTerms, plan_add, plan_end, plan_part


cdef bint step(Harness *b) noexcept nogil:
    gate_enter(&b.dp.send_gate)
    cdef bint more = send_step(b.send_path)
    gate_leave(&b.dp.send_gate)
    return more


cdef void work(Harness *b, int steps) noexcept nogil:
    """As the thread does, until there is nothing to do, but not more often than `steps` times."""
    while steps > 0 and step(b):
        steps -= 1
    if not chance_one_in(&b.chance, 3):
        settle(&b.send_path.reorder, &b.helper)


cdef void burst(Harness *b) noexcept nogil:
    cdef Chance *c = &b.chance
    b.frames_left = 1 + chance_below(c, 70)
    b.burst_peer = 1 + chance_below(c, PEERS - 1) if not chance_one_in(c, 4) else 0
    b.burst_version = (4 if chance_one_in(c, 2) else 6) if not chance_one_in(c, 4) else 0
    b.giants = False
    b.burst_lens[0] = 0 if chance_one_in(c, 4) else chance_len(c, 20, 65535, b.dp.mtu)
    b.burst_lens[1] = b.burst_lens[0] if chance_one_in(c, 3) else chance_len(c, 20, 65535, b.dp.mtu)
    if b.burst_peer and not chance_one_in(c, 3):
        # What is staged first goes in the middle of the burst.
        begin_anew(b, b.burst_peer, False)
        # A few large ones or many small ones.
        b.until_confirmed = 1 + <int>chance_below(c, <uint32_t>1 << chance_below(c, 8))
        b.giants = chance_one_in(c, 4)
        if b.giants:
            b.until_confirmed = 1 + <int>chance_below(c, 16)
            b.frames_left = 1 + chance_below(c, 12)
        b.frames_left += <uint32_t>b.until_confirmed
    work(b, 1 << chance_below(c, 6))
    b.until_confirmed = 0


cdef void begin_anew(Harness *b, uint32_t i, bint confirmed) noexcept nogil:
    """A peer that is there, and whose session is another one from now on, or once it is confirmed."""
    hold(b)
    if b.peers[i] == NULL:
        add_peer(b, i)
    b.peers[i].sending = NULL
    begin_session(b, i, confirmed)
    release(b)


cdef void planned_burst(Harness *b) noexcept nogil:
    """Packets that wait for a session, which is confirmed in the middle, and what is read behind them."""
    cdef Chance *c = &b.chance
    cdef PlanTerms terms
    cdef bint offloads = b.dp.vnet_hdr_len != 0, waits = not chance_one_in(c, 4)
    cdef uint32_t i
    cdef int _part
    b.mood = HEALTHY if not chance_one_in(c, 4) else b.mood
    b.frames_left = 0
    work(b, 64)
    b.burst_peer = 1 + chance_below(c, PEERS - 1)
    b.burst_version = 4 if chance_one_in(c, 2) else 6
    b.plan_protocol = TRAFFIC_TCP if chance_one_in(c, 2) else TRAFFIC_UDP
    begin_anew(b, b.burst_peer, not waits)
    if not chance_one_in(c, 4):
        gate_enter(&b.dp.send_gate)
        for i in range(<uint32_t>PEERS):
            if b.peers[i] != NULL:
                staged_drop_all(b.dp, b.peers[i])   # else it is in the way of what is planned
        gate_leave(&b.dp.send_gate)
    while b.peers[b.burst_peer].endpoint.ip_len == 0:
        set_endpoint(b, b.peers[b.burst_peer])
    terms.shortest = ip_header_len(b.burst_version)
    terms.headers = terms.shortest + l4_header_len(b.plan_protocol)
    terms.mtu = b.dp.mtu
    terms.batch_bytes = BATCH_BYTES
    terms.staged_bytes = <uint32_t>b.dp.staged_max
    terms.datagrams = RUN_MAX_DATAGRAMS
    terms.runs = MAX_RUNS
    terms.runs_of_a_frame = RUNS_FOR_A_FRAME
    b.plan.count = b.plan.at = 0
    if waits:
        for _part in range(1 + <int>chance_below(c, 2)):
            plan_part(&b.plan, c, &terms, offloads, True)
            if chance_one_in(c, 3):
                plan_end(&b.plan, c, &terms, False)
        b.until_confirmed = 1 + <int>b.plan.count
        if not chance_one_in(c, 4):
            plan_add(&b.plan, 0, 0)     # the thread has slept before it is confirmed
    plan_part(&b.plan, c, &terms, offloads, False)
    plan_end(&b.plan, c, &terms, offloads)
    b.frames_left = b.plan.count
    work(b, 64)
    work(b, 64)
    b.until_confirmed = 0
    b.plan.count = b.plan.at = 0


cdef void operate(Harness *b) noexcept nogil:
    cdef Chance *c = &b.chance
    cdef uint32_t what = chance_below(c, 20), i = chance_below(c, PEERS)
    if what < 10:
        if chance_one_in(c, 2):
            planned_burst(b)
        else:
            burst(b)
        return
    hold(b)
    if what < 12:
        begin_session(b, i, chance_one_in(c, 2))
    elif what == 12:
        confirm(b.peers[i])
    elif what == 13:
        end_session(b.dp, c, b.sessions, b.session_count)
    elif what == 14 and b.peers[i] != NULL:
        send_staged(b.send_path, b.peers[i], chance_one_in(c, 2), kernel.now_ns)
    elif what == 15 and b.peers[i] != NULL:
        set_endpoint(b, b.peers[i])
    elif what == 16:
        b.mood = <int>chance_below(c, 3) if chance_one_in(c, 2) else HEALTHY
    elif what == 17:
        kernel.now_ns += chance_next(c) >> (26 + chance_below(c, 30))
    elif what == 18:
        choose_offloads(b)
    elif what == 19 and chance_one_in(c, 2):
        if b.peers[i] != NULL:
            end_peer(b.dp, b.peers, i, b.sessions, b.session_count)
        else:
            add_peer(b, i)
    release(b)


cdef int set_up(Harness *b, const uint8_t *data, size_t len, const AeadBackend *aead) noexcept nogil:
    cdef uint32_t i
    chance_begin(&b.chance, data, len)
    kernel.driver = b
    kernel.tun_read = tun_read
    kernel.tun_write = tun_write
    kernel.send = send
    kernel.now_ns = (1 + (chance_next(&b.chance) >> 30)) * 1000
    b.scratch = <uint8_t *>malloc(65536 + 256)
    b.dp = make_plane(aead, &b.helper)
    if b.scratch == NULL:
        return -1
    b.dp.staged_max = 65536 + chance_below(&b.chance, 1 << 17)     # a few large packets reach it
    if chance_one_in(&b.chance, 2):
        b.dp.staged_max = <uint64_t>1 << (12 + chance_below(&b.chance, 13))
    choose_offloads(b)
    b.send_path = send_path_new(b.dp, slots(&b.chance))
    if b.send_path == NULL:
        return -1
    if b.send_path.batch_count > 1:
        b.send_path.pool = idle_helper(aead, &b.send_path.reorder)
    gates_enter(b.dp)
    for i in range(<uint32_t>PEERS):
        add_peer(b, i)
        begin_session(b, i, chance_one_in(&b.chance, 2))
    gates_leave(b.dp)
    return 0


cdef void tear_down(Harness *b) noexcept nogil:
    """All that was queued goes; then nothing is left."""
    cdef int rounds = 0
    cdef uint32_t i
    b.mood = HEALTHY
    b.frames_left = 0
    while rounds < 100 and (step(b) or b.send_path.backlog or not reorder_is_empty(&b.send_path.reorder)):
        settle(&b.send_path.reorder, &b.helper)
        rounds += 1
    need(not b.send_path.backlog and reorder_is_empty(&b.send_path.reorder), b"what was queued never went")
    hold(b)
    for i in range(<uint32_t>PEERS):
        if b.peers[i] != NULL:
            end_peer(b.dp, b.peers, i, b.sessions, b.session_count)
    release(b)
    need(b.dp.staged_bytes == 0, b"staged bytes of no peer")
    pool_free(b.send_path.pool)
    send_path_free(b.send_path)
    end_plane(b.dp, &b.helper, b.sessions, b.session_count)
    free(b.scratch)


cdef const AeadBackend *backend = NULL


cdef int one(const uint8_t *data, size_t len) noexcept nogil:
    cdef Harness *b = <Harness *>calloc(1, sizeof(Harness))
    need(set_up(b, data, len, backend) == 0, b"no memory")
    while not chance_is_over(&b.chance):
        operate(b)
    tear_down(b)
    free(b)
    return 0


def address(str aead) -> int:
    """Of `one`, with that backend."""
    global backend
    backend = aead_choose(aead)
    return <unsigned long long><void *>&one
