# distutils: libraries = crypto
# cython: language_level=3, cdivision=True, wraparound=False, boundscheck=False
"""The kernel's side of what is received: messages with names and control data, frames, cookie replies, and errors."""
from libc.errno cimport EAGAIN, ECONNREFUSED, EINTR, EINVAL, EIO, ENOMEM
from libc.stdint cimport uint16_t, uint32_t, uint8_t
from libc.string cimport memcmp, memcpy, memset

from pywg.dataplane.crypto.cookie_mac cimport COOKIE_LEN, make_cookie
from pywg.dataplane.crypto.xchacha20poly1305 cimport XNONCE_LEN, xchacha_open
from pywg.dataplane.reorder.reorder cimport reorder_is_empty
from pywg.dataplane.state.counters cimport count as due
from pywg.dataplane.sys.linux cimport AF_INET, AF_INET6, CMSG_DATA, CMSG_LEN, CMSG_SPACE, IPPROTO_IP, IPPROTO_IPV6
from pywg.dataplane.sys.linux cimport IPV6_PKTINFO, IPV6_TCLASS, IP_PKTINFO, IP_TOS, MSG_TRUNC, SOL_UDP, UDP_GRO
from pywg.dataplane.sys.linux cimport cmsghdr, in6_pktinfo, in_pktinfo, iovec, mmsghdr, msghdr, sockaddr_in
from pywg.dataplane.sys.linux cimport sockaddr_in6
from pywg.dataplane.udp.receive cimport RECEIVE_BATCH, RECEIVE_LEN
from pywg.dataplane.wire.endpoint cimport Endpoint
from pywg.dataplane.wire.virtio cimport VNET_GSO_UDP_TUNNEL, VNET_TUNNEL_HDR_LEN
from pywg.dataplane.wire.wireguard cimport COOKIE_REPLY_LEN, MAC_LEN, TAG_LEN

from tests.fuzz.native.common cimport need
from tests.fuzz.native.harness cimport KERNEL_UDP4, Chance, chance_below, chance_bytes, chance_short_len, kernel
from tests.fuzz.native.inbound_datagrams cimport damaged, handshakes, transport
from tests.fuzz.native.inbound_model cimport arrive, judge_message
from tests.fuzz.native.inbound_state cimport ASKERS, MTU, Asker, Harness


