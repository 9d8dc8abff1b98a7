"""Sending datagrams, in batches (send.pxd)."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy, memset
from pywg.dataplane.state.batch_sizes cimport count_batch
from pywg.dataplane.state.counters cimport count
from pywg.dataplane.state.dataplane cimport GSO_OFF, GSO_ON, GSO_PROVEN, Dataplane
from pywg.dataplane.state.peer cimport Peer, clear_source
from pywg.dataplane.sys cimport linux
from pywg.dataplane.sys.atomic cimport add64
from pywg.dataplane.sys.checks cimport c_assert, static_fits
from pywg.dataplane.sys.linux cimport AF_INET, AF_INET6, CMSG_DATA, CMSG_LEN, CMSG_SPACE, EAFNOSUPPORT, EAGAIN, EINTR
from pywg.dataplane.sys.linux cimport EINVAL, EIO, EMSGSIZE, ENOBUFS, EPERM, IPPROTO_IP, IPPROTO_IPV6, IPV6_PKTINFO
from pywg.dataplane.sys.linux cimport IPV6_TCLASS, IP_PKTINFO, IP_TOS, MSG_DONTWAIT, SOL_UDP, UDP_SEGMENT, cmsghdr
from pywg.dataplane.sys.linux cimport in6_pktinfo, in_pktinfo, msghdr, sendmmsg, sockaddr_in, sockaddr_in6
from pywg.dataplane.wire.endpoint cimport Endpoint


cdef bint udp_queue(Sender *sender, Peer *peer, const Endpoint *to, uint8_t *base, uint32_t len, uint32_t stride,
                    uint8_t tos) noexcept nogil:
    """Adds `len` bytes for `to`, cut into datagrams of `stride` if that is not 0. False: full, flush first."""
    cdef Transmit *out
    c_assert(sender.count <= SEND_BATCH)
    c_assert(stride <= 65535)
    if sender.count == SEND_BATCH:
        return False
    out = &sender.queue[sender.count]
    out.to = to[0]
    out.peer = peer
    out.base = base
    out.len = len
    out.stride = <uint16_t>stride
    out.tos = tos
    sender.count += 1
    return True


cdef void note_bytes(const Transmit *out, uint32_t len) noexcept nogil:
    """Adds to the peer's tx_bytes. Before any other count of the same message."""
    if out.peer != NULL:
        add64(&out.peer.tx_bytes, len)


cdef void udp_forget_peers(Sender *sender) noexcept nogil:
    """Drops every pointer to a peer: the peers of unsent messages may be freed next.

    So their bytes are counted now: a message that waits for a full socket is as good as sent.
    """
    cdef int i
    for i in range(sender.sent, sender.count):
        note_bytes(&sender.queue[i], sender.queue[i].len)
        sender.queue[i].peer = NULL


cdef uint8_t *put_control(msghdr *message, uint8_t *at, int level, int kind, const void *value,
                          size_t size) noexcept nogil:
    cdef cmsghdr *control = <cmsghdr *>at
    static_fits(CMSG_SPACE(sizeof(uint16_t)) + CMSG_SPACE(sizeof(in6_pktinfo)) + CMSG_SPACE(sizeof(int)),
                CONTROL_WORDS * 8)              # all that one message can carry: segment size, source, TOS
    c_assert(message.msg_controllen + CMSG_SPACE(size) <= CONTROL_WORDS * 8)
    control.cmsg_level = level
    control.cmsg_type = kind
    control.cmsg_len = CMSG_LEN(size)
    memcpy(CMSG_DATA(control), value, size)
    message.msg_controllen += CMSG_SPACE(size)
    return at + CMSG_SPACE(size)


cdef void prepare(Sender *sender, int i, bint with_segments, bint with_source) noexcept nogil:
    """Writes the i-th message's header, address and control data from its Transmit."""
    cdef Transmit *out = &sender.queue[i]
    cdef msghdr *message = &sender.messages[i].msg_hdr
    cdef sockaddr_in *in4
    cdef sockaddr_in6 *in6 = &sender.names[i]
    cdef in_pktinfo info4
    cdef in6_pktinfo info6
    cdef uint8_t *at = <uint8_t *>sender.control[i]
    cdef int tos = out.tos
    c_assert(i < SEND_BATCH)
    memset(message, 0, sizeof(msghdr))
    memset(in6, 0, sizeof(sockaddr_in6))
    memset(at, 0, CONTROL_WORDS * 8)
    sender.iov[i].iov_base = out.base
    sender.iov[i].iov_len = out.len
    message.msg_iov = &sender.iov[i]
    message.msg_iovlen = 1
    message.msg_name = in6
    message.msg_control = at
    if with_segments and out.stride != 0:
        at = put_control(message, at, SOL_UDP, UDP_SEGMENT, &out.stride, sizeof(uint16_t))
    if out.to.ip_len == 4:
        in4 = <sockaddr_in *>in6
        in4.sin_family = AF_INET
        in4.sin_port = out.to.port
        memcpy(&in4.sin_addr, out.to.ip, 4)
        message.msg_namelen = sizeof(sockaddr_in)
        if with_source and out.to.local_len == 4:
            memset(&info4, 0, sizeof(info4))
            memcpy(&info4.ipi_spec_dst, out.to.local_ip, 4)
            at = put_control(message, at, IPPROTO_IP, IP_PKTINFO, &info4, sizeof(info4))
        if tos:
            at = put_control(message, at, IPPROTO_IP, IP_TOS, &tos, sizeof(tos))
    else:
        in6.sin6_family = AF_INET6
        in6.sin6_port = out.to.port
        in6.sin6_scope_id = out.to.scope_id
        memcpy(&in6.sin6_addr, out.to.ip, 16)
        message.msg_namelen = sizeof(sockaddr_in6)
        if with_source and out.to.local_len == 16:
            memset(&info6, 0, sizeof(info6))
            memcpy(&info6.ipi6_addr, out.to.local_ip, 16)
            # A link-local source means nothing without its interface; for others the route decides.
            if out.to.scope_id:
                info6.ipi6_ifindex = out.to.local_ifindex
            at = put_control(message, at, IPPROTO_IPV6, IPV6_PKTINFO, &info6, sizeof(info6))
        if tos:
            at = put_control(message, at, IPPROTO_IPV6, IPV6_TCLASS, &tos, sizeof(tos))
    if message.msg_controllen == 0:
        message.msg_control = NULL


