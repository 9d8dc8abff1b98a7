# distutils: libraries = crypto
# cython: language_level=3, cdivision=True, wraparound=False, boundscheck=False
"""The inbound path under a driver: UDP messages in, TUN frames and handshake messages out, while sessions come and go.

A case is one data plane from its making to its end, by one seed, with `receive_thread` as it is shipped. The driver is
the kernel (kernel.h), the control plane while that thread waits, and its helper. Each datagram is opened by libcrypto
before the thread has it, and judged by the rules of the paper: what is authentic, new and allowed has to arrive at the
TUN, unchanged but for its ECN field, once, in the order of its flow, and nothing else; each datagram that is refused is
in one counter, the right one. The driver ends the process at what is wrong.
"""
from libc.errno cimport EINTR, ENOMEM
from libc.stdint cimport uint32_t, uint8_t
from libc.stdlib cimport calloc, free, malloc

from pywg.dataplane.crypto.aead cimport AeadBackend
from pywg.dataplane.crypto.aead_select cimport aead_choose
from pywg.dataplane.crypto.blake2s cimport blake2s_key
from pywg.dataplane.crypto.cookie_mac cimport macs_identify, macs_init
from pywg.dataplane.receive.receive cimport receive_path_free, receive_path_hold, receive_path_new
from pywg.dataplane.receive.receive cimport receive_path_release
from pywg.dataplane.reorder.pool cimport pool_free
from pywg.dataplane.state.counters cimport count as due
from pywg.dataplane.state.dataplane cimport gates_enter, gates_leave
from pywg.dataplane.sys.clock cimport SECOND_NS
from pywg.dataplane.sys.linux cimport POLLIN, pollfd
from pywg.dataplane.threads.threads cimport receive_thread
from pywg.dataplane.udp.receive cimport RECEIVE_LEN

from tests.fuzz.native.common cimport PEERS, end_peer, end_plane, end_session, idle_helper, make_plane, need, settle
from tests.fuzz.native.common cimport slots
from tests.fuzz.native.harness cimport KERNEL_TUN, KERNEL_UDP4, KERNEL_UDP6, Chance, chance_below, chance_bytes
from tests.fuzz.native.harness cimport chance_begin, chance_is_over
from tests.fuzz.native.harness cimport chance_next, chance_one_in, kernel
from tests.fuzz.native.inbound_kernel cimport receive, send, tun_write
from tests.fuzz.native.inbound_model cimport check
from tests.fuzz.native.inbound_peers cimport add_peer, begin_handshake, begin_session, choose_offloads, hear
from tests.fuzz.native.inbound_peers cimport renew_flow
from tests.fuzz.native.inbound_state cimport DATAGRAMS, FLOWS, PENDING, ROUNDS, SEEN, Harness, Pending, Seen


cdef int wait(void *driver, pollfd *fds, unsigned long count) noexcept nogil:
    """The thread is outside its gate: what the control plane does, it does now."""
    cdef Harness *b = <Harness *>driver
    cdef Chance *c = &b.chance
    cdef int n = 0
    cdef unsigned long i
    need(count == 4 and fds[0].fd == b.dp.receive_kick, b"waiting for something else")
    if b.receive_path.pool != NULL and not chance_one_in(c, 3):
        settle(&b.receive_path.reorder, &b.helper)
    if chance_is_over(c) or b.rounds == 0 or b.datagrams >= DATAGRAMS:
        b.dp.stop = True
        return 0
    b.rounds -= 1
    if chance_one_in(c, 3):
        operate(b)
    kernel.now_ns += chance_next(c) >> (36 + chance_below(c, 28))
    if chance_one_in(c, 200):
        if chance_one_in(c, 2):
            return -EINTR
        due(&b.expected.rx_wait_error)
        return -ENOMEM
    if b.loaded:
        b.dp.events.loaded_until_ns = kernel.now_ns + SECOND_NS
    for i in range(4):
        fds[i].revents = POLLIN if fds[i].fd >= 0 and not chance_one_in(c, 3) else 0
        n += fds[i].revents != 0
    return n


