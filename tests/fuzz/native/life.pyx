# distutils: libraries = crypto
# cython: language_level=3, cdivision=True, wraparound=False, boundscheck=False
"""Fuzz target: planes and their threads from the making to the end, while memory, descriptors and threads run out.

The input says which call fails (faults.h). What has failed says so, and has changed nothing; what was taken is given
back. One thread plays those that are started: each runs where another waits, with frames and errors that the input
chooses (kernel.h), until it is told to stop.
"""
from libc.errno cimport EAGAIN, EBADFD, ECONNREFUSED, EINTR, EIO, ENODEV, ENOMEM, EPERM
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from pywg.dataplane.crypto.aead cimport AeadBackend
from pywg.dataplane.crypto.cookie_mac cimport COOKIE_LEN, macs_identify, macs_init, make_cookie
from pywg.dataplane.receive.receive cimport receive_path_hold, receive_path_release
from pywg.dataplane.reorder.pool cimport Pool
from pywg.dataplane.reorder.reorder cimport reorder_work
from pywg.dataplane.send.send cimport send_path_hold, send_path_release, send_staged, send_step
from pywg.dataplane.state.allowedips cimport allowedips_insert, allowedips_reserve
from pywg.dataplane.state.dataplane cimport Dataplane, dataplane_free, dataplane_new, gates_enter, gates_leave
from pywg.dataplane.state.events cimport events_confirmed, events_rearm, events_take
from pywg.dataplane.state.gate cimport gate_enter, gate_leave
from pywg.dataplane.state.peer cimport Keypair, Peer
from pywg.dataplane.state.peers cimport handshake_open, keypair_free, keypair_new, keypair_publish, keypair_retire
from pywg.dataplane.state.peers cimport keypairs_expire, peer_free, peer_new
from pywg.dataplane.state.staged cimport stage_packet
from pywg.dataplane.sys.atomic cimport load8, store8
from pywg.dataplane.sys.clock cimport SECOND_NS
from pywg.dataplane.sys.linux cimport EFD_CLOEXEC, close, eventfd, iovec, mmsghdr, pollfd
from pywg.dataplane.sys.linux cimport pthread_mutex_lock, pthread_mutex_t, pthread_mutex_unlock
from pywg.dataplane.threads.loops cimport FILTER_HELPER, Threads
from pywg.dataplane.threads.threads cimport threads_count, threads_filter, threads_filtered
from pywg.dataplane.threads.threads cimport threads_free, threads_kick, threads_new, threads_renew, threads_settle
from pywg.dataplane.threads.threads cimport threads_start, threads_stop
from pywg.dataplane.wire.endpoint cimport Endpoint

from tests.fuzz.native.ciphers cimport choose, is_cheap
from tests.fuzz.native.common cimport need, need_equal
from tests.fuzz.native.faults cimport faults
from tests.fuzz.native.harness cimport KERNEL_TUN, KERNEL_UDP4, KERNEL_UDP6, TRAFFIC_RAW, finish_packet, kernel
from tests.fuzz.native.harness cimport make_packet, number_address, peer_address
from tests.fuzz.native.input cimport Input, input8, input16, input_bytes, input_left, input_start

cdef enum:
    PEERS = 4
    KEYPAIRS = 160              # more than an index table has room for at first
    PLAYERS = 12
    FEW = 1                     # helpers
    MANY = 5
    LONGEST = 512


cdef struct Player:             # a thread that was started
    void *(*start)(void *) noexcept nogil
    void *arg
    bint runs                   # or has run


cdef struct Before:             # what a failure leaves as it was
    uint32_t indices, remote_indices, prefixes, nodes
    uint64_t staged


cdef const AeadBackend *backend = NULL
cdef bint exact                 # no library allocates for itself
cdef Input steps
cdef Dataplane *dp
cdef Threads *threads
cdef Peer *peers[PEERS]
cdef Keypair *keypairs[KEYPAIRS]
cdef uint32_t keypair_count
cdef Player players[PLAYERS]
cdef uint32_t player_count
cdef int depth                  # plays within plays


# ---- failures

cdef void arm(uint32_t nth) noexcept nogil:
    faults.failed = 0
    faults.left = nth


cdef bint disarm() noexcept nogil:
    """Whether a call has failed."""
    faults.left = 0
    return faults.failed != 0


cdef Before before() noexcept nogil:
    return Before(dp.shared.indices.used, dp.shared.remote_indices.used, dp.shared.allowed.prefixes,
                  dp.shared.allowed.nodes, dp.shared.staged_bytes)


