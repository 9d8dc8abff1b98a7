"""Fuzz target: packets of some flows, also in tunnels, merged for the TUN, beside merge_plain.h, and cut again by
cut_plain.h.

Every packet comes out once, unchanged, in order within its flow; what may be merged is merged, and nothing else.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset

from pywg.dataplane.receive.coalesce cimport COALESCE_MAX_FLOWS, COALESCE_MAX_IOV, COALESCE_TUNNELS, Coalescer
from pywg.dataplane.receive.coalesce cimport coalesce_add, coalesce_apart, coalesce_count, coalesce_frame
from pywg.dataplane.receive.coalesce cimport coalesce_is_tunnel, coalesce_member, coalesce_new, coalesce_reset
from pywg.dataplane.state.tunnel_ends cimport KnownEnds, TunnelEnd, tunnel_end_place
from pywg.dataplane.sys.linux cimport iovec
from pywg.dataplane.wire.ip cimport IpView, htons, ip_read

from tests.fuzz.native.common cimport need, need_equal
from tests.fuzz.native.input cimport Input, input8, input_below, input_left, input_start

cdef extern from "merge_plain.h" nogil:
    struct PlainIp "plain_ip":
        int version
        uint32_t protocol
        uint32_t l4
    struct MergePacket "merge_packet":
        const uint8_t *at
        uint32_t len
        uint32_t header
        uint32_t payload
        PlainIp ip
        bint told
        bint mergeable
        bint push
        uint32_t inner
        PlainIp inside "in"
    struct Cut "cut":
        uint32_t pieces
    MergePacket merge_read(const uint8_t *at, uint32_t len, int features, bint tunnels)
    bint merge_same_addresses(const MergePacket *a, const MergePacket *b)
    bint merge_same_flow(const MergePacket *a, const MergePacket *b)
    bint merge_joins(const MergePacket *head, const MergePacket *second, uint32_t count, uint32_t payload,
                     const MergePacket *p)
    int cut_start(Cut *c, const uint8_t *vnet, uint32_t vnet_len, const uint8_t *packet, uint32_t len)
    uint32_t cut_piece(const Cut *c, uint32_t i, uint8_t *to)
    uint32_t plain_sum(const uint8_t *at, uint32_t len, uint32_t sum)
    uint32_t plain_pseudo(const uint8_t *packet, uint32_t protocol, uint32_t l4_len)
    uint32_t plain16(const uint8_t *at)
    void plain_put16(uint8_t *at, uint32_t value)
    void plain_put32(uint8_t *at, uint32_t value)

cdef enum:
    PACKETS = 80
    FLOWS = 32                  # more than may be open at once
    LONGEST = 22000             # three of them are more than a frame holds
    FRAME_LONGEST = 65535
    TCP = 6
    UDP = 17

cdef struct Flow:
    uint32_t seq
    uint32_t id
    uint32_t size

cdef struct Expected:           # a frame that has to come
    uint32_t members[PACKETS]
    uint32_t count
    uint32_t payload
    bint open

cdef Coalescer *coalescers[4]
cdef int[4] vnet_lens = [0, 10, 12, 24]
cdef Flow flows[FLOWS]
cdef uint8_t *packets[PACKETS]      # as they are merged, each by itself on the heap
cdef uint8_t[PACKETS][LONGEST] originals
cdef uint32_t lens[PACKETS]
cdef MergePacket views[PACKETS]
cdef Expected expected[PACKETS]
cdef uint32_t expected_count
cdef bint tunnels                   # those to port 7 are to the end of one
cdef bint refused                   # their superframes, by the TUN
cdef bint exact                     # no frame had to be closed for want of room
cdef bint[PACKETS] came
cdef uint8_t[FRAME_LONGEST + 1] frame
cdef uint8_t[FRAME_LONGEST + 1] piece
cdef uint8_t[24] zeros
cdef uint8_t[LONGEST + 256] pattern


# ---- packets

cdef void finish(uint8_t *p, uint32_t len, uint32_t l4, uint32_t protocol) noexcept nogil:
    """Right checksums."""
    cdef uint32_t field = l4 + (16 if protocol == TCP else 6), sum
    if l4 == 20:
        plain_put16(p + 10, 0)
        plain_put16(p + 10, ~plain_sum(p, 20, 0) & 0xFFFF)
    if protocol == TCP or protocol == UDP:
        plain_put16(p + field, 0)
        sum = ~plain_sum(p + l4, len - l4, plain_pseudo(p, protocol, len - l4)) & 0xFFFF
        plain_put16(p + field, sum if sum or protocol == TCP else 0xFFFF)


cdef void ip_header(uint8_t *p, uint32_t number, uint32_t len, uint32_t protocol, uint32_t id) noexcept nogil:
    """IPv6 where `number` is odd, else IPv4."""
    if number & 1 == 0:
        p[0] = 0x45
        plain_put16(p + 2, len)
        plain_put16(p + 4, id)
        p[6] = 0x40 if number & 4 else 0
        p[8] = 64
        p[9] = <uint8_t>protocol
        p[12] = p[16] = 10
        p[19] = 1
    else:
        p[0] = 0x60
        plain_put16(p + 4, len - 40)
        p[6] = <uint8_t>protocol
        p[7] = 64
        p[8] = p[24] = 0xFD
        p[39] = 1


cdef uint32_t make(uint8_t *p, uint32_t number, uint32_t payload) noexcept nogil:
    """The next packet of a flow. Its length."""
    cdef Flow *flow = &flows[number]
    cdef uint32_t l4 = 40 if number & 1 else 20
    cdef uint32_t protocol = UDP if number & 2 else TCP
    cdef uint32_t options = 12 if number >= 8 and protocol == TCP else 0
    cdef uint32_t header = l4 + (20 + options if protocol == TCP else 8)
    cdef uint32_t len = header + payload
    memset(p, 0, header)
    ip_header(p, number, len, protocol, flow.id)
    p[l4 + 1] = <uint8_t>number
    p[l4 + 3] = 7
    if protocol == TCP:
        plain_put32(p + l4 + 4, flow.seq)
        p[l4 + 12] = <uint8_t>((20 + options) << 2)
        p[l4 + 13] = 0x10
        if options:
            p[l4 + 20] = p[l4 + 21] = 1
            p[l4 + 22] = 8
            p[l4 + 23] = 10
    else:
        plain_put16(p + l4 + 4, len - l4)
    memcpy(p + header, pattern + (flow.seq & 0xFF), payload)
    flow.seq += payload
    flow.id += 1
    return len


cdef bint is_tunnelled(uint32_t number) noexcept nogil:
    """Of flows of UDP, each second one has a flow of TCP inside, where ends of tunnels are known."""
    return tunnels and number & 10 == 10


cdef uint32_t inside_of(uint32_t number) noexcept nogil:
    """Which flow: of the same IP version as the tunnel, or not."""
    return number ^ (3 if number & 16 else 2)


cdef uint32_t inner_at(uint32_t number) noexcept nogil:
    """Where it begins: behind VXLAN, or Geneve with an option of 8 bytes."""
    return (40 if number & 1 else 20) + 8 + 8 + 14 + (8 if number & 4 else 0)


cdef uint32_t make_tunnelled(uint8_t *p, uint32_t number, uint32_t payload, uint32_t flags) noexcept nogil:
    """The next packet of a flow in a tunnel; its length. `flags`: TCP's, inside."""
    cdef uint32_t l4 = 40 if number & 1 else 20, inner = inner_at(number), inside = inside_of(number)
    cdef uint32_t inside_l4 = 40 if inside & 1 else 20
    cdef uint32_t len = inner + make(p + inner, inside, payload)
    p[inner + inside_l4 + 13] = <uint8_t>flags
    finish(p + inner, len - inner, inside_l4, TCP)
    memset(p, 0, inner)
    ip_header(p, number, len, UDP, flows[number].id)
    flows[number].id += 1
    p[l4 + 1] = <uint8_t>number
    p[l4 + 3] = 7
    plain_put16(p + l4 + 4, len - l4)
    p[l4 + 8] = 0x02 if number & 4 else 0x08
    plain_put16(p + l4 + 10, 0x6558 if number & 4 else 0)
    plain_put16(p + inner - 2, 0x86DD if inside & 1 else 0x0800)
    return len


