"""Superframes for the TUN from packets of any peers and flows: TSO frames from TCP segments, also in UDP tunnels, and
USO frames from datagrams.

The reverse of segment: when the kernel cuts a superframe, it gets back the packets that came in. Packets come from
authenticated peers and may be hostile. A packet that may not be merged passes unchanged.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from pywg.dataplane.state.tunnel_ends cimport KnownEnds
from pywg.dataplane.sys.linux cimport iovec
from pywg.dataplane.wire.ip cimport IpView

cdef enum:
    COALESCE_TCP = 1
    COALESCE_UDP = 2
    COALESCE_TUNNELS = 4
    COALESCE_MAX_MEMBERS = 64
    COALESCE_MAX_IOV = COALESCE_MAX_MEMBERS + 1     # the virtio header, and one for each member
    COALESCE_MAX_FLOWS = 16
    COALESCE_MAX_HEADERS = 512      # bytes; a tunnel's packet that has more is not merged


cdef struct Member:
    # A packet after a frame's first: its payload alone.
    uint8_t *payload
    uint32_t len
    int next             # index of the frame's next member, -1 at its end


cdef struct Frame:
    uint8_t *head        # the frame's first packet
    uint32_t head_len
    uint32_t total_len   # IP length of the whole frame
    uint32_t next_seq    # TCP: sequence number that would follow
    uint16_t gso_size    # payload bytes of each packet but the last
    uint16_t header_len  # all headers
    uint8_t l4_offset
    uint8_t protocol     # of the header at merged_l4
    uint8_t count        # packets
    uint8_t id_step      # IPv4 ID from one packet to the next: 0 or 1
    uint8_t inner_id_step
    uint16_t inner       # in a UDP tunnel, where the IP header inside begins; 0: no tunnel
    uint16_t merged_l4   # the header before the payload: that at l4_offset, or TCP's inside
    bint verified        # the head's checksums were checked, and hold
    bint push            # the last packet's PSH
    int first            # index of the first Member, -1 for none
    int last
    uint8_t vnet[24]     # the virtio header, written by coalesce_frame()


cdef struct OpenFrame:
    uint64_t tag         # ports, protocol and IP version, which tell most flows apart
    int frame


cdef struct Coalescer:
    int max_packets
    int vnet_hdr_len
    int packet_count
    int frame_count
    int member_count
    int open_count
    int next_evicted
    OpenFrame open[COALESCE_MAX_FLOWS]
    Frame *frames
    Member *members
    KnownEnds tunnels    # whose packets may be merged by what is in the tunnel: renewed by the coalescer's owner
    uint8_t head_was[COALESCE_MAX_HEADERS]      # headers of the last superframe of a tunnel that was laid out


# Makes a coalescer for batches of up to `max_packets`. `vnet_hdr_len`: 0 (it never merges), 10, 12, or 24, which
# superframes of tunnels need. NULL: no memory.
cdef Coalescer *coalesce_new(int max_packets, int vnet_hdr_len) noexcept nogil
cdef void coalesce_free(Coalescer *c) noexcept nogil

# Starts a new batch.
cdef void coalesce_reset(Coalescer *c) noexcept nogil

# Takes one packet. Its bytes, unlike the view, must stay in place, writable, until the reset. `features`: COALESCE_TCP,
# COALESCE_UDP and COALESCE_TUNNELS, or some. 0, or -1 when the batch is full (write its frames, reset, add again).
cdef int coalesce_add(Coalescer *c, const IpView *ip, int features) noexcept nogil

# How many frames the batch has, in the order of their first packets. Packets of one flow are never reordered.
cdef int coalesce_count(Coalescer *c) noexcept nogil

# Finishes frame `i` and lays it out: iov[0] its virtio header (left out when vnet_hdr_len is 0), then the first packet
# with its headers rewritten, then the payloads of the others. Returns the iov count, or -1 if `max_iov` is too small
# (COALESCE_MAX_IOV never is). May be called again for the same frame; coalesce_add() comes next only after a reset.
cdef int coalesce_frame(Coalescer *c, int i, iovec *iov, int max_iov) noexcept nogil

# Whether frame `i` is a superframe of a tunnel, which the TUN may refuse.
cdef bint coalesce_is_tunnel(const Coalescer *c, int i) noexcept nogil

# Undoes such a frame, the last one that was laid out: from now on it is its first packet, as that came. Returns the
# index of the second one's Member.
cdef int coalesce_apart(Coalescer *c, int i) noexcept nogil

# Lays out that Member's packet of an undone frame, in two pieces. Returns the next one's index, -1 behind the last.
cdef int coalesce_member(Coalescer *c, int i, int member, iovec *iov) noexcept nogil
