# distutils: libraries = crypto
# cython: language_level=3, cdivision=True, wraparound=False, boundscheck=False
"""Fuzz target: planes and their threads from the making to the end, while memory, descriptors and threads run out.

The input says which call fails (faults.h), and whether there are two shards. What has failed says so, and has changed
nothing; what was taken is given back, and no key is left. One thread plays those that are started (life_players.pyx):
each packet that they get leaves once, by whichever shard, or is counted.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from pywg.dataplane.crypto.aead cimport AeadBackend
from pywg.dataplane.crypto.cookie_mac cimport COOKIE_LEN, macs_identify, macs_init, make_cookie
from pywg.dataplane.crypto.secret cimport SECRET_SLOT_LEN
from pywg.dataplane.reorder.reorder cimport reorder_is_empty, reorder_work
from pywg.dataplane.send.send cimport send_staged, send_step
from pywg.dataplane.state.allowedips cimport allowedips_insert, allowedips_reserve
from pywg.dataplane.state.counters cimport Counters
from pywg.dataplane.state.dataplane cimport Dataplane, dataplane_add_shard, dataplane_free, dataplane_new
from pywg.dataplane.state.events cimport events_confirmed, events_rearm, events_take
from pywg.dataplane.state.gate cimport gate_enter, gate_leave
from pywg.dataplane.state.peer cimport Keypair, Peer
from pywg.dataplane.state.peers cimport handshake_open, keypair_free, keypair_new, keypair_publish, keypair_retire
from pywg.dataplane.state.peers cimport keypairs_expire, peer_free, peer_new
from pywg.dataplane.state.staged cimport stage_packet
from pywg.dataplane.sys.clock cimport SECOND_NS
from pywg.dataplane.sys.linux cimport EFD_CLOEXEC, close, eventfd
from pywg.dataplane.threads.loops cimport FILTER_HELPER, Threads
from pywg.dataplane.threads.threads cimport threads_add, threads_confined, threads_count, threads_filter
from pywg.dataplane.threads.threads cimport threads_filtered, threads_free, threads_hold, threads_kick, threads_lanes
from pywg.dataplane.threads.threads cimport threads_new, threads_release, threads_renew, threads_slots, threads_start
from pywg.dataplane.threads.threads cimport threads_stop
from pywg.dataplane.wire.endpoint cimport Endpoint

from tests.fuzz.native.ciphers cimport choose, is_cheap
from tests.fuzz.native.common cimport need, need_equal
from tests.fuzz.native.faults cimport faults
from tests.fuzz.native.harness cimport KERNEL_TUN, KERNEL_UDP4, KERNEL_UDP6, kernel, peer_address
from tests.fuzz.native.input cimport input8, input16, input_bytes, input_left, input_start
from tests.fuzz.native.life_players cimport FIRST_INDEX, give, given, players_begin, players_end, players_forget
from tests.fuzz.native.life_players cimport players_made, players_of, steps

cdef enum:
    PEERS = 4
    KEYPAIRS = 160              # more than an index table has room for at first
    SHARDS = 2
    FEW = 1                     # helpers
    MANY = 5
    SHORTEST = 20               # of a staged packet
    LONGEST = 512
    ROUNDS = 10                 # in which all leaves that waits


cdef struct Before:             # what a failure leaves as it was
    uint32_t indices, remote_indices, prefixes, nodes
    uint64_t staged


cdef struct Frozen:             # a plane that seals nothing more
    bint now
    uint32_t sending[PEERS]     # its number; KEYPAIRS: none
    uint64_t counters[KEYPAIRS]


cdef const AeadBackend *backend = NULL
cdef bint exact                 # no library allocates for itself
cdef Dataplane *dp              # of the first shard
cdef Threads *threads
cdef Peer *peers[PEERS]
cdef Keypair *keypairs[KEYPAIRS]
cdef uint32_t keypair_count
cdef const uint8_t *slots[KEYPAIRS + 1]     # of keys, and of the secrets of cookies
cdef uint32_t slot_count
cdef Frozen frozen
cdef bint lost                  # a message went without a socket, and counts as one, whatever it held


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


# ---- what the control plane does

cdef Threads *one_of(uint32_t what) noexcept nogil:
    """A shard: the first, or the second if there is one."""
    return threads.next if what & 1 and threads.next != NULL else threads


cdef void settle() noexcept nogil:
    cdef Threads *shard = threads
    while shard != NULL:
        while reorder_work(&shard.send_path.reorder, &shard.send_path.contexts):
            pass
        while reorder_work(&shard.receive_path.reorder, &shard.receive_path.contexts):
            pass
        shard = shard.next


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
        note_slot(keypair.keys)
        keypair.birth_ns = kernel.now_ns
        keypair.local_index = keypair.remote_index = FIRST_INDEX + keypair_count
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
        if confirmed and not frozen.now:
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
    cdef uint32_t what = input16(&steps)
    cdef Dataplane *its = one_of(what >> 15).dp
    cdef uint64_t staged = dp.shared.staged_bytes, dropped = its.counters.tx_staged_dropped
    memset(packet, 0x45, LONGEST)
    arm(nth)
    stage_packet(its, peer, packet, SHORTEST + what % (LONGEST - SHORTEST))
    give(1)
    if disarm():
        need(dp.shared.staged_bytes <= staged and its.counters.tx_staged_dropped > dropped, b"a packet without memory")


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


cdef void renew(uint32_t nth) noexcept nogil:
    """Of all shards, or of none."""
    cdef const void *old[SHARDS]
    cdef Threads *shard = threads
    cdef bint failed
    while shard != NULL:
        old[shard.dp.number] = shard.receive_path.delivery.writers[0].coalescer
        shard = shard.next
    arm(nth)
    failed = threads_renew(threads, 10) != 0
    need(disarm() == failed, b"a coalescer without memory")
    shard = threads
    while shard != NULL:
        need((shard.receive_path.delivery.writers[0].coalescer == old[shard.dp.number]) == failed
             and shard.receive_path.delivery.prepared[0] == NULL, b"another coalescer")
        shard = shard.next


cdef void freeze_or_thaw() noexcept nogil:
    """Without TUN and sockets no keypair is the one to seal with; or as before (Plane.freeze, Plane.thaw)."""
    global lost
    cdef Threads *shard = threads
    cdef uint32_t i, k
    while shard != NULL:
        if not frozen.now and waits(shard):
            lost = True
        attach(shard.dp, frozen.now)
        shard = shard.next
    for i in range(<uint32_t>PEERS):
        if peers[i] != NULL and frozen.now:
            k = frozen.sending[i]
            if k < KEYPAIRS and keypairs[k] != NULL and keypairs[k].peer == peers[i]:
                peers[i].sending = keypairs[k]
        elif not frozen.now:
            frozen.sending[i] = KEYPAIRS
            for k in range(keypair_count):
                if peers[i] != NULL and keypairs[k] != NULL and keypairs[k] == peers[i].sending:
                    frozen.sending[i] = k
            if peers[i] != NULL:
                peers[i].sending = NULL
    for k in range(keypair_count):
        if frozen.now and keypairs[k] != NULL:
            need_equal(keypairs[k].next_counter, frozen.counters[k], b"the counter of a frozen session")
        frozen.counters[k] = keypairs[k].next_counter if keypairs[k] != NULL else 0
    frozen.now = not frozen.now


cdef bint waits(const Threads *shard) noexcept nogil:
    """Whether anything waits for a full socket."""
    return shard.send_path.backlog or not reorder_is_empty(&shard.send_path.reorder)


cdef void attach(Dataplane *its, bint there) noexcept nogil:
    its.tun_fd = KERNEL_TUN if there else -1
    its.fd4 = KERNEL_UDP4 if there else -1
    its.fd6 = KERNEL_UDP6 if there else -1


cdef void start_and_stop(uint32_t nth) noexcept nogil:
    cdef Threads *shard = threads
    cdef bint failed
    players_forget()
    while shard != NULL:
        shard.dp.stop = shard.send_ended = shard.receive_ended = 0
        shard.dp.handed_off = 0
        shard.dp.send_waits = shard.dp.receive_waits = 0
        if shard.pool != NULL:
            shard.pool.stop = 0
            shard.pool.running = 0
        shard = shard.next
    threads_filter(threads, FILTER_HELPER, NULL, 0)
    faults.threads_left = nth
    failed = threads_start(threads, -1) != 0
    faults.threads_left = 0
    need(failed == (threads.error != 0), b"threads that run or not")
    need_equal(<uint64_t>threads_filtered(threads), 0, b"threads under a filter")
    need(not threads_confined(threads), b"threads under no ruleset")
    if not failed:
        need_equal(<uint64_t>threads_count(threads) + 1, <uint64_t>players_made(), b"threads")
    need_running(not failed)
    threads_kick(threads)
    threads_stop(threads)
    threads_stop(threads)
    need_running(False)
    players_forget()
    shard = threads
    while shard != NULL:
        shard.error = 0
        shard.dp.handed_off = 0
        shard = shard.next


cdef void need_running(bint run) noexcept nogil:
    cdef const Threads *shard = threads
    while shard != NULL:
        need(shard.running == run, b"threads of a shard that run or not")
        shard = shard.next


cdef void step() noexcept nogil:
    """With all gates, but for threads' start."""
    cdef uint32_t what = input8(&steps), nth = what >> 4 & 3, i = what >> 6
    cdef Peer *peer = peers[i]
    if what & 15 == 10:
        start_and_stop(nth + 4 * i)
        return
    settle()
    threads_hold(threads)
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
        renew(input8(&steps) & 31)
    elif what & 15 == 11:
        make_a_cookie(nth)
    elif what & 15 == 12:
        tell(peer, what, nth)
    elif what & 15 == 13:
        send_staged(one_of(nth >> 1).send_path, peer, nth & 1, kernel.now_ns)
    elif what & 15 == 14:
        kernel.now_ns += <uint64_t>input8(&steps) << (26 + nth)
    else:
        freeze_or_thaw()
    threads_release(threads)


