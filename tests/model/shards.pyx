# cython: language_level=3, cdivision=True
"""Two shards in the model: their threads send and receive for one peer, and the control plane changes it.

The threads here take their steps inside their gates, as the loops of loops.pyx do, but wait for nothing: a sending
thread reads a packet at a time until its TUN is empty, a receiving one takes a message at a time from its socket. Where
the sockets go, the receiving threads are those of loops.pyx. Packets are numbered, by shard.
"""
from libc.errno cimport EAGAIN
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc
from libc.string cimport memset

from pywg.dataplane.crypto.aead cimport AeadBackend
from pywg.dataplane.send.send cimport send_staged, send_step
from pywg.dataplane.receive.receive cimport receive_step
from pywg.dataplane.state.allowedips cimport allowedips_insert
from pywg.dataplane.state.counters cimport Counters
from pywg.dataplane.state.dataplane cimport Dataplane, dataplane_add_shard, dataplane_new
from pywg.dataplane.state.events cimport events_rearm, events_take
from pywg.dataplane.state.gate cimport gate_enter, gate_leave
from pywg.dataplane.state.peer cimport EVENT_CONFIRMED, Keypair, Peer
from pywg.dataplane.state.peers cimport keypair_publish, keypair_retire, peer_free
from pywg.dataplane.sys.atomic cimport load8, store_int
from pywg.dataplane.sys.clock cimport SECOND_NS
from pywg.dataplane.sys.linux cimport POLLIN, POLLOUT, iovec, mmsghdr
from pywg.dataplane.threads.loops cimport Threads, receive_thread
from pywg.dataplane.threads.threads cimport threads_add, threads_hold, threads_new
from pywg.dataplane.threads.threads cimport threads_release, threads_settle
from pywg.dataplane.wire.wireguard cimport TAG_LEN, WG_HEADER_LEN, TransportHeader

from tests.model.engine cimport Options, Scenario, explored, model_choose, model_fault, model_ignore, model_name
from tests.model.engine cimport model_thread, model_wait
from tests.model.network cimport NOW_S, NUMBER_AT, PACKET_LEN, new_peer, new_session, no_cipher, put_message, put_packet

cdef extern from * nogil:
    int count_bits "__builtin_popcountll"(unsigned long long word)

cdef enum:
    SHARDS = 2
    TUN = 4                     # the first shard's; its is followed by the other's
    UDP = 8
    NUMBERS = 16                # of one shard's packets
    LOCAL_INDEX = 100
    NO_SESSION = 0
    SESSION = 1
    UNCONFIRMED = 2
    EVERYTHING = 1 << 30        # longer than the heap

cdef struct Plan:
    int packets                 # in each shard's TUN
    int messages                # on each shard's socket
    bint same                   # both have the same ones
    int session                 # that the peer has at the beginning; UNCONFIRMED: until a message has come under it
    int full                    # how often a socket may be full
    bint watch                  # what no lock orders of the peer and its keypair is a fault, too
    bint install                # the control plane gives the peer its session, and sends what is staged,
    bint retire                 # retires it,
    bint remove                 # removes the peer,
    bint detach                 # takes the sockets away and closes them

cdef struct World:
    Threads *threads
    Dataplane *dp[SHARDS]
    Peer *peer
    Keypair *keypair
    int read[SHARDS]
    bint rests[SHARDS]          # the TUN has given a packet, and gives the next one in another batch
    int received[SHARDS]
    int full
    bint closed                 # the sockets
    uint64_t counters           # bit n: that was sent
    uint64_t sent               # the same of packets,
    uint64_t delivered          # and of what was delivered
    int sent_of[SHARDS]         # one more than the last packet of each

cdef Plan plan
cdef World *world
cdef AeadBackend backend
cdef Counters reached          # those that an end had above zero


# ---- the kernel

cdef void put_numbered(uint8_t *at, int number, bint inbound) noexcept nogil:
    put_packet(at, PACKET_LEN, 1, inbound)
    at[NUMBER_AT] = <uint8_t>number


cdef ssize_t tun_read(int fd, void *to, size_t room) noexcept nogil:
    cdef int shard = fd - TUN
    if world.rests[shard] or world.read[shard] == plan.packets:
        world.rests[shard] = False
        return -EAGAIN
    put_numbered(<uint8_t *>to, shard * NUMBERS + world.read[shard], False)
    world.read[shard] += 1
    world.rests[shard] = True
    return PACKET_LEN


cdef ssize_t tun_write(int fd, const iovec *iov, int count) noexcept nogil:
    cdef uint64_t bit = <uint64_t>1 << (<const uint8_t *>iov[0].iov_base)[NUMBER_AT]
    if world.delivered & bit:
        model_fault(b"delivered twice")
    world.delivered |= bit
    return <ssize_t>iov[0].iov_len


