"""Routing loops: messages that we send to peers and that come back through the TUN, as data to be sent.

Each round would make a larger message of the last one, and above the MTU two, for ever. The kernel's WireGuard looks at
the route of each packet (ELOOP, drivers/net/wireguard/socket.c), and so forbids a peer that is reached through another
one of the same interface. Here the packet itself tells. It goes to a peer's endpoint, and is a transport message of
that peer's session, by an index that only the two ends know. This shows which peer is reached through which. A chain of
such steps is a tunnel in a tunnel; a chain that closes is a loop, and the message that closes it is dropped. A packet
that enters a loop is sealed at most once for each peer in it.
"""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy
from pywg.dataplane.state.dataplane cimport Dataplane
from pywg.dataplane.state.peer cimport Peer
from pywg.dataplane.wire.ip cimport PROTO_UDP, UDP_LEN, IpView
from pywg.dataplane.wire.wireguard cimport MESSAGE_TRANSPORT, WG_HEADER_LEN

cdef bint routing_loop_closes(Dataplane *dp, Peer *through, const IpView *ip, uint64_t now) noexcept nogil


cdef inline bint looks_like_transport(const IpView *ip) noexcept nogil:
    """Whether the packet may be a transport message on its way to a peer: UDP, with the header of one.

    A message that is too long for the TUN comes in fragments, and the first of them looks like this.
    """
    cdef uint32_t kind
    if ip.l4_offset == 0 or ip.protocol != PROTO_UDP or ip.total_len - ip.l4_offset < UDP_LEN + WG_HEADER_LEN:
        return False
    memcpy(&kind, ip.packet + ip.l4_offset + UDP_LEN, 4)    # the type, and three bytes that are zero
    return kind == MESSAGE_TRANSPORT