cdef void is_as(const Before *was) noexcept nogil:
    cdef Before now = before()
    need_equal(now.indices, was.indices, b"indices, when there is no memory")
    need_equal(now.remote_indices, was.remote_indices, b"remote indices, when there is no memory")
    need_equal(now.prefixes, was.prefixes, b"prefixes, when there is no memory")
    need_equal(now.nodes, was.nodes, b"nodes, when there is no memory")
    need_equal(now.staged, was.staged, b"staged bytes, when there is no memory")


# ---- threads, played

cdef int create(void *driver, void *(*start)(void *) noexcept nogil, void *arg) noexcept nogil:
    need(player_count < PLAYERS, b"so many threads")
    players[player_count] = Player(start, arg, False)
    return add_player()


cdef int add_player() noexcept nogil:
    global player_count
    player_count += 1
    return 0


cdef void join(void *driver, uint32_t number) noexcept nogil:
    need(number < player_count, b"a thread that was never made")
    play(number)


cdef void play(uint32_t number) noexcept nogil:
    """From its start to its end. It ends as the input says, unless all are told to; the others are not told by that."""
    global depth
    cdef Player *player = &players[number]
    cdef Pool *pool = threads.pool
    cdef int kick = kernel.kick
    cdef uint8_t stops = load8(&dp.stop), pool_stops = load8(&pool.stop) if pool != NULL else 0
    if player.runs:
        return
    player.runs = True
    if player.arg == threads and number:        # the first one starts the others
        kernel.kick = dp.receive_kick if is_second_reader(number) else dp.send_kick
        depth += 1
    player.start(player.arg)
    if player.arg == threads and number:
        depth -= 1
        kernel.kick = kick
        dp.stop = stops
    if pool != NULL:
        pool.stop = pool_stops
        pool.looking = 0
        pool.sleeping = pool.woken = 0


cdef bint is_second_reader(uint32_t number) noexcept nogil:
    return players[number - 1].arg == threads and number > 1


cdef void doze(void *driver) noexcept nogil:
    """Another thread runs; if none is left, those that wait in poll() go round."""
    cdef uint32_t i
    if depth:
        return
    for i in range(player_count):
        if not players[i].runs:
            play(i)
            return
    if dp.send_waits & 1 and not input8(&steps) & 3:
        dp.send_waits += 1


cdef void await_(void *driver, pthread_mutex_t *mutex) noexcept nogil:
    """A helper sleeps: the reader sends meanwhile, or all stop."""
    cdef Pool *pool = threads.pool
    pthread_mutex_unlock(mutex)
    if input_left(&steps) and input8(&steps) & 3:
        gate_enter(&dp.send_gate)
        send_step(threads.send_path)
        gate_leave(&dp.send_gate)
    else:
        store8(&pool.stop, 1)
    pthread_mutex_lock(mutex)


cdef int wait(void *driver, pollfd *fds, unsigned long count) noexcept nogil:
    """A reading thread is in poll(), outside its gate."""
    cdef uint32_t what = input8(&steps)
    cdef unsigned long i
    cdef int n = 0
    if not input_left(&steps) or what & 7 == 7:
        store8(&dp.stop, 1)
        return 0
    if what & 7 == 6:
        return -EINTR if what & 8 else -ENOMEM
    if what & 7 == 5:
        kernel.now_ns += <uint64_t>(what >> 3) * 5000000
    elif what & 7 == 4:
        dp.receive_pressure_ns = kernel.now_ns if what & 8 else 0
    elif what & 7 == 3 and what & 8 and count == 2:
        threads_settle_played()
    for i in range(count):
        fds[i].revents = <short>(fds[i].events if fds[i].fd >= 0 and what >> (4 + i) & 1 else 0)
        n += fds[i].revents != 0
    return n


cdef void threads_settle_played() noexcept nogil:
    """The control plane waits for this thread, which is in poll(), and goes round as often as that takes."""
    global depth
    cdef int was = depth
    depth = 0
    threads_settle(threads)
    depth = was
    dp.send_waits |= 1


# ---- the kernel

