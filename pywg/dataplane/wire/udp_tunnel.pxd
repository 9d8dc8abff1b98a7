"""Tunnels over UDP that carry Ethernet: VXLAN (RFC 7348) and Geneve (RFC 8926).

Of their headers this knows what ends where. That a packet is of a tunnel can't be seen from it: the operator chooses
the port. So only packets to an address and a port that are a tunnel's are looked at (tunnel_ends.pxd).
"""
from libc.stdint cimport uint8_t, uint32_t
from pywg.dataplane.wire.ip cimport UDP_LEN

cdef enum:
    TUNNEL_HEADER_LEN = 8       # of VXLAN, and of Geneve without its options
    VXLAN_HAS_VNI = 0x08        # the one flag of RFC 7348
    GENEVE_CONTROL = 0x80       # not for whom the packet inside is
    ETHERNET_LEN = 14
    ETHERTYPE_IP4 = 0x0800
    ETHERTYPE_IP6 = 0x86DD
    ETHERTYPE_ETHERNET = 0x6558


cdef inline uint32_t ethertype(const uint8_t *at) noexcept nogil:
    return <uint32_t>at[0] << 8 | at[1]


cdef inline uint32_t udp_tunnel_inner(const uint8_t *packet, uint32_t l4_offset, uint32_t len) noexcept nogil:
    """Where the IP packet in an Ethernet frame in a tunnel begins, by the headers behind the UDP header at `l4_offset`.

    0: they are not those of VXLAN or Geneve, or there is something else in the frame. An even number of bytes is
    between. `len`: of all.
    """
    cdef uint32_t at = l4_offset + UDP_LEN + TUNNEL_HEADER_LEN, inside
    cdef const uint8_t *header = packet + l4_offset + UDP_LEN
    if at > len:
        return 0
    if header[0] == VXLAN_HAS_VNI and header[1] == 0 and ethertype(header + 2) == 0:
        pass
    elif header[0] >> 6 == 0 and not header[1] & GENEVE_CONTROL and ethertype(header + 2) == ETHERTYPE_ETHERNET:
        at += (header[0] & 63) * <uint32_t>4
    else:
        return 0
    at += ETHERNET_LEN
    if at >= len:
        return 0
    inside = ethertype(packet + at - 2)
    if inside == ETHERTYPE_IP4 and packet[at] >> 4 == 4 or inside == ETHERTYPE_IP6 and packet[at] >> 4 == 6:
        return at
    return 0
