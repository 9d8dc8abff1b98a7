"""Allocation and freeing of the shared state (dataplane.pxd); no thread runs before the one or after the other."""
from libc.stdlib cimport calloc, free
from pywg.dataplane.crypto.cookie_mac cimport macs_free
from pywg.dataplane.state.allowedips cimport allowedips_free, allowedips_new
from pywg.dataplane.state.events cimport events_free, events_init
from pywg.dataplane.state.gate cimport gate_destroy, gate_init
from pywg.dataplane.state.index_table cimport index_table_free, index_table_init
from pywg.dataplane.state.strays cimport strays_destroy, strays_init
from pywg.dataplane.state.tunnel_ends cimport tunnel_ends_destroy, tunnel_ends_init
from pywg.dataplane.sys.checks cimport c_assert
from pywg.dataplane.sys.linux cimport EFD_CLOEXEC, EFD_NONBLOCK, close, eventfd, pthread_mutex_destroy
from pywg.dataplane.sys.linux cimport pthread_mutex_init


cdef Shared *shared_new() noexcept nogil:
    """NULL: no memory, or no descriptors."""
    cdef Shared *shared = <Shared *>calloc(1, sizeof(Shared))
    if shared == NULL:
        return NULL
    shared.events.fd = -1
    pthread_mutex_init(&shared.loop_lock, NULL)
    tunnel_ends_init(&shared.tunnel_ends)
    strays_init(&shared.strays)
    shared.allowed = allowedips_new()
    if (events_init(&shared.events) < 0 or index_table_init(&shared.indices) < 0
            or index_table_init(&shared.remote_indices) < 0 or shared.allowed == NULL):
        shared_free(shared)
        return NULL
    return shared


cdef void shared_free(Shared *shared) noexcept nogil:
    if shared.allowed != NULL:
        allowedips_free(shared.allowed)
    index_table_free(&shared.indices)
    index_table_free(&shared.remote_indices)
    events_free(&shared.events)
    tunnel_ends_destroy(&shared.tunnel_ends)
    strays_destroy(&shared.strays)
    pthread_mutex_destroy(&shared.loop_lock)
    free(shared)


cdef Dataplane *shard_new(const AeadBackend *aead) noexcept nogil:
    """NULL: no memory, or no descriptors."""
    cdef Dataplane *dp = <Dataplane *>calloc(1, sizeof(Dataplane))
    if dp == NULL:
        return NULL
    dp.tun_fd = dp.fd4 = dp.fd6 = dp.icmp4_fd = dp.icmp6_fd = -1
    dp.mtu = 1420
    dp.receives = 1
    dp.aead = aead
    gate_init(&dp.send_gate)
    gate_init(&dp.receive_gate)
    dp.send_kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
    dp.receive_kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
    if dp.send_kick < 0 or dp.receive_kick < 0:
        shard_free(dp)
        return NULL
    return dp


cdef void shard_free(Dataplane *dp) noexcept nogil:
    macs_free(&dp.macs)
    if dp.send_kick >= 0:
        close(dp.send_kick)
    if dp.receive_kick >= 0:
        close(dp.receive_kick)
    gate_destroy(&dp.send_gate)
    gate_destroy(&dp.receive_gate)
    free(dp)


cdef Dataplane *dataplane_new(const AeadBackend *aead) noexcept nogil:
    """A state of one shard, without TUN, sockets and peers; `macs` is not initialized. NULL: no memory, or no
    descriptors."""
    cdef Shared *shared = shared_new()
    cdef Dataplane *dp = shard_new(aead) if shared != NULL else NULL
    if dp == NULL:
        if shared != NULL:
            shared_free(shared)
        return NULL
    dp.shared = shared
    shared.shards[0] = dp
    shared.shard_count = 1
    return dp


cdef Dataplane *dataplane_add_shard(Dataplane *first) noexcept nogil:
    """One more shard of the same peers and tables, of at most SHARDS_MAX. NULL: no memory, or no descriptors."""
    cdef Shared *shared = first.shared
    cdef Dataplane *dp = shard_new(first.aead)
    c_assert(shared.shard_count < SHARDS_MAX)
    if dp == NULL:
        return NULL
    dp.shared = shared
    dp.number = shared.shard_count
    dp.gso_equal_tail = first.gso_equal_tail
    shared.shards[dp.number] = dp
    shared.shard_count += 1
    return dp


cdef void dataplane_free(Dataplane *dp) noexcept nogil:
    """Frees all shards and what they share, from the first of them. The peers have to be freed before."""
    cdef Shared *shared
    cdef int i
    if dp == NULL:
        return
    shared = dp.shared
    for i in range(shared.shard_count):
        shard_free(shared.shards[i])
    shared_free(shared)