cdef uint32_t datagrams_in(const Transmit *out) noexcept nogil:
    return 1 if out.stride == 0 else (out.len + out.stride - 1) // out.stride


cdef void count_sent(Dataplane *dp, uint32_t datagrams) noexcept nogil:
    """Counts what one call has sent."""
    count(&dp.counters.tx_datagrams, datagrams)
    count_batch(dp.batches.tx, datagrams)


cdef bint send_without_source(Sender *sender, Dataplane *dp, int fd, int i, bint segmented,
                              uint32_t len) noexcept nogil:
    """Sends the first `len` bytes of message i again, without its source address, which may be gone. False: refused."""
    cdef Transmit *out = &sender.queue[i]
    prepare(sender, i, segmented, False)
    sender.iov[i].iov_len = len
    if sendmmsg(fd, &sender.messages[i], 1, MSG_DONTWAIT) != 1:
        return False
    if out.peer != NULL:
        clear_source(out.peer)
    out.to.local_len = 0
    count(&dp.counters.tx_source_cleared)
    return True


cdef int prepare_singly(Sender *sender, int i) noexcept nogil:
    """Makes the datagrams of message i, up to SEND_BATCH, messages of their own. How many.

    They overwrite the messages from the front on, and share the i-th address and control data. No other message is
    prepared at the time.
    """
    cdef Transmit *out = &sender.queue[i]
    cdef msghdr header
    cdef uint32_t at = 0
    cdef int n = 0
    prepare(sender, i, False, True)
    header = sender.messages[i].msg_hdr
    while at < out.len and n < SEND_BATCH:
        sender.iov[n].iov_base = out.base + at
        sender.iov[n].iov_len = out.stride if out.len - at > out.stride else out.len - at
        sender.messages[n].msg_hdr = header
        sender.messages[n].msg_hdr.msg_iov = &sender.iov[n]
        at += out.stride
        n += 1
    return n


cdef void pass_datagrams(Transmit *out, uint32_t n) noexcept nogil:
    """Takes the first n datagrams off the message."""
    cdef uint32_t len = n * out.stride if out.len > n * out.stride else out.len
    out.base += len
    out.len -= len


cdef bint send_singly(Sender *sender, Dataplane *dp, int fd, int i, bint *any_sent) noexcept nogil:
    """Sends the datagrams of a message one by one, where the kernel can't cut it. False: the socket is full.

    The rest of the message then waits in its place.
    """
    cdef Transmit *out = &sender.queue[i]
    cdef uint32_t len
    cdef int n, done, error
    while out.len != 0:
        n = prepare_singly(sender, i)
        done = sendmmsg(fd, sender.messages, n, MSG_DONTWAIT)
        error = linux.errno
        count(&dp.counters.tx_sends)
        len = out.stride if out.len > out.stride else out.len
        if done <= 0 and error == EINTR:
            continue
        if done <= 0 and out.to.local_len != 0 and error != EMSGSIZE and error != EAGAIN:
            if send_without_source(sender, dp, fd, i, False, len):
                done = 1
            error = linux.errno
        if done > 0:
            any_sent[0] = True
            len = done * out.stride
            note_bytes(out, len if len < out.len else out.len)
            count_sent(dp, done)
        elif error == EAGAIN:
            return False
        else:
            count(&dp.counters.tx_message_too_long if error == EMSGSIZE else &dp.counters.tx_send_error)
            done = 1
        pass_datagrams(out, done)
    return True


cdef inline uint8_t *gso_of(Dataplane *dp, const Transmit *out) noexcept nogil:
    """Whether the kernel cuts messages of the socket that this one leaves by (GSO_*)."""
    return &dp.gso4 if out.to.ip_len == 4 else &dp.gso6


