# distutils: libraries = crypto
# cython: language_level=3, cdivision=True, wraparound=False, boundscheck=False
"""Frames in the TUN: packets and superframes that are right, also in UDP tunnels, those that are planned (plans.h), and
anything else."""
from libc.stdint cimport int8_t, uint16_t, uint32_t, uint8_t
from libc.string cimport memcpy, memset

from pywg.dataplane.send.seal cimport send_batch_next_segments
from pywg.dataplane.state.peer cimport Peer
from pywg.dataplane.wire.virtio cimport VNET_F_NEEDS_CSUM, VNET_F_UDP_TUNNEL_CSUM, VNET_GSO_ECN, VNET_GSO_TCPV4
from pywg.dataplane.wire.virtio cimport VNET_GSO_TCPV6, VNET_GSO_UDP_L4, VNET_GSO_UDP_TUNNEL_IPV4
from pywg.dataplane.wire.virtio cimport VNET_GSO_UDP_TUNNEL_IPV6, VnetHdr, VnetTunnelHdr
from pywg.dataplane.wire.wireguard cimport TransportHeader

from tests.fuzz.native.common cimport FIRST_INDEX, PEERS, Session
from tests.fuzz.native.harness cimport TRAFFIC_RAW, TRAFFIC_TCP, TRAFFIC_UDP, TUNNEL, TUNNEL_CHECKED, Chance
from tests.fuzz.native.harness cimport chance_below, chance_bytes, chance_short_len, finish_packet, finish_tunnel
from tests.fuzz.native.harness cimport ip_header_len, l4_header_len, make_packet, make_tunnel, number_address
from tests.fuzz.native.harness cimport peer_address, put16, sum16, tunnel_front, tunnel_inside
from tests.fuzz.native.outbound_state cimport PLAN_TO_THE_END, SEQ_STEP, Frame, Harness, Planned, plan_wire_len


cdef uint32_t marked_frame(Harness *b, VnetHdr *hdr, uint8_t *packet, bint offloads) noexcept nogil:
    """A packet or superframe that is right; its length."""
    cdef Frame *f = &b.frame
    cdef uint32_t len, shortest
    if b.repeated:
        b.repeated -= 1
        f.len += <uint32_t>f.grows
    else:
        choose_frame(b, offloads)
    shortest = ip_header_len(f.version) + l4_header_len(f.protocol)
    if f.tunnel:
        shortest = ip_header_len(tunnel_inside(f.tunnel)) + l4_header_len(f.protocol)
        shortest += tunnel_front(f.version, f.tunnel)
    len = min(max(f.len, shortest), <uint32_t>65535)
    if len > b.bytes_left:
        len = max(<uint32_t>64, shortest)
    f.len = len
    b.bytes_left -= min(len, b.bytes_left)
    if f.tunnel:
        write_tunnelled(b, hdr, packet, len)
        return len
    write_packet(b, packet, f.peer, f.version, f.protocol, len, f.tos)
    if offloads and (f.gso_size or f.unfinished):
        leave_checksum(hdr, packet, f.version, f.protocol, len)
        if f.gso_size:
            cut_into(&b.chance, hdr, f.version, f.protocol, f.gso_size)
    return len


cdef void choose_frame(Harness *b, bint offloads) noexcept nogil:
    """Peer, kind, length and how many more are alike: four bytes of the input for a plain packet."""
    cdef Chance *c = &b.chance
    cdef Frame *f = &b.frame
    cdef uint32_t kind = chance_below(c, 64), what = chance_below(c, 64)
    f.peer = b.burst_peer if b.burst_peer and kind < 48 else 1 + kind % (PEERS - 1)
    f.version = 4 if kind & 4 == 0 else 6
    f.protocol = TRAFFIC_RAW if kind & 16 == 0 else TRAFFIC_TCP if kind & 8 == 0 else TRAFFIC_UDP
    f.tos = 0
    f.grows = 0
    f.gso_size = 0
    f.unfinished = f.protocol != TRAFFIC_RAW and what & 1 != 0
    f.len = chance_short_len(c, b.world.dp.mtu)
    if what >= 32 and what < 44:
        b.repeated = chance_below(c, 80)
        if what & 2:
            f.grows = <int8_t>chance_below(c, 256)
    elif what >= 44 and what < 48:
        f.tos = <uint8_t>chance_below(c, 256)
    elif what >= 48 and offloads:
        if f.protocol == TRAFFIC_RAW:
            f.protocol = TRAFFIC_TCP if what & 2 else TRAFFIC_UDP
        f.gso_size = 1 + chance_below(c, 256)
        if what & 4:
            f.gso_size = max(chance_short_len(c, b.world.dp.mtu), <uint32_t>1)
        if what & 8:
            b.repeated = chance_below(c, 8)
    f.tunnel = TUNNEL | <int>chance_below(c, TUNNEL) if b.world.dp.tunnels and kind & 32 else 0


