# distutils: libraries = crypto
# cython: language_level=3, cdivision=True, wraparound=False, boundscheck=False
"""Frames in the TUN: packets and superframes that are right, those that are planned (plans.h), and anything else."""
from libc.stdint cimport uint16_t, uint32_t, uint8_t
from libc.string cimport memcpy, memset

from pywg.dataplane.send.seal cimport send_batch_next_segments
from pywg.dataplane.state.peer cimport Peer
from pywg.dataplane.wire.virtio cimport VNET_F_NEEDS_CSUM, VNET_GSO_ECN, VNET_GSO_TCPV4, VNET_GSO_TCPV6
from pywg.dataplane.wire.virtio cimport VNET_GSO_UDP_L4, VnetHdr
from pywg.dataplane.wire.wireguard cimport TransportHeader

from tests.fuzz.native.common cimport FIRST_INDEX, PEERS, Session
from tests.fuzz.native.harness cimport TRAFFIC_RAW, TRAFFIC_TCP, TRAFFIC_UDP, Chance, chance_below, chance_bytes
from tests.fuzz.native.harness cimport chance_len, chance_next, chance_one_in, finish_packet, ip_header_len
from tests.fuzz.native.harness cimport l4_header_len, make_packet, number_address, peer_address, put16, sum16
from tests.fuzz.native.outbound_state cimport PLAN_TO_THE_END, Harness, Planned, plan_wire_len


cdef uint32_t marked_frame(Harness *b, VnetHdr *hdr, uint8_t *packet, bint offloads) noexcept nogil:
    """A packet or superframe that is right; its length."""
    cdef Chance *c = &b.chance
    cdef uint32_t peer = b.burst_peer if b.burst_peer else 1 + chance_below(c, PEERS - 1)
    cdef int version = b.burst_version if b.burst_version else (4 if chance_one_in(c, 2) else 6)
    cdef int protocol = TRAFFIC_RAW
    cdef uint32_t ip_len = ip_header_len(version), len, payload_len, gso_size
    cdef bint cut = offloads and chance_one_in(c, 5)
    if cut or chance_one_in(c, 3):
        protocol = TRAFFIC_TCP if chance_one_in(c, 2) else TRAFFIC_UDP
    len = b.burst_lens[chance_below(c, 2)]
    if b.giants and not cut:
        # They fill the memory for staged packets to its last bytes; what comes behind is read, and not staged.
        len = chance_below(c, 65536 if b.until_confirmed > 0 or chance_one_in(c, 3) else 32768)
    elif len == 0 or cut:
        len = chance_len(c, 0, 65535, b.dp.mtu)
    if cut and chance_one_in(c, 2):
        len = 65535 - chance_below(c, 64)
    len = min(max(len, ip_len + l4_header_len(protocol)), <uint32_t>65535)
    write_packet(b, packet, peer, version, protocol, len)
    if not cut and not (offloads and protocol != TRAFFIC_RAW and chance_one_in(c, 4)):
        return len
    leave_checksum(hdr, packet, version, protocol, len)
    if cut:
        payload_len = len - ip_len - l4_header_len(protocol)
        gso_size = 1 + chance_below(c, max(payload_len, <uint32_t>1)) if chance_one_in(c, 4) else (
            max(chance_len(c, 1, 65535, b.dp.mtu), <uint32_t>60) - 48)
        cut_into(c, hdr, version, protocol, gso_size)
    return len


cdef uint32_t planned_frame(Harness *b, const Planned *planned, VnetHdr *hdr, uint8_t *packet) noexcept nogil:
    """What was planned, for the burst's peer; its length."""
    cdef int protocol = b.plan_protocol if planned.gso_size else TRAFFIC_RAW, version = b.burst_version
    cdef uint32_t len = planned.len, gso_size = planned.gso_size
    if gso_size == PLAN_TO_THE_END:
        gso_size = 1 + chance_below(&b.chance, <uint32_t>1 << chance_below(&b.chance, 10))
        len = len_to_the_end(b, version, protocol, gso_size)
    write_packet(b, packet, b.burst_peer, version, protocol, len)
    if gso_size:
        leave_checksum(hdr, packet, version, protocol, len)
        cut_into(&b.chance, hdr, version, protocol, gso_size)
    return len


