"""Ends of UDP tunnels (tunnel_ends.pxd)."""
from libc.string cimport memcpy, memset
from pywg.dataplane.sys.atomic cimport load64, store64
from pywg.dataplane.sys.checks cimport c_assert
from pywg.dataplane.sys.clock cimport SECOND_NS
from pywg.dataplane.sys.linux cimport pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock
from pywg.dataplane.sys.linux cimport pthread_mutex_unlock
from pywg.dataplane.wire.ip cimport IpView, UdpHeader


cdef void tunnel_ends_note(TunnelEnds *shared, const IpView *ip, uint64_t now) noexcept nogil:
    """Notes the source of a tunnel's packet, with the port that it goes to. In a sending gate. `ip`: of UDP."""
    cdef const UdpHeader *udp = <const UdpHeader *>(ip.packet + ip.l4_offset)
    cdef uint16_t port = udp.destination_port
    cdef TunnelEnd *end = &shared.ends[tunnel_end_place(ip.source, ip.address_len, port)]
    cdef bint same
    c_assert(ip.l4_offset != 0)
    pthread_mutex_lock(&shared.lock)
    same = tunnel_end_is(end, ip.source, ip.address_len, port)
    # Else it is noted already, or the place is another end's.
    if end.seen_ns == 0 or now >= end.seen_ns + (1 if same else TUNNEL_END_S) * SECOND_NS:
        end.seen_ns = now
        end.port = port
        end.address_len = ip.address_len
        memcpy(end.address, ip.source, ip.address_len)
        store64(&shared.version, shared.version + 1)
    pthread_mutex_unlock(&shared.lock)


cdef void tunnel_ends_copy(TunnelEnds *shared, KnownEnds *known, uint64_t now) noexcept nogil:
    """Renews a copy, if something has changed."""
    known.now = now
    if load64(&shared.version) == known.version:
        return
    pthread_mutex_lock(&shared.lock)
    memcpy(known.ends, shared.ends, sizeof(known.ends))
    known.version = shared.version
    pthread_mutex_unlock(&shared.lock)
    known.any = True


cdef void tunnel_ends_forget(TunnelEnds *shared) noexcept nogil:
    """Of another TUN, none is known."""
    pthread_mutex_lock(&shared.lock)
    memset(shared.ends, 0, sizeof(shared.ends))
    if shared.version != 0:
        store64(&shared.version, shared.version + 1)
    pthread_mutex_unlock(&shared.lock)


cdef void tunnel_ends_init(TunnelEnds *shared) noexcept nogil:
    pthread_mutex_init(&shared.lock, NULL)


cdef void tunnel_ends_destroy(TunnelEnds *shared) noexcept nogil:
    pthread_mutex_destroy(&shared.lock)
