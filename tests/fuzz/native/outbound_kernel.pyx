# distutils: libraries = crypto
# cython: language_level=3, cdivision=True, wraparound=False, boundscheck=False
"""The kernel's side of what is sent, and the peers: each datagram has to hold what was read, undamaged, in order."""
from libc.errno cimport EAGAIN, EBADFD, EINTR, EINVAL, EIO, EMSGSIZE, ENETUNREACH, ENOBUFS, ENODEV, EPERM
from libc.stdint cimport uint16_t, uint32_t, uint64_t, uint8_t
from libc.string cimport memcmp, memcpy, memset

from pywg.dataplane.send.seal cimport READ_MAX
from pywg.dataplane.sys.linux cimport AF_INET, AF_INET6, CMSG_DATA, CMSG_FIRSTHDR, CMSG_NXTHDR, SOL_UDP, UDP_SEGMENT
from pywg.dataplane.sys.linux cimport cmsghdr, iovec, mmsghdr, msghdr, sockaddr, sockaddr_in, sockaddr_in6
from pywg.dataplane.wire.limits cimport REJECT_AFTER_MESSAGES
from pywg.dataplane.wire.virtio cimport VnetHdr
from pywg.dataplane.wire.wireguard cimport TAG_LEN, WG_HEADER_LEN, TransportHeader

from tests.fuzz.native.ciphers cimport session_open
from tests.fuzz.native.common cimport FIRST_INDEX, Session, need
from tests.fuzz.native.harness cimport KERNEL_ICMP4, KERNEL_UDP4, chance_below, get16, is_in_place, is_tunnelled
from tests.fuzz.native.harness cimport marked_len, sum16, tunnelled_len
from tests.fuzz.native.outbound_frames cimport marked_frame, planned_frame, wild_frame
from tests.fuzz.native.outbound_peers cimport confirm
from tests.fuzz.native.outbound_state cimport FULL, HEALTHY, SEEN, SEQ_STEP, UDP_MAX, Harness, Planned


cdef ssize_t tun_read(void *driver, uint8_t *to, size_t room) noexcept nogil:
    cdef Harness *b = <Harness *>driver
    cdef uint32_t vnet_len = <uint32_t>b.world.dp.vnet_hdr_len, what = 0
    cdef Planned *planned = &b.plan.frames[b.plan.at] if b.plan.at < b.plan.count else NULL
    cdef ssize_t len
    need(room == READ_MAX, b"a read of another length")
    if b.frames_left == 0 or b.frames >= b.frames_max:
        return -EAGAIN
    if planned != NULL and planned.len == 0:
        b.plan.at += 1
        return -EAGAIN
    if planned == NULL and b.repeated == 0:
        what = chance_below(&b.chance, 64)
        if what >= 60:
            return read_error(b, what)
    b.frames_left -= 1
    b.frames += 1
    b.until_confirmed -= 1
    if b.until_confirmed == 0:
        confirm(b.world.peers[b.burst_peer])
    elif what >= 56:
        confirm(b.world.peers[what & 3])
    memset(to, 0, vnet_len)
    if planned != NULL:
        b.plan.at += 1
        len = vnet_len + planned_frame(b, planned, <VnetHdr *>to, to + vnet_len)
    elif what >= 44 and what < 56:
        len = wild_frame(b, to, vnet_len)
    else:
        len = vnet_len + marked_frame(b, <VnetHdr *>to, to + vnet_len, vnet_len != 0)
    if len == 0:
        b.frames -= 1       # the end of the file
    return len


cdef int read_error(Harness *b, uint32_t what) noexcept nogil:
    cdef int[4] errors
    if what == 60:
        return -EINTR
    if what == 61:
        return -EAGAIN      # the TUN has been empty for a moment
    errors = [EIO, EIO, ENODEV, EBADFD]
    return -errors[chance_below(&b.chance, 4)]


