"""IP packets through the stages that cut, merge and answer them, one call a step."""
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from pywg.dataplane.receive.coalesce cimport COALESCE_MAX_IOV, COALESCE_TCP, COALESCE_TUNNELS, COALESCE_UDP, Coalescer
from pywg.dataplane.receive.coalesce cimport coalesce_add, coalesce_apart, coalesce_count, coalesce_frame
from pywg.dataplane.receive.coalesce cimport coalesce_free, coalesce_is_tunnel, coalesce_member, coalesce_new
from pywg.dataplane.send.segment cimport SEG_MALFORMED, SEG_NO_ROOM, SEG_UNKNOWN_GSO, Superframe, finish_checksum
from pywg.dataplane.send.segment cimport segment_cut, segment_plan
from pywg.dataplane.send.unreachable cimport ICMP_REPLY_MAX, icmp_unreachable
from pywg.dataplane.state.tunnel_ends cimport KnownEnds, TunnelEnd, tunnel_end_place
from pywg.dataplane.sys.linux cimport iovec
from pywg.dataplane.wire.checksum cimport csum_fold, csum_partial
from pywg.dataplane.wire.ecn cimport ecn_decapsulate
from pywg.dataplane.wire.ip cimport IpView, htons, ip_read, ntohs
from pywg.dataplane.wire.run cimport Run
from pywg.dataplane.wire.virtio cimport VNET_HDR_LEN, VnetTunnelHdr
from pywg.dataplane.wire.wireguard cimport WG_HEADER_LEN

REASONS = {SEG_UNKNOWN_GSO: "unknown GSO type", SEG_MALFORMED: "malformed", SEG_NO_ROOM: "no room"}


cdef VnetTunnelHdr read_vnet(const uint8_t[::1] vnet_hdr) except *:
    """Of a shorter header, what is behind it is no zeros."""
    cdef VnetTunnelHdr hdr
    if vnet_hdr.shape[0] < VNET_HDR_LEN:
        raise ValueError(f"a virtio header has {VNET_HDR_LEN} bytes, not {vnet_hdr.shape[0]}")
    memset(&hdr, 0xEE, sizeof(VnetTunnelHdr))
    memcpy(&hdr, &vnet_hdr[0], min(<size_t>vnet_hdr.shape[0], sizeof(VnetTunnelHdr)))
    return hdr


def datagrams(vnet_hdr, packet, mtu, *, room=200_000, max_runs=16):
    """Cuts a superframe; returns each run as a list of (wire bytes, inner length).

    The wire bytes hold 0xEE where nothing was written: the 16 bytes before and the 16 after the padded inner packet.
    Raises ValueError, with the reason, for a frame that can't be cut.
    """
    cdef VnetTunnelHdr hdr = read_vnet(vnet_hdr)
    cdef int hdr_len = len(vnet_hdr)
    cdef uint32_t out_room = room
    cdef int run_room = max_runs
    # Exact copies on the heap, so that a memory checker sees a step outside.
    cdef uint32_t packet_len = len(packet)
    cdef uint8_t *whole = <uint8_t *>malloc(packet_len or 1)
    cdef uint8_t *out = <uint8_t *>malloc(out_room or 1)
    cdef Run *runs = <Run *>malloc(sizeof(Run) * (run_room or 1))
    cdef Superframe frame
    cdef IpView ip
    cdef int count
    try:
        if whole == NULL or out == NULL or runs == NULL:
            raise MemoryError
        memcpy(whole, <const uint8_t *><const char *>packet, packet_len)
        memset(out, 0xEE, out_room)
        ip_read(&ip, whole, packet_len)
        count = segment_plan(&frame, &hdr.inner, hdr_len, &ip, mtu, out, out_room, runs, run_room)
        if count < 0:
            raise ValueError(REASONS[count])
        for i in range(count):
            segment_cut(&frame, &runs[i], 0, runs[i].count)
        return [run_datagrams(&runs[i]) for i in range(count)]
    finally:
        free(whole)
        free(out)
        free(runs)


cdef list run_datagrams(const Run *run):
    last = run.base + (run.count - 1) * run.stride
    found = [((run.base + i * run.stride)[:run.stride], run.inner_len) for i in range(run.count - 1)]
    return [*found, (last[:run.last_wire], run.last_len)]


def segment(vnet_hdr, packet, mtu):
    """The inner packets, without padding, that a superframe becomes. Raises ValueError as datagrams() does."""
    runs = datagrams(vnet_hdr, packet, mtu)
    return [wire[WG_HEADER_LEN:WG_HEADER_LEN + inner_len] for run in runs for wire, inner_len in run]


