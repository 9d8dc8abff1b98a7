"""Each stage of the data plane in its real place, and what it costs by itself: for `python -m bench.stages`.

One thread carries a TCP stream from one TUN to another, through real sockets, and does one stage after the other, as
the data plane's threads do them. It reads its own clock (CLOCK_THREAD_CPUTIME_ID) between the stages, so what is told
of a stage holds nothing of its neighbours, of the application or of other threads. No thread sleeps in poll() until
this one sends or writes: the wake-ups of a tunnel are not in these figures. Acknowledgements go back from TUN to TUN,
past the data plane.
"""
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport UINT64_MAX, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

cimport cython

from pywg.dataplane.crypto.aead_contexts cimport AeadContexts, aead_contexts_free, aead_contexts_init
from pywg.dataplane.crypto.aead_select cimport aead_choose
from pywg.dataplane.receive.coalesce cimport COALESCE_TCP, COALESCE_UDP, Coalescer, coalesce_add, coalesce_free
from pywg.dataplane.receive.coalesce cimport coalesce_new, coalesce_reset
from pywg.dataplane.receive.deliver cimport Delivery, deliver, delivery_free, delivery_init, delivery_inspect
from pywg.dataplane.receive.deliver cimport delivery_prepare, delivery_renew, delivery_write
from pywg.dataplane.receive.open cimport DATAGRAMS_MAX, ReceiveBatch, receive_batch_add, receive_batch_clear
from pywg.dataplane.receive.open cimport receive_batch_free, receive_batch_has_room, receive_batch_init
from pywg.dataplane.receive.open cimport receive_batch_open, receive_batch_starts_group
from pywg.dataplane.receive.writer cimport COALESCE_PACKETS
from pywg.dataplane.send.seal cimport BATCH_BYTES, READ_MAX, SendBatch, send_batch_free, send_batch_init
from pywg.dataplane.send.seal cimport send_batch_next_frame, send_batch_next_packet, send_batch_next_segments
from pywg.dataplane.send.seal cimport send_batch_plan_frame, send_batch_plan_packet, send_batch_reserve
from pywg.dataplane.send.seal cimport send_batch_seal, send_batch_send
from pywg.dataplane.send.segment cimport finish_checksum, segment_plan
from pywg.dataplane.send.send cimport RUNS_FOR_A_FRAME
from pywg.dataplane.state.allowedips cimport allowedips_insert, allowedips_lookup
from pywg.dataplane.state.dataplane cimport Dataplane, dataplane_add_shard, dataplane_free, dataplane_new
from pywg.dataplane.state.dataplane cimport gates_enter, gates_leave
from pywg.dataplane.state.gate cimport gate_enter, gate_leave
from pywg.dataplane.state.index_table cimport IndexEntry, index_table_find
from pywg.dataplane.state.peer cimport Keypair, Peer
from pywg.dataplane.state.peers cimport keypair_free, keypair_new, keypair_publish, peer_free, peer_new
from pywg.dataplane.state.replay cimport replay_plausible
from pywg.dataplane.sys.clock cimport now_ns
from pywg.dataplane.sys.linux cimport read, timespec, write
from pywg.dataplane.udp.receive cimport ReceiveMeta, udp_receive, udp_received
from pywg.dataplane.wire.ecn cimport ECN_MASK
from pywg.dataplane.wire.endpoint cimport to_endpoint
from pywg.dataplane.wire.ip cimport IpView, ip_headers_len, ip_read
from pywg.dataplane.wire.run cimport Run
from pywg.dataplane.wire.virtio cimport VNET_GSO_NONE, VnetHdr
from pywg.dataplane.wire.wireguard cimport TAG_LEN, WG_HEADER_LEN, TransportHeader

cdef extern from "time.h" nogil:
    int clock_gettime(int clock_id, timespec *ts)
    enum:
        CLOCK_THREAD_CPUTIME_ID

cdef extern from "sys/socket.h" nogil:
    ssize_t recv(int fd, void *buf, size_t count, int flags)
    ssize_t send(int fd, const void *buf, size_t count, int flags)
    enum:
        MSG_DONTWAIT
        MSG_NOSIGNAL
        MSG_TRUNC

