"""The entry to the data plane: all that Python may call.

`Plane` owns the threads that move packets (threads.pxd) and the state that they read (dataplane.pxd). Its methods are
the control plane. They run in the one thread of the event loop, hold the other threads during a change, and never see
a transport packet.
"""
cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset
from posix.types cimport pid_t
from posix.unistd cimport getpid
from pywg.dataplane.crypto.aead_select cimport aead_choose
from pywg.dataplane.crypto.cookie_mac cimport macs_forget, macs_identify, macs_init
from pywg.dataplane.footprint cimport footprint_of
from pywg.dataplane.receive.admit cimport note_sent
from pywg.dataplane.receive.coalesce cimport COALESCE_TCP, COALESCE_TUNNELS, COALESCE_UDP
from pywg.dataplane.reorder.pool cimport HELPERS_MAX
from pywg.dataplane.reorder.reorder cimport TURN_LOOKS
from pywg.dataplane.send.send cimport send_staged
from pywg.dataplane.snapshot cimport snapshot_activity, snapshot_batches, snapshot_counters, snapshot_events
from pywg.dataplane.snapshot cimport snapshot_offloads
from pywg.dataplane.state.allowedips cimport allowedips_insert, allowedips_remove, allowedips_remove_owner
from pywg.dataplane.state.allowedips cimport allowedips_reserve, allowedips_unreserve, allowedips_walk
from pywg.dataplane.state.dataplane cimport GSO_OFF, GSO_ON, Dataplane, dataplane_add_shard, dataplane_free
from pywg.dataplane.state.dataplane cimport dataplane_new, gates_enter, gates_leave
from pywg.dataplane.state.events cimport DEVICE_TUN_GONE, DEVICE_UNDER_LOAD
from pywg.dataplane.state.index_table cimport IndexEntry, index_table_find
from pywg.dataplane.state.peer cimport EVENT_ACTIVITY, EVENT_CONFIRMED, EVENT_HANDSHAKE_WANTED, EVENT_REKEY_WANTED
from pywg.dataplane.state.carried cimport carried_activity, carried_keypair
from pywg.dataplane.state.peer cimport EVENT_ROUTING_LOOP, SHARDS_MAX, Keypair, Peer, clear_source, has_endpoint
from pywg.dataplane.state.peer cimport met_at
from pywg.dataplane.state.peers cimport handshake_close, handshake_open, keypair_free, keypair_new, keypair_publish
from pywg.dataplane.state.peers cimport keypair_retire, keypairs_expire, peer_free, peer_new
from pywg.dataplane.state.replay cimport ReplayWindow, replay_sane
from pywg.dataplane.state.staged cimport STAGED_BYTES, staged_drop_all
from pywg.dataplane.state.tunnel_ends cimport tunnel_ends_forget
from pywg.dataplane.sys cimport linux
from pywg.dataplane.sys.atomic cimport add64, load64, store64, store8, store_int
from pywg.dataplane.sys.clock cimport SECOND_NS, now_ns
from pywg.dataplane.sys.linux cimport EAGAIN, EDESTADDRREQ, pthread_mutex_lock, pthread_mutex_unlock
from pywg.dataplane.threads.loops cimport FILTER_HELPER, FILTER_RECEIVER, FILTER_SENDER, Threads
from pywg.dataplane.threads.threads cimport threads_add, threads_confined, threads_count, threads_filter
from pywg.dataplane.threads.threads cimport threads_filtered, threads_free, threads_hold, threads_kick, threads_lanes
from pywg.dataplane.threads.threads cimport threads_new, threads_processors, threads_release, threads_renew
from pywg.dataplane.threads.threads cimport threads_settle, threads_slots, threads_start, threads_stop, threads_turns
from pywg.dataplane.udp.send cimport Sender, udp_flush, udp_queue
from pywg.dataplane.wire.endpoint cimport Endpoint, from_endpoint, to_endpoint
from pywg.dataplane.wire.limits cimport REJECT_AFTER_MESSAGES
from pywg.dataplane.wire.wireguard cimport HANDSHAKE_TOS, KEY_LEN

from pywg.dataplane.crypto.aead_select import available as available_aeads
from pywg.dataplane.crypto.aead_select import choose as choose_aead
from pywg.dataplane.crypto.aead_select import libcrypto
from pywg.dataplane.crypto.cookie_mac import cookie_key, mac1_key
from pywg.dataplane.selfbench import bench_open, bench_seal
from pywg.dataplane.sys.reserve import reserve_fill, reserve_low, reserve_spend
from pywg.dataplane.sys.seccomp import refused_by_kind, refused_calls, refused_rearm, refused_watch

__all__ = [
    "ACTIVITY", "CONFIRMED", "HANDSHAKE_WANTED", "REKEY_WANTED", "ROUTING_LOOP", "TUN_GONE", "UNDER_LOAD", "Plane",
    "available_aeads", "bench_open", "bench_seal", "choose_aead", "libcrypto", "now", "refused_by_kind",
    "refused_calls", "refused_rearm", "refused_watch", "reserve_fill", "reserve_low", "reserve_spend",
]