cdef void write_tunnelled(Harness *b, VnetHdr *hdr, uint8_t *packet, uint32_t len) noexcept nogil:
    """A packet or superframe in a tunnel. The tunnel's checksum is that of what the receiver has to finish inside."""
    cdef Frame *f = &b.frame
    cdef VnetTunnelHdr *both = <VnetTunnelHdr *>hdr
    cdef uint32_t front = tunnel_front(f.version, f.tunnel)
    cdef int inside = tunnel_inside(f.tunnel)
    write_packet(b, packet + front, f.peer, inside, f.protocol, len - front, 0)
    make_tunnel(packet, f.version, f.tunnel, len)
    write_addresses(b, packet, f.peer, f.version)
    packet[1] |= <uint8_t>(f.tos if f.version == 4 else f.tos & 0xF0)
    finish_tunnel(packet, f.version, f.tunnel, len)
    if not f.gso_size and not f.unfinished:
        return
    leave_checksum(hdr, packet + front, inside, f.protocol, len - front)
    hdr.csum_start += <uint16_t>front
    if f.gso_size:
        cut_into(&b.chance, hdr, inside, f.protocol, f.gso_size)
        hdr.gso_type |= VNET_GSO_UDP_TUNNEL_IPV4 if f.version == 4 else VNET_GSO_UDP_TUNNEL_IPV6
        hdr.flags |= VNET_F_UDP_TUNNEL_CSUM if f.tunnel & TUNNEL_CHECKED else 0
        both.outer_th_offset = <uint16_t>ip_header_len(f.version)
        both.inner_nh_offset = <uint16_t>front


cdef uint32_t planned_frame(Harness *b, const Planned *planned, VnetHdr *hdr, uint8_t *packet) noexcept nogil:
    """What was planned, for the burst's peer; its length."""
    cdef int protocol = b.plan_protocol if planned.gso_size else TRAFFIC_RAW, version = b.plan_version
    cdef uint32_t len = planned.len, gso_size = planned.gso_size
    if gso_size == PLAN_TO_THE_END:
        gso_size = 1 + chance_below(&b.chance, <uint32_t>16 << chance_below(&b.chance, 6))
        len = len_to_the_end(b, version, protocol, gso_size)
    write_packet(b, packet, b.burst_peer, version, protocol, len, 0)
    if gso_size:
        leave_checksum(hdr, packet, version, protocol, len)
        cut_into(&b.chance, hdr, version, protocol, gso_size)
    return len


