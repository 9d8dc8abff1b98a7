# cython: language_level=3, cdivision=True
"""The data plane's threads in the model, as they are: a TUN, a socket, and the control plane that changes the peers.

The cipher is none, and the kernel is here. Packets are numbered, by peer. What is sent and delivered says whether each
came once and in order; the engine says who used what was freed.
"""
from libc.errno cimport EAGAIN
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc
from libc.string cimport memset

from pywg.dataplane.crypto.aead cimport AeadBackend
from pywg.dataplane.send.send cimport send_staged
from pywg.dataplane.state.allowedips cimport allowedips_insert
from pywg.dataplane.state.counters cimport Counters
from pywg.dataplane.state.dataplane cimport Dataplane, dataplane_new
from pywg.dataplane.state.peer cimport Keypair, Peer
from pywg.dataplane.state.peers cimport keypair_publish, keypair_retire, peer_free
from pywg.dataplane.sys.atomic cimport store_int
from pywg.dataplane.sys.clock cimport SECOND_NS
from pywg.dataplane.sys.linux cimport POLLIN, POLLOUT, iovec, mmsghdr
from pywg.dataplane.threads.loops cimport Threads
from pywg.dataplane.threads.threads cimport threads_hold, threads_new, threads_release, threads_settle
from pywg.dataplane.threads.threads cimport threads_start, threads_stop
from pywg.dataplane.wire.wireguard cimport TAG_LEN, WG_HEADER_LEN, TransportHeader

from tests.model.engine cimport Options, Scenario, explored, model_choose, model_fault, model_ignore, model_name
from tests.model.engine cimport model_step, model_thread
from tests.model.network cimport NOW_S, NUMBER_AT, PACKET_LEN, new_peer, new_session, no_cipher, put_message, put_packet

cdef enum:
    PEERS = 2
    TUN = 3
    UDP = 4
    HEAVY_LEN = 40000           # two fill a batch
    LONG_LEN = 65536            # of a message that is a batch by itself


cdef struct Plan:
    int helpers
    int packets                 # of each peer, in the TUN
    int messages                # of each peer, on the socket
    int sessions                # bit p: peer p has one from the beginning
    int full                    # how often the socket may be full
    int heavy                   # packets and messages that are long
    int looks                   # of a thread that waits for its turn to send
    bint remove                 # the control plane removes peer 0,
    bint retire                 # retires its keypair,
    bint install                # installs one, and sends what is staged,
    bint detach                 # takes the socket away and closes it,
    bint stop                   # and stops all

cdef struct World:
    Dataplane *dp
    Threads *threads
    Peer *peers[PEERS]
    Keypair *keypairs[PEERS]
    int arrived                 # in the TUN, of all peers
    int read
    int come                    # on the socket
    int received
    int full
    int heavy
    int heavy_messages
    bint closed                 # the socket
    bint stopped
    uint32_t sent[PEERS]        # one more than the number of the last packet
    uint32_t sent_count[PEERS]
    uint32_t delivered[PEERS]
    uint32_t delivered_count[PEERS]
    uint64_t counters[PEERS]    # the next one that may come

cdef Plan plan
cdef World *world
cdef AeadBackend backend
cdef Counters reached          # those that an end had above zero


# ---- the kernel

