"""Ends of UDP tunnels (VXLAN, Geneve) behind the TUN: addresses and ports to which the tunnels' packets come.

A datagram does not tell whether a tunnel of the kernel or a program takes it, and a program must get the datagrams that
were sent. What the kernel sends does tell: where it leaves a checksum to be finished inside of a datagram's payload, it
made the tunnel's headers itself, and takes what comes back to the same port. No other sender can ask for that but one
with a raw socket. An end that sends no more is forgotten.

The threads in sending gates note ends. Each coalescer has a copy, which is renewed when something changed.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy
from pywg.dataplane.sys.clock cimport SECOND_NS
from pywg.dataplane.sys.linux cimport pthread_mutex_t
from pywg.dataplane.wire.ip cimport IpView

cdef enum:
    TUNNEL_ENDS = 256           # places; an end whose place another has is not known
    TUNNEL_END_S = 5            # so long an end is known after its last packet


cdef struct TunnelEnd:
    uint64_t seen_ns            # 0: there is none here
    uint16_t port               # in network order
    uint8_t address_len
    uint8_t address[16]


cdef struct TunnelEnds:
    pthread_mutex_t lock        # of `ends`, for who writes there and who copies
    uint64_t version            # atomic; 0: no end was ever seen
    TunnelEnd ends[TUNNEL_ENDS]


cdef struct KnownEnds:
    uint64_t version
    uint64_t now
    bint any
    TunnelEnd ends[TUNNEL_ENDS]

cdef void tunnel_ends_init(TunnelEnds *shared) noexcept nogil
cdef void tunnel_ends_destroy(TunnelEnds *shared) noexcept nogil
cdef void tunnel_ends_note(TunnelEnds *shared, const IpView *ip, uint64_t now) noexcept nogil
cdef void tunnel_ends_copy(TunnelEnds *shared, KnownEnds *known, uint64_t now) noexcept nogil
cdef void tunnel_ends_forget(TunnelEnds *shared) noexcept nogil


cdef inline uint32_t tunnel_end_place(const uint8_t *address, uint8_t address_len, uint16_t port) noexcept nogil:
    """A number below TUNNEL_ENDS."""
    cdef uint32_t word
    memcpy(&word, address + address_len - 4, 4)
    return ((word ^ <uint32_t>port << 16 ^ address_len) * <uint32_t>0x9E3779B1) >> 24


cdef inline bint tunnel_end_is(const TunnelEnd *end, const uint8_t *address, uint8_t address_len,
                               uint16_t port) noexcept nogil:
    return (end.port == port and end.address_len == address_len and memcmp(end.address, address, address_len) == 0)


cdef inline bint tunnel_end_known(const KnownEnds *known, const uint8_t *address, uint8_t address_len,
                                  uint16_t port) noexcept nogil:
    """Whether a tunnel has sent from this address, to this port, in the last seconds."""
    cdef const TunnelEnd *end = &known.ends[tunnel_end_place(address, address_len, port)]
    return (known.any and end.seen_ns != 0 and known.now < end.seen_ns + TUNNEL_END_S * SECOND_NS
            and tunnel_end_is(end, address, address_len, port))