cdef uint32_t len_to_the_end(Harness *b, int version, int protocol, uint32_t gso_size) noexcept nogil:
    """Of a superframe whose datagrams take the room that there is, or some bytes more or less."""
    cdef uint32_t room, headers = ip_header_len(version) + l4_header_len(protocol), stride, last
    send_batch_next_segments(b.path.batch, &room)
    stride = plan_wire_len(headers + gso_size, b.world.dp.mtu)
    last = room % stride + 32 - chance_below(&b.chance, 48)
    last = last - plan_wire_len(headers, 0) if last > plan_wire_len(headers, 0) else 1
    return min(headers + room // stride * gso_size + min(last, gso_size), <uint32_t>65535)


cdef void write_packet(Harness *b, uint8_t *packet, uint32_t peer, int version, int protocol, uint32_t len,
                       uint8_t tos) noexcept nogil:
    b.number += 1
    make_packet(packet, version, protocol, len, b.number, b.number * SEQ_STEP)
    write_addresses(b, packet, peer, version)
    packet[1] |= <uint8_t>(tos if version == 4 else tos & 0xF0)
    finish_packet(packet, version, protocol, len)


cdef void write_addresses(Harness *b, uint8_t *packet, uint32_t peer, int version) noexcept nogil:
    number_address(packet + (12 if version == 4 else 8), version, b.number)
    peer_address(packet + (16 if version == 4 else 24), version, peer, b.number & 0xFFFF)


cdef void leave_checksum(VnetHdr *hdr, uint8_t *packet, int version, int protocol, uint32_t len) noexcept nogil:
    """The receiver has to finish it."""
    cdef uint32_t ip_len = ip_header_len(version)
    hdr.flags = VNET_F_NEEDS_CSUM
    hdr.csum_start = ip_len
    hdr.csum_offset = 16 if protocol == TRAFFIC_TCP else 6
    put16(packet + ip_len + hdr.csum_offset, pseudo_sum(packet, version, protocol, len - ip_len))


cdef void cut_into(Chance *c, VnetHdr *hdr, int version, int protocol, uint32_t gso_size) noexcept nogil:
    cdef uint32_t headers = ip_header_len(version) + l4_header_len(protocol)
    hdr.gso_size = <uint16_t>gso_size
    hdr.hdr_len = <uint16_t>(headers if gso_size & 1 else gso_size)     # a hint, which nobody may trust
    hdr.gso_type = VNET_GSO_UDP_L4 if protocol == TRAFFIC_UDP else VNET_GSO_TCPV4 if version == 4 else VNET_GSO_TCPV6
    if gso_size & 6 == 6:
        hdr.gso_type |= VNET_GSO_ECN


cdef uint32_t pseudo_sum(const uint8_t *packet, int version, int protocol, uint32_t l4_len) noexcept nogil:
    return sum16(packet + (12 if version == 4 else 8), 8 if version == 4 else 32, <uint32_t>protocol + l4_len)


cdef uint32_t wild_frame(Harness *b, uint8_t *frame, uint32_t vnet_len) noexcept nogil:
    """Anything; with a virtio header its whole length. To the first peer, or to nobody."""
    cdef Chance *c = &b.chance
    cdef uint32_t what = chance_below(c, 256), len, length
    cdef uint8_t *packet = frame + vnet_len
    cdef int version = 4 if what & 1 == 0 else 6
    if what >= 240:
        memset(packet, 0, 42)
        return chance_below(c, vnet_len + 42)       # not even headers
    if what >= 224:
        len = chance_below(c, 64)
    else:
        len = chance_short_len(c, b.world.dp.mtu)
    len = min(len, b.bytes_left)
    b.bytes_left -= len
    length = vnet_len + len
    memset(packet, <int>what, len)
    if what & 2:
        chance_bytes(c, frame, vnet_len)
        if vnet_len and what & 4:
            frame[1] = <uint8_t>(what >> 3) % 6
    chance_bytes(c, packet, min(len, <uint32_t>80 if what & 8 else 24))
    packet[16 if version == 4 or len < 40 else 24] = 11     # nobody's
    if len < 40:
        return length
    packet[0] = <uint8_t>(version << 4 | (5 if what & 16 == 0 else packet[0] & 15))
    if what & 32 == 0:
        put16(packet + (2 if version == 4 else 4), len if version == 4 else len - 40)
    if what & 64 == 0:
        peer_address(packet + (16 if version == 4 else 24), version, 0, what)
    elif what & 128 and len >= 80:
        transport_of_ours(b, packet, version)
    if what & 24 == 24:
        finish_packet(packet, version, TRAFFIC_RAW, len)
    return length


cdef void transport_of_ours(Harness *b, uint8_t *packet, int version) noexcept nogil:
    """What looks like a transport message on its way to a peer."""
    cdef Session *session
    cdef Peer *peer
    if b.world.session_count == 0:
        return
    session = &b.world.sessions[chance_below(&b.chance, b.world.session_count)]
    peer = b.world.peers[session.peer]
    if peer == NULL or peer.endpoint.ip_len != (4 if version == 4 else 16):
        return
    packet[0] = <uint8_t>(version << 4 | 5)
    packet[9 if version == 4 else 6] = TRAFFIC_UDP
    memcpy(packet + (16 if version == 4 else 24), peer.endpoint.ip, peer.endpoint.ip_len)
    packet += ip_header_len(version)
    memcpy(packet + 2, &peer.endpoint.port, 2)
    memset(packet + 8, 0, 4)
    packet[8] = 4
    (<TransportHeader *>(packet + 8)).receiver_index = FIRST_INDEX + <uint32_t>(session - b.world.sessions)