cdef void put_numbered(uint8_t *at, uint32_t len, int number, bint inbound) noexcept nogil:
    """The packet of that number, of all peers in turns: it says which peer's, and which of it."""
    put_packet(at, len, number % PEERS + 1, inbound)
    at[NUMBER_AT] = <uint8_t>(number % PEERS)
    at[NUMBER_AT + 1] = <uint8_t>(number // PEERS)


cdef ssize_t tun_read(int fd, void *to, size_t room) noexcept nogil:
    cdef uint32_t len = PACKET_LEN
    if world.read == world.arrived:
        return -EAGAIN
    if world.heavy > 0:
        world.heavy -= 1
        len = HEAVY_LEN
    put_numbered(<uint8_t *>to, len, world.read, False)
    world.read += 1
    return <ssize_t>len


cdef ssize_t tun_write(int fd, const iovec *iov, int count) noexcept nogil:
    cdef const uint8_t *packet = <const uint8_t *>iov[0].iov_base
    cdef int peer = packet[NUMBER_AT]
    if packet[NUMBER_AT + 1] < world.delivered[peer]:
        model_fault(b"delivered twice, or overtaken")
    world.delivered[peer] = packet[NUMBER_AT + 1] + 1
    world.delivered_count[peer] += 1
    return <ssize_t>iov[0].iov_len


cdef int udp_send(int fd, mmsghdr *messages, unsigned int count) noexcept nogil:
    cdef const uint8_t *datagram
    cdef const TransportHeader *header
    cdef const uint8_t *packet
    cdef unsigned int i
    cdef int peer
    if world.closed:
        model_fault(b"a closed socket is used")
    if world.full > 0 and model_choose(2, b"the socket is full"):
        world.full -= 1
        return -EAGAIN
    for i in range(count):
        datagram = <const uint8_t *>messages[i].msg_hdr.msg_iov.iov_base
        header = <const TransportHeader *>datagram
        packet = datagram + WG_HEADER_LEN
        peer = header.receiver_index & 1
        if header.counter < world.counters[peer]:
            model_fault(b"a counter goes out twice")
        world.counters[peer] = header.counter + 1
        if messages[i].msg_hdr.msg_iov.iov_len == WG_HEADER_LEN + TAG_LEN:
            continue
        if packet[NUMBER_AT] != peer or packet[NUMBER_AT + 1] < world.sent[peer]:
            model_fault(b"sent twice, overtaken, or to another peer")
        world.sent[peer] = packet[NUMBER_AT + 1] + 1
        world.sent_count[peer] += 1
        messages[i].msg_len = <unsigned int>messages[i].msg_hdr.msg_iov.iov_len
    return <int>count


cdef int udp_receive(int fd, mmsghdr *messages, unsigned int count) noexcept nogil:
    cdef int peer = world.received % PEERS
    if world.closed:
        model_fault(b"a closed socket is used")
    if world.received == world.come:
        return -EAGAIN
    put_numbered(put_message(messages, local_index(peer), <uint64_t>(world.received // PEERS), <uint32_t>(7 + peer)),
                 PACKET_LEN, world.received, True)
    if world.heavy_messages > 0:
        world.heavy_messages -= 1
        messages[0].msg_len = LONG_LEN
    world.received += 1
    return 1


cdef short ready(int fd, short events) noexcept nogil:
    if fd == TUN:
        return POLLIN if world.read < world.arrived else 0
    if world.closed:
        model_fault(b"a thread waits for a closed socket")
    return events & ((POLLIN if world.received < world.come else 0) | POLLOUT)


# ---- the threads that are not the data plane's

cdef uint32_t local_index(int peer) noexcept nogil:
    return <uint32_t>(100 + peer)


cdef Keypair *session(int peer) noexcept nogil:
    cdef Keypair *keypair = new_session(world.peers[peer], local_index(peer))
    keypair.remote_index = <uint32_t>(200 + peer)
    world.keypairs[peer] = keypair
    return keypair


cdef void use_session(int peer, Keypair *keypair) noexcept nogil:
    keypair_publish(world.dp, keypair, True)
    world.peers[peer].sending = keypair


cdef void *network(void *arg) noexcept nogil:
    while world.arrived < PEERS * plan.packets or world.come < PEERS * plan.messages:
        if world.arrived < PEERS * plan.packets:
            model_step(b"a packet arrives in the TUN")
            world.arrived += 1
        if world.come < PEERS * plan.messages:
            model_step(b"a message arrives")
            world.come += 1
    return NULL


cdef void *control(void *arg) noexcept nogil:
    cdef Keypair *keypair
    threads_start(world.threads, -1)
    model_thread(b"network", network, NULL)
    if plan.install:
        keypair = session(0)
        threads_hold(world.threads)
        use_session(0, keypair)
        send_staged(world.threads.send_path, world.peers[0], False, NOW_S * SECOND_NS)
        threads_release(world.threads)
    if plan.retire:
        threads_hold(world.threads)
        keypair_retire(world.dp, world.keypairs[0])
        threads_release(world.threads)
    if plan.remove:
        threads_hold(world.threads)
        peer_free(world.dp, world.peers[0])
        world.peers[0] = NULL
        threads_release(world.threads)
    if plan.detach:
        threads_hold(world.threads)
        store_int(&world.dp.fd4, -1)
        threads_release(world.threads)
        threads_settle(world.threads)
        world.closed = True
    if plan.stop:
        threads_stop(world.threads)
        world.stopped = True
    return NULL


# ---- the scenario

cdef void setup() noexcept nogil:
    global world
    cdef uint8_t[4] address
    cdef Peer *peer
    cdef int i
    world = <World *>calloc(1, sizeof(World))
    world.full = plan.full
    world.heavy = world.heavy_messages = plan.heavy
    world.dp = dataplane_new(&backend)
    world.dp.shared.staged_max = 1 << 20
    world.dp.tun_fd = TUN
    world.dp.fd4 = UDP
    world.threads = threads_new(world.dp, plan.helpers, plan.looks)
    memset(address, 0, 4)
    address[0] = 10
    for i in range(PEERS):
        peer = world.peers[i] = new_peer(<uint32_t>i, <uint32_t>(7 + i))
        address[3] = <uint8_t>(i + 1)
        allowedips_insert(world.dp.shared.allowed, address, 4, 32, &peer.allowed)
        if plan.sessions >> i & 1:
            use_session(i, session(i))
    model_ignore(&world.dp.send_gate, 2 * sizeof(world.dp.send_gate))
    model_ignore(&world.dp.counters, sizeof(Counters))
    model_ignore(&world.threads.send_heartbeats, 16)
    model_ignore(&world.dp.shared.strays, sizeof(world.dp.shared.strays))
    if not plan.detach:
        model_ignore(&world.dp.send_waits, 16)
    names()
    model_thread(b"control", control, NULL)


cdef void names() noexcept nogil:
    model_name(&world.dp.send_gate.turnstile, 40, b"send turnstile")
    model_name(&world.dp.send_gate.hold, 40, b"send gate")
    model_name(&world.dp.receive_gate.turnstile, 40, b"receive turnstile")
    model_name(&world.dp.receive_gate.hold, 40, b"receive gate")
    model_name(&world.dp.handed_off, 1, b"handed_off")
    model_name(&world.dp.stop, 1, b"stop")
    model_name(&world.dp.fd4, 4, b"fd4")
    model_name(&world.dp.tun_fd, 4, b"tun_fd")
    model_name(&world.dp.send_waits, 8, b"send_waits")
    model_name(&world.dp.receive_waits, 8, b"receive_waits")
    model_name(&world.dp.shared.events, sizeof(world.dp.shared.events), b"events")
    model_name(&world.threads.send_path.reorder, sizeof(world.threads.send_path.reorder), b"send ring")
    model_name(&world.threads.receive_path.reorder, sizeof(world.threads.receive_path.reorder), b"receive ring")
    model_name(world.peers[0], sizeof(Peer), b"peer 0")
    model_name(world.peers[1], sizeof(Peer), b"peer 1")


cdef const char *end() noexcept nogil:
    cdef const Counters *c = &world.dp.counters
    cdef uint64_t out, staged = 0
    cdef int i
    for i in range(<int>(sizeof(Counters) // 8)):
        (<uint64_t *>&reached)[i] |= (<const uint64_t *>c)[i]
    if plan.stop:
        if not world.stopped:
            return b"the threads do not end"
        return NULL
    if world.read < world.arrived:
        return b"all threads wait, and the TUN has a packet"
    if not world.closed and world.received < world.come:
        return b"all threads wait, and the socket has a message"
    for i in range(PEERS):
        if world.peers[i] != NULL:
            staged += world.peers[i].staged_count
    out = world.sent_count[0] + world.sent_count[1] + c.tx_staged_dropped + c.tx_no_peer + c.tx_send_error
    if out + staged != <uint64_t>(PEERS * plan.packets):
        return b"all threads wait, and a packet was not sent"
    if plan.install and world.peers[0] != NULL and world.peers[0].staged_count:
        return b"all threads wait, and a packet is staged although there is a session"
    if plan.detach:
        return NULL
    out = world.delivered_count[0] + world.delivered_count[1] + c.rx_unknown_index + c.rx_source_not_allowed
    if out != <uint64_t>(PEERS * plan.messages):
        return b"all threads wait, and a message was not delivered"
    return NULL


def explore(dict wanted, *, int stale, int races, int preemptions, int spurious, uint64_t states_max) -> dict:
    cdef Scenario scenario = Scenario(setup, end, ready, tun_read, tun_write, udp_send, udp_receive, NULL)
    cdef Options options = Options(stale, races, preemptions, spurious, states_max)
    global plan
    plan = wanted
    memset(&reached, 0, sizeof(reached))
    no_cipher(&backend)
    return {**explored(&scenario, &options), "reached": [name for name, above in (<dict>reached).items() if above]}