cdef void operate(Harness *b) noexcept nogil:
    cdef Chance *c = &b.chance
    cdef uint32_t what = chance_below(c, 16), i = chance_below(c, PEERS)
    settle(&b.receive_path.reorder, &b.helper)
    gates_enter(b.dp)
    receive_path_hold(b.receive_path)
    check(b)
    if what < 3:
        begin_session(b, i, chance_one_in(c, 2))
    elif what == 3:
        end_session(b.dp, c, b.sessions, b.session_count)
    elif what == 4:
        if b.peers[i] == NULL:
            add_peer(b, i)
            begin_session(b, i, True)
        else:
            end_peer(b.dp, b.peers, i, b.sessions, b.session_count)
    elif what < 7 and b.peers[i] != NULL:
        begin_handshake(b, i)
    elif what == 7:
        kernel.now_ns += chance_next(c) >> (26 + chance_below(c, 30))
    elif what == 8:
        choose_offloads(b)
    elif what == 9:
        b.failing = not b.failing and chance_one_in(c, 2)
    elif what == 10:
        hear(b)
    elif what == 11:
        b.loaded = not b.loaded
    elif what == 12:
        b.dp.fd4 = KERNEL_UDP4 if b.dp.fd4 < 0 or not chance_one_in(c, 4) else -1
        b.dp.fd6 = KERNEL_UDP6 if b.dp.fd6 < 0 or not chance_one_in(c, 4) else -1
        b.dp.tun_fd = KERNEL_TUN if b.dp.tun_fd < 0 or not chance_one_in(c, 6) else -1
    elif what > 12:
        renew_flow(b, &b.flows[chance_below(c, FLOWS)])
    receive_path_release(b.receive_path)
    gates_leave(b.dp)


cdef int set_up(Harness *b, const uint8_t *data, size_t len, const AeadBackend *aead) noexcept nogil:
    cdef Chance *c = &b.chance
    cdef uint8_t[32] mac1_key
    cdef uint32_t i
    chance_begin(&b.chance, data, len)
    kernel.driver = b
    kernel.tun_write = tun_write
    kernel.send = send
    kernel.receive = receive
    kernel.wait = wait
    kernel.now_ns = 1000 * SECOND_NS + (chance_next(c) >> 20)
    b.rounds = ROUNDS
    b.loaded = chance_one_in(c, 4)
    b.scratch = <uint8_t *>malloc(RECEIVE_LEN)
    b.frame = <uint8_t *>malloc(65535 + 12)
    b.piece = <uint8_t *>malloc(65535)
    b.seen = <Seen *>calloc(SEEN, sizeof(Seen))
    b.pending = <Pending *>calloc(PENDING, sizeof(Pending))
    b.dp = make_plane(aead, &b.helper)
    if (b.scratch == NULL or b.frame == NULL or b.piece == NULL or b.seen == NULL or b.pending == NULL
            or macs_init(&b.dp.macs) < 0):
        return -1
    kernel.kick = b.dp.receive_kick
    chance_bytes(c, mac1_key, 32)
    macs_identify(&b.dp.macs, mac1_key, mac1_key)
    blake2s_key(b.mac1_state, mac1_key, 32)
    b.receive_path = receive_path_new(b.dp, slots(c))
    if b.receive_path == NULL:
        return -1
    b.threads.dp = b.dp
    b.threads.receive_path = b.receive_path
    if b.receive_path.batch_count > 1:
        b.receive_path.pool = idle_helper(aead, &b.receive_path.reorder)
    gates_enter(b.dp)
    choose_offloads(b)
    for i in range(<uint32_t>FLOWS):
        renew_flow(b, &b.flows[i])
    for i in range(<uint32_t>PEERS):
        add_peer(b, i)
        begin_session(b, i, chance_one_in(c, 2))
    gates_leave(b.dp)
    return 0


cdef void tear_down(Harness *b) noexcept nogil:
    cdef uint32_t i
    settle(&b.receive_path.reorder, &b.helper)
    check(b)
    hear(b)
    gates_enter(b.dp)
    for i in range(<uint32_t>PEERS):
        if b.peers[i] != NULL:
            end_peer(b.dp, b.peers, i, b.sessions, b.session_count)
    gates_leave(b.dp)
    pool_free(b.receive_path.pool)
    receive_path_free(b.receive_path)
    end_plane(b.dp, &b.helper, b.sessions, b.session_count)
    free(b.scratch)
    free(b.frame)
    free(b.piece)
    free(b.seen)
    free(b.pending)
    kernel.wait = NULL
    kernel.kick = 0


cdef const AeadBackend *backend = NULL


cdef int one(const uint8_t *data, size_t len) noexcept nogil:
    cdef Harness *b = <Harness *>calloc(1, sizeof(Harness))
    need(set_up(b, data, len, backend) == 0, b"no memory")
    receive_thread(&b.threads)
    tear_down(b)
    free(b)
    return 0


def address(str aead) -> int:
    """Of `one`, with that backend."""
    global backend
    backend = aead_choose(aead)
    return <unsigned long long><void *>&one