cdef int udp_send(int fd, mmsghdr *messages, unsigned int count) noexcept nogil:
    cdef const uint8_t *datagram
    cdef uint64_t bit
    cdef unsigned int i
    cdef int number
    if world.closed:
        model_fault(b"a closed socket is used")
    if world.full > 0 and model_choose(2, b"the socket is full"):
        world.full -= 1
        return -EAGAIN
    for i in range(count):
        datagram = <const uint8_t *>messages[i].msg_hdr.msg_iov.iov_base
        bit = <uint64_t>1 << (<const TransportHeader *>datagram).counter
        if world.counters & bit:
            model_fault(b"a counter goes out twice")
        world.counters |= bit
        messages[i].msg_len = <unsigned int>messages[i].msg_hdr.msg_iov.iov_len
        if messages[i].msg_len == WG_HEADER_LEN + TAG_LEN:
            continue
        number = datagram[WG_HEADER_LEN + NUMBER_AT]
        bit = <uint64_t>1 << number
        if world.sent & bit:
            model_fault(b"sent twice")
        world.sent |= bit
        # What was staged by one shard may be sent by the other.
        if plan.session == SESSION and number % NUMBERS < world.sent_of[number // NUMBERS]:
            model_fault(b"overtaken")
        world.sent_of[number // NUMBERS] = number % NUMBERS + 1
    return <int>count


cdef int udp_receive(int fd, mmsghdr *messages, unsigned int count) noexcept nogil:
    cdef int shard = fd - UDP
    cdef int number = world.received[shard]
    if world.closed:
        model_fault(b"a closed socket is used")
    if number == plan.messages:
        return -EAGAIN
    if not plan.same:
        number += shard * NUMBERS
    # From another port than the other shard's, so both move the endpoint.
    put_numbered(put_message(messages, LOCAL_INDEX, <uint64_t>number, <uint32_t>(7 + shard)), number, True)
    world.received[shard] += 1
    return 1


cdef short ready(int fd, short events) noexcept nogil:
    if world.closed:
        model_fault(b"a thread waits for a closed socket")
    return events & ((POLLIN if world.received[fd - UDP] < plan.messages else 0) | POLLOUT)


# ---- the threads

cdef void *sender(void *arg) noexcept nogil:
    cdef Threads *shard = <Threads *>arg
    while world.read[shard.dp.number] < plan.packets or load8(&shard.send_path.backlog):
        gate_enter(&shard.dp.send_gate)
        send_step(shard.send_path)
        gate_leave(&shard.dp.send_gate)
    return NULL


cdef void *receiver(void *arg) noexcept nogil:
    cdef Threads *shard = <Threads *>arg
    while world.received[shard.dp.number] < plan.messages:
        gate_enter(&shard.dp.receive_gate)
        shard.receive_path.ready4 = True
        receive_step(shard.receive_path)
        gate_leave(&shard.dp.receive_gate)
    return NULL


cdef void await_confirmation() noexcept nogil:
    cdef uint32_t flags, index
    cdef bint confirmed = False
    while not confirmed:
        model_wait(world.dp[0].shared.events.fd, POLLIN)
        events_rearm(&world.dp[0].shared.events)
        while events_take(&world.dp[0].shared.events, &flags, &index) != NULL:
            confirmed = confirmed or flags & EVENT_CONFIRMED != 0


cdef void *control(void *arg) noexcept nogil:
    cdef int i
    if plan.session == UNCONFIRMED:
        await_confirmation()
    if plan.install or plan.session == UNCONFIRMED:
        threads_hold(world.threads)
        if plan.install:
            use_session()
        send_staged(world.threads.send_path, world.peer, False, NOW_S * SECOND_NS)
        threads_release(world.threads)
    if plan.retire:
        threads_hold(world.threads)
        keypair_retire(world.dp[0], world.keypair)
        threads_release(world.threads)
    if plan.remove:
        threads_hold(world.threads)
        peer_free(world.dp[0], world.peer)
        world.peer = NULL
        threads_release(world.threads)
    if plan.detach:
        threads_hold(world.threads)
        for i in range(SHARDS):
            store_int(&world.dp[i].fd4, -1)
        threads_release(world.threads)
        threads_settle(world.threads)
        world.closed = True
    return NULL


cdef void use_session() noexcept nogil:
    keypair_publish(world.dp[0], world.keypair, True)
    world.peer.sending = world.keypair


# ---- the scenario

cdef void setup() noexcept nogil:
    global world
    cdef uint8_t[4] address
    cdef int i
    world = <World *>calloc(1, sizeof(World))
    world.full = plan.full
    world.dp[0] = dataplane_new(&backend)
    world.dp[1] = dataplane_add_shard(world.dp[0])
    world.dp[0].shared.staged_max = 1 << 20
    world.threads = threads_new(world.dp[0], 0, 0)
    threads_add(world.threads, world.dp[1], 0, 0)
    for i in range(SHARDS):
        world.dp[i].tun_fd = TUN + i
        world.dp[i].fd4 = UDP + i
        model_ignore(&world.dp[i].send_gate, 2 * sizeof(world.dp[i].send_gate))
        model_ignore(&world.dp[i].counters, sizeof(Counters))
        if not plan.detach:
            model_ignore(&world.dp[i].send_waits, 16)
    model_ignore(&world.threads.send_heartbeats, 16)
    model_ignore(&world.threads.next.send_heartbeats, 16)
    model_ignore(&world.dp[0].shared.strays, sizeof(world.dp[0].shared.strays))
    make_peer()
    memset(address, 0, 4)
    address[0] = 10
    address[3] = 1
    allowedips_insert(world.dp[0].shared.allowed, address, 4, 32, &world.peer.allowed)
    if plan.session == SESSION:
        use_session()
    elif plan.session == UNCONFIRMED:
        keypair_publish(world.dp[0], world.keypair, False)
    names()
    start()


cdef void make_peer() noexcept nogil:
    world.peer = new_peer(0, 7)
    world.keypair = new_session(world.peer, LOCAL_INDEX)
    if plan.watch:
        model_ignore(world, <uint8_t *>world.peer - <uint8_t *>world)
        model_ignore(&world.keypair[1], EVERYTHING)


cdef void start() noexcept nogil:
    cdef Threads *second = world.threads.next
    if plan.packets:
        model_thread(b"sender 0", sender, world.threads)
        model_thread(b"sender 1", sender, second)
    if plan.detach:
        model_thread(b"receiver 0", receive_thread, world.threads)
        model_thread(b"receiver 1", receive_thread, second)
    elif plan.messages:
        model_thread(b"receiver 0", receiver, world.threads)
        model_thread(b"receiver 1", receiver, second)
    if plan.session == UNCONFIRMED or plan.install or plan.retire or plan.remove or plan.detach:
        model_thread(b"control", control, NULL)


cdef void names() noexcept nogil:
    model_name(&world.dp[0].send_gate.turnstile, 40, b"send turnstile 0")
    model_name(&world.dp[0].send_gate.hold, 40, b"send gate 0")
    model_name(&world.dp[0].receive_gate.turnstile, 40, b"receive turnstile 0")
    model_name(&world.dp[0].receive_gate.hold, 40, b"receive gate 0")
    model_name(&world.dp[1].send_gate.turnstile, 40, b"send turnstile 1")
    model_name(&world.dp[1].send_gate.hold, 40, b"send gate 1")
    model_name(&world.dp[1].receive_gate.turnstile, 40, b"receive turnstile 1")
    model_name(&world.dp[1].receive_gate.hold, 40, b"receive gate 1")
    model_name(&world.dp[0].shared.events, sizeof(world.dp[0].shared.events), b"events")
    model_name(&world.peer.lock, sizeof(world.peer.lock), b"lock")
    model_name(&world.peer.receive_lock, sizeof(world.peer.receive_lock), b"receive_lock")
    model_name(world.peer, sizeof(Peer), b"peer")
    model_name(&world.keypair.window, sizeof(world.keypair.window), b"window")
    model_name(world.keypair, sizeof(Keypair), b"keypair")


cdef uint64_t counted(const uint64_t *counter) noexcept nogil:
    """Of both shards. `counter`: the first one's."""
    cdef size_t at = <const uint8_t *>counter - <const uint8_t *>&world.dp[0].counters
    return counter[0] + (<const uint64_t *>(<const uint8_t *>&world.dp[1].counters + at))[0]


cdef const char *end() noexcept nogil:
    cdef const Counters *c = &world.dp[0].counters
    cdef uint64_t out, staged = 0
    cdef int i
    for i in range(<int>(sizeof(Counters) // 8)):
        (<uint64_t *>&reached)[i] |= counted(<const uint64_t *>c + i)
    if world.peer != NULL:
        staged = world.peer.staged_count
        if staged and world.peer.sending != NULL:
            return b"all threads wait, and a packet is staged although there is a session"
    out = count_bits(world.sent) + counted(&c.tx_staged_dropped) + counted(&c.tx_no_peer)
    if out + staged != <uint64_t>(SHARDS * plan.packets):
        return b"all threads wait, and a packet was not sent"
    if plan.detach:
        return NULL
    out = count_bits(world.delivered) + counted(&c.rx_replayed) + counted(&c.rx_unknown_index)
    if out != <uint64_t>(SHARDS * plan.messages):
        return b"all threads wait, and a message was not delivered"
    if plan.same and not plan.remove and not plan.retire and count_bits(world.delivered) != plan.messages:
        return b"all threads wait, and a message was taken for one that came before"
    return NULL


def explore(dict wanted, *, int stale, int races, int preemptions, int spurious, uint64_t states_max) -> dict:
    cdef Scenario scenario = Scenario(setup, end, ready, tun_read, tun_write, udp_send, udp_receive, NULL)
    cdef Options options = Options(stale, races, preemptions, spurious, states_max)
    global plan
    plan = wanted
    memset(&reached, 0, sizeof(reached))
    no_cipher(&backend)
    return {**explored(&scenario, &options), "reached": [name for name, above in (<dict>reached).items() if above]}