cdef uint32_t len_to_the_end(Harness *b, int version, int protocol, uint32_t gso_size) noexcept nogil:
    """Of a superframe whose datagrams take the room that there is, or some bytes more or less."""
    cdef uint32_t room, headers = ip_header_len(version) + l4_header_len(protocol), stride, last
    send_batch_next_segments(b.send_path.batch, &room)
    stride = plan_wire_len(headers + gso_size, b.dp.mtu)
    last = room % stride + 32 - chance_below(&b.chance, 48)
    last = last - plan_wire_len(headers, 0) if last > plan_wire_len(headers, 0) else 1
    return min(headers + room // stride * gso_size + min(last, gso_size), <uint32_t>65535)


cdef void write_packet(Harness *b, uint8_t *packet, uint32_t peer, int version, int protocol,
                       uint32_t len) noexcept nogil:
    cdef Chance *c = &b.chance
    b.number += 1
    make_packet(packet, version, protocol, len, b.number, chance_below(c, 0xFFFFFFFF))
    number_address(packet + (12 if version == 4 else 8), version, b.number)
    peer_address(packet + (16 if version == 4 else 24), version, peer, chance_below(c, 0xFFFF))
    if b.plan.at >= b.plan.count and chance_one_in(c, 4):
        packet[1] |= <uint8_t>((3 if version == 4 else 0x30) & chance_next(c))
    finish_packet(packet, version, protocol, len)


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
    hdr.hdr_len = <uint16_t>(headers if chance_one_in(c, 2) else chance_next(c))
    hdr.gso_type = VNET_GSO_UDP_L4 if protocol == TRAFFIC_UDP else VNET_GSO_TCPV4 if version == 4 else VNET_GSO_TCPV6
    if chance_one_in(c, 8):
        hdr.gso_type |= VNET_GSO_ECN


cdef uint32_t pseudo_sum(const uint8_t *packet, int version, int protocol, uint32_t l4_len) noexcept nogil:
    return sum16(packet + (12 if version == 4 else 8), 8 if version == 4 else 32, <uint32_t>protocol + l4_len)


cdef uint32_t wild_frame(Harness *b, uint8_t *frame, uint32_t vnet_len) noexcept nogil:
    """Anything; with a virtio header its whole length. To the first peer, or to nobody."""
    cdef Chance *c = &b.chance
    cdef uint32_t len = chance_len(c, 0, 65535, b.dp.mtu), at = chance_below(c, 3)
    cdef uint32_t length = vnet_len + len
    cdef uint8_t *packet = frame + vnet_len
    cdef int version = 4 if chance_one_in(c, 2) else 6
    cdef Session *session
    cdef Peer *peer
    chance_bytes(c, packet, len)
    if chance_one_in(c, 2):
        chance_bytes(c, frame, vnet_len)
        if vnet_len and chance_one_in(c, 2):
            frame[1] = <uint8_t>chance_below(c, 6)
    if len < 40:
        return chance_below(c, length + 1) if chance_one_in(c, 4) else length
    packet[0] = <uint8_t>(version << 4 | (5 if chance_one_in(c, 2) else chance_below(c, 16)))
    if chance_one_in(c, 2):
        packet[9 if version == 4 else 6] = 17 if chance_one_in(c, 2) else 6
    if chance_one_in(c, 2):
        put16(packet + (2 if version == 4 else 4), len if version == 4 else len - 40)
    if at == 0:
        packet[16 if version == 4 else 24] = 11     # nobody's
    else:
        peer_address(packet + (16 if version == 4 else 24), version, 0, chance_below(c, 0xFFFF))
    if at == 1 and len >= 80 and b.session_count:
        # What looks like a transport message of ours on its way to a peer.
        session = &b.sessions[chance_below(c, b.session_count)]
        peer = b.peers[session.peer]
        if peer != NULL and peer.endpoint.ip_len == (4 if version == 4 else 16):
            packet[0] = <uint8_t>(version << 4 | 5)
            packet[9 if version == 4 else 6] = 17
            memcpy(packet + (16 if version == 4 else 24), peer.endpoint.ip, peer.endpoint.ip_len)
            packet += ip_header_len(version)
            memcpy(packet + 2, &peer.endpoint.port, 2)
            memset(packet + 8, 0, 4)
            packet[8] = 4
            (<TransportHeader *>(packet + 8)).receiver_index = FIRST_INDEX + <uint32_t>(session - b.sessions)
    return length