cdef uint32_t size_of(Input *input, uint32_t what) noexcept nogil:
    """Bytes of payload."""
    if what < 8:
        return 1 + what * 5
    if what < 12:
        return input8(input)
    if what < 15:
        return 700
    return LONGEST - 100 if input8(input) == 0xFF else 3


cdef uint32_t next_packet(Input *input, uint8_t *p) noexcept nogil:
    """Two bytes say which flow, how long, and what is odd about it; then come those that this needs. Its length."""
    cdef uint32_t what = input8(input), odd = input8(input)
    cdef uint32_t number = what & 15 | (16 if odd & 0x3C == 0x38 else 0)
    cdef Flow *flow = &flows[number]
    cdef Flow *changed
    cdef uint32_t l4 = 40 if number & 1 else 20
    cdef uint32_t protocol = UDP if number & 2 else TCP
    cdef uint32_t len, at, size
    if flow.size == 0 or odd & 7 == 1:
        flow.size = size_of(input, what >> 4)
    changed = &flows[inside_of(number)] if is_tunnelled(number) and odd & 8 else flow
    if odd & 7 == 2:
        flows[inside_of(number) if is_tunnelled(number) else number].seq += input8(input) - 128
    if odd & 7 == 3:
        changed.id += input8(input) - 128
    size = flow.size if odd & 7 != 4 else input8(input) % (flow.size + 2)
    if is_tunnelled(number):
        len = make_tunnelled(p, number, min(size, <uint32_t>LONGEST - 300), input8(input) if odd & 7 == 5 else 0x10)
    else:
        len = make(p, number, size)
    if odd & 7 == 5 and protocol == TCP:
        p[l4 + 13] = <uint8_t>input8(input)
    finish(p, len, l4, protocol)
    if odd & 7 >= 6:
        at = input_below(input, min(len, <uint32_t>(160 if is_tunnelled(number) else 80)))
        p[at] ^= <uint8_t>(1 << (odd >> 3 & 7))
        if odd & 7 == 6:
            finish(p, len, l4, protocol)
    if is_tunnelled(number) and odd & 16 == 0:
        plain_put16(p + l4 + 6, 0)      # a tunnel without a checksum
    if odd & 0xC0 == 0xC0:
        changed.id -= 1         # the next one has the same
    return len


