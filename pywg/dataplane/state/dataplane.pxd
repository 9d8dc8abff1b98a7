"""The state that the threads and the control plane share. gate.pxd and peer.pxd say which thread may touch what.

A plane has one *shard* or several. A shard is what one sending and one receiving thread have: their gates, a queue of
the TUN, and a pair of sockets. Peers, keypairs and tables are of all shards together.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from pywg.dataplane.crypto.aead cimport AeadBackend
from pywg.dataplane.crypto.cookie_mac cimport Macs
from pywg.dataplane.state.allowedips cimport AllowedIps
from pywg.dataplane.state.batch_sizes cimport BatchSizes
from pywg.dataplane.state.counters cimport Counters
from pywg.dataplane.state.events cimport EventQueue
from pywg.dataplane.state.gate cimport Gate, gate_close, gate_enter_closed, gate_is_mine, gate_leave
from pywg.dataplane.state.index_table cimport IndexTable
from pywg.dataplane.state.peer cimport SHARDS_MAX
from pywg.dataplane.state.strays cimport Strays
from pywg.dataplane.state.tunnel_ends cimport TunnelEnds
from pywg.dataplane.sys.linux cimport pthread_mutex_t

cdef enum:
    GSO_OFF = 0
    GSO_ON = 1                  # tried with each message that has several datagrams
    GSO_PROVEN = 2              # the kernel has cut one of this socket's messages


cdef struct Shared:
    # Of all shards
    Dataplane *shards[SHARDS_MAX]
    int shard_count
    AllowedIps *allowed
    IndexTable indices
    IndexTable remote_indices   # the same keypairs, by the index that names them in our messages; the peers choose it
    uint64_t peers_freed
    pthread_mutex_t loop_lock   # guards what a peer is reached through (routing_loop.pyx)
    EventQueue events
    TunnelEnds tunnel_ends
    uint64_t staged_bytes       # atomic: of all peers together
    uint64_t staged_max         # the most that staged_bytes may be
    Strays strays               # by receiving threads of other shards, for the first one's


cdef struct Dataplane:
    # Of one shard
    Shared *shared
    int number                  # 0, of the first shard, which alone takes handshake messages
    Gate send_gate
    Gate receive_gate
    uint8_t stop                # atomic: the threads end
    uint8_t handed_off          # atomic: the receiving thread reads the TUN too, the sending one sleeps (handoff.pyx)
    uint64_t receive_pressure_ns  # atomic: when the receiving thread last had more to do than one thread should
    int send_kick               # eventfds that wake a thread out of poll()
    int receive_kick
    uint64_t send_waits         # atomic: odd while the thread is in poll(), and may hold replaced descriptors
    uint64_t receive_waits

    const AeadBackend *aead     # of all threads and keypairs; never changes
    Macs macs                   # the first shard's receiving thread's
    Counters counters           # those of all shards are added up where they are read (snapshot.pyx)
    BatchSizes batches

    int tun_fd                  # atomic: threads read the descriptors outside the gates, for poll(); -1: none
    int vnet_hdr_len            # 0, 10, 12 or 24
    bint tunnels                # the TUN gives and takes superframes in UDP tunnels
    uint32_t mtu
    int fd4                     # atomic; -1: none
    int fd6
    uint8_t receives            # atomic: these sockets are its own; a shard without sends by the first one's
    int icmp4_fd                # raw sockets in the TUN's namespace, for unreachables to inner senders; -1: none
    int icmp6_fd
    uint8_t gso4                # GSO_*: the send path turns it off when the kernel refuses
    uint8_t gso6
    uint8_t gso_equal_tail      # the kernel may also cut a message whose last datagram is as long as the others
    uint8_t coalesce            # COALESCE_* features that the TUN takes
    uint8_t tunnels_refused     # atomic: but the kernel has refused a tunnel's superframe

cdef Dataplane *dataplane_new(const AeadBackend *aead) noexcept nogil
cdef Dataplane *dataplane_add_shard(Dataplane *first) noexcept nogil
cdef void dataplane_free(Dataplane *dp) noexcept nogil


cdef inline bint has_shards(const Dataplane *dp) noexcept nogil:
    """Whether other shards' threads may touch a peer at the same time."""
    return dp.shared.shard_count > 1


cdef inline void gates_enter(Dataplane *dp) noexcept nogil:
    """Enters both gates of each shard."""
    cdef int i
    for i in range(dp.shared.shard_count):
        gate_close(&dp.shared.shards[i].send_gate)
        gate_close(&dp.shared.shards[i].receive_gate)
    for i in range(dp.shared.shard_count):
        gate_enter_closed(&dp.shared.shards[i].send_gate)
        gate_enter_closed(&dp.shared.shards[i].receive_gate)


cdef inline void gates_leave(Dataplane *dp) noexcept nogil:
    cdef int i
    for i in range(dp.shared.shard_count):
        gate_leave(&dp.shared.shards[i].receive_gate)
        gate_leave(&dp.shared.shards[i].send_gate)


cdef inline bint gates_are_mine(const Dataplane *dp) noexcept nogil:
    """Whether the calling thread is in all gates; for c_assert alone."""
    cdef int i
    for i in range(dp.shared.shard_count):
        if not gate_is_mine(&dp.shared.shards[i].send_gate) or not gate_is_mine(&dp.shared.shards[i].receive_gate):
            return False
    return True
