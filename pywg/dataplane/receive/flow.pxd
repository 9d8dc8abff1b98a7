"""Which lane a packet takes: that of its flow, so that no packet overtakes another of its flow.

A flow is what has the same addresses, protocol and ports. Of some packets it can't be told: later fragments have no
ports, and behind some extension headers no protocol is found. Such a packet may be of any flow between its addresses.
"""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy
from pywg.dataplane.wire.ip cimport PROTO_AUTHENTICATION, PROTO_ROUTING, PROTO_TCP, PROTO_UDP, IpView

cdef enum:
    PORTS_LEN = 4
    FLOW_UNKNOWN = -1


cdef inline uint64_t flow_mix(uint64_t mixed, uint64_t word) noexcept nogil:
    mixed = (mixed ^ word) * <uint64_t>0x9E3779B97F4A7C15
    return mixed ^ (mixed >> 32)


cdef inline int flow_lane(const IpView *ip, int lanes) noexcept nogil:
    """0 to `lanes` - 1, or FLOW_UNKNOWN. The view is of a whole packet."""
    cdef bint has_ports = ip.protocol == PROTO_TCP or ip.protocol == PROTO_UDP
    cdef uint64_t mixed = ip.protocol, word = 0
    cdef uint32_t ports
    cdef int i
    if ip.version == 4 and not has_ports:
        pass                            # fragments have the protocol, too
    elif ip.fragment or ip.l4_offset == 0 or ip.protocol == PROTO_ROUTING or ip.protocol == PROTO_AUTHENTICATION:
        return FLOW_UNKNOWN
    if has_ports:
        if ip.total_len - ip.l4_offset < PORTS_LEN:
            return FLOW_UNKNOWN
        memcpy(&ports, ip.packet + ip.l4_offset, PORTS_LEN)
        mixed = flow_mix(mixed, ports)
    for i in range(2 * ip.address_len // 8):
        memcpy(&word, ip.source + 8 * i, 8)
        mixed = flow_mix(mixed, word)
    return <int>((mixed >> 32) * <uint64_t>lanes >> 32)
