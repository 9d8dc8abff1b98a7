"""Allocation and freeing of the shared state (dataplane.pxd); no thread runs before the one or after the other."""
from libc.stdlib cimport calloc, free
from pywg.dataplane.crypto.cookie_mac cimport macs_free
from pywg.dataplane.state.allowedips cimport allowedips_free, allowedips_new
from pywg.dataplane.state.events cimport events_free, events_init
from pywg.dataplane.state.gate cimport gate_destroy, gate_init
from pywg.dataplane.state.index_table cimport index_table_free, index_table_init
from pywg.dataplane.state.tunnel_ends cimport tunnel_ends_destroy, tunnel_ends_init
from pywg.dataplane.sys.linux cimport EFD_CLOEXEC, EFD_NONBLOCK, close, eventfd


cdef Dataplane *dataplane_new(const AeadBackend *aead) noexcept nogil:
    """A state without TUN, sockets and peers; `macs` is not initialized. NULL: no memory, or no descriptors."""
    cdef Dataplane *dp = <Dataplane *>calloc(1, sizeof(Dataplane))
    if dp == NULL:
        return NULL
    dp.tun_fd = dp.fd4 = dp.fd6 = dp.icmp4_fd = dp.icmp6_fd = dp.events.fd = -1
    dp.mtu = 1420
    dp.aead = aead
    gate_init(&dp.send_gate)
    gate_init(&dp.receive_gate)
    tunnel_ends_init(&dp.tunnel_ends)
    dp.send_kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
    dp.receive_kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
    dp.allowed = allowedips_new()
    if (events_init(&dp.events) < 0 or index_table_init(&dp.indices) < 0 or index_table_init(&dp.remote_indices) < 0
            or dp.allowed == NULL or dp.send_kick < 0 or dp.receive_kick < 0):
        dataplane_free(dp)
        return NULL
    return dp


cdef void dataplane_free(Dataplane *dp) noexcept nogil:
    """Frees the state. Its peers have to be freed before."""
    if dp == NULL:
        return
    if dp.allowed != NULL:
        allowedips_free(dp.allowed)
    index_table_free(&dp.indices)
    index_table_free(&dp.remote_indices)
    macs_free(&dp.macs)
    events_free(&dp.events)
    if dp.send_kick >= 0:
        close(dp.send_kick)
    if dp.receive_kick >= 0:
        close(dp.receive_kick)
    gate_destroy(&dp.send_gate)
    gate_destroy(&dp.receive_gate)
    tunnel_ends_destroy(&dp.tunnel_ends)
    free(dp)