# ---- from the making to the end

cdef int lowest_descriptor() noexcept nogil:
    cdef int fd = eventfd(0, EFD_CLOEXEC)
    close(fd)
    return fd


cdef void note_slot(const uint8_t *slot) noexcept nogil:
    """No key may be left there in the end."""
    global slot_count
    if slot_count < KEYPAIRS + 1:
        slots[slot_count] = slot
        slot_count += 1


cdef bint make(int helpers, int shards, bint keyed) noexcept nogil:
    """False: a call has failed. As a Plane does."""
    global dp, threads
    cdef Dataplane *shard
    cdef uint8_t key[32]
    cdef int _
    threads = NULL
    dp = dataplane_new(backend)
    if dp == NULL:
        return False
    if keyed:
        if macs_init(&dp.macs) != 0:
            return False
        note_slot(dp.macs.secrets)
        memset(key, 7, 32)
        macs_identify(&dp.macs, key, key)
    threads = threads_new(dp, helpers, 0)
    if threads == NULL:
        return False
    for _ in range(1, shards):
        shard = dataplane_add_shard(dp)
        if shard == NULL or not threads_add(threads, shard, helpers, 0):
            return False
    return True


cdef bint begin(uint32_t what) noexcept nogil:
    """False: it is not made."""
    cdef uint32_t nth = input8(&steps)
    cdef int helpers = 0 if what & 7 < 6 else FEW if what & 7 == 6 or what & 0x70 else MANY
    cdef int shards = SHARDS if what & 8 else 1, i
    cdef bint made
    arm(nth)
    made = make(helpers, shards, what & 0x80 == 0)
    need(disarm() != made, b"a plane that was made or not")
    if not made:
        return False
    need_equal(<uint64_t>dp.shared.shard_count, <uint64_t>shards, b"shards")
    need_equal(<uint64_t>threads_slots(threads), <uint64_t>(shards * threads.send_path.batch_count), b"slots")
    need_equal(<uint64_t>threads_lanes(threads),
               <uint64_t>(shards * max(1, threads.receive_path.delivery.lanes)), b"lanes")
    for i in range(shards):
        attach(dp.shared.shards[i], True)
        dp.shared.shards[i].receives = i == 0 or what & 16 == 0
    dp.shared.staged_max = 1 << 20
    players_of(threads)
    return True


