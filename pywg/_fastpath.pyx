"""The entry to the data plane: all that Python may call.

`Plane` owns the threads that move packets (egress, ingress, and pool's helpers) and what they read. Its methods are the
control plane: they run in the one thread of the event loop, take the gates of both threads for the moment of a change
(gate.pxd), with nothing left in the helpers' hands (pipeline.pxd), and never see a transport packet. Batch calls on
plain bytes, for tests and benchmarks, are in `pywg._native.batch`.
"""
from hashlib import blake2s

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from posix.unistd cimport usleep
from pywg._native.allowedips cimport allowedips_free, allowedips_insert, allowedips_new, allowedips_remove
from pywg._native.allowedips cimport allowedips_remove_owner, allowedips_walk
from pywg._native.atomic cimport add64, fence, load8, load64, store8, store64
from pywg._native.clock cimport now_ns
from pywg._native.coalesce cimport COALESCE_TCP, COALESCE_UDP
from pywg._native.control cimport handshake_close, handshake_open, keypair_free, keypair_new, keypair_publish
from pywg._native.control cimport keypair_retire, peer_free, peer_new
from pywg._native.dataplane cimport Dataplane
from pywg._native.delivery cimport delivery_renew
from pywg._native.egress cimport Egress, egress_free, egress_hold, egress_new, egress_release, egress_send_staged
from pywg._native.egress cimport egress_thread
from pywg._native.events cimport DEVICE_TUN_GONE, DEVICE_UNDER_LOAD, NO_PEER, Message
from pywg._native.events cimport events_drop_message, events_free, events_init, events_next_message, events_rearm
from pywg._native.events cimport events_signal, events_take
from pywg._native.gate cimport gate_destroy, gate_enter, gate_init, gate_leave
from pywg._native.index_table cimport IndexEntry, index_table_find, index_table_free, index_table_init
from pywg._native.ingress cimport Ingress, ingress_free, ingress_hold, ingress_new, ingress_release, ingress_thread
from pywg._native.linux cimport EFD_CLOEXEC, EFD_NONBLOCK, SIG_SETMASK, close, eventfd, htons, ntohs, pthread_create
from pywg._native.linux cimport pthread_join, pthread_mutex_lock, pthread_mutex_unlock, pthread_setname_np
from pywg._native.linux cimport pthread_sigmask, pthread_t, sigfillset, sigset_t, write
from pywg._native.mac cimport macs_free, macs_init
from pywg._native.memory cimport memory_of
from pywg._native.pipeline cimport SLOTS_MAX
from pywg._native.pool cimport HELPERS_MAX, Pool, pool_free, pool_new, pool_start, pool_stop
from pywg._native.session cimport EVENT_ACTIVITY, EVENT_CONFIRMED, EVENT_ENDPOINT_MOVED, EVENT_HANDSHAKE_WANTED
from pywg._native.session cimport EVENT_REKEY_WANTED, EVENT_ROUTING_LOOP
from pywg._native.session cimport Endpoint, Keypair, Peer
from pywg._native.staged cimport staged_drop_all
from pywg._native.udp cimport Sender, udp_flush, udp_queue
from pywg._native.wire cimport KEY_LEN

from pywg._native.aead_choice import available as available_aeads
from pywg._native.aead_choice import select as select_aead
from pywg._native.aead_choice import selected as selected_aead
from pywg._native.aead_choice import smallest as smallest_aead_batch
from pywg._native.batch import bench_evp, bench_open, bench_seal, open_batch, seal_batch
from pywg._native.counters import COUNTER_NAMES

__all__ = [
    "ACTIVITY", "CONFIRMED", "ENDPOINT_MOVED", "HANDSHAKE_WANTED", "REKEY_WANTED", "ROUTING_LOOP", "TUN_GONE",
    "UNDER_LOAD", "Plane", "available_aeads", "bench_evp", "bench_open", "bench_seal", "now", "open_batch",
    "seal_batch", "select_aead", "selected_aead", "smallest_aead_batch",
]

HANDSHAKE_WANTED = EVENT_HANDSHAKE_WANTED
REKEY_WANTED = EVENT_REKEY_WANTED
CONFIRMED = EVENT_CONFIRMED
ACTIVITY = EVENT_ACTIVITY
ENDPOINT_MOVED = EVENT_ENDPOINT_MOVED
ROUTING_LOOP = EVENT_ROUTING_LOOP
TUN_GONE = DEVICE_TUN_GONE
UNDER_LOAD = DEVICE_UNDER_LOAD

