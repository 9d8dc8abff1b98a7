# distutils: libraries = crypto
# cython: language_level=3, cdivision=True, wraparound=False, boundscheck=False
"""Threads that one thread plays, and the kernel that they meet: TUN and sockets answer as the input chooses.

Each thread runs where another waits, until it is told to stop. What leaves by any shard's socket is looked at: no
counter of a session leaves twice, whichever shards seal for it.
"""
from libc.errno cimport EAGAIN, EBADFD, ECONNREFUSED, EINTR, EIO, ENODEV, ENOMEM, EPERM
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from pywg.dataplane.reorder.pool cimport Helper, Pool
from pywg.dataplane.send.send cimport send_step
from pywg.dataplane.state.gate cimport gate_enter, gate_leave
from pywg.dataplane.sys.atomic cimport load8, store8
from pywg.dataplane.sys.linux cimport iovec, mmsghdr, pollfd, pthread_mutex_lock, pthread_mutex_t, pthread_mutex_unlock
from pywg.dataplane.threads.loops cimport Threads, receive_thread, send_thread
from pywg.dataplane.threads.threads cimport threads_settle
from pywg.dataplane.wire.wireguard cimport TRANSPORT_MIN_LEN, TransportHeader

from tests.fuzz.native.common cimport need
from tests.fuzz.native.faults cimport faults
from tests.fuzz.native.harness cimport TRAFFIC_RAW, finish_packet, kernel, make_packet, number_address, peer_address
from tests.fuzz.native.input cimport input8, input_left

cdef enum:
    PLAYERS = 16                # one that starts the others, and those of two shards with five helpers each
    SESSIONS = 160
    COUNTERS = 512              # of a session: no input has so many packets


cdef struct Player:             # a thread that was started
    void *(*start)(void *) noexcept nogil
    void *arg
    Threads *shard              # NULL: it starts the others
    bint runs                   # or has run


cdef Threads *threads           # of the first shard
cdef Threads *playing           # of the shard whose thread runs
cdef Player players[PLAYERS]
cdef uint32_t player_count
cdef int depth                  # plays within plays
cdef uint8_t sealed[SESSIONS][COUNTERS]


cdef void players_begin() noexcept nogil:
    """From now on threads, TUN and sockets are played."""
    global given, threads, playing, player_count, depth
    given = 0
    threads = playing = NULL
    player_count = 0
    depth = 0
    memset(sealed, 0, sizeof(sealed))
    kernel.tun_read = tun_read
    kernel.tun_write = tun_write
    kernel.send = send
    kernel.receive = receive
    kernel.wait = wait
    faults.create = create
    faults.join = join
    faults.doze = doze
    faults.await_ = await_


cdef void players_of(Threads *of) noexcept nogil:
    """The threads of this shard and of those behind it are to be played."""
    global threads
    threads = of


cdef void players_forget() noexcept nogil:
    """All have run."""
    global player_count
    player_count = faults.made = 0
    kernel.kick = 0


cdef int players_made() noexcept nogil:
    """How many threads were made since."""
    return <int>player_count


cdef void players_end() noexcept nogil:
    faults.create = NULL
    faults.join = NULL
    faults.doze = NULL
    faults.await_ = NULL
    kernel.wait = NULL


cdef void give(uint64_t packets) noexcept nogil:
    global given
    given += packets


# ---- threads

cdef int create(void *driver, void *(*start)(void *) noexcept nogil, void *arg) noexcept nogil:
    global player_count
    need(player_count < PLAYERS, b"so many threads")
    players[player_count] = Player(start, arg, shard_of(start, arg), False)
    player_count += 1
    return 0


cdef Threads *shard_of(void *(*start)(void *) noexcept nogil, void *arg) noexcept nogil:
    cdef Threads *shard = threads
    if player_count == 0:
        return NULL
    if start == send_thread or start == receive_thread:
        return <Threads *>arg
    while shard.pool != (<Helper *>arg).pool:
        shard = shard.next
    return shard


cdef void join(void *driver, uint32_t number) noexcept nogil:
    need(number < player_count, b"a thread that was never made")
    play(number)