# ---- what has to come

cdef void close_flow(const MergePacket *p) noexcept nogil:
    """What is open, and `p` must not overtake."""
    cdef uint32_t i
    cdef const MergePacket *head
    for i in range(expected_count):
        head = &views[expected[i].members[0]]
        if merge_same_flow(head, p) if p.told else merge_same_addresses(head, p):
            expected[i].open = False


cdef bint expect_joined(uint32_t number) noexcept nogil:
    """Whether the packet joins an open frame, which it may then close."""
    cdef const MergePacket *p = &views[number]
    cdef const MergePacket *head
    cdef const MergePacket *second
    cdef Expected *e
    cdef uint32_t i
    for i in range(expected_count):
        e = &expected[i]
        head = &views[e.members[0]]
        second = &views[e.members[1]] if e.count > 1 else p
        if e.open and merge_joins(head, second, e.count, e.payload, p):
            e.members[e.count] = number
            e.count += 1
            e.payload += p.payload
            e.open = not p.push and p.payload == head.payload and e.count < 64
            return True
    return False


cdef void expect(uint32_t number) noexcept nogil:
    global expected_count, exact
    cdef Expected *e
    cdef uint32_t i, n = 0
    if views[number].told and expect_joined(number):
        return
    close_flow(&views[number])
    e = &expected[expected_count]
    expected_count += 1
    e.members[0] = number
    e.count = 1
    e.payload = views[number].payload
    e.open = views[number].mergeable and not views[number].push
    for i in range(expected_count):
        n += expected[i].open
    if n > COALESCE_MAX_FLOWS:
        exact = False