cdef int receive(void *driver, int fd, mmsghdr *messages, unsigned int count) noexcept nogil:
    cdef Harness *b = <Harness *>driver
    cdef Chance *c = &b.chance
    cdef uint32_t what = chance_below(c, 64)
    cdef unsigned int i, n
    cdef int error
    cdef int[6] errors
    need(0 < count <= RECEIVE_BATCH, b"so many messages")
    if what >= 61 or b.failing and what & 1:
        errors = [EAGAIN, EINTR, ENOMEM, ECONNREFUSED, EIO, EINVAL]
        error = errors[chance_below(c, 6)]
        if error != EAGAIN and error != EINTR:
            due(&b.expected.rx_receive_error)
        return -error
    n = min(count, 1 + what // 2 % 3) if what < 56 else count
    b.flood = b.heavy and what >= 58
    if b.flood:
        n = min(count, <unsigned int>3)
    b.batch += 1
    b.added = 0
    b.filtered = not b.two and (b.receive_path.pool == NULL or reorder_is_empty(&b.receive_path.reorder))
    due(&b.expected.rx_receives)
    for i in range(n):
        arrive_at_socket(b, fd, &messages[i])
    return <int>n


cdef void arrive_at_socket(Harness *b, int fd, mmsghdr *message) noexcept nogil:
    cdef Chance *c = &b.chance
    cdef msghdr *header = &message.msg_hdr
    cdef uint8_t *data = <uint8_t *>header.msg_iov.iov_base
    cdef uint32_t len, stride = 0, what = chance_below(c, 64)
    cdef uint8_t tos
    cdef Endpoint source
    need(header.msg_iovlen == 1 and header.msg_iov.iov_len == RECEIVE_LEN, b"room of another length")
    need(header.msg_namelen == sizeof(sockaddr_in6) and header.msg_controllen == 128, b"room that was not renewed")
    write_name(b, fd, header, &source)
    if b.flood or what < 46:
        len = transport(b, data, &stride)
        if what >= 42 and not b.flood:
            len = damaged(b, data, len, &stride)
    elif what < 58:
        len = handshakes(b, data, &source, &stride)
    else:
        len = chance_short_len(c, MTU) if what < 60 and not b.world.cheap or b.heavy else chance_below(c, 160)
        memset(data, <int>what, len)
        chance_bytes(c, data, min(len, <uint32_t>160))
        if len and what & 1:
            memset(data, 0, min(len, <uint32_t>4))
            data[0] = <uint8_t>chance_below(c, 6)
        if what & 2:
            stride = max(chance_below(c, 256), len // 200 + 1)
    header.msg_flags = MSG_TRUNC if what == 63 else 0
    message.msg_len = len
    stride, tos = write_control(b, fd, header, stride, &source)
    judge_message(b, data, len, stride if stride else len, tos, header.msg_flags != 0, &source)


cdef void write_name(Harness *b, int fd, msghdr *header, Endpoint *source) noexcept nogil:
    cdef sockaddr_in *in4 = <sockaddr_in *>header.msg_name
    cdef sockaddr_in6 *in6 = <sockaddr_in6 *>header.msg_name
    cdef uint32_t what = chance_below(&b.chance, 64)
    memset(source, 0, sizeof(Endpoint))
    source.port = <uint16_t>((what & 3) + 1)
    source.ip_len = 4 if fd == KERNEL_UDP4 else 16
    memset(source.ip, 192, source.ip_len)
    source.ip[source.ip_len - 1] = <uint8_t>(what >> 2 & 7)
    if fd == KERNEL_UDP4:
        header.msg_namelen = sizeof(sockaddr_in)
        memset(in4, 0, sizeof(sockaddr_in))
        in4.sin_family = AF_INET
        in4.sin_port = source.port
        memcpy(&in4.sin_addr, source.ip, 4)
    else:
        source.scope_id = what >> 5
        memset(in6, 0, sizeof(sockaddr_in6))
        in6.sin6_family = AF_INET6
        in6.sin6_port = source.port
        in6.sin6_scope_id = source.scope_id
        memcpy(&in6.sin6_addr, source.ip, 16)


cdef void put_control(msghdr *header, int level, int kind, const void *value, size_t size) noexcept nogil:
    cdef cmsghdr *control = <cmsghdr *>(<uint8_t *>header.msg_control + header.msg_controllen)
    need(header.msg_controllen + CMSG_SPACE(size) <= 128, b"the target has no room")
    control.cmsg_level = level
    control.cmsg_type = kind
    control.cmsg_len = CMSG_LEN(size)
    memcpy(CMSG_DATA(control), value, size)
    header.msg_controllen += CMSG_SPACE(size)


cdef (uint32_t, uint8_t) write_control(Harness *b, int fd, msghdr *header, uint32_t stride,
                                       Endpoint *source) noexcept nogil:
    """In any order, each with what the kernel puts there, or not at all. The stride (0: one datagram) and the TOS."""
    cdef Chance *c = &b.chance
    cdef in_pktinfo info4
    cdef in6_pktinfo info6
    cdef uint8_t[32] any_bytes
    cdef uint32_t what = chance_below(c, 256)
    cdef int tos = <int>chance_below(c, 256) if what & 12 == 12 else 0, gro = <int>stride, i, k
    cdef int first = <int>(what & 3)
    header.msg_controllen = 0
    memset(any_bytes, <int>what, 32)
    if gro == 0 and what & 48 == 48:
        gro = -<int>(what & 3)
        put_control(header, SOL_UDP, UDP_GRO, &gro, sizeof(int))
    for k in range(4):
        i = (k + first) % 4
        if i == 0 and stride:
            put_control(header, SOL_UDP, UDP_GRO, &gro, sizeof(int))
        elif i == 1 and what & 64 == 0:
            source.local_ifindex = 1 + (what >> 2 & 1)
            if fd == KERNEL_UDP4:
                source.local_len = 4
                memset(source.local_ip, 7, 4)
                memset(&info4, 9, sizeof(info4))
                info4.ipi_ifindex = <int>source.local_ifindex
                memcpy(&info4.ipi_spec_dst, source.local_ip, 4)
                put_control(header, IPPROTO_IP, IP_PKTINFO, &info4, sizeof(info4))
            else:
                source.local_len = 16
                memset(source.local_ip, 7, 16)
                info6.ipi6_ifindex = source.local_ifindex
                memcpy(&info6.ipi6_addr, source.local_ip, 16)
                put_control(header, IPPROTO_IPV6, IPV6_PKTINFO, &info6, sizeof(info6))
        elif i == 2 and tos:
            if fd == KERNEL_UDP4:
                put_control(header, IPPROTO_IP, IP_TOS, &tos, 1)
            else:
                put_control(header, IPPROTO_IPV6, IPV6_TCLASS, &tos, sizeof(int))
        elif i == 3 and what >= 224:
            put_control(header, 1, <int>chance_below(c, 100), any_bytes, chance_below(c, 24))
    return stride, <uint8_t>tos


cdef int send(void *driver, int fd, mmsghdr *messages, unsigned int count) noexcept nogil:
    """Cookie replies."""
    cdef Harness *b = <Harness *>driver
    cdef uint32_t what
    cdef unsigned int i, taken = count
    need(0 < count <= 64, b"so many messages")
    for i in range(count):
        need(messages[i].msg_hdr.msg_iovlen == 1 and messages[i].msg_hdr.msg_iov.iov_len == COOKIE_REPLY_LEN,
             b"an answer of another length")
        need_cookie(b, fd, &messages[i].msg_hdr)
    what = chance_below(&b.chance, 16)
    if what == 15 or what == 14:
        return -EAGAIN if what == 15 else -EINVAL
    if what == 13:
        taken = 1 + chance_below(&b.chance, count)
    due(&b.expected.tx_cookie_replies, taken)
    return <int>taken


cdef void need_cookie(Harness *b, int fd, const msghdr *header) noexcept nogil:
    """For the address that it goes to, and readable to the sender of the message that it answers."""
    cdef const uint8_t *reply = <const uint8_t *>header.msg_iov.iov_base
    cdef Endpoint source
    cdef Asker *asker
    cdef uint32_t index
    cdef uint8_t[COOKIE_LEN] cookie, should
    memcpy(&index, reply + 4, 4)
    need(reply[0] == 3 and reply[1] == 0 and reply[2] == 0 and reply[3] == 0, b"an answer that is no cookie reply")
    asker = &b.askers[index % ASKERS]
    if asker.index != index:        # another one has its place by now
        return
    memset(&source, 0, sizeof(Endpoint))
    source.ip_len = 4 if fd == KERNEL_UDP4 else 16
    if fd == KERNEL_UDP4:
        source.port = (<sockaddr_in *>header.msg_name).sin_port
        memcpy(source.ip, &(<sockaddr_in *>header.msg_name).sin_addr, 4)
    else:
        source.port = (<sockaddr_in6 *>header.msg_name).sin6_port
        memcpy(source.ip, &(<sockaddr_in6 *>header.msg_name).sin6_addr, 16)
    need(xchacha_open(b.world.dp.macs.cookie_key, reply + 8, reply + 8 + XNONCE_LEN, COOKIE_LEN + TAG_LEN, asker.mac1,
                      MAC_LEN, cookie), b"a cookie that its asker can't read")
    need(make_cookie(&b.world.dp.macs, &source, kernel.now_ns, should) and memcmp(cookie, should, COOKIE_LEN) == 0,
         b"a cookie of another address")


cdef ssize_t tun_write(void *driver, const iovec *iov, int count) noexcept nogil:
    cdef Harness *b = <Harness *>driver
    cdef uint32_t vnet_len = <uint32_t>b.world.dp.vnet_hdr_len
    cdef size_t len = 0
    cdef int i, error
    cdef int[4] errors
    cdef bint tunnel
    need(0 < count <= 65, b"so many pieces")
    need(vnet_len == 0 or iov[0].iov_len == vnet_len, b"a virtio header of another length")
    for i in range(count):
        need(len + iov[i].iov_len <= 65535 + vnet_len, b"a frame that is too long")
        memcpy(b.frame + len, iov[i].iov_base, iov[i].iov_len)
        len += iov[i].iov_len
    if b.failing and chance_below(&b.chance, 8) == 7:
        return -EINTR
    tunnel = vnet_len == VNET_TUNNEL_HDR_LEN and b.frame[1] & VNET_GSO_UDP_TUNNEL != 0
    if tunnel and b.refusing:
        return -EINVAL
    arrive(b, b.frame, vnet_len, b.frame + vnet_len, <uint32_t>len - vnet_len)
    if b.failing and chance_below(&b.chance, 4) == 3:
        errors = [EIO, EINVAL, EAGAIN, ENOMEM]
        due(&b.expected.rx_tun_error)
        error = errors[chance_below(&b.chance, 4)]
        return -(EIO if tunnel and error == EINVAL else error)
    due(&b.expected.rx_tun_writes)
    return <ssize_t>len