cdef enum:
    PREFIXES_A_TURN = 512           # how many allowed IPs go in before the threads get their gates back
    FEW_HELPERS = 4                 # for so many, half of the slots are enough


def now() -> float:
    """Seconds on the data plane's clock, CLOCK_BOOTTIME."""
    return now_ns() / 1e9


cdef object from_endpoint(const Endpoint *endpoint):
    return (
        PyBytes_FromStringAndSize(<const char *>endpoint.ip, endpoint.ip_len), ntohs(endpoint.port), endpoint.scope_id,
        PyBytes_FromStringAndSize(<const char *>endpoint.local_ip, endpoint.local_len), endpoint.local_ifindex,
    )


cdef int to_endpoint(object addr, Endpoint *endpoint) except -1:
    """(ip, port, scope id, local ip, local ifindex); raises ValueError for an address of another length."""
    cdef bytes ip = addr[0]
    cdef bytes local_ip = addr[3]
    memset(endpoint, 0, sizeof(Endpoint))
    if len(ip) not in (4, 16) or len(local_ip) not in (0, len(ip)):
        raise ValueError("an endpoint's addresses are 4 or 16 bytes, both of one family")
    endpoint.ip_len = <uint8_t>len(ip)
    endpoint.local_len = <uint8_t>len(local_ip)
    endpoint.port = htons(addr[1])
    endpoint.scope_id = addr[2]
    endpoint.local_ifindex = addr[4]
    memcpy(endpoint.ip, PyBytes_AS_STRING(ip), len(ip))
    memcpy(endpoint.local_ip, PyBytes_AS_STRING(local_ip), len(local_ip))
    return 0


cdef int add_prefix(const uint8_t *ip, int ip_len, int cidr, void *prefixes) except -1:
    (<list>prefixes).append((PyBytes_FromStringAndSize(<const char *>ip, ip_len), cidr))
    return 0