cdef ssize_t tun_write(void *driver, const iovec *iov, int count) noexcept nogil:
    """An answer to a packet that no peer takes."""
    cdef Harness *b = <Harness *>driver
    cdef uint32_t vnet_len = <uint32_t>b.world.dp.vnet_hdr_len, i
    need(count == 1 and iov.iov_len > vnet_len and iov.iov_len <= 1280 + vnet_len, b"an ICMP of that length")
    for i in range(vnet_len):
        need((<uint8_t *>iov.iov_base)[i] == 0, b"an ICMP with a virtio header")
    need(icmp_is_right(<uint8_t *>iov.iov_base + vnet_len, <uint32_t>iov.iov_len - vnet_len), b"a damaged ICMP")
    return -EAGAIN if b.mood == FULL else <ssize_t>iov.iov_len


cdef bint icmp_is_right(const uint8_t *packet, uint32_t len) noexcept nogil:
    """A destination unreachable about a packet to its source; all lengths and checksums hold."""
    cdef const uint8_t *inner = packet + (28 if packet[0] == 0x45 else 48)
    if packet[0] == 0x45:
        return (len <= 576 and get16(packet + 2) == len and packet[9] == 1 and sum16(packet, 20, 0) == 0xffff
                and packet[20] == 3 and sum16(packet + 20, len - 20, 0) == 0xffff
                and inner[0] >> 4 == 4 and memcmp(packet + 16, inner + 12, 4) == 0
                and memcmp(packet + 12, inner + 16, 4) == 0)
    return (packet[0] == 0x60 and get16(packet + 4) + 40 == len and packet[6] == 58 and packet[40] == 1
            and sum16(packet + 40, len - 40, sum16(packet + 8, 32, 58 + len - 40)) == 0xffff
            and inner[0] >> 4 == 6 and memcmp(packet + 24, inner + 8, 16) == 0
            and memcmp(packet + 8, inner + 24, 16) == 0)


cdef ssize_t send_icmp(void *driver, int fd, const void *message, size_t len, const sockaddr *to) noexcept nogil:
    """The same through a raw socket of its family: the kernel writes the IP header, and an IPv6 checksum."""
    cdef Harness *b = <Harness *>driver
    cdef const uint8_t *icmp = <const uint8_t *>message
    cdef const uint8_t *inner = icmp + 8
    need(8 + 20 <= len <= 1240, b"an ICMP of that length")
    if fd == KERNEL_ICMP4:
        need(to.sa_family == AF_INET and icmp[0] == 3 and sum16(icmp, <uint32_t>len, 0) == 0xffff
             and memcmp(&(<const sockaddr_in *>to).sin_addr, inner + 12, 4) == 0, b"a damaged ICMP")
    else:
        need(to.sa_family == AF_INET6 and icmp[0] == 1
             and memcmp(&(<const sockaddr_in6 *>to).sin6_addr, inner + 8, 16) == 0, b"a damaged ICMPv6")
    return -EPERM if b.mood != HEALTHY else <ssize_t>len


cdef int send(void *driver, int fd, mmsghdr *messages, unsigned int count) noexcept nogil:
    cdef Harness *b = <Harness *>driver
    cdef unsigned int i, taken = count
    cdef uint32_t stride
    cdef int error
    need(0 < count <= 64, b"so many messages")
    for i in range(count):
        need(message_is_right(fd, &messages[i].msg_hdr, &stride), b"a message that the kernel refuses")
    if b.mood != HEALTHY:
        error = mood_says(b)
        if error:
            return -error
        taken = 1 + chance_below(&b.chance, count)
    for i in range(taken):
        if messages[i].msg_hdr.msg_iov.iov_len > UDP_MAX:
            return <int>i if i else -EMSGSIZE
        message_is_right(fd, &messages[i].msg_hdr, &stride)
        arrive(b, <const uint8_t *>messages[i].msg_hdr.msg_iov.iov_base,
               <uint32_t>messages[i].msg_hdr.msg_iov.iov_len, stride)
        messages[i].msg_len = <unsigned int>messages[i].msg_hdr.msg_iov.iov_len
    return <int>taken


