"""Segmentation: datagrams ready to be sealed from superframes of the TUN (TSO4, TSO6, USO), and checksums to finish.

Packets come from the local kernel, or from a process that holds the TUN's descriptor: every length is checked against
the bytes that there are.
"""
from libc.stdint cimport uint8_t, uint32_t

from pywg.dataplane.wire.ip cimport IpView
from pywg.dataplane.wire.run cimport Run
from pywg.dataplane.wire.virtio cimport VnetHdr

cdef enum:
    SEG_UNKNOWN_GSO = -1  # a GSO type that the TUN was not set up for
    SEG_MALFORMED = -2    # the headers contradict the virtio header, each other or the packet's length
    SEG_NO_ROOM = -3      # more wire bytes than `out_room`, or more runs than `max_runs`

# Cuts the superframe into inner packets of gso_size payload bytes, copied to `out`: headers, lengths and checksums
# right, the padding zeroed, the room for WireGuard's header and for the tag left untouched. A run ends at 64 datagrams
# or 65,000 wire bytes; a single datagram longer than that is a run of one. Returns the number of runs, or SEG_*: then
# nothing was written. `out` and the packet must not overlap.
cdef int segment_frame(
    const VnetHdr *hdr, const IpView *ip, uint32_t mtu, uint8_t *out, uint32_t out_room, Run *runs, int max_runs,
) noexcept nogil

# Finishes, in place, the checksum that a packet without GSO says it needs (VNET_F_NEEDS_CSUM). 0, or SEG_MALFORMED.
cdef int finish_checksum(const VnetHdr *hdr, uint8_t *packet, uint32_t packet_len) noexcept nogil