cdef ssize_t tun_read(void *driver, uint8_t *to, size_t room) noexcept nogil:
    cdef uint32_t what = input8(&steps), len = 20 + what % 64
    if what & 1 == 0:
        return -EAGAIN
    if what >= 0xF0:
        return -(EIO if what & 2 else EINTR if what & 4 else ENODEV if what & 8 else EBADFD)
    make_packet(to, 4, TRAFFIC_RAW, len, what, 0)
    number_address(to + 12, 4, what)
    peer_address(to + 16, 4, what >> 1 & 3, 7)
    finish_packet(to, 4, TRAFFIC_RAW, len)
    return <ssize_t>len


cdef ssize_t tun_write(void *driver, const iovec *iov, int count) noexcept nogil:
    return <ssize_t>iov[0].iov_len


cdef int send(void *driver, int fd, mmsghdr *messages, unsigned int count) noexcept nogil:
    cdef uint32_t what = input8(&steps)
    if what & 3 == 3:
        return -(EAGAIN if what & 4 else EPERM)
    return <int>count


cdef int receive(void *driver, int fd, mmsghdr *messages, unsigned int count) noexcept nogil:
    return -(ECONNREFUSED if input8(&steps) & 1 else EAGAIN)


# ---- what the control plane does

cdef void settle() noexcept nogil:
    while reorder_work(&threads.send_path.reorder, &threads.send_path.contexts):
        pass
    while reorder_work(&threads.receive_path.reorder, &threads.receive_path.contexts):
        pass


cdef void add_or_end_peer(uint32_t i, uint32_t nth) noexcept nogil:
    cdef uint32_t k
    cdef uint8_t address[16]
    if peers[i] != NULL:
        for k in range(keypair_count):
            if keypairs[k] != NULL and keypairs[k].peer == peers[i]:
                keypairs[k] = NULL
        peer_free(dp, peers[i])
        peers[i] = NULL
        return
    arm(nth)
    peers[i] = peer_new(i)
    need((peers[i] == NULL) == disarm(), b"a peer without memory")
    if peers[i] == NULL:
        return
    memset(&peers[i].endpoint, 0, sizeof(Endpoint))
    peers[i].endpoint.ip_len = 4
    peers[i].endpoint.ip[0] = 192
    peer_address(address, 4, i, 0)
    arm(0 if nth == 1 else nth)
    k = allowedips_insert(dp.shared.allowed, address, 4, 16, &peers[i].allowed) != 0
    need(k == disarm(), b"a prefix without memory")


cdef void add_prefix(Peer *peer, uint32_t nth) noexcept nogil:
    cdef Before was = before()
    cdef uint8_t address[16]
    cdef bint failed
    cdef uint32_t what = input8(&steps)
    cdef int ip_len = 16 if what & 1 else 4
    memset(address, 0, 16)
    input_bytes(&steps, address, 4)
    arm(nth)
    failed = allowedips_insert(dp.shared.allowed, address, ip_len, <int>(what >> 1) % (8 * ip_len + 1),
                               &peer.allowed) != 0
    need(disarm() == failed, b"a prefix without memory")
    if failed:
        is_as(&was)


cdef void reserve(uint32_t prefixes, uint32_t nth) noexcept nogil:
    cdef Before was = before()
    cdef bint failed
    arm(nth)
    failed = allowedips_reserve(dp.shared.allowed, prefixes) != 0
    need(disarm() == failed, b"a reservation without memory")
    is_as(&was)


cdef void begin_handshake(Peer *peer, uint32_t index, uint32_t nth) noexcept nogil:
    cdef Before was
    cdef bint failed, mine = False
    cdef uint32_t i
    for i in range(keypair_count):
        mine = mine or keypairs[i] != NULL and keypairs[i].local_index == index
    if mine:
        return
    handshake_open(dp, peer, index)
    was = before()
    was.indices -= 1
    arm(nth)
    failed = handshake_open(dp, peer, index) != 0
    need(disarm() == failed, b"an index without memory")
    need(peer.has_handshake != failed, b"a handshake without an index")
    if failed:
        is_as(&was)


cdef void begin_session(Peer *peer, uint32_t what, uint32_t nth) noexcept nogil:
    """Many at a time: tables grow. One may come of the handshake in flight."""
    global keypair_count
    cdef Keypair *keypair
    cdef Before was
    cdef uint8_t key[32]
    cdef uint32_t n = 1 + (what & 0x38) * (what >> 6)
    cdef bint failed, confirmed = what & 1 != 0
    memset(key, <int>what, 32)
    while n and keypair_count < KEYPAIRS:
        n -= 1
        arm(nth)
        keypair = keypair_new(peer, key, key)
        need((keypair == NULL) == disarm(), b"a keypair without memory")
        if keypair == NULL:
            return
        keypair.birth_ns = kernel.now_ns
        keypair.local_index = keypair.remote_index = 0x10000 + keypair_count
        if what & 2 and peer.has_handshake:
            keypair.local_index = peer.handshake_index
        was = before()
        arm(0 if nth == 1 else nth - 1)
        failed = keypair_publish(dp, keypair, confirmed) != 0
        need(disarm() == failed, b"a session without memory")
        if failed:
            keypair_free(keypair)
            is_as(&was)
            return
        if confirmed:
            peer.sending = keypair
        keypairs[keypair_count] = keypair
        keypair_count += 1
        confirmed = True