def finish(vnet_hdr, packet):
    """A copy of `packet` with its checksum finished. Raises ValueError if the field lies outside the packet."""
    cdef VnetTunnelHdr hdr = read_vnet(vnet_hdr)
    copy = bytearray(packet)
    if finish_checksum(&hdr.inner, <uint8_t *><char *>copy, len(copy)) < 0:
        raise ValueError(REASONS[SEG_MALFORMED])
    return bytes(copy)


def internet_checksum(const uint8_t[::1] data):
    """The checksum field (RFC 1071), as a big-endian number, for `data`; 0 over data that holds a right one."""
    return ntohs(csum_fold(csum_partial(&data[0], data.shape[0], 0))) if data.shape[0] else 0xFFFF


def coalesce(packets, tcp=True, udp=True, *, max_packets=1024, vnet_hdr_len=VNET_HDR_LEN, tunnels=(), apart=False):
    """What one batch of packets becomes, for tests and benchmarks: a list of (virtio header, frame).

    `tunnels`: (address, port) of each end that is known. `apart`: superframes of tunnels are undone, as where the TUN
    refuses them. Raises ValueError when there are more packets than `max_packets`.
    """
    cdef Coalescer *c = coalesce_new(max_packets, vnet_hdr_len)
    # Exact copies on the heap, so that a memory checker sees a step outside.
    cdef uint8_t **copies = <uint8_t **>calloc(len(packets) + 1, sizeof(uint8_t *))
    cdef int features = (COALESCE_TCP if tcp else 0) | (COALESCE_UDP if udp else 0) | COALESCE_TUNNELS
    cdef uint32_t packet_len
    cdef IpView ip
    cdef int i, n = len(packets)
    try:
        if c == NULL or copies == NULL:
            raise MemoryError
        for address, port in tunnels:
            know(&c.tunnels, address, htons(port))
        for i in range(n):
            packet_len = len(packets[i])
            copies[i] = <uint8_t *>malloc(packet_len or 1)
            if copies[i] == NULL:
                raise MemoryError
            memcpy(copies[i], <const uint8_t *><const char *>packets[i], packet_len)
            ip_read(&ip, copies[i], packet_len)
            if coalesce_add(c, &ip, features) < 0:
                raise ValueError("the batch is full")
        return [frame for i in range(coalesce_count(c)) for frame in joined_frames(c, i, apart)]
    finally:
        coalesce_free(c)
        for i in range(n if copies != NULL else 0):
            free(copies[i])
        free(copies)


cdef void know(KnownEnds *known, bytes address, uint16_t port):
    """An end of a tunnel, seen just now."""
    cdef const uint8_t *at = <const uint8_t *>PyBytes_AS_STRING(address)
    cdef TunnelEnd *end = &known.ends[tunnel_end_place(at, <uint8_t>len(address), port)]
    end.seen_ns = known.now = 1
    end.port = port
    end.address_len = <uint8_t>len(address)
    memcpy(end.address, at, end.address_len)
    known.any = True


cdef list joined_frames(Coalescer *c, int i, bint apart):
    """One frame, or the packets of one that is undone."""
    cdef iovec iov[COALESCE_MAX_IOV]
    cdef int member = -1
    cdef list found = [joined(c, iov, coalesce_frame(c, i, iov, COALESCE_MAX_IOV))]
    if apart and coalesce_is_tunnel(c, i):
        member = coalesce_apart(c, i)
        found = [joined(c, iov, coalesce_frame(c, i, iov, COALESCE_MAX_IOV))]
    while member >= 0:
        member = coalesce_member(c, i, member, iov)
        found.append(joined(c, iov, 2))
    return found


cdef tuple joined(const Coalescer *c, const iovec *iov, int count):
    pieces = [(<char *>iov[k].iov_base)[:iov[k].iov_len] for k in range(count)]
    return (pieces[0], b"".join(pieces[1:])) if c.vnet_hdr_len else (b"", b"".join(pieces))


def unreachable(packet: bytes) -> bytes | None:
    """The answer to an inner packet that nobody takes; None when there may be none. ValueError: no whole IP header."""
    cdef uint8_t reply[ICMP_REPLY_MAX]
    cdef uint32_t reply_len
    cdef IpView ip
    if not ip_read(&ip, <uint8_t *>PyBytes_AS_STRING(packet), <uint32_t>len(packet)):
        raise ValueError("the packet is shorter than its IP header")
    reply_len = icmp_unreachable(&ip, reply)
    return PyBytes_FromStringAndSize(<const char *>reply, reply_len) if reply_len else None


def decapsulate(packet: bytes, uint8_t outer) -> bytes:
    """The inner packet (whole IPv4 or IPv6 header) as it is delivered. ValueError: too short."""
    cdef bytearray copy = bytearray(packet)
    cdef IpView ip
    if not ip_read(&ip, <uint8_t *>PyByteArray_AS_STRING(copy), <uint32_t>len(copy)):
        raise ValueError("the packet is shorter than its IP header")
    ecn_decapsulate(&ip, outer)
    return bytes(copy)