cdef extern from "sched.h" nogil:
    ctypedef struct cpu_set_t:
        pass
    void CPU_ZERO(cpu_set_t *cpus)
    void CPU_SET(int cpu, cpu_set_t *cpus)
    int sched_setaffinity(int pid, size_t size, const cpu_set_t *cpus)

TIMED = ("tun_read", "plan", "seal", "send", "receive", "sort", "open", "inspect", "ordered", "merge", "pass")
"""In the order of a packet's way. `pass` has `merge` in it, which is timed by itself in every other turn."""

cdef enum:
    TUN_READ
    PLAN
    SEAL
    SEND
    RECEIVE
    SORT
    OPEN
    INSPECT
    ORDERED
    MERGE
    PASS
    STAGES_COUNT
    MESSAGES = 4            # of a batch of the receiving thread with helpers
    HEADERS_LEN = WG_HEADER_LEN + TAG_LEN + 20 + 32     # IPv4, TCP with timestamps
    CHUNK = 1 << 18         # what the application writes at once
    CALIBRATIONS = 16
    READINGS = 32           # of the clock, in each of them
    OURS = 7                # the receiver index, of the first shard


cdef struct Site:
    Dataplane *dp
    Peer *peer
    Keypair *keypair
    AeadContexts contexts
    SendBatch to_send
    ReceiveBatch *received
    Delivery delivery
    int application         # a TCP socket at this end of the stream


cdef struct Costs:
    uint64_t ns[STAGES_COUNT]
    uint64_t readings[STAGES_COUNT]     # of the clock, that are in `ns`
    uint64_t payload[STAGES_COUNT]      # bytes of the stream that went through the stage


cdef inline uint64_t thread_ns() noexcept nogil:
    cdef timespec ts
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts)
    return <uint64_t>ts.tv_sec * 1000000000ULL + <uint64_t>ts.tv_nsec


cdef uint64_t clock_cost() noexcept nogil:
    """What one reading of the clock adds to what lies between two, in ns. The least: the machine does other work."""
    cdef uint64_t began, ended, least = UINT64_MAX
    cdef int _turn, _reading
    for _turn in range(CALIBRATIONS):
        ended = began = thread_ns()
        for _reading in range(READINGS):
            ended = thread_ns()
        least = min(least, ended - began)
    return least // READINGS


cdef void run_on(int cpu) noexcept nogil:
    """Moves the calling thread. -1: stays."""
    cdef cpu_set_t cpus
    if cpu >= 0:
        CPU_ZERO(&cpus)
        CPU_SET(cpu, &cpus)
        sched_setaffinity(0, sizeof(cpus), &cpus)


cdef inline void lap(Costs *costs, int stage, uint64_t *since) noexcept nogil:
    """Adds the time since then to a stage. The next one begins."""
    cdef uint64_t now = thread_ns()
    costs.ns[stage] += now - since[0]
    costs.readings[stage] += 1
    since[0] = now


cdef inline void weigh(Costs *costs, int first, int last, uint64_t payload) noexcept nogil:
    """Notes the payload of a batch for the stages from the first to the last."""
    cdef int stage
    for stage in range(first, last + 1):
        costs.payload[stage] += payload


# ---- out

cdef uint64_t plan(Site *s, uint8_t *packet, uint32_t packet_len) noexcept nogil:
    """Finds the packet's peer and plans it; a superframe is cut when it is sealed. Its payload; 0: it is none."""
    cdef Dataplane *dp = s.dp
    cdef VnetHdr *hdr = <VnetHdr *>(packet - dp.vnet_hdr_len)
    cdef Run runs[RUNS_FOR_A_FRAME]
    cdef uint32_t room
    cdef uint8_t *out
    cdef Peer *peer
    cdef IpView ip
    cdef int n
    if not ip_read(&ip, packet, packet_len):
        return 0
    peer = <Peer *>allowedips_lookup(dp.shared.allowed, ip.destination, ip.address_len)
    if peer == NULL:
        return 0
    if hdr.gso_type == VNET_GSO_NONE:
        if finish_checksum(hdr, packet, packet_len) == 0:
            send_batch_plan_packet(&s.to_send, peer, packet, packet_len, ip.tos & ECN_MASK, dp.mtu)
        return 0
    out = send_batch_next_segments(&s.to_send, &room)
    n = segment_plan(send_batch_next_frame(&s.to_send), hdr, dp.vnet_hdr_len, &ip, dp.mtu, out, room, runs,
                     RUNS_FOR_A_FRAME)
    if n <= 0:
        return 0
    send_batch_plan_frame(&s.to_send, peer, ip.tos & ECN_MASK, runs, n)
    return ip.total_len - ip_headers_len(&ip)