cdef void end_session(uint32_t number) noexcept nogil:
    if number < keypair_count and keypairs[number] != NULL:
        keypair_retire(dp, keypairs[number])
        keypairs[number] = NULL


cdef void stage(Peer *peer, uint32_t nth) noexcept nogil:
    cdef uint8_t packet[LONGEST]
    cdef uint32_t len = input16(&steps) % LONGEST
    cdef uint64_t staged = dp.shared.staged_bytes, dropped = dp.counters.tx_staged_dropped
    memset(packet, 0x45, LONGEST)
    arm(nth)
    stage_packet(dp, peer, packet, len)
    if disarm():
        need(dp.shared.staged_bytes <= staged and dp.counters.tx_staged_dropped > dropped, b"a packet without memory")


cdef void make_a_cookie(uint32_t nth) noexcept nogil:
    cdef Endpoint source
    cdef uint8_t[COOKIE_LEN] cookie
    cdef bint made
    memset(&source, 0, sizeof(source))
    source.ip_len = 4
    if dp.macs.secrets == NULL:
        return
    arm(nth)
    made = make_cookie(&dp.macs, &source, kernel.now_ns, cookie)
    need(made != disarm(), b"a cookie without random bytes")


cdef void tell(Peer *peer, uint32_t what, uint32_t nth) noexcept nogil:
    """Events, while the eventfd can't be written: the next one tries again."""
    cdef uint32_t events = 0, index = 0
    cdef bint fails = nth == 1
    events_rearm(&dp.shared.events)
    while events_take(&dp.shared.events, &events, &index) != NULL:
        pass
    faults.failed = 0
    faults.left = 1 if fails else 0
    events_confirmed(&dp.shared.events, peer, what)
    need(disarm() == fails and dp.shared.events.signalled == 1, b"an event that is told at the second try")


cdef void start_and_stop(uint32_t nth) noexcept nogil:
    global player_count
    cdef bint failed
    player_count = faults.made = 0
    dp.stop = threads.send_ended = threads.receive_ended = 0
    dp.handed_off = 0
    if threads.pool != NULL:
        threads.pool.stop = 0
        threads.pool.running = 0
    dp.send_waits = dp.receive_waits = 0
    threads_filter(threads, FILTER_HELPER, NULL, 0)
    faults.threads_left = nth
    failed = threads_start(threads, -1) != 0
    faults.threads_left = 0
    need(failed == (threads.error != 0) and failed != threads.running, b"threads that run or not")
    need_equal(<uint64_t>threads_filtered(threads), 0, b"threads under a filter")
    if not failed:
        need_equal(<uint64_t>threads_count(threads) + 1, player_count, b"threads")
    threads_kick(threads)
    threads_stop(threads)
    threads_stop(threads)
    need(not threads.running, b"threads that were stopped")
    threads.error = 0
    store8(&dp.handed_off, 0)
    kernel.kick = 0


cdef void step() noexcept nogil:
    """With both gates, but for threads' start."""
    cdef uint32_t what = input8(&steps), nth = what >> 4 & 3, i = what >> 6
    cdef Peer *peer = peers[i]
    if what & 15 == 10:
        start_and_stop(nth + (4 if what & 0x80 else 0))
        return
    settle()
    gates_enter(dp)
    send_path_hold(threads.send_path)
    receive_path_hold(threads.receive_path)
    if what & 15 == 0 or peer == NULL:
        add_or_end_peer(i, nth)
    elif what & 15 == 1:
        add_prefix(peer, nth)
    elif what & 15 == 2:
        reserve(input16(&steps) % 3000, nth)
    elif what & 15 == 3:
        begin_handshake(peer, input8(&steps), nth)
    elif what & 15 <= 5:
        begin_session(peer, input8(&steps), nth)
    elif what & 15 == 6:
        end_session(input8(&steps))
    elif what & 15 == 7:
        keypairs_expire(peer)
    elif what & 15 == 8:
        stage(peer, nth)
    elif what & 15 == 9:
        renew(nth)
    elif what & 15 == 11:
        make_a_cookie(nth)
    elif what & 15 == 12:
        tell(peer, what, nth)
    elif what & 15 == 13:
        send_staged(threads.send_path, peer, nth & 1, kernel.now_ns)
    else:
        kernel.now_ns += <uint64_t>input8(&steps) << (26 + nth)
    receive_path_release(threads.receive_path)
    send_path_release(threads.send_path)
    gates_leave(dp)