cdef inline bint goes_whole(Dataplane *dp, const Transmit *out) noexcept nogil:
    """Whether one send takes the message: it is one datagram, or the kernel may cut it."""
    if out.stride == 0:
        return True
    if gso_of(dp, out)[0] == GSO_OFF:
        return False
    return dp.gso_equal_tail or out.len % out.stride != 0


cdef bint resend(Sender *sender, Dataplane *dp, int fd, int i, int error) noexcept nogil:
    """Tries message i again, which the kernel refused: without its source address, which may be gone, then unsegmented.

    False: the socket is full, and the rest of the message waits in its place.
    """
    cdef Transmit *out = &sender.queue[i]
    cdef uint8_t *gso = gso_of(dp, out)
    cdef bint segmented = out.stride != 0 and gso[0] != GSO_OFF
    cdef bint any_sent = False, done
    cdef uint32_t datagrams = datagrams_in(out)
    if out.to.local_len != 0 and error != EMSGSIZE and error != ENOBUFS:
        if send_without_source(sender, dp, fd, i, segmented, out.len):
            note_bytes(out, out.len)
            count_sent(dp, datagrams)
            return True
        error = linux.errno
    if segmented and (error == EIO or error == EINVAL or error == EPERM or error == EMSGSIZE):
        count(&dp.counters.tx_gso_refused)
        done = send_singly(sender, dp, fd, i, &any_sent)
        # EMSGSIZE means the path's MTU: single datagrams pass as fragments. The other errors, if single datagrams pass,
        # mean a device or a driver that can't segment (known for EIO: the outgoing device has no checksum offload).
        # EINVAL means either: before Linux 6.14 also the MTU, which a forged ICMP error may lower for one peer. That
        # must not turn segmentation off for all others: a kernel that has cut a message before is asked again.
        if any_sent and error != EMSGSIZE and not (error == EINVAL and gso[0] == GSO_PROVEN):
            gso[0] = GSO_OFF
        return done
    if error == EAGAIN:
        return False
    sender.failed += 1
    sender.error = error
    count(&dp.counters.tx_message_too_long if error == EMSGSIZE else &dp.counters.tx_send_error)
    return True


cdef bint udp_flush(Sender *sender, Dataplane *dp) noexcept nogil:
    """Sends the queued messages in order. False: the socket is full, and the rest waits for the next flush."""
    cdef int i, n, fd, done
    cdef uint32_t datagrams
    cdef bint any_sent = False
    while sender.sent < sender.count:
        i = sender.sent
        fd = dp.fd4 if sender.queue[i].to.ip_len == 4 else dp.fd6
        if fd < 0:
            count(&dp.counters.tx_send_error)
            sender.failed += 1
            sender.error = EAFNOSUPPORT
            sender.sent += 1
            continue
        if not goes_whole(dp, &sender.queue[i]):
            if not send_singly(sender, dp, fd, i, &any_sent):
                return False
            sender.sent += 1
            continue
        n = 0
        while (i + n < sender.count and sender.queue[i + n].to.ip_len == sender.queue[i].to.ip_len
               and goes_whole(dp, &sender.queue[i + n])):
            prepare(sender, i + n, True, True)
            n += 1
        done = sendmmsg(fd, &sender.messages[i], n, MSG_DONTWAIT)
        count(&dp.counters.tx_sends)
        if done > 0:
            datagrams = 0
            for i in range(sender.sent, sender.sent + done):
                note_bytes(&sender.queue[i], sender.queue[i].len)
                datagrams += datagrams_in(&sender.queue[i])
                if sender.queue[i].stride != 0 and gso_of(dp, &sender.queue[i])[0] == GSO_ON:
                    gso_of(dp, &sender.queue[i])[0] = GSO_PROVEN
            count_sent(dp, datagrams)
            sender.sent += done
        elif linux.errno == EAGAIN:
            return False
        elif linux.errno != EINTR:
            if not resend(sender, dp, fd, i, linux.errno):
                return False
            sender.sent += 1
    sender.count = 0
    sender.sent = 0
    return True


cdef int udp_send_once(Sender *sender, Dataplane *dp) noexcept nogil:
    """Tries each queued message once, and empties the queue. How many were sent.

    For answers to strangers, each one datagram and for no peer: they are worth no second try, and no wait for a full
    socket.
    """
    cdef int i, n, fd, done, sent = 0
    while sender.sent < sender.count:
        i = sender.sent
        fd = dp.fd4 if sender.queue[i].to.ip_len == 4 else dp.fd6
        n = 0
        while i + n < sender.count and sender.queue[i + n].to.ip_len == sender.queue[i].to.ip_len:
            prepare(sender, i + n, False, True)
            n += 1
        if fd < 0:
            sender.sent += n
            continue
        done = sendmmsg(fd, &sender.messages[i], n, MSG_DONTWAIT)
        count(&dp.counters.tx_sends)
        if done > 0:
            count_sent(dp, done)
            sent += done
            sender.sent += done
        elif linux.errno == EAGAIN:
            sender.sent += n
        elif linux.errno != EINTR:
            count(&dp.counters.tx_send_error)
            sender.sent += 1        # the kernel refused the first one, and has not tried the others
    sender.count = 0
    sender.sent = 0
    return sent