cdef class Plane:
    """The data plane of one device. Peers are named by the core's ids, keypairs by their local (receiver) index.

    Descriptors stay the caller's. An unknown peer is a KeyError. `udp_gso`: segment in the kernel on the way out;
    `udp_gso_equal_tail`: also where the last datagram is as long as the others, which some kernels get wrong;
    `coalesce`: write superframes to the TUN. (UDP_GRO is an option of the sockets, which the caller opens.) `helpers`:
    threads beside the two that read, which seal and open for them.
    """
    cdef Dataplane dp
    cdef Egress *egress
    cdef Ingress *ingress
    cdef Pool *pool                 # NULL: no helpers
    cdef Sender *control            # handshake messages, one at a time
    cdef pthread_t tx_thread
    cdef pthread_t rx_thread
    cdef bint running
    cdef bint udp_gso
    cdef bint coalesce
    cdef dict peers                 # id -> address of its struct Peer

    def __cinit__(self, *, bint udp_gso=True, bint udp_gso_equal_tail=True, bint coalesce=True, int helpers=0):
        cdef int slots = 1 if helpers == 0 else SLOTS_MAX // 2 if helpers <= FEW_HELPERS else SLOTS_MAX
        # First of all, because __dealloc__ follows a refusal too: 0 would be somebody else's descriptor.
        self.dp.tun_fd = self.dp.fd4 = self.dp.fd6 = self.dp.tx_kick = self.dp.rx_kick = self.dp.events.fd = -1
        gate_init(&self.dp.tx_gate)
        gate_init(&self.dp.rx_gate)
        if not 0 <= helpers <= HELPERS_MAX:
            raise ValueError(f"0 to {HELPERS_MAX} helpers")
        self.peers = {}
        self.udp_gso = udp_gso
        self.dp.gso_equal_tail = udp_gso_equal_tail
        self.coalesce = coalesce
        self.dp.mtu = 1420
        self.dp.tx_kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        self.dp.rx_kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        self.dp.allowed = allowedips_new()
        self.control = <Sender *>calloc(1, sizeof(Sender))
        self.egress = egress_new(&self.dp, slots)
        self.ingress = ingress_new(&self.dp, slots)
        if (events_init(&self.dp.events) < 0 or index_table_init(&self.dp.indices) < 0
                or index_table_init(&self.dp.remote_indices) < 0 or self.dp.allowed == NULL
                or self.control == NULL or self.egress == NULL or self.ingress == NULL or self.dp.tx_kick < 0
                or self.dp.rx_kick < 0):
            raise MemoryError("the data plane's buffers or descriptors could not be had")
        if macs_init(&self.dp.macs) < 0:
            raise RuntimeError("libcrypto has no BLAKE2SMAC (its default provider is missing)")
        if helpers:
            self.pool = self.egress.pool = self.ingress.pool = pool_new(helpers, &self.egress.line, &self.ingress.line)
            if self.pool == NULL:
                raise MemoryError("no memory for the helpers")
        self.start()

    cdef int start(self) except -1:
        """Starts all threads, with every signal blocked (they are the event loop's); returns when they run."""
        cdef sigset_t everything, before
        cdef bint started = False
        sigfillset(&everything)
        pthread_sigmask(SIG_SETMASK, &everything, &before)
        if self.pool == NULL or pool_start(self.pool) == 0:
            if pthread_create(&self.tx_thread, NULL, egress_thread, self.egress) == 0:
                pthread_setname_np(self.tx_thread, "pywg-tx")
                started = pthread_create(&self.rx_thread, NULL, ingress_thread, self.ingress) == 0
                if started:
                    pthread_setname_np(self.rx_thread, "pywg-rx")
                else:
                    self.stop_tx()
            if not started and self.pool != NULL:
                pool_stop(self.pool)
        pthread_sigmask(SIG_SETMASK, &before, NULL)
        if not started:
            raise RuntimeError("the data plane's threads could not be started")
        self.running = True
        # Only now have all made the system calls of a thread's start, which a sandbox may not allow later.
        with nogil:
            while (load64(&self.dp.tx_waits) == 0 or load64(&self.dp.rx_waits) == 0
                    or (self.pool != NULL and load64(&self.pool.running) < <uint64_t>self.pool.count)):
                usleep(20)
        return 0

    cdef void stop_tx(self) noexcept:
        store8(&self.dp.stop, 1)
        self.kick()
        pthread_join(self.tx_thread, NULL)

    cdef void kick(self) noexcept:
        cdef uint64_t one = 1
        write(self.dp.tx_kick, &one, sizeof(one))
        write(self.dp.rx_kick, &one, sizeof(one))

    cdef void settle(self) noexcept:
        """Kicks the threads, and returns when none is in a poll() from before: it would keep a closed socket alive."""
        cdef uint64_t tx, rx
        fence()
        tx = load64(&self.dp.tx_waits)
        rx = load64(&self.dp.rx_waits)
        self.kick()
        with nogil:
            while (tx & 1 and load64(&self.dp.tx_waits) == tx) or (rx & 1 and load64(&self.dp.rx_waits) == rx):
                usleep(20)

    cdef void enter(self) noexcept:
        gate_enter(&self.dp.tx_gate)
        gate_enter(&self.dp.rx_gate)
        egress_hold(self.egress)
        ingress_hold(self.ingress)

    cdef void leave(self) noexcept:
        ingress_release(self.ingress)
        egress_release(self.egress)
        gate_leave(&self.dp.rx_gate)
        gate_leave(&self.dp.tx_gate)

    cdef Peer *find(self, object peer) except NULL:
        return <Peer *><size_t>self.peers[peer]

    def close(self) -> None:
        """Stops the threads, frees the peers and wipes every key and buffer; idempotent."""
        if self.running:
            self.running = False
            self.stop_tx()
            pthread_join(self.rx_thread, NULL)
            if self.pool != NULL:
                pool_stop(self.pool)
            for address in self.peers.values():
                peer_free(&self.dp, <Peer *><size_t>address)
            self.peers.clear()

    def __dealloc__(self):
        if self.running:
            self.close()
        egress_free(self.egress)
        ingress_free(self.ingress)
        pool_free(self.pool)
        free(self.control)
        if self.dp.allowed != NULL:
            allowedips_free(self.dp.allowed)
        index_table_free(&self.dp.indices)
        index_table_free(&self.dp.remote_indices)
        macs_free(&self.dp.macs)
        events_free(&self.dp.events)
        if self.dp.tx_kick >= 0:
            close(self.dp.tx_kick)
        if self.dp.rx_kick >= 0:
            close(self.dp.rx_kick)
        gate_destroy(&self.dp.tx_gate)
        gate_destroy(&self.dp.rx_gate)

    def turns(self) -> tuple[int, ...]:
        """How often each thread has gone round; and wakes them all, so that by the next call each has once more.

        One that hasn't hangs, wherever that is. Waits for none of them.
        """
        turns = load64(&self.egress.turns), load64(&self.ingress.turns)
        self.kick()
        return turns

    # ---- descriptors

    @property
    def threads(self) -> int:
        """How many threads move packets."""
        return 2 + (self.pool.count if self.pool != NULL else 0)

    @property
    def event_fd(self) -> int:
        """Readable when `drain` has something."""
        return self.dp.events.fd

    def attach_tun(self, int fd, *, int vnet_hdr_len, bint uso=False) -> None:
        """Reads and writes this non-blocking TUN. `vnet_hdr_len` 0, 10 or 12; `uso`: it takes UDP superframes."""
        if vnet_hdr_len not in (0, 10, 12):
            raise ValueError("the virtio header is 10 or 12 bytes, or 0 when there is none")
        self.enter()
        if vnet_hdr_len != self.dp.vnet_hdr_len and delivery_renew(&self.ingress.delivery, vnet_hdr_len) < 0:
            self.leave()
            raise MemoryError
        self.dp.tun_fd = fd
        store8(&self.dp.events.tun_gone, 0)
        self.dp.vnet_hdr_len = vnet_hdr_len
        self.dp.coalesce = 0
        if vnet_hdr_len and self.coalesce:
            self.dp.coalesce = COALESCE_TCP | (COALESCE_UDP if uso else 0)
        self.leave()
        self.settle()

    def detach_tun(self) -> None:
        """After this, no thread uses the TUN."""
        self.enter()
        self.dp.tun_fd = -1
        self.leave()
        self.settle()

    def attach_sockets(self, int fd4, int fd6) -> None:
        """Sends and receives on these non-blocking UDP sockets, -1 for none, and no longer on those before."""
        self.enter()
        self.dp.fd4 = fd4
        self.dp.fd6 = fd6
        self.dp.gso4 = self.dp.gso6 = self.udp_gso
        self.leave()
        self.settle()

    def detach_sockets(self) -> None:
        """After this, no thread uses a socket."""
        self.attach_sockets(-1, -1)

    def set_mtu(self, uint32_t mtu) -> None:
        """The TUN's MTU, in bytes: padding never goes past it."""
        self.enter()
        self.dp.mtu = mtu
        self.leave()

    def set_identity(self, bytes public_key: bytes | None) -> None:
        """Our static public key, which MAC1 is keyed with; None: no handshake message is let through."""
        cdef bytes key = blake2s(b"mac1----" + public_key).digest() if public_key is not None else bytes(KEY_LEN)
        self.enter()
        memcpy(self.dp.macs.mac1_key, PyBytes_AS_STRING(key), KEY_LEN)
        self.dp.macs.has_key = public_key is not None
        self.dp.macs.has_secret = False
        self.leave()

    def set_cookie_secret(self, const uint8_t[::1] secret) -> None:
        """The 32-byte secret of the cookies that the core gives out, for the MAC2 check under load."""
        if secret.shape[0] != KEY_LEN:
            raise ValueError("the cookie secret is 32 bytes")
        self.enter()
        memcpy(self.dp.macs.cookie_secret, &secret[0], KEY_LEN)
        self.dp.macs.has_secret = True
        self.leave()

    # ---- peers

    def add_peer(self, uint32_t peer) -> None:
        """A peer with this id, without endpoint, prefixes or keys. ValueError: it is there already."""
        cdef Peer *added
        if peer in self.peers or peer == NO_PEER:
            raise ValueError(f"peer {peer} is there already, or no peer id")
        added = peer_new(peer)
        if added == NULL:
            raise MemoryError
        self.peers[peer] = <size_t>added

    def remove_peer(self, uint32_t peer) -> None:
        """Forgets the peer and all it had; its keys are wiped."""
        cdef Peer *removed = self.find(peer)
        self.enter()
        peer_free(&self.dp, removed)
        self.leave()
        del self.peers[peer]

    def set_endpoint(self, peer: int, addr: tuple | None) -> None:
        """Where the peer is (ip, port, scope id, local ip or b"", local ifindex or 0); None: not known."""
        cdef Endpoint endpoint
        cdef Peer *found = self.find(peer)
        memset(&endpoint, 0, sizeof(endpoint))
        if addr is not None:
            to_endpoint(addr, &endpoint)
        self.enter()
        found.endpoint = endpoint
        found.handshake_asked_ns = 0
        self.leave()

    def endpoint(self, peer: int) -> tuple | None:
        """Where the peer was last authentically heard from, or was said to be."""
        cdef Endpoint endpoint
        cdef Peer *found = self.find(peer)
        pthread_mutex_lock(&found.endpoint_lock)
        endpoint = found.endpoint
        pthread_mutex_unlock(&found.endpoint_lock)
        return from_endpoint(&endpoint) if endpoint.ip_len else None

    def clear_source(self, peer: int) -> None:
        """Forgets the local address that the peer spoke to: the route decides again."""
        cdef Peer *found = self.find(peer)
        self.enter()
        found.endpoint.local_len = 0
        found.endpoint.local_ifindex = 0
        memset(found.endpoint.local_ip, 0, sizeof(found.endpoint.local_ip))
        self.leave()

    def allow_many(self, peer: int, prefixes: list) -> None:
        """Gives the peer each (packed ip, cidr); a prefix that another peer has moves."""
        cdef Peer *found = self.find(peer)
        cdef bytes ip
        cdef int cidr
        cdef Py_ssize_t i
        for ip, cidr in prefixes:
            if len(ip) not in (4, 16) or not 0 <= cidr <= len(ip) * 8:
                raise ValueError("a prefix is 4 or 16 bytes and a length within them")
        self.enter()
        for i, (ip, cidr) in enumerate(prefixes):
            if i % PREFIXES_A_TURN == PREFIXES_A_TURN - 1:
                self.leave()
                self.enter()
            if allowedips_insert(self.dp.allowed, <uint8_t *>PyBytes_AS_STRING(ip), <int>len(ip), cidr,
                                 &found.allowed) < 0:
                self.leave()
                raise MemoryError
        self.leave()

    def disallow(self, peer: int, bytes ip: bytes, int cidr) -> None:
        """Takes the prefix from the peer, if it has it."""
        cdef Peer *found = self.find(peer)
        if len(ip) not in (4, 16) or not 0 <= cidr <= len(ip) * 8:
            raise ValueError("a prefix is 4 or 16 bytes and a length within them")
        self.enter()
        allowedips_remove(self.dp.allowed, <uint8_t *>PyBytes_AS_STRING(ip), <int>len(ip), cidr, &found.allowed)
        self.leave()

    def clear_allowed(self, peer: int) -> None:
        """Takes all its prefixes from the peer."""
        cdef Peer *found = self.find(peer)
        self.enter()
        allowedips_remove_owner(self.dp.allowed, &found.allowed)
        self.leave()

    def allowed_ips(self, peer: int) -> list[tuple[bytes, int]]:
        """The peer's prefixes, in the order they were given."""
        cdef list prefixes = []
        allowedips_walk(&self.find(peer).allowed, add_prefix, <void *>prefixes)
        return prefixes

    # ---- keys

    def open_index(self, uint32_t local_index, peer: int) -> None:
        """The sender index of our handshake in flight: responses and cookie replies that name it come through."""
        cdef Peer *found = self.find(peer)
        self.enter()
        cdef int failed = handshake_open(&self.dp, found, local_index)
        self.leave()
        if failed:
            raise MemoryError

    def close_index(self, uint32_t local_index) -> None:
        """The handshake is over. An index that is a keypair's by now stays."""
        cdef IndexEntry *entry = index_table_find(&self.dp.indices, local_index)
        if entry != NULL and entry.keypair == NULL:
            self.enter()
            handshake_close(&self.dp, entry.peer)
            self.leave()

    def install_keypair(self, peer: int, uint32_t local_index, uint32_t remote_index, const uint8_t[::1] send_key,
                        const uint8_t[::1] receive_key, *, bint initiator, double created_at, bint confirmed,
                        uint64_t first_counter=0) -> None:
        """Opens with it from now on. `created_at`: seconds of `now()`; not `confirmed`: reports its first packet.

        `first_counter`: of the first message to be sealed. The keys being new, any is safe; a session of the protocol
        starts at 0.
        """
        cdef Peer *found = self.find(peer)
        cdef Keypair *keypair
        cdef int failed
        if send_key.shape[0] != KEY_LEN or receive_key.shape[0] != KEY_LEN:
            raise ValueError("transport keys are 32 bytes")
        keypair = keypair_new(found, &send_key[0], &receive_key[0])
        if keypair == NULL:
            raise MemoryError("no memory for a keypair, or libcrypto has no ChaCha20-Poly1305")
        keypair.local_index = local_index
        keypair.remote_index = remote_index
        keypair.initiator = initiator
        keypair.unconfirmed = not confirmed
        keypair.next_counter = first_counter
        # Before the machine started is a time, too: the subtraction wraps back to the right age.
        keypair.birth_ns = <uint64_t><int64_t>(created_at * 1e9)
        self.enter()
        failed = keypair_publish(&self.dp, keypair)
        self.leave()
        if failed:
            keypair_free(keypair)
            raise MemoryError

    def use_keypair(self, peer: int, local_index: int | None) -> None:
        """Seals with this keypair from now on; None: with none. KeyError: the peer has no such keypair."""
        cdef Peer *found = self.find(peer)
        cdef Keypair *keypair = NULL
        if local_index is not None:
            keypair = self.keypair(local_index)
            if keypair == NULL or keypair.peer != found:
                raise KeyError(local_index)
        self.enter()
        found.sending = keypair
        found.handshake_asked_ns = 0
        self.leave()

    cdef Keypair *keypair(self, uint32_t local_index) noexcept:
        cdef IndexEntry *entry = index_table_find(&self.dp.indices, local_index)
        return entry.keypair if entry != NULL else NULL

    def retire_keypair(self, uint32_t local_index) -> None:
        """Forgets and wipes the keypair; nothing happens when it is not there."""
        cdef Keypair *keypair = self.keypair(local_index)
        if keypair != NULL:
            self.enter()
            keypair_retire(&self.dp, keypair)
            self.leave()

    # ---- sending

    def send_keepalive(self, peer: int) -> bool:
        """Sends what is staged, or, if nothing is, an empty transport packet. False: could not (now)."""
        return self.send_now(self.find(peer), True)

    def send_staged(self, peer: int) -> bool:
        """Sends what is staged. False: could not (now); it stays staged."""
        return self.send_now(self.find(peer), False)

    cdef bint send_now(self, Peer *peer, bint keepalive_if_none) noexcept:
        self.enter()
        cdef bint sent = egress_send_staged(self.egress, peer, keepalive_if_none, now_ns())
        self.leave()
        if not sent:
            self.kick()
        return sent

    def drop_staged(self, peer: int) -> None:
        """The handshake was given up: what waited for it is dropped and counted."""
        cdef Peer *found = self.find(peer)
        self.enter()
        staged_drop_all(&self.dp, found)
        self.leave()

    def send_to_peer(self, peer: int, bytes data: bytes) -> bool:
        """Sends a handshake message to where the peer is; an authenticated packet sent, to its timers and tx_bytes."""
        cdef Peer *found = self.find(peer)
        cdef bint sent
        if found.endpoint.ip_len == 0:
            return False
        self.enter()
        sent = self.send_one(found, &found.endpoint, data)
        self.leave()
        if sent:
            store64(&found.last_sent, now_ns())
            store64(&found.keepalive_owed_since, 0)
        return sent

    def send_to(self, addr: tuple, bytes data: bytes) -> bool:
        """Sends a cookie reply to an address that belongs to no peer. False: it could not be sent."""
        cdef Endpoint endpoint
        to_endpoint(addr, &endpoint)
        self.enter()
        cdef bint sent = self.send_one(NULL, &endpoint, data)
        self.leave()
        return sent

    cdef bint send_one(self, Peer *peer, const Endpoint *to, bytes data) noexcept:
        """In the gates. Never waits: a full socket loses the message, as the network might."""
        self.control.count = self.control.sent = self.control.failed = 0
        udp_queue(self.control, peer, to, <uint8_t *>PyBytes_AS_STRING(data), <uint32_t>len(data), 0, 0)
        return udp_flush(self.control, &self.dp) and self.control.failed == 0

    # ---- listening

    def drain(self, int limit=64) -> tuple[list, list, int]:
        """What happened: ([(message, source, peer or -1)], [(peer, flags, confirmed index)], device flags).

        At most `limit` messages and 4 x `limit` peers; what is left makes `event_fd` readable again.
        """
        cdef list messages = []
        cdef list happened = []
        cdef uint32_t flags, confirmed_index
        cdef Message *message
        cdef Peer *peer
        events_rearm(&self.dp.events)
        while len(messages) < limit:
            message = events_next_message(&self.dp.events)
            if message == NULL:
                break
            messages.append((
                PyBytes_FromStringAndSize(<const char *>message.data, message.len), from_endpoint(&message.source),
                message.peer if message.peer != NO_PEER else -1,
            ))
            events_drop_message(&self.dp.events)
        while len(happened) < 4 * limit:
            peer = events_take(&self.dp.events, &flags, &confirmed_index)
            if peer == NULL:
                break
            happened.append((peer.id, flags, confirmed_index))
        if len(messages) == limit or len(happened) == 4 * limit:
            events_signal(&self.dp.events)
        return messages, happened, self.device_flags()

    cdef int device_flags(self) noexcept:
        cdef int flags = 0
        if load8(&self.dp.events.tun_gone):
            flags |= DEVICE_TUN_GONE
        if load64(&self.dp.events.loaded_until_ns) > now_ns():
            flags |= DEVICE_UNDER_LOAD
        return flags

    def activity(self, peer: int) -> tuple[float, float, float, float]:
        """(unanswered_since, keepalive_owed_since, last_traversal, last_data_sent), seconds of `now()`, 0.0 for "not".

        When the first two are both 0, this arms the peer's ACTIVITY event: one of them becoming a time then raises it,
        once. Otherwise the caller has something to wait for, and is not woken: under load they change all the time.
        """
        cdef Peer *found = self.find(peer)
        if load64(&found.unanswered_since) == 0 and load64(&found.keepalive_owed_since) == 0:
            store8(&found.activity_armed, 1)
            fence()                     # what is read below is from after the arming: nothing falls between
        return (
            load64(&found.unanswered_since) / 1e9, load64(&found.keepalive_owed_since) / 1e9,
            max(load64(&found.last_sent), load64(&found.last_received)) / 1e9, load64(&found.last_data_sent) / 1e9,
        )

    def peer_stats(self, peer: int) -> tuple[int, int]:
        """(tx_bytes, rx_bytes): whole WireGuard messages as they went over the wire, padding included."""
        cdef Peer *found = self.find(peer)
        return load64(&found.tx_bytes), load64(&found.rx_bytes)

    def count_rx(self, peer: int, uint64_t n) -> None:
        """A handshake message of n bytes was authentic: counts it, and an authenticated packet received."""
        cdef Peer *found = self.find(peer)
        add64(&found.rx_bytes, n)
        store64(&found.last_received, now_ns())
        store64(&found.unanswered_since, 0)

    def counters(self) -> dict[str, int]:
        """Packets, system calls, and the reasons for every drop."""
        return {name: load64(&self.dp.counters[i]) for i, name in enumerate(COUNTER_NAMES)}

    def offloads(self) -> dict[str, bool]:
        """What is on now: the kernel may have refused UDP segmentation since the sockets were attached."""
        return {
            "tun_vnet_hdr": self.dp.vnet_hdr_len != 0,
            "udp_gso4": self.dp.fd4 >= 0 and self.dp.gso4 != 0,
            "udp_gso6": self.dp.fd6 >= 0 and self.dp.gso6 != 0,
            "udp_gso_equal_tail": self.udp_gso and self.dp.gso_equal_tail != 0,
            "coalesce_tcp": (self.dp.coalesce & COALESCE_TCP) != 0,
            "coalesce_udp": (self.dp.coalesce & COALESCE_UDP) != 0,
        }

    def memory(self) -> dict[str, int]:
        """Bytes by part: the buffers that were had at the start, what is bounded, and the `ceiling` of it all.

        `per_peer` and `per_allowed_ip` are what one more of each can add to the ceiling.
        """
        return memory_of(&self.dp, len(self.peers), self.egress.batch_count, self.threads)