cdef void renew(uint32_t nth) noexcept nogil:
    cdef bint failed
    cdef const void *old = threads.receive_path.delivery.writers[0].coalescer
    arm(nth)
    failed = threads_renew(threads, 10) != 0
    need(disarm() == failed, b"a coalescer without memory")
    need(not failed or threads.receive_path.delivery.writers[0].coalescer == old, b"another coalescer")


cdef int lowest_descriptor() noexcept nogil:
    cdef int fd = eventfd(0, EFD_CLOEXEC)
    close(fd)
    return fd


cdef bint begin(uint32_t what) noexcept nogil:
    """False: it is not made."""
    global dp, threads
    cdef uint32_t nth = input8(&steps)
    cdef uint8_t key[32]
    cdef int helpers = 0 if what & 7 < 6 else FEW if what & 7 == 6 or what & 0x78 else MANY
    arm(nth)
    dp = dataplane_new(backend)
    threads = threads_new(dp, helpers, 0) if dp != NULL else NULL
    if dp != NULL and what & 0x80 == 0 and macs_init(&dp.macs) == 0:
        memset(key, 7, 32)
        macs_identify(&dp.macs, key, key)
    need(disarm() == (threads == NULL), b"threads that were made or not")
    if threads == NULL:
        if dp != NULL:
            dataplane_free(dp)
        return False
    dp.tun_fd = KERNEL_TUN
    dp.fd4 = KERNEL_UDP4
    dp.fd6 = KERNEL_UDP6
    dp.shared.staged_max = 1 << 20
    return True


cdef void live() noexcept nogil:
    cdef uint32_t i
    while input_left(&steps):
        step()
    settle()
    gates_enter(dp)
    send_path_hold(threads.send_path)
    receive_path_hold(threads.receive_path)
    for i in range(PEERS):
        if peers[i] != NULL:
            add_or_end_peer(i, 0)
    receive_path_release(threads.receive_path)
    send_path_release(threads.send_path)
    gates_leave(dp)
    need_equal(dp.shared.staged_bytes, 0, b"staged bytes of no peer")
    need_equal(dp.shared.allowed.nodes, 0, b"prefixes of no peer")
    need(dp.shared.indices.used == 0 and dp.shared.remote_indices.used == 0, b"an index of nothing")
    threads_free(threads)
    dataplane_free(dp)


cdef int one(const uint8_t *data, size_t size) noexcept nogil:
    """A byte for what is made, one for the call that fails then; steps."""
    global keypair_count
    cdef int descriptor = lowest_descriptor()
    input_start(&steps, data, size)
    memset(peers, 0, sizeof(peers))
    keypair_count = 0
    kernel.now_ns = 1000 * SECOND_NS
    kernel.tun_read = tun_read
    kernel.tun_write = tun_write
    kernel.send = send
    kernel.receive = receive
    kernel.wait = wait
    faults.create = create
    faults.join = join
    faults.doze = doze
    faults.await_ = await_
    faults.held = 0
    faults.counts = True
    if begin(input8(&steps)):
        live()
    faults.counts = False
    faults.create = NULL
    faults.join = NULL
    faults.doze = NULL
    faults.await_ = NULL
    kernel.wait = NULL
    need(not exact or faults.held == 0, b"memory that was not given back")
    need_equal(<uint64_t>lowest_descriptor(), <uint64_t>descriptor, b"descriptors that were not given back")
    return 0


def address(aead: str) -> int:
    """Of `one`, with that backend. What is allocated once a process is, by an input that lets all be."""
    global backend, exact
    cdef uint8_t[8] plain = [0, 0, 0, 0x04, 0x01, 0x0B, 0, 0]
    backend = choose(aead)
    exact = False
    one(plain, 8)
    exact = is_cheap(backend)
    return <unsigned long long><void *>&one