cdef uint64_t carry_out(Site *s, const int *cpus, Costs *costs) noexcept nogil:
    """Reads one batch of the TUN and sends it. Its payload."""
    cdef uint64_t since, bytes = 0
    cdef uint32_t taken = 0
    cdef ssize_t n
    cdef uint8_t *packet
    run_on(cpus[TUN_READ])
    since = thread_ns()
    while taken < BATCH_BYTES:
        packet = send_batch_next_packet(&s.to_send, RUNS_FOR_A_FRAME)
        if packet == NULL:
            break
        n = read(s.dp.tun_fd, packet - s.dp.vnet_hdr_len, READ_MAX)
        if n <= s.dp.vnet_hdr_len:
            break
        lap(costs, TUN_READ, &since)
        taken += <uint32_t>n
        bytes += plan(s, packet, <uint32_t>n - s.dp.vnet_hdr_len)
        lap(costs, PLAN, &since)
    weigh(costs, TUN_READ, SEND, bytes)
    if s.to_send.run_count == 0:
        return bytes
    since = thread_ns()
    send_batch_reserve(&s.to_send, s.dp, now_ns())
    lap(costs, PLAN, &since)
    run_on(cpus[SEAL])
    since = thread_ns()
    send_batch_seal(&s.to_send, s.dp, &s.contexts)
    lap(costs, SEAL, &since)
    run_on(cpus[SEND])
    since = thread_ns()
    send_batch_send(&s.to_send, s.dp)
    lap(costs, SEND, &since)
    return bytes


# ---- in

cdef void sort(Site *s, ReceiveMeta *message) noexcept nogil:
    """Finds the keypair of each datagram and adds it to its group."""
    cdef ReceiveBatch *b = s.received
    cdef uint32_t at = 0, len
    cdef uint8_t *datagram
    cdef IndexEntry *entry
    cdef TransportHeader *header
    while at < message.len:
        datagram = message.data + at
        len = min(message.len - at, message.stride)
        at += message.stride
        header = <TransportHeader *>datagram
        entry = index_table_find(&s.dp.shared.indices, header.receiver_index)
        if entry == NULL or not replay_plausible(&entry.keypair.window, header.counter):
            continue
        if receive_batch_has_room(b):
            receive_batch_add(b, receive_batch_starts_group(b, entry.keypair), entry.keypair, message, datagram, len)


cdef void merge(ReceiveBatch *b, IpView *views, Coalescer *scratch, Costs *costs) noexcept nogil:
    """Merges the batch's packets, and throws the frames away. The packets stay as they are."""
    cdef uint64_t since
    cdef uint32_t i, count = 0
    for i in range(b.datagram_count):
        if ip_read(&views[count], b.datagrams[i] + WG_HEADER_LEN, b.wire_lens[i] - WG_HEADER_LEN - TAG_LEN):
            views[count].len = views[count].total_len
            count += 1
    since = thread_ns()
    for i in range(count):
        coalesce_add(scratch, &views[i], COALESCE_TCP | COALESCE_UDP)
    lap(costs, MERGE, &since)
    coalesce_reset(scratch)


cdef int carry_in(Site *s, const int *cpus, IpView *views, Coalescer *scratch, bint alone, Costs *costs) noexcept nogil:
    """Receives one batch and writes it to the TUN. How many messages. `alone`: the merging is timed by itself."""
    cdef ReceiveBatch *b = s.received
    cdef uint64_t since, payload = 0
    cdef int i, n
    run_on(cpus[RECEIVE])
    since = thread_ns()
    n = udp_receive(b.receiver, s.dp.fd4, MESSAGES)
    if n <= 0:
        return 0
    for i in range(n):
        udp_received(b.receiver, i, &b.messages[i])
    lap(costs, RECEIVE, &since)
    b.now = now_ns()
    for i in range(n):
        sort(s, &b.messages[i])
    lap(costs, SORT, &since)
    for i in range(<int>b.datagram_count):
        payload += b.wire_lens[i] - min(b.wire_lens[i], <uint32_t>HEADERS_LEN)
    weigh(costs, RECEIVE, ORDERED, payload)
    run_on(cpus[OPEN])
    since = thread_ns()
    receive_batch_open(b, &s.contexts)
    lap(costs, OPEN, &since)
    delivery_inspect(&s.delivery, b)
    lap(costs, INSPECT, &since)
    run_on(cpus[ORDERED])
    since = thread_ns()
    deliver(&s.delivery, b)
    lap(costs, ORDERED, &since)
    run_on(cpus[PASS])
    if alone:
        weigh(costs, MERGE, MERGE, payload)
        merge(b, views, scratch, costs)
        delivery_write(&s.delivery, b, 0)
    else:
        weigh(costs, PASS, PASS, payload)
        since = thread_ns()
        delivery_write(&s.delivery, b, 0)
        lap(costs, PASS, &since)
    receive_batch_clear(b)
    return n