# ---- what came

cdef int whose(const void *at, uint32_t first, uint32_t end) noexcept nogil:
    """The number of the packet that begins, or has its payload, there."""
    cdef uint32_t i
    for i in range(first, end):
        if at == packets[i] or at == packets[i] + views[i].header:
            return <int>i
    need(False, b"bytes that no packet has")
    return -1


cdef void same_zero(uint8_t *check, const uint8_t *like) noexcept nogil:
    """Of the two ways to write a sum of zero, that of `like`."""
    if plain16(check) + plain16(like) == 0xFFFF and (plain16(check) == 0 or plain16(like) == 0):
        memcpy(check, like, 2)


cdef void same_id(uint8_t *ip, const uint8_t *like, const uint8_t *head) noexcept nogil:
    """An ID that stood still under DF stands still."""
    if ip[0] >> 4 != 4:
        return
    if like[6] & 0x40 and plain16(like + 4) == plain16(head + 4):
        memcpy(ip + 4, like + 4, 2)
        plain_put16(ip + 10, 0)
        plain_put16(ip + 10, ~plain_sum(ip, 20, 0) & 0xFFFF)
    same_zero(ip + 10, like + 10)


cdef void equal_packet(const MergePacket *head, const MergePacket *p, uint32_t len) noexcept nogil:
    """`piece` is what came in: but for an ID that stood still under DF, and the two ways to write a sum of zero."""
    cdef uint32_t field
    need_equal(len, p.len, b"the length of a packet")
    same_id(piece, p.at, head.at)
    if p.inner:
        same_id(piece + p.inner, p.at + p.inner, head.at + p.inner)
        field = p.inner + p.inside.l4 + 16
        same_zero(piece + field, p.at + field)
    elif p.ip.protocol == TCP:
        same_zero(piece + p.ip.l4 + 16, p.at + p.ip.l4 + 16)
    need(memcmp(piece, p.at, len) == 0, b"a packet that is another when its frame is cut")


cdef void superframe_is_plain(const uint8_t *vnet, uint32_t vnet_len, uint32_t len, const uint32_t *members,
                              uint32_t count) noexcept nogil:
    """The frame's headers are right, and cut it is its members."""
    cdef const MergePacket *head = &views[members[0]]
    cdef const PlainIp *ip = &head.inside if head.inner else &head.ip
    cdef const uint8_t *packet = frame + head.inner
    cdef uint32_t field = 16 if ip.protocol == TCP else 6
    cdef uint8_t should[24]
    cdef Cut c
    cdef uint32_t i
    memset(should, 0, 24)
    should[0] = 1
    should[1] = 5 if ip.protocol == UDP else 1 if ip.version == 4 else 4
    should[2] = <uint8_t>head.header
    should[4] = <uint8_t>head.payload
    should[5] = <uint8_t>(head.payload >> 8)
    should[6] = <uint8_t>(head.inner + ip.l4)
    should[8] = <uint8_t>field
    if head.inner:
        should[0] |= 8 if plain16(head.at + head.ip.l4 + 6) else 0
        should[1] |= 0x20 if head.ip.version == 4 else 0x40
        should[20] = <uint8_t>(head.ip.l4 + 14)     # as if behind an Ethernet header
        should[22] = <uint8_t>head.inner
    need(memcmp(vnet, should, vnet_len) == 0, b"another virtio header")
    should[20] -= 14 if head.inner else 0
    need(cut_start(&c, should, vnet_len, frame, len) == 0, b"a superframe that can't be cut")
    need_equal(c.pieces, count, b"packets of a superframe")
    need(head.ip.version == 6 or plain_sum(frame, 20, 0) == 0xFFFF, b"a superframe's IPv4 checksum")
    need(ip.version == 6 or plain_sum(packet, 20, 0) == 0xFFFF, b"a superframe's inner IPv4 checksum")
    need_equal(plain16(packet + ip.l4 + field), plain_pseudo(packet, ip.protocol, len - head.inner - ip.l4),
               b"the sum of a superframe's pseudo header")
    if should[0] & 8:
        need_equal(plain16(frame + head.ip.l4 + 6), plain_pseudo(frame, UDP, len - head.ip.l4),
                   b"the sum of a tunnel's pseudo header")
    for i in range(count):
        equal_packet(head, &views[members[i]], cut_piece(&c, i, piece))


