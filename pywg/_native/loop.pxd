"""Routing loops: what we send to peers comes back through the TUN, as data to be sent.

Each round would make a larger message of the last one, and above the MTU two, for ever. The kernel's WireGuard looks at
the route of each packet (ELOOP, drivers/net/wireguard/socket.c), and so forbids a peer that is reached through another
one of the same interface. Here the packet tells: it goes to a peer's endpoint, and is a transport message of that
peer's session, by an index that only the two ends know. So it is seen which peer is reached through which. A chain of
such steps is a tunnel in a tunnel; a chain that closes is a loop, and the message that closes it is dropped. What goes
into the loop is sealed once a peer in it, at the most.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy
from pywg._native.dataplane cimport Dataplane
from pywg._native.ip cimport IP4_LEN, IP6_LEN, PROTO_UDP, UDP_LEN
from pywg._native.session cimport Peer
from pywg._native.wire cimport MESSAGE_TRANSPORT, WG_HEADER_LEN

cdef enum:
    IP4_WITHOUT_OPTIONS = 0x45
    PROTO_FRAGMENT = 44
    FRAGMENT_LEN = 8

cdef bint loop_closes(Dataplane *dp, Peer *through, const uint8_t *packet, uint32_t udp, uint64_t now) noexcept nogil


cdef inline uint32_t transport_in(const uint8_t *packet, uint32_t packet_len) noexcept nogil:
    """Where the UDP header is, if `packet` looks like a transport message on its way to a peer; otherwise 0.

    `packet` has a whole IP header. What is too long for the TUN comes in fragments, of which the first looks so.
    """
    cdef uint32_t udp, kind
    if packet[0] == IP4_WITHOUT_OPTIONS:
        if packet[9] != PROTO_UDP:
            return 0
        udp = IP4_LEN
    elif packet[0] >> 4 == 6:
        udp = IP6_LEN
        if packet[6] == PROTO_FRAGMENT and packet_len >= IP6_LEN + FRAGMENT_LEN:
            udp += FRAGMENT_LEN
            if packet[IP6_LEN] != PROTO_UDP:
                return 0
        elif packet[6] != PROTO_UDP:
            return 0
    else:
        return 0
    if packet_len < udp + UDP_LEN + WG_HEADER_LEN:
        return 0
    memcpy(&kind, packet + udp + UDP_LEN, 4)    # the type, and three bytes that are zero
    return udp if kind == MESSAGE_TRANSPORT else 0
