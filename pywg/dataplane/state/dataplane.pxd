"""The state that the threads and the control plane share. gate.pxd and peer.pxd say which thread may touch what."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from pywg.dataplane.crypto.aead cimport AeadBackend
from pywg.dataplane.crypto.cookie_mac cimport Macs
from pywg.dataplane.state.allowedips cimport AllowedIps
from pywg.dataplane.state.batch_sizes cimport BatchSizes
from pywg.dataplane.state.counters cimport Counters
from pywg.dataplane.state.events cimport EventQueue
from pywg.dataplane.state.gate cimport Gate, gate_enter, gate_is_mine, gate_leave
from pywg.dataplane.state.index_table cimport IndexTable
from pywg.dataplane.state.tunnel_ends cimport TunnelEnds

cdef enum:
    GSO_OFF = 0
    GSO_ON = 1                  # tried with each message that has several datagrams
    GSO_PROVEN = 2              # the kernel has cut one of this socket's messages


cdef struct Dataplane:
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
    AllowedIps *allowed
    IndexTable indices
    IndexTable remote_indices   # the same keypairs, by the index that names them in our messages; the peers choose it
    uint64_t peers_freed
    Macs macs                   # the receiving thread's
    EventQueue events
    Counters counters
    BatchSizes batches

    int tun_fd                  # atomic: threads read the descriptors outside the gates, for poll(); -1: none
    int vnet_hdr_len            # 0, 10, 12 or 24
    bint tunnels                # the TUN gives and takes superframes in UDP tunnels
    uint32_t mtu
    int fd4                     # atomic; -1: none
    int fd6
    int icmp4_fd                # raw sockets in the TUN's namespace, for unreachables to inner senders; -1: none
    int icmp6_fd
    uint8_t gso4                # GSO_*: the send path turns it off when the kernel refuses
    uint8_t gso6
    uint8_t gso_equal_tail      # the kernel may also cut a message whose last datagram is as long as the others
    uint8_t coalesce            # COALESCE_* features that the TUN takes
    uint8_t tunnels_refused     # atomic: but the kernel has refused a tunnel's superframe
    TunnelEnds tunnel_ends
    uint64_t staged_bytes       # of all peers together, under the sending gate
    uint64_t staged_max         # the most that staged_bytes may be

cdef Dataplane *dataplane_new(const AeadBackend *aead) noexcept nogil
cdef void dataplane_free(Dataplane *dp) noexcept nogil


cdef inline void gates_enter(Dataplane *dp) noexcept nogil:
    """Enters both gates, in their order."""
    gate_enter(&dp.send_gate)
    gate_enter(&dp.receive_gate)


cdef inline void gates_leave(Dataplane *dp) noexcept nogil:
    gate_leave(&dp.receive_gate)
    gate_leave(&dp.send_gate)


cdef inline bint gates_are_mine(const Dataplane *dp) noexcept nogil:
    """Whether the calling thread is in both gates; for c_assert alone."""
    return gate_is_mine(&dp.send_gate) and gate_is_mine(&dp.receive_gate)