cdef void apart_is_right(Coalescer *coalescer, int number, uint32_t vnet_len, const uint32_t *members,
                         uint32_t count) noexcept nogil:
    """Where the TUN refuses a superframe of a tunnel it gets the packets, each as it has come."""
    cdef iovec iov[COALESCE_MAX_IOV]
    cdef int member = coalesce_apart(coalescer, number)
    cdef uint32_t i
    need_equal(<uint64_t>coalesce_frame(coalescer, number, iov, COALESCE_MAX_IOV), 2, b"parts of a packet")
    for i in range(count):
        if i:
            need(member >= 0, b"too few packets of a superframe")
            member = coalesce_member(coalescer, number, member, iov)
        need(iov[0].iov_len == vnet_len and memcmp(iov[0].iov_base, zeros, vnet_len) == 0, b"a packet's virtio header")
        need(iov[1].iov_base == packets[members[i]] and iov[1].iov_len == lens[members[i]], b"another packet")
        need(memcmp(packets[members[i]], originals[members[i]], lens[members[i]]) == 0, b"a packet that changed")
    need(member < 0, b"too many packets of a superframe")


cdef void frame_is_right(Coalescer *coalescer, int number, uint32_t vnet_len, uint32_t first,
                         uint32_t end) noexcept nogil:
    cdef iovec iov[COALESCE_MAX_IOV]
    cdef uint32_t members[COALESCE_MAX_IOV]
    cdef uint32_t len = 0, i, begin = 1 if vnet_len else 0
    cdef int count = coalesce_frame(coalescer, number, iov, COALESCE_MAX_IOV)
    need(count > <int>begin and count <= COALESCE_MAX_IOV, b"parts of a frame")
    need(vnet_len == 0 or iov[0].iov_len == vnet_len, b"the length of a virtio header")
    for i in range(begin, <uint32_t>count):
        members[i - begin] = <uint32_t>whose(iov[i].iov_base, first, end)
        need(not came[members[i - begin]], b"a packet that came twice")
        came[members[i - begin]] = True
        need(len + iov[i].iov_len <= FRAME_LONGEST, b"a frame that is too long")
        memcpy(frame + len, iov[i].iov_base, iov[i].iov_len)
        len += <uint32_t>iov[i].iov_len
    count -= <int>begin
    if count > 1:
        need(vnet_len != 0, b"a superframe without a virtio header")
        superframe_is_plain(<const uint8_t *>iov[0].iov_base, vnet_len, len, members, <uint32_t>count)
        need(coalesce_is_tunnel(coalescer, number) == (views[members[0]].inner != 0), b"a tunnel's superframe or not")
        if refused and coalesce_is_tunnel(coalescer, number):
            apart_is_right(coalescer, number, vnet_len, members, <uint32_t>count)
    else:
        need(vnet_len == 0 or memcmp(iov[0].iov_base, zeros, vnet_len) == 0, b"a virtio header of a packet")
        need(len == lens[members[0]] and memcmp(frame, originals[members[0]], len) == 0, b"a packet that changed")
    if exact:
        need_equal(<uint64_t>count, expected[number].count, b"packets of a frame")
        need(memcmp(members, expected[number].members, <uint32_t>count * sizeof(uint32_t)) == 0, b"other members")