HANDSHAKE_WANTED = EVENT_HANDSHAKE_WANTED
REKEY_WANTED = EVENT_REKEY_WANTED
CONFIRMED = EVENT_CONFIRMED
ACTIVITY = EVENT_ACTIVITY
ROUTING_LOOP = EVENT_ROUTING_LOOP
TUN_GONE = DEVICE_TUN_GONE
UNDER_LOAD = DEVICE_UNDER_LOAD

cdef enum:
    PREFIXES_A_TURN = 512           # allowed IPs that go in before the threads get their gates back
    MANY_PEERS = 64
    PEER_BYTES = 4096               # of one peer, here and in Python: 1.7 KiB with one allowed IP, and some to spare


def now() -> float:
    """Seconds on the data plane's clock, CLOCK_BOOTTIME."""
    return now_ns() / 1e9


cdef int check_prefix(bytes ip, int cidr) except -1:
    if len(ip) not in (4, 16) or not 0 <= cidr <= len(ip) * 8:
        raise ValueError("a prefix is 4 or 16 bytes and a length within them")
    return 0


cdef int add_prefix(const uint8_t *ip, int ip_len, int cidr, void *prefixes) except -1:
    (<list>prefixes).append((PyBytes_FromStringAndSize(<const char *>ip, ip_len), cidr))
    return 0


cdef Keypair *new_keypair(Peer *peer, send_key, receive_key) except NULL:
    cdef Py_buffer to_send, to_receive
    cdef Keypair *keypair
    PyObject_GetBuffer(send_key, &to_send, PyBUF_SIMPLE)
    try:
        PyObject_GetBuffer(receive_key, &to_receive, PyBUF_SIMPLE)
        try:
            if to_send.len != KEY_LEN or to_receive.len != KEY_LEN:
                raise ValueError("transport keys are 32 bytes")
            keypair = keypair_new(peer, <const uint8_t *>to_send.buf, <const uint8_t *>to_receive.buf)
        finally:
            PyBuffer_Release(&to_receive)
    finally:
        PyBuffer_Release(&to_send)
    if keypair == NULL:
        raise MemoryError("no memory for a keypair")
    return keypair


