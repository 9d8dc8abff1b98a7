"""Routing loops: the endpoint of a peer is routed into the tunnel, so that what we send comes back as data to be sent.

Each round would make a larger message of the last one, for ever. The kernel's WireGuard looks at the route of each
packet (ELOOP, drivers/net/wireguard/socket.c); here the packet tells: it goes to the endpoint of the peer that it would
be sealed for, and is a transport message of that peer's own session, by an index that only the two ends know.
"""
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp
from pywg._native.inet cimport IP4_LEN, IP6_LEN, PROTO_UDP, UDP_LEN
from pywg._native.session cimport Peer
from pywg._native.wire cimport MESSAGE_TRANSPORT, WG_HEADER_LEN, TransportHeader

cdef enum:
    IP4_WITHOUT_OPTIONS = 0x45


cdef inline bint is_own_message(const Peer *peer, const uint8_t *packet, uint32_t packet_len) noexcept nogil:
    """`packet` has a whole IP header, and `peer` owns its destination.

    The endpoint is read without its lock: while it moves, one message more or less may pass.
    """
    cdef const TransportHeader *header
    cdef uint32_t ip_len = IP4_LEN
    if peer.endpoint.ip_len == 4:
        if packet[0] != IP4_WITHOUT_OPTIONS or memcmp(packet + 16, peer.endpoint.ip, 4) != 0 or packet[9] != PROTO_UDP:
            return False
    else:
        if packet[0] >> 4 != 6 or memcmp(packet + 24, peer.endpoint.ip, 16) != 0 or packet[6] != PROTO_UDP:
            return False
        ip_len = IP6_LEN
    if peer.sending == NULL or packet_len < ip_len + UDP_LEN + WG_HEADER_LEN:
        return False
    header = <const TransportHeader *>(packet + ip_len + UDP_LEN)
    return (memcmp(packet + ip_len + 2, &peer.endpoint.port, 2) == 0 and header.type == MESSAGE_TRANSPORT
            and header.receiver_index == peer.sending.remote_index)