# ---- the stream

cdef void enter(Site *s) noexcept nogil:
    """Both gates of this shard, as its threads hold them."""
    gate_enter(&s.dp.send_gate)
    gate_enter(&s.dp.receive_gate)


cdef void leave(Site *s) noexcept nogil:
    gate_leave(&s.dp.receive_gate)
    gate_leave(&s.dp.send_gate)


cdef void hand_back(const Site *from_, const Site *to, uint8_t *room) noexcept nogil:
    """Acknowledgements, past the data plane."""
    cdef ssize_t n = read(from_.dp.tun_fd, room, READ_MAX)
    while n > 0 and write(to.dp.tun_fd, room, <size_t>n) == n:
        n = read(from_.dp.tun_fd, room, READ_MAX)


@cython.final
cdef class Stream:
    """A near and a far site with a tunnel between them, and a TCP stream that goes from the near to the far one.

    Each site is (TUN, length of its virtio header, IPv4 UDP socket, endpoint of the other site): descriptors that stay
    the caller's, and are not blocking. `aead`: a backend by name, or "auto". One thread at a time may call.

    `beside`: another stream, at whose two sites this one is one more shard with a peer of its own. That peer has the
    IPv4 `network` of 24 bits, in both sites; without, it has all. Two threads may call, one each. ValueError: a
    network that isn't four bytes long.
    """
    cdef Site near
    cdef Site far
    cdef uint8_t *room          # READ_MAX, then CHUNK
    cdef IpView *views
    cdef Coalescer *scratch
    cdef uint64_t turns
    cdef Stream beside          # whose planes this one's shards are in, so they live longer

    def __cinit__(self, str aead, tuple near, tuple far, Stream beside=None, bytes network=b""):
        if beside is not None and len(network) != 4:
            raise ValueError(f"a network has 4 bytes, this one {len(network)}")
        self.beside = beside
        self.room = <uint8_t *>calloc(1, READ_MAX + CHUNK)
        self.views = <IpView *>calloc(DATAGRAMS_MAX, sizeof(IpView))
        self.scratch = coalesce_new(COALESCE_PACKETS, near[1])
        if self.room == NULL or self.views == NULL or self.scratch == NULL:
            raise MemoryError
        self.begin(&self.near, NULL if beside is None else beside.near.dp, aead, near, network, b"\1" * 32, b"\2" * 32)
        self.begin(&self.far, NULL if beside is None else beside.far.dp, aead, far, network, b"\2" * 32, b"\1" * 32)

    def __dealloc__(self):
        self.end(&self.near)
        self.end(&self.far)
        free(self.room)
        free(self.views)
        if self.scratch != NULL:
            coalesce_free(self.scratch)

    cdef int begin(self, Site *s, Dataplane *first, str aead, tuple given, bytes network, bytes seals,
                   bytes opens) except -1:
        cdef uint8_t prefix[4]
        cdef int i
        tun, vnet_hdr_len, udp, endpoint = given
        s.application = -1
        s.dp = dataplane_new(aead_choose(aead)) if first == NULL else dataplane_add_shard(first)
        s.received = <ReceiveBatch *>calloc(1, sizeof(ReceiveBatch))
        if s.dp == NULL or s.received == NULL:
            raise MemoryError
        aead_contexts_init(&s.contexts, s.dp.aead)
        s.dp.tun_fd, s.dp.vnet_hdr_len, s.dp.fd4 = tun, vnet_hdr_len, udp
        s.dp.gso4 = s.dp.gso_equal_tail = True
        s.dp.coalesce = COALESCE_TCP | COALESCE_UDP
        s.peer = peer_new(1 + s.dp.number)
        if s.peer == NULL:
            raise MemoryError
        to_endpoint(endpoint, &s.peer.endpoint)
        s.keypair = keypair_new(s.peer, <const uint8_t *>PyBytes_AS_STRING(seals),
                                <const uint8_t *>PyBytes_AS_STRING(opens))
        if s.keypair == NULL:
            raise MemoryError
        s.keypair.local_index = s.keypair.remote_index = OURS + s.dp.number
        s.keypair.birth_ns = now_ns()
        memset(prefix, 0, sizeof(prefix))
        for i in range(<int>len(network)):
            prefix[i] = network[i]
        gates_enter(s.dp)
        failed = (send_batch_init(&s.to_send) < 0 or receive_batch_init(s.received) < 0
                  or delivery_init(&s.delivery, s.dp, 1) < 0 or delivery_prepare(&s.delivery, vnet_hdr_len) < 0
                  or allowedips_insert(s.dp.shared.allowed, prefix, 4, 24 if network else 0, &s.peer.allowed) < 0)
        if keypair_publish(s.dp, s.keypair, True) < 0:
            keypair_free(s.keypair)
            failed = True
        else:
            s.peer.sending = s.keypair
        if not failed:
            delivery_renew(&s.delivery)
        gates_leave(s.dp)
        if failed:
            raise MemoryError
        return 0

    cdef void end(self, Site *s) noexcept:
        if s.dp == NULL:
            return
        gates_enter(s.dp)
        if s.peer != NULL:
            peer_free(s.dp, s.peer)
        gates_leave(s.dp)
        aead_contexts_free(&s.contexts)
        send_batch_free(&s.to_send)
        delivery_free(&s.delivery)
        if s.received != NULL:
            receive_batch_free(s.received)
            free(s.received)
        if s.dp.number == 0:
            dataplane_free(s.dp)

    @property
    def aead(self) -> str:
        """The backend that seals and opens, by name."""
        return self.near.dp.aead.name.decode()

    def attach(self, int near, int far) -> None:
        """The sockets of the stream's two ends; -1: none yet."""
        self.near.application, self.far.application = near, far

    def carry(self, uint64_t payload, *, uint64_t turns=1000000000, int cpu=-1, int other_cpu=-1) -> tuple:
        """Carries at least so many bytes of the stream, in at most so many turns, without the GIL.

        (payload, {stage: (nanoseconds, payload that they are of)}). `cpu`: all on this one, where the caller stays.
        With `other_cpu` each stage finds its bytes in another processor's cache: the sending application, seal, the
        receiving reader, delivery and lanes are on that one.
        """
        cdef Costs costs
        cdef int cpus[STAGES_COUNT]
        cdef int i, apart = other_cpu if other_cpu >= 0 else cpu
        cdef uint64_t carried = 0, clock
        memset(&costs, 0, sizeof(costs))
        for i in range(STAGES_COUNT):
            cpus[i] = apart if i in (SEAL, RECEIVE, SORT, ORDERED, MERGE, PASS) else cpu
        with nogil:
            enter(&self.near)
            enter(&self.far)
            while carried < payload and turns > 0:
                turns -= 1
                self.turns += 1
                run_on(apart)
                if self.near.application >= 0:
                    send(self.near.application, self.room + READ_MAX, CHUNK, MSG_DONTWAIT | MSG_NOSIGNAL)
                hand_back(&self.far, &self.near, self.room)
                carried += carry_out(&self.near, cpus, &costs)
                while carry_in(&self.far, cpus, self.views, self.scratch, self.turns & 1, &costs) > 0:
                    pass
                run_on(cpu)
                if self.far.application >= 0:
                    while recv(self.far.application, NULL, 1 << 30, MSG_DONTWAIT | MSG_TRUNC) > 0:
                        pass
            clock = clock_cost()
            leave(&self.far)
            leave(&self.near)
        return carried, self.told(&costs, clock)

    cdef dict told(self, const Costs *costs, uint64_t clock):
        cdef int i
        return {
            name: (costs.ns[i] - min(costs.ns[i], costs.readings[i] * clock), costs.payload[i])
            for i, name in enumerate(TIMED)
        }