cdef void batch_is_right(Coalescer *coalescer, uint32_t vnet_len, uint32_t first, uint32_t end) noexcept nogil:
    """All packets from `first` on, and the end of the batch."""
    global expected_count, exact
    cdef int i, frames = coalesce_count(coalescer)
    cdef uint32_t k
    if exact:
        need_equal(<uint64_t>frames, expected_count, b"frames of a batch")
    for i in range(frames):
        frame_is_right(coalescer, i, vnet_len, first, end)
    for k in range(first, end):
        need(came[k], b"a packet that did not come")
    coalesce_reset(coalescer)
    expected_count = 0
    exact = True


cdef int one(const uint8_t *data, size_t size) noexcept nogil:
    """A byte for the features, one for packets a batch, then packets."""
    global expected_count, exact, tunnels, refused
    cdef Input input
    cdef IpView ip
    cdef Coalescer *coalescer
    cdef uint32_t what, vnet_len, first = 0, n = 0, i
    cdef int features
    input_start(&input, data, size)
    what = input8(&input)
    tunnels = what & 0x20 != 0
    refused = what & 0x10 != 0
    coalescer = coalescers[3 if tunnels else what % 3]
    vnet_len = <uint32_t>vnet_lens[3 if tunnels else what % 3]
    features = <int>(what >> 6) ^ 3 | COALESCE_TUNNELS
    coalescer.max_packets = 1 + <int>(input8(&input) ^ 0xFF) % PACKETS
    memset(flows, 0, sizeof(flows))
    memset(came, 0, sizeof(came))
    expected_count = 0
    exact = True
    coalesce_reset(coalescer)
    while input_left(&input) and n < PACKETS:
        lens[n] = next_packet(&input, originals[n])
        packets[n] = <uint8_t *>malloc(lens[n])
        memcpy(packets[n], originals[n], lens[n])
        ip_read(&ip, packets[n], lens[n])
        if coalesce_add(coalescer, &ip, features) < 0:
            need_equal(n - first, <uint64_t>coalescer.max_packets, b"packets of a full batch")
            batch_is_right(coalescer, vnet_len, first, n)
            first = n
            need(coalesce_add(coalescer, &ip, features) == 0, b"an empty batch that is full")
        views[n] = merge_read(originals[n], lens[n], features & 3 if vnet_len else 0, tunnels)
        expect(n)
        n += 1
    batch_is_right(coalescer, vnet_len, first, n)
    for i in range(n):
        free(packets[i])
    return 0


cdef void know(KnownEnds *known, uint8_t address_len) noexcept nogil:
    """10.0.0.1 or fd00::1, with port 7, is the end of a tunnel."""
    cdef TunnelEnd end
    memset(&end, 0, sizeof(end))
    end.address[0] = 10 if address_len == 4 else 0xFD
    end.address[address_len - 1] = 1
    end.address_len = address_len
    end.port = htons(7)
    end.seen_ns = known.now = 1
    known.any = True
    known.ends[tunnel_end_place(end.address, address_len, end.port)] = end


def address(str _aead: str) -> int:
    """Where the target is. Its coalescers are made here, once."""
    cdef int i
    for i in range(LONGEST + 256):
        pattern[i] = <uint8_t>(i * 7)
    for i in range(4):
        coalescers[i] = coalesce_new(PACKETS, vnet_lens[i])
        need(coalescers[i] != NULL, b"no memory")
    know(&coalescers[3].tunnels, 4)
    know(&coalescers[3].tunnels, 16)
    return <uintptr_t>&one