cdef void play(uint32_t number) noexcept nogil:
    """From its start to its end. It ends as the input says, unless all are told to; the others are not told by that."""
    global depth, playing
    cdef Player *player = &players[number]
    cdef Threads *shard = player.shard
    cdef Threads *before = playing
    cdef bint reads = player.arg == shard
    cdef int kick = kernel.kick
    cdef uint8_t stops, pool_stops = 0
    if player.runs:
        return
    player.runs = True
    if shard == NULL:
        player.start(player.arg)
        return
    stops = load8(&shard.dp.stop)
    if shard.pool != NULL:
        pool_stops = load8(&shard.pool.stop)
    playing = shard
    if reads:
        kernel.kick = shard.dp.send_kick if player.start == send_thread else shard.dp.receive_kick
        depth += 1
    player.start(player.arg)
    if reads:
        depth -= 1
        kernel.kick = kick
        shard.dp.stop = stops
    playing = before
    if shard.pool != NULL:
        shard.pool.stop = pool_stops
        shard.pool.looking = 0
        shard.pool.sleeping = shard.pool.woken = 0


cdef void doze(void *driver) noexcept nogil:
    """Another thread runs; if none is left, those that wait in poll() go round."""
    cdef Threads *shard = threads
    cdef uint32_t i
    if depth:
        return
    for i in range(player_count):
        if not players[i].runs:
            play(i)
            return
    while shard != NULL:
        if shard.dp.send_waits & 1 and not input8(&steps) & 3:
            shard.dp.send_waits += 1
        shard = shard.next


cdef void await_(void *driver, pthread_mutex_t *mutex) noexcept nogil:
    """A helper sleeps: its shard's reader sends meanwhile, or all stop."""
    cdef Pool *pool = playing.pool
    pthread_mutex_unlock(mutex)
    if input_left(&steps) and input8(&steps) & 3:
        gate_enter(&playing.dp.send_gate)
        send_step(playing.send_path)
        gate_leave(&playing.dp.send_gate)
    else:
        store8(&pool.stop, 1)
    pthread_mutex_lock(mutex)


cdef int wait(void *driver, pollfd *fds, unsigned long count) noexcept nogil:
    """A reading thread is in poll(), outside its gate."""
    cdef uint32_t what = input8(&steps)
    cdef unsigned long i
    cdef int n = 0
    if not input_left(&steps) or what & 7 == 7:
        store8(&playing.dp.stop, 1)
        return 0
    if what & 7 == 6:
        return -EINTR if what & 8 else -ENOMEM
    if what & 7 == 5:
        kernel.now_ns += <uint64_t>(what >> 3) * 5000000
    elif what & 7 == 4:
        playing.dp.receive_pressure_ns = kernel.now_ns if what & 8 else 0
    elif what & 7 == 3 and what & 8 and count == 2:
        settle_all()
    for i in range(count):
        fds[i].revents = <short>(fds[i].events if fds[i].fd >= 0 and what >> (4 + i) & 1 else 0)
        n += fds[i].revents != 0
    return n


cdef void settle_all() noexcept nogil:
    """The control plane waits for this thread, which is in poll(), and goes round as often as that takes."""
    global depth
    cdef int was = depth
    depth = 0
    threads_settle(threads)
    depth = was
    playing.dp.send_waits |= 1


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
    give(1)
    return <ssize_t>len


cdef ssize_t tun_write(void *driver, const iovec *iov, int count) noexcept nogil:
    return <ssize_t>iov[0].iov_len


cdef int send(void *driver, int fd, mmsghdr *messages, unsigned int count) noexcept nogil:
    """Each message is one datagram: the plane has not turned segmentation on."""
    cdef uint32_t what = input8(&steps)
    cdef unsigned int i
    if what & 7 == 3:
        give(is_keepalive(&messages[0]))    # it is counted as refused
        return -EPERM
    if what & 7 == 7:
        return -EAGAIN
    for i in range(count):
        need_once(<const TransportHeader *>messages[i].msg_hdr.msg_iov.iov_base)
        give(is_keepalive(&messages[i]))
    return <int>count


cdef bint is_keepalive(const mmsghdr *message) noexcept nogil:
    return message.msg_hdr.msg_iov.iov_len == TRANSPORT_MIN_LEN


cdef void need_once(const TransportHeader *header) noexcept nogil:
    cdef uint32_t session = header.receiver_index - FIRST_INDEX
    need(header.type == 4 and session < SESSIONS and header.counter < COUNTERS, b"a datagram of no session")
    need(not sealed[session][header.counter], b"a counter again")
    sealed[session][header.counter] = True


cdef int receive(void *driver, int fd, mmsghdr *messages, unsigned int count) noexcept nogil:
    return -(ECONNREFUSED if input8(&steps) & 1 else EAGAIN)