cdef void live() noexcept nogil:
    while input_left(&steps):
        step()
    if frozen.now:
        hold_and(freeze_or_thaw)
    flush()
    hold_and(end_peers)
    need_equal(dp.shared.staged_bytes, 0, b"staged bytes of no peer")
    need_equal(dp.shared.allowed.nodes, 0, b"prefixes of no peer")
    need(dp.shared.indices.used == 0 and dp.shared.remote_indices.used == 0, b"an index of nothing")
    if not lost:
        need_equal(counted(), given, b"packets that left, or are in a counter")


cdef void hold_and(void (*act)() noexcept nogil) noexcept nogil:
    settle()
    threads_hold(threads)
    act()
    threads_release(threads)


cdef void end_peers() noexcept nogil:
    cdef uint32_t i
    for i in range(<uint32_t>PEERS):
        if peers[i] != NULL:
            add_or_end_peer(i, 0)


cdef void flush() noexcept nogil:
    """What waits for a socket leaves: it has room, now that the input is over."""
    cdef Threads *shard
    cdef int _
    for _ in range(ROUNDS):
        shard = threads
        while shard != NULL:
            gate_enter(&shard.dp.send_gate)
            send_step(shard.send_path)
            gate_leave(&shard.dp.send_gate)
            settle()
            shard = shard.next
    shard = threads
    while shard != NULL:
        need(not waits(shard), b"what was queued never went")
        shard = shard.next


