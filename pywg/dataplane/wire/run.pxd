"""A run: datagrams of one peer in a row, which are cut, sealed and sent together (UDP_SEGMENT)."""
from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    RUN_MAX_DATAGRAMS = 64      # UDP_MAX_SEGMENTS of the oldest kernels with UDP_SEGMENT
    RUN_MAX_WIRE_LEN = 65000    # below what one UDP send can carry over IPv4 and IPv6


cdef struct Run:
    # Datagrams of one peer, back to back as UDP_SEGMENT wants them: equal wire lengths, only the last may be shorter.
    # Each: 16 bytes for the WireGuard header, the inner packet, padding, 16 bytes for the tag.
    uint8_t *base        # the first datagram
    uint32_t count       # datagrams, 1..64
    uint32_t inner_len   # bytes of the inner packet, before padding, of each but the last
    uint32_t last_len    # the same of the last: 0 < last_len <= inner_len
    uint32_t stride      # wire bytes of each but the last
    uint32_t last_wire   # wire bytes of the last


cdef inline uint32_t run_len(const Run *run) noexcept nogil:
    """Wire bytes of all its datagrams."""
    return (run.count - 1) * run.stride + run.last_wire
