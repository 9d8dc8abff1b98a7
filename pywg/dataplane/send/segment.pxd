"""Segmentation: datagrams ready to be sealed from superframes of the TUN (TSO4, TSO6, USO, each also in a UDP tunnel),
and checksums to finish.

Packets come from the local kernel, or from a process that holds the TUN's descriptor: every length is checked against
the bytes that there are.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from pywg.dataplane.wire.ip cimport IpView
from pywg.dataplane.wire.run cimport Run
from pywg.dataplane.wire.virtio cimport VnetHdr

cdef enum:
    SEG_UNKNOWN_GSO = -1  # a GSO type that the TUN was not set up for
    SEG_MALFORMED = -2    # the headers contradict the virtio header, each other or the packet's length
    SEG_NO_ROOM = -3      # more wire bytes than `out_room`, or more runs than `max_runs`


cdef struct Superframe:
    uint8_t *frame          # where it was read: it stays as it is until its last segment is cut
    uint32_t frame_len
    IpView ip               # of the packet that is cut; in a UDP tunnel that inside
    uint32_t front          # bytes before it: the tunnel's headers
    uint32_t header_len     # all headers: what every segment repeats
    uint32_t payload_len
    uint32_t gso_size
    uint32_t count          # segments,
    uint32_t cut            # and how many of them are cut
    uint64_t ip_sum         # of the IPv4 header without the fields that differ from segment to segment
    uint64_t l4_sum         # of the pseudo and transport headers, likewise
    uint8_t outer_version   # of a UDP tunnel's own headers
    bint outer_check        # they have a UDP checksum
    uint32_t outer_l4
    uint64_t outer_ip_sum
    uint64_t outer_l4_sum   # of all but the packet's transport header and payload

# Checks a superframe whole, and lays its datagrams out in `out`: all lengths are decided here, and cutting can't fail.
# `hdr_len`: bytes at `hdr`; of a UDP tunnel they have to be VNET_TUNNEL_HDR_LEN.
# A run ends at 64 datagrams or 65,000 wire bytes; a single datagram longer than that is a run of one. Fills `s` and
# `runs`, and writes nothing else. Returns the number of runs, or SEG_*.
cdef int segment_plan(
    Superframe *s, const VnetHdr *hdr, int hdr_len, const IpView *ip, uint32_t mtu, uint8_t *out, uint32_t out_room,
    Run *runs, int max_runs,
) noexcept nogil

# Cuts the next `n` segments of a planned superframe, which are the datagrams of `run` from `first` on: inner packets of
# gso_size payload bytes, with right headers, lengths and checksums. The padding is zeroed, the room for WireGuard's
# header and for the tag left untouched. The frame and `out` must not overlap.
cdef void segment_cut(Superframe *s, const Run *run, uint32_t first, uint32_t n) noexcept nogil

# Finishes, in place, the checksum that a packet without GSO says it needs (VNET_F_NEEDS_CSUM). 0, or SEG_MALFORMED.
cdef int finish_checksum(const VnetHdr *hdr, uint8_t *packet, uint32_t packet_len) noexcept nogil