cdef uint64_t counted() noexcept nogil:
    """What has become of all packets, by the counters of all shards."""
    cdef const Counters *its
    cdef uint64_t packets = 0
    cdef int i
    for i in range(dp.shared.shard_count):
        its = &dp.shared.shards[i].counters
        packets += its.tx_no_peer + its.tx_no_endpoint + its.tx_malformed + its.tx_no_room + its.tx_routing_loop
        packets += its.tx_staged_dropped + its.tx_datagrams + its.tx_send_error
    return packets


cdef int one(const uint8_t *data, size_t size) noexcept nogil:
    """A byte for what is made, one for the call that fails then; steps."""
    global keypair_count, slot_count, lost
    cdef int descriptor = lowest_descriptor()
    cdef uint32_t i, k
    input_start(&steps, data, size)
    memset(peers, 0, sizeof(peers))
    memset(&frozen, 0, sizeof(frozen))
    keypair_count = slot_count = 0
    lost = False
    kernel.now_ns = 1000 * SECOND_NS
    players_begin()
    faults.held = 0
    faults.counts = True
    if begin(input8(&steps)):
        live()
    threads_free(threads)
    dataplane_free(dp)
    faults.counts = False
    players_end()
    need(not exact or faults.held == 0, b"memory that was not given back")
    need_equal(<uint64_t>lowest_descriptor(), <uint64_t>descriptor, b"descriptors that were not given back")
    for i in range(slot_count):
        for k in range(<uint32_t>SECRET_SLOT_LEN):
            need(slots[i][k] == 0, b"a key that is left")
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