cdef int mood_says(Harness *b) noexcept nogil:
    """What sendmmsg fails with, 0: nothing."""
    cdef int[8] errors
    if b.mood == FULL:
        return EAGAIN
    errors = [EAGAIN, EMSGSIZE, EIO, EINVAL, EPERM, ENOBUFS, EINTR, ENETUNREACH]
    return errors[chance_below(&b.chance, 8)] if chance_below(&b.chance, 3) == 0 else 0


cdef bint message_is_right(int fd, msghdr *message, uint32_t *stride) noexcept nogil:
    """`stride`: of the datagrams, or 0: there is one."""
    cdef cmsghdr *control = CMSG_FIRSTHDR(message)
    cdef size_t controls = 0, len = message.msg_iov.iov_len
    cdef uint16_t size
    stride[0] = 0
    while control != NULL:
        controls += 1
        if control.cmsg_level == SOL_UDP and control.cmsg_type == UDP_SEGMENT:
            memcpy(&size, CMSG_DATA(control), sizeof(size))
            stride[0] = size
            if size == 0 or len > UDP_MAX or (len + size - 1) // size > 64:
                return False
        control = CMSG_NXTHDR(message, control)
    if (controls == 0) != (message.msg_control == NULL) or controls > 3 or message.msg_iovlen != 1:
        return False
    if message.msg_namelen != (16 if fd == KERNEL_UDP4 else 28):
        return False
    return (<uint16_t *>message.msg_name)[0] == (AF_INET if fd == KERNEL_UDP4 else AF_INET6)


cdef void arrive(Harness *b, const uint8_t *data, uint32_t len, uint32_t stride) noexcept nogil:
    cdef uint32_t at = 0, one
    if stride == 0:
        stride = len
    while at < len:
        one = min(stride, len - at)
        memcpy(b.scratch, data + at, one)
        open_datagram(b, b.scratch, one)
        b.datagrams += 1
        at += stride


cdef bint is_new(Harness *b, uint32_t index, uint64_t counter) noexcept nogil:
    """Whether a session's counter has not arrived before; with one shard, nor a later one."""
    cdef Session *session = &b.world.sessions[index]
    cdef uint64_t behind = counter - b.first_counters[index]
    if not b.two:
        if counter < session.next_counter:
            return False
        session.next_counter = counter + 1
        return True
    if behind >= SEEN or b.seen[index][behind >> 3] >> (behind & 7) & 1:
        return False
    b.seen[index][behind >> 3] |= <uint8_t>(1 << (behind & 7))
    return True


cdef void open_datagram(Harness *b, uint8_t *datagram, uint32_t len) noexcept nogil:
    cdef TransportHeader *header = <TransportHeader *>datagram
    cdef uint8_t *text = datagram + WG_HEADER_LEN
    cdef uint32_t index, text_len, inner_len, number = 0, front = 0, i
    cdef Session *session
    need(len >= WG_HEADER_LEN + TAG_LEN and header.type == 4, b"no transport message")
    index = header.receiver_index - FIRST_INDEX
    need(index < b.world.session_count, b"an index of no session")
    session = &b.world.sessions[index]
    need(is_new(b, index, header.counter), b"a counter again")
    need(header.counter < REJECT_AFTER_MESSAGES, b"a counter past the limit")
    text_len = len - WG_HEADER_LEN - TAG_LEN
    need(session_open(session, b.world.cheap, header.counter, text, text_len), b"not authentic")
    if session.peer == 0 or text_len == 0:
        return
    if is_tunnelled(text, text_len):
        inner_len = tunnelled_len(text, text_len, &number, &front)
    else:
        inner_len = marked_len(text, text_len, 0, True, &number)
    need(inner_len != 0, b"a damaged packet")
    need(text_len - inner_len < 16, b"so much padding")
    for i in range(inner_len, text_len):
        need(text[i] == 0, b"padding that is not zero")
    need(text[17] == session.peer if text[0] >> 4 == 4 else text[24 + 7] == session.peer, b"another peer's packet")
    need(is_in_place(text + front, inner_len - front, number, number * SEQ_STEP), b"a segment from another place")
    need(b.two or number >= b.arrived[session.peer], b"overtaken by a later packet")
    b.arrived[session.peer] = number