@cython.no_gc_clear                 # __dealloc__ needs `peers`; the numbers in it make no cycle
cdef class Plane:
    """The data plane of one device. Peers are named by the core's ids, keypairs by their local (receiver) index.

    Descriptors stay the caller's. An unknown peer is a KeyError.

    `aead`: the backend that seals and opens, by name, or "auto" for the fastest on this processor. ValueError: there
    is no such backend, or it computes wrong results on this machine.
    `udp_gso`: the kernel segments what is sent.
    `udp_gso_equal_tail`: also where the last datagram is as long as the others, which some kernels get wrong.
    `coalesce`: write superframes to the TUN. (UDP_GRO is an option of the sockets, which the caller opens.)
    `shards`: 1, 2, 4 or 8: pairs of threads that read, each pair with a queue of the TUN and sockets of its own.
    `helpers`: threads beside the two that read, in each shard; they seal and open for those.
    `turns`: each thread sends what it has sealed, and may wait for its turn; for when each has a processor.
    `staged_bytes`: the most bytes that packets waiting for a session may hold, of all peers together.
    `ruleset`: a Landlock ruleset that the threads enter and the caller doesn't, -1 for none.
    `filters`: programs of struct sock_filter that the sending thread, the receiving one and each helper enter at their
    start and the caller doesn't; an empty one for none. With either, the calling thread must have set no_new_privs.
    """
    cdef Dataplane *dp
    cdef Threads *all_threads
    cdef Sender *control            # handshake messages, one at a time
    cdef bint udp_gso
    cdef bint coalesce
    cdef dict peers                 # id -> address of its struct Peer
    cdef pid_t process              # whose threads these are
    cdef dict frozen                # id -> local index of the keypair to seal with; None: the plane seals

    def __cinit__(self, *, str aead="auto", bint udp_gso=True, bint udp_gso_equal_tail=True, bint coalesce=True,
                  int shards=1, int helpers=0, bint turns=False, size_t staged_bytes=STAGED_BYTES, int ruleset=-1,
                  tuple filters=(b"", b"", b"")):
        cdef bint started
        cdef Dataplane *shard
        cdef bytes sender, receiver, helper
        sender, receiver, helper = filters
        linux.errno = 0
        self.process = getpid()
        if not 0 <= helpers <= HELPERS_MAX:
            raise ValueError(f"0 to {HELPERS_MAX} helpers")
        if not 1 <= shards <= SHARDS_MAX or shards & (shards - 1):
            raise ValueError(f"1, 2, 4 or {SHARDS_MAX} shards")
        self.peers = {}
        self.udp_gso = udp_gso
        self.coalesce = coalesce
        self.control = <Sender *>calloc(1, sizeof(Sender))
        self.dp = dataplane_new(aead_choose(aead))
        if self.control == NULL or self.dp == NULL:
            raise OSError(linux.errno or linux.ENOMEM, "no memory, or no descriptors")
        self.dp.gso_equal_tail = udp_gso_equal_tail
        self.dp.shared.staged_max = staged_bytes
        if macs_init(&self.dp.macs) < 0:
            raise MemoryError("no locked memory for the secrets of cookies")
        self.all_threads = threads_new(self.dp, helpers, TURN_LOOKS if turns else 0)
        if self.all_threads == NULL:
            raise OSError(linux.errno or linux.ENOMEM, "no memory")
        for _ in range(1, shards):
            shard = dataplane_add_shard(self.dp)
            if shard == NULL or not threads_add(self.all_threads, shard, helpers, TURN_LOOKS if turns else 0):
                raise OSError(linux.errno or linux.ENOMEM, "no memory, or no descriptors")
        threads_filter(self.all_threads, FILTER_SENDER, PyBytes_AsString(sender), len(sender))
        threads_filter(self.all_threads, FILTER_RECEIVER, PyBytes_AsString(receiver), len(receiver))
        threads_filter(self.all_threads, FILTER_HELPER, PyBytes_AsString(helper), len(helper))
        with nogil:
            started = threads_start(self.all_threads, ruleset) == 0
        if not started:
            raise OSError(self.all_threads.error, "threads can't be started")

    def close(self) -> None:
        """Stops the threads, frees the peers and wipes every key and buffer; idempotent. A child of fork() has no such
        threads, and zeros for keys: there this does nothing."""
        if self.process != getpid():
            return
        threads_stop(self.all_threads)
        gates_enter(self.dp)
        for address in self.peers.values():
            peer_free(self.dp, <Peer *><size_t>address)
        gates_leave(self.dp)
        self.peers.clear()

    def __dealloc__(self):
        if self.process != getpid():
            return                      # threads of the parent may have held locks of what would be freed
        if self.all_threads != NULL and self.all_threads.running:
            self.close()
        threads_free(self.all_threads)
        dataplane_free(self.dp)
        free(self.control)

    cdef Peer *find(self, object peer) except NULL:
        return <Peer *><size_t>self.peers[peer]

    def heartbeats(self) -> tuple[int, ...]:
        """How many rounds each reading thread has done. Wakes each, so that it has done one more by the next call.

        A thread whose number has not grown by then hangs, wherever that is. This call waits for no thread.
        """
        cdef Threads *shard = self.all_threads
        cdef list beats = []
        while shard != NULL:
            beats += load64(&shard.send_heartbeats), load64(&shard.receive_heartbeats)
            shard = shard.next
        threads_kick(self.all_threads)
        return tuple(beats)

    @property
    def aead(self) -> str:
        """The backend that seals and opens, by name."""
        return self.dp.aead.name.decode()

    # ---- descriptors

    @property
    def threads(self) -> int:
        """How many threads move packets."""
        return threads_count(self.all_threads)

    @property
    def shards(self) -> int:
        """How many pairs of them read, each from its own queue of the TUN and its own sockets."""
        return self.dp.shared.shard_count

    @property
    def lanes(self) -> int:
        """How many of them may write to the TUN at a time."""
        return threads_lanes(self.all_threads)

    @property
    def turns(self) -> bool:
        """Whether each thread sends what it has sealed, when it is its turn."""
        return threads_turns(self.all_threads)

    @property
    def processors(self) -> int:
        """On how many processors they may run now, by their affinity and cpusets; 0 where that is not told."""
        return threads_processors(self.all_threads)

    @property
    def confined(self) -> bool:
        """Whether the threads are under the Landlock ruleset that they were started with."""
        return threads_confined(self.all_threads)

    @property
    def filtered(self) -> bool:
        """Whether each of the threads is under its filter of system calls."""
        return threads_filtered(self.all_threads) == threads_count(self.all_threads)

    @property
    def event_fd(self) -> int:
        """Readable when `drain` has something."""
        return self.dp.shared.events.fd

    def attach_tun(self, int fd, *, int vnet_hdr_len, bint uso=False, bint tunnels=False, more=()) -> None:
        """Reads and writes this non-blocking TUN. `vnet_hdr_len` 0, 10, 12 or 24; `uso`: it takes UDP superframes;
        `tunnels`: also superframes in UDP tunnels, for which the header has to have 24 bytes.

        `more`: descriptors of its further queues, one for each shard but the first. -1: not yet, but with all that it
        takes; the other shards have none then.
        """
        cdef int fds[SHARDS_MAX]
        cdef Dataplane *shard
        cdef int i
        if fd >= 0 and 1 + len(more) < self.dp.shared.shard_count:     # what such a shard receives would be lost
            raise ValueError(f"{1 + len(more)} queues for {self.dp.shared.shard_count} shards")
        self.of_shards(fds, fd, [] if fd < 0 else more, -1)
        if vnet_hdr_len not in (0, 10, 12, 24):
            raise ValueError("the virtio header is 10, 12 or 24 bytes, or 0 when there is none")
        if tunnels and vnet_hdr_len != 24:
            raise ValueError("superframes in UDP tunnels need a virtio header of 24 bytes")
        threads_hold(self.all_threads)
        if vnet_hdr_len != self.dp.vnet_hdr_len and threads_renew(self.all_threads, vnet_hdr_len) < 0:
            threads_release(self.all_threads)
            raise MemoryError
        store8(&self.dp.shared.events.tun_gone, 0)
        for i in range(self.dp.shared.shard_count):
            shard = self.dp.shared.shards[i]
            store_int(&shard.tun_fd, fds[i])
            shard.vnet_hdr_len = vnet_hdr_len
            shard.tunnels = tunnels
            shard.coalesce = 0
            if vnet_hdr_len and self.coalesce:
                shard.coalesce = COALESCE_TCP | (COALESCE_UDP if uso else 0) | (COALESCE_TUNNELS if tunnels else 0)
            store8(&shard.tunnels_refused, 0)
        tunnel_ends_forget(&self.dp.shared.tunnel_ends)
        threads_release(self.all_threads)
        with nogil:
            threads_settle(self.all_threads)

    def detach_tun(self) -> None:
        """After this, no thread uses the TUN."""
        cdef int i
        threads_hold(self.all_threads)
        for i in range(self.dp.shared.shard_count):
            store_int(&self.dp.shared.shards[i].tun_fd, -1)
        threads_release(self.all_threads)
        with nogil:
            threads_settle(self.all_threads)

    def attach_sockets(self, int fd4, int fd6, more=()) -> None:
        """Replaces the UDP sockets (non-blocking, -1: none). On return no thread uses the old ones.

        `more`: a pair of sockets on the same port for each shard but the first. A shard without sends by the first
        pair, and receives nothing.
        """
        cdef int fds4[SHARDS_MAX]
        cdef int fds6[SHARDS_MAX]
        cdef int pairs = 1 + len(more)
        cdef Dataplane *shard
        cdef int i
        self.of_shards(fds4, fd4, [pair[0] for pair in more], fd4)
        self.of_shards(fds6, fd6, [pair[1] for pair in more], fd6)
        threads_hold(self.all_threads)
        for i in range(self.dp.shared.shard_count):
            shard = self.dp.shared.shards[i]
            store8(&shard.receives, i < pairs)
            store_int(&shard.fd4, fds4[i])
            store_int(&shard.fd6, fds6[i])
            shard.gso4 = shard.gso6 = GSO_ON if self.udp_gso else GSO_OFF
        threads_release(self.all_threads)
        with nogil:
            threads_settle(self.all_threads)

    cdef int of_shards(self, int *fds, int first, more, int missing) except -1:
        """The descriptor of each shard. ValueError: there are more than shards."""
        cdef int i
        if len(more) >= self.dp.shared.shard_count:
            raise ValueError(f"{1 + len(more)} descriptors for {self.dp.shared.shard_count} shards")
        for i in range(self.dp.shared.shard_count):
            fds[i] = missing
        fds[0] = first
        for i, fd in enumerate(more, 1):
            fds[i] = fd
        return 0

    def detach_sockets(self) -> None:
        """After this, no thread uses a socket, and no cookie is believed that this plane has given out."""
        self.attach_sockets(-1, -1)
        self.forget_cookies(everything=True)

    def forget_cookies(self, *, bint everything=False) -> int:
        """Wipes the secrets behind our cookies once none is believed any more. How many secrets are left."""
        cdef int left
        threads_hold(self.all_threads)
        if everything:
            self.dp.macs.secret_count = 0
        left = macs_forget(&self.dp.macs, now_ns())
        threads_release(self.all_threads)
        return left

    def attach_icmp(self, int fd4, int fd6) -> None:
        """Raw ICMP sockets in the TUN's namespace, for unreachables. -1: none, and unreachables go through the TUN."""
        cdef int i
        threads_hold(self.all_threads)
        for i in range(self.dp.shared.shard_count):
            self.dp.shared.shards[i].icmp4_fd = fd4
            self.dp.shared.shards[i].icmp6_fd = fd6
        threads_release(self.all_threads)

    def set_mtu(self, uint32_t mtu) -> None:
        """The TUN's MTU, in bytes: padding never goes past it."""
        cdef int i
        threads_hold(self.all_threads)
        for i in range(self.dp.shared.shard_count):
            self.dp.shared.shards[i].mtu = mtu
        threads_release(self.all_threads)

    def set_identity(self, bytes public_key: bytes | None) -> None:
        """Our static public key, which MAC1 is keyed with. None: every handshake message is dropped."""
        cdef bytes mac1 = mac1_key(public_key or b"")
        cdef bytes cookie = cookie_key(public_key or b"")
        cdef bint has_key = public_key is not None
        threads_hold(self.all_threads)
        macs_identify(&self.dp.macs, <uint8_t *>PyBytes_AsString(mac1) if has_key else NULL,
                      <uint8_t *>PyBytes_AsString(cookie))
        threads_release(self.all_threads)

    # ---- peers

    def add_peer(self, uint32_t peer, bytes public_key: bytes = b"") -> None:
        """Adds a peer with this id, without endpoint, prefixes or keys. ValueError: the peer exists.

        `public_key`: its static public key, which keys its cookie replies.
        """
        cdef bytes cookie = cookie_key(public_key)
        cdef Peer *added
        if peer in self.peers:
            raise ValueError(f"peer {peer} is there already")
        added = peer_new(peer)
        if added == NULL:
            raise MemoryError
        memcpy(added.cookie_key, PyBytes_AsString(cookie), KEY_LEN)
        try:
            self.peers[peer] = <size_t>added
        except MemoryError:
            gates_enter(self.dp)
            peer_free(self.dp, added)
            gates_leave(self.dp)
            raise

    def reserve(self, *, uint32_t peers, uint32_t prefixes) -> None:
        """Makes sure of memory for so many more peers and prefixes: adding them will not fail for want of it.

        Not for prefixes before `unreserve`, whatever is removed meanwhile. MemoryError: there is not enough, and
        nothing is reserved. The estimate includes Python's objects of a peer. For fewer than MANY_PEERS peers only the
        prefixes are looked at.
        """
        cdef void *memory
        threads_hold(self.all_threads)
        cdef int failed = allowedips_reserve(self.dp.shared.allowed, prefixes)
        threads_release(self.all_threads)
        if not failed and peers >= MANY_PEERS:
            memory = malloc(<size_t>peers * PEER_BYTES)
            failed = memory == NULL
            free(memory)
        if failed:
            self.unreserve()
            raise MemoryError

    def unreserve(self) -> None:
        """The change has ended that memory was reserved for: what it did not need may be given back."""
        threads_hold(self.all_threads)
        allowedips_unreserve(self.dp.shared.allowed)
        threads_release(self.all_threads)

    def remove_peer(self, uint32_t peer) -> None:
        """Removes the peer with its prefixes and staged packets, and wipes its keys."""
        cdef Peer *removed = self.find(peer)
        threads_hold(self.all_threads)
        peer_free(self.dp, removed)
        threads_release(self.all_threads)
        del self.peers[peer]

    def set_endpoint(self, peer: int, addr: tuple | None) -> None:
        """Sets the peer's endpoint (ip, port, scope id, local ip or b"", local ifindex or 0). None: not known."""
        cdef Endpoint endpoint
        cdef Peer *found = self.find(peer)
        memset(&endpoint, 0, sizeof(endpoint))
        if addr is not None:
            to_endpoint(addr, &endpoint)
        threads_hold(self.all_threads)
        found.endpoint = endpoint
        found.held_until_ns = 0
        found.handshake_asked_ns = 0
        threads_release(self.all_threads)

    def endpoint(self, peer: int) -> tuple | None:
        """The peer's endpoint: the source of its last authentic message, or what `set_endpoint` said since."""
        cdef Endpoint endpoint
        cdef Peer *found = self.find(peer)
        pthread_mutex_lock(&found.lock)
        endpoint = found.endpoint
        pthread_mutex_unlock(&found.lock)
        return from_endpoint(&endpoint) if endpoint.ip_len else None

    def clear_source(self, peer: int) -> None:
        """Forgets the local address that the peer wrote to: the route decides again."""
        cdef Peer *found = self.find(peer)
        threads_hold(self.all_threads)
        clear_source(found)
        threads_release(self.all_threads)

    def allow_many(self, peer: int, prefixes: list) -> None:
        """Gives the peer each (packed ip, cidr); a prefix that another peer has moves."""
        cdef Peer *found = self.find(peer)
        cdef bytes ip
        cdef int cidr
        cdef Py_ssize_t i
        for ip, cidr in prefixes:
            check_prefix(ip, cidr)
        threads_hold(self.all_threads)
        for i, (ip, cidr) in enumerate(prefixes):
            if i % PREFIXES_A_TURN == PREFIXES_A_TURN - 1:
                threads_release(self.all_threads)
                threads_hold(self.all_threads)
            if allowedips_insert(self.dp.shared.allowed, <uint8_t *>PyBytes_AsString(ip), <int>len(ip), cidr,
                                 &found.allowed) < 0:
                threads_release(self.all_threads)
                raise MemoryError
        threads_release(self.all_threads)

    def disallow(self, peer: int, bytes ip: bytes, int cidr) -> None:
        """Takes the prefix from the peer, if it has it."""
        cdef Peer *found = self.find(peer)
        check_prefix(ip, cidr)
        threads_hold(self.all_threads)
        allowedips_remove(self.dp.shared.allowed, <uint8_t *>PyBytes_AsString(ip), <int>len(ip), cidr, &found.allowed)
        threads_release(self.all_threads)

    def clear_allowed(self, peer: int) -> None:
        """Takes all its prefixes from the peer."""
        cdef Peer *found = self.find(peer)
        threads_hold(self.all_threads)
        allowedips_remove_owner(self.dp.shared.allowed, &found.allowed)
        threads_release(self.all_threads)

    def allowed_ips(self, peer: int) -> list[tuple[bytes, int]]:
        """The peer's prefixes, in the order they were given."""
        cdef list prefixes = []
        allowedips_walk(&self.find(peer).allowed, add_prefix, <void *>prefixes)
        return prefixes

    # ---- keys

    def open_index(self, uint32_t local_index, peer: int) -> None:
        """Registers the sender index of our handshake in flight: responses and cookie replies that name it pass."""
        cdef Peer *found = self.find(peer)
        threads_hold(self.all_threads)
        cdef int failed = handshake_open(self.dp, found, local_index)
        threads_release(self.all_threads)
        if failed:
            raise MemoryError

    def close_index(self, uint32_t local_index) -> None:
        """Ends the handshake in flight of this index. An index that a keypair has taken over stays."""
        cdef IndexEntry *entry = index_table_find(&self.dp.shared.indices, local_index)
        if entry != NULL and entry.keypair == NULL:
            threads_hold(self.all_threads)
            handshake_close(self.dp, entry.peer)
            threads_release(self.all_threads)

    def install_keypair(self, peer: int, uint32_t local_index, uint32_t remote_index, send_key, receive_key, *,
                        bint initiator, double created_at, bint confirmed, uint64_t first_counter=0) -> None:
        """Adds a keypair that opens from now on. `created_at`: seconds of `now()`.

        Not `confirmed`: the first packet that it opens makes it the one to seal with, and is reported, unless another
        keypair was installed before that packet came.
        `first_counter`: of the first message to be sealed. Any value is safe, as the keys are new; a session of the
        protocol starts at 0.
        """
        cdef Keypair *keypair = new_keypair(self.find(peer), send_key, receive_key)
        cdef int failed
        keypair.local_index = local_index
        keypair.remote_index = remote_index
        keypair.initiator = initiator
        keypair.next_counter = first_counter
        # A time before the machine's start is negative, and wraps; subtracted from now, it wraps back to the right age.
        keypair.birth_ns = <uint64_t><int64_t>(created_at * 1e9)
        threads_hold(self.all_threads)
        failed = keypair_publish(self.dp, keypair, confirmed)
        threads_release(self.all_threads)
        if failed:
            keypair_free(keypair)
            raise MemoryError

    def use_keypair(self, peer: int, local_index: int | None) -> None:
        """Seals with this keypair from now on. KeyError: the peer has no such keypair.

        None: with no keypair that exists, not even with an unconfirmed one once its first packet comes.
        """
        cdef Peer *found = self.find(peer)
        cdef Keypair *keypair = NULL
        if local_index is not None:
            keypair = self.keypair(local_index)
            if keypair == NULL or keypair.peer != found:
                raise KeyError(local_index)
        threads_hold(self.all_threads)
        found.sending = keypair
        found.handshake_asked_ns = 0
        if keypair == NULL:
            keypairs_expire(found)
        threads_release(self.all_threads)

    def withdraw_keypair(self, peer: int, uint32_t local_index) -> bool:
        """From now on no packet confirms this keypair, which was installed unconfirmed. True: one already has."""
        cdef Peer *found = self.find(peer)
        cdef Keypair *keypair = self.keypair(local_index)
        cdef bint waited
        threads_hold(self.all_threads)
        waited = found.next == keypair
        if waited:
            found.next = NULL
        threads_release(self.all_threads)
        return keypair != NULL and not waited

    cdef Keypair *keypair(self, uint32_t local_index) noexcept:
        cdef IndexEntry *entry = index_table_find(&self.dp.shared.indices, local_index)
        return entry.keypair if entry != NULL else NULL

    def retire_keypair(self, uint32_t local_index) -> None:
        """Removes and wipes the keypair; nothing happens when there is none."""
        cdef Keypair *keypair = self.keypair(local_index)
        if keypair != NULL:
            threads_hold(self.all_threads)
            keypair_retire(self.dp, keypair)
            threads_release(self.all_threads)

    # ---- handover to another plane

    def freeze(self) -> None:
        """Seals nothing more until `thaw`: no keypair is the one to seal with. For a plane without TUN and sockets.

        Raises MemoryError, and nothing has changed.
        """
        cdef Peer *peer
        cdef Dataplane *shard
        cdef int i
        if self.frozen is not None:
            raise ValueError("the plane is frozen already")
        for i in range(self.dp.shared.shard_count):
            shard = self.dp.shared.shards[i]
            if shard.tun_fd != -1 or shard.fd4 != -1 or shard.fd6 != -1:
                raise ValueError("detach the TUN and the sockets first: their threads would go on")
        cdef dict frozen = {}
        threads_hold(self.all_threads)
        try:
            for number, address in self.peers.items():
                peer = <Peer *><size_t>address
                if peer.sending != NULL:
                    frozen[number] = peer.sending.local_index
            for address in self.peers.values():
                (<Peer *><size_t>address).sending = NULL
            self.frozen = frozen
        finally:
            threads_release(self.all_threads)

    def thaw(self) -> None:
        """Goes on as before `freeze`."""
        cdef Keypair *keypair
        threads_hold(self.all_threads)
        for number, local_index in (self.frozen or {}).items():
            keypair = self.keypair(local_index)
            if keypair != NULL and number in self.peers and keypair.peer == <Peer *><size_t>self.peers[number]:
                keypair.peer.sending = keypair
        self.frozen = None
        threads_release(self.all_threads)

    def carried_keypairs(self, peer: int) -> list:
        """Of a frozen plane, a peer's keypairs, the oldest first: fields of KeypairState (runtime/device/plane.py).

        ValueError: the plane isn't frozen.
        """
        cdef Peer *found = self.find(peer)
        cdef Keypair *keypair = found.keypairs
        cdef list carried = []
        if self.frozen is None:
            raise ValueError("a plane that isn't frozen goes on counting")
        sending = self.frozen.get(peer)
        while keypair != NULL:
            carried.append(carried_keypair(keypair, sending == keypair.local_index))
            keypair = keypair.next_of_peer
        carried.reverse()
        return carried

    def restore_keypair(self, peer: int, state) -> None:
        """Adds a keypair that another plane has told (`carried_keypairs`), where that goes on; keys stay the caller's.

        The other plane must never seal with it again. One that is `sending`: seals with it, a frozen plane once it is
        thawed. ValueError: no state of a keypair.
        """
        cdef uint32_t local_index, remote_index
        cdef uint64_t next_counter, birth_ns
        cdef bint initiator, expired, sending, unconfirmed
        cdef bytes window
        (local_index, remote_index, keys, initiator, expired, birth_ns, next_counter, window, sending,
         unconfirmed) = state
        cdef Peer *found = self.find(peer)
        cdef ReplayWindow seen
        cdef Keypair *keypair = NULL
        cdef int failed
        if len(window) != sizeof(ReplayWindow):
            raise ValueError("a replay window of another size")
        memcpy(&seen, PyBytes_AsString(window), sizeof(ReplayWindow))
        if not replay_sane(&seen) or next_counter > REJECT_AFTER_MESSAGES or birth_ns > now_ns():
            raise ValueError("a keypair can't have come so far")
        if len(keys) != 2 * KEY_LEN or self.keypair(local_index) != NULL:
            raise ValueError("keys of another size, or an index that is in use")
        with memoryview(keys) as both:
            keypair = new_keypair(found, both[:KEY_LEN], both[KEY_LEN:])
        keypair.local_index = local_index
        keypair.remote_index = remote_index
        keypair.initiator = initiator
        keypair.expired = expired
        keypair.next_counter = next_counter
        keypair.birth_ns = birth_ns
        keypair.window = seen
        threads_hold(self.all_threads)
        failed = keypair_publish(self.dp, keypair, not unconfirmed)
        if not failed and sending and not expired and self.frozen is None:
            found.sending = keypair
        threads_release(self.all_threads)
        if failed:
            keypair_free(keypair)
            raise MemoryError
        if sending and not expired and self.frozen is not None:
            self.frozen[peer] = local_index

    def carried_activity(self, peer: int) -> tuple[int, int, int, int, int, int, int]:
        """(tx_bytes, rx_bytes, then when, in ns of `now()`, 0 for "not": unanswered since, keepalive owed since, last
        sent, last received, last data sent)."""
        return carried_activity(self.find(peer))

    def restore_activity(self, peer: int, carried: tuple) -> None:
        """Goes on from what `carried_activity` said. ValueError for a time to come."""
        cdef Peer *found = self.find(peer)
        cdef uint64_t tx, rx, unanswered, owed, sent, received, data_sent
        cdef uint64_t now = now_ns()
        tx, rx, unanswered, owed, sent, received, data_sent = carried
        if max(unanswered, owed, sent, received, data_sent) > now:
            raise ValueError("activity in time to come")
        store64(&found.tx_bytes, tx)
        store64(&found.rx_bytes, rx)
        store64(&found.unanswered_since, unanswered)
        store64(&found.keepalive_owed_since, owed)
        store64(&found.last_sent, sent)
        store64(&found.last_received, received)
        store64(&found.last_data_sent, data_sent)

    # ---- sending

    def send_keepalive(self, peer: int) -> bool:
        """Sends the staged packets, or an empty transport packet if there are none. False: could not (now)."""
        return self.send_now(self.find(peer), True)

    def send_staged(self, peer: int) -> bool:
        """Sends the staged packets. False: could not (now).

        They stay staged then. Without a usable keypair this raises HANDSHAKE_WANTED.
        """
        return self.send_now(self.find(peer), False)

    cdef bint send_now(self, Peer *peer, bint keepalive_if_none) noexcept:
        if self.frozen is not None:
            return False
        threads_hold(self.all_threads)
        cdef bint sent = send_staged(self.all_threads.send_path, peer, keepalive_if_none, now_ns())
        threads_release(self.all_threads)
        if not sent:
            threads_kick(self.all_threads)
        return sent

    def drop_staged(self, peer: int) -> None:
        """Drops and counts the packets that wait for a handshake: it was given up."""
        cdef Peer *found = self.find(peer)
        threads_hold(self.all_threads)
        staged_drop_all(self.dp, found)
        threads_release(self.all_threads)

    def hold_endpoint(self, peer: int, addr: tuple, double seconds) -> None:
        """As `set_endpoint`, and for these seconds no transport message from elsewhere moves it; a handshake does."""
        cdef Endpoint endpoint
        cdef Peer *found = self.find(peer)
        to_endpoint(addr, &endpoint)
        met_at(found, &endpoint, now_ns() + <uint64_t>(seconds * SECOND_NS))

    def send_to_peer(self, peer: int, bytes data: bytes, addr: tuple | None = None) -> bool:
        """Sends a handshake message to the peer's endpoint, or to `addr`.

        The peer's timers and tx_bytes count it as an authenticated packet sent; the timers only one to its endpoint.
        Never waits: a full socket loses the message, as the network might. False: `send_error` says why.
        """
        cdef Endpoint other
        cdef const Endpoint *to = NULL
        cdef Peer *found = self.find(peer)
        if addr is not None:
            to_endpoint(addr, &other)
            to = &other
        elif has_endpoint(found):
            to = &found.endpoint
        cdef uint8_t *message = <uint8_t *>PyBytes_AsString(data)
        cdef uint32_t length = <uint32_t>len(data)
        cdef bint sent = False
        self.control.count = self.control.sent = self.control.failed = 0
        self.control.error = EDESTADDRREQ
        if self.frozen is not None:
            self.control.error = EAGAIN
            return False
        threads_hold(self.all_threads)
        note_sent(found, message, length)
        if to is not NULL:
            self.control.error = EAGAIN
            udp_queue(self.control, found, to, message, length, 0, HANDSHAKE_TOS)
            sent = udp_flush(self.control, self.dp) and self.control.failed == 0
        threads_release(self.all_threads)
        if sent and addr is None:
            store64(&found.last_sent, now_ns())
            store64(&found.keepalive_owed_since, 0)
        return sent

    @property
    def send_error(self) -> int:
        """Why the last `send_to_peer` returned False: an errno.

        EDESTADDRREQ: no endpoint is known; EAFNOSUPPORT: there is no socket of its family; EAGAIN: the socket is full.
        """
        return self.control.error

    # ---- listening

    def drain(self, int limit=64) -> tuple[list, list, int]:
        """Takes what happened: ([(message, source)], [(peer, flags, confirmed index)], device flags).

        At most `limit` messages and 4 x `limit` peers; a rest makes `event_fd` readable again.
        """
        return snapshot_events(self.dp, limit)

    def activity(self, peer: int) -> tuple[float, float, float, float]:
        """(unanswered_since, keepalive_owed_since, last_traversal, last_data_sent), seconds of `now()`, 0.0 for "not".

        When the first two are both 0, this arms the peer's ACTIVITY event, which is raised once when one of them
        becomes a time. Otherwise the caller has a timer to run, and no event wakes it: under load both times change
        all the time.
        """
        return snapshot_activity(self.find(peer))

    def peer_stats(self, peer: int) -> tuple[int, int]:
        """(tx_bytes, rx_bytes): whole WireGuard messages as they went over the wire, padding included."""
        cdef Peer *found = self.find(peer)
        return load64(&found.tx_bytes), load64(&found.rx_bytes)

    def handshake_received(self, peer: int, addr: tuple, uint64_t n) -> None:
        """Notes that a handshake message of n bytes from `addr` was authentic and new: the peer's endpoint is `addr`.

        Counts its bytes, and an authenticated packet received. Not for a cookie reply: an attacker on the path can
        make one.
        """
        cdef Endpoint source
        cdef Peer *found = self.find(peer)
        to_endpoint(addr, &source)
        met_at(found, &source, 0)
        add64(&found.rx_bytes, n)
        store64(&found.last_received, now_ns())
        store64(&found.unanswered_since, 0)

    def counters(self) -> dict[str, int]:
        """Packets, system calls, and the reasons for every drop."""
        return snapshot_counters(self.dp)

    def batches(self) -> dict[str, int]:
        """How many system calls sent (`tx_1`, `tx_4`, ...) and received (`rx_1`, ...) so many datagrams, or fewer but
        more than the class before; `tx_more` and `rx_more` are those of all above."""
        return snapshot_batches(self.dp)

    def offloads(self) -> dict[str, bool]:
        """The offloads in use: the kernel may have refused UDP segmentation since the sockets were attached."""
        return snapshot_offloads(self.dp, self.udp_gso)

    def memory(self) -> dict[str, int]:
        """Bytes by part: buffers allocated at the start, bounds of what grows, and the `ceiling` of the whole.

        `per_peer` and `per_allowed_ip` are what one more of each can add to the ceiling.
        """
        return footprint_of(self.dp, len(self.peers), threads_slots(self.all_threads), self.threads,
                            threads_lanes(self.all_threads))
