"""Receiving datagrams, in batches (receive.pxd)."""
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset
from pywg.dataplane.sys cimport linux
from pywg.dataplane.sys.checks cimport c_assert
from pywg.dataplane.sys.libcrypto cimport OPENSSL_cleanse
from pywg.dataplane.sys.linux cimport AF_INET6, CMSG_DATA, CMSG_FIRSTHDR, CMSG_LEN, CMSG_NXTHDR, EAGAIN, EINTR
from pywg.dataplane.sys.linux cimport IPPROTO_IP, IPPROTO_IPV6, IPV6_PKTINFO, IPV6_TCLASS, IP_PKTINFO, IP_TOS
from pywg.dataplane.sys.linux cimport MSG_DONTWAIT, MSG_TRUNC, SOL_UDP, UDP_GRO, cmsghdr, in6_pktinfo, in_pktinfo
from pywg.dataplane.sys.linux cimport msghdr, recvmmsg, sockaddr_in, sockaddr_in6
from pywg.dataplane.wire.endpoint cimport Endpoint

cdef extern from "stdlib.h" nogil:
    int posix_memalign(void **memory, size_t alignment, size_t size)


cdef Receiver *udp_receiver_new() noexcept nogil:
    """NULL: no memory."""
    cdef void *memory = NULL
    cdef Receiver *receiver
    if posix_memalign(&memory, 64, sizeof(Receiver)) != 0:
        return NULL
    receiver = <Receiver *>memory
    memset(receiver, 0, sizeof(Receiver))
    if posix_memalign(&memory, 4096, <size_t>RECEIVE_BATCH * RECEIVE_LEN) != 0:
        free(receiver)
        return NULL
    receiver.buffers = <uint8_t *>memory
    receiver.used = RECEIVE_BATCH
    return receiver


cdef void udp_receiver_free(Receiver *receiver) noexcept nogil:
    if receiver != NULL:
        OPENSSL_cleanse(receiver.buffers, <size_t>RECEIVE_BATCH * RECEIVE_LEN)   # decrypted text
        free(receiver.buffers)
        free(receiver)


cdef int udp_receive(Receiver *receiver, int fd, int limit) noexcept nogil:
    """Takes up to `limit` (at most RECEIVE_BATCH) messages. How many; 0: there is none; -1: see errno."""
    cdef int i, n
    cdef msghdr *message
    c_assert(receiver.used <= RECEIVE_BATCH)
    c_assert(limit <= RECEIVE_BATCH)
    for i in range(receiver.used):
        receiver.iov[i].iov_base = receiver.buffers + <size_t>i * RECEIVE_LEN
        receiver.iov[i].iov_len = RECEIVE_LEN
        message = &receiver.messages[i].msg_hdr
        message.msg_name = &receiver.names[i]
        message.msg_namelen = sizeof(sockaddr_in6)
        message.msg_iov = &receiver.iov[i]
        message.msg_iovlen = 1
        message.msg_control = receiver.control[i]
        message.msg_controllen = CONTROL_WORDS * 8
        message.msg_flags = 0
    n = recvmmsg(fd, receiver.messages, <unsigned int>limit, MSG_DONTWAIT, NULL)
    c_assert(n <= limit)
    receiver.used = n if n > 0 else 0
    if n < 0 and (linux.errno == EAGAIN or linux.errno == EINTR):
        return 0
    return n


cdef inline bint control_is(const cmsghdr *control, int level, int kind, size_t size) noexcept nogil:
    """Whether it is control data of this kind, and whole: the kernel cuts off what has no room.

    All that our options ask for has room. But whoever has the sockets too, as the daemon before this one, may set more.
    """
    return control.cmsg_level == level and control.cmsg_type == kind and control.cmsg_len >= CMSG_LEN(size)


cdef void udp_received(Receiver *receiver, int i, ReceiveMeta *message) noexcept nogil:
    """Describes the i-th message of the last udp_receive(): its bytes, its source and its TOS."""
    cdef msghdr *header = &receiver.messages[i].msg_hdr
    cdef sockaddr_in *in4 = <sockaddr_in *>&receiver.names[i]
    cdef sockaddr_in6 *in6 = &receiver.names[i]
    cdef Endpoint *source = &message.source
    cdef cmsghdr *control
    cdef in_pktinfo *info4
    cdef in6_pktinfo *info6
    cdef int size
    c_assert(i < receiver.used)
    c_assert(receiver.messages[i].msg_len <= RECEIVE_LEN)
    memset(source, 0, sizeof(Endpoint))
    message.data = <uint8_t *>receiver.iov[i].iov_base
    message.len = receiver.messages[i].msg_len
    message.stride = message.len
    message.tos = 0
    message.truncated = (header.msg_flags & MSG_TRUNC) != 0
    if in6.sin6_family == AF_INET6:
        source.ip_len = 16
        source.port = in6.sin6_port
        source.scope_id = in6.sin6_scope_id
        memcpy(source.ip, &in6.sin6_addr, 16)
    else:
        source.ip_len = 4
        source.port = in4.sin_port
        memcpy(source.ip, &in4.sin_addr, 4)
    control = CMSG_FIRSTHDR(header)
    while control != NULL:
        if control_is(control, SOL_UDP, UDP_GRO, sizeof(size)):
            memcpy(&size, CMSG_DATA(control), sizeof(size))
            if size > 0:
                message.stride = <uint32_t>size
        elif control_is(control, IPPROTO_IP, IP_PKTINFO, sizeof(in_pktinfo)):
            info4 = <in_pktinfo *>CMSG_DATA(control)
            source.local_len = 4
            source.local_ifindex = <uint32_t>info4.ipi_ifindex
            memcpy(source.local_ip, &info4.ipi_spec_dst, 4)
        elif control_is(control, IPPROTO_IPV6, IPV6_PKTINFO, sizeof(in6_pktinfo)):
            info6 = <in6_pktinfo *>CMSG_DATA(control)
            source.local_len = 16
            source.local_ifindex = info6.ipi6_ifindex
            memcpy(source.local_ip, &info6.ipi6_addr, 16)
        elif control_is(control, IPPROTO_IP, IP_TOS, 1) or control_is(control, IPPROTO_IPV6, IPV6_TCLASS, 1):
            message.tos = CMSG_DATA(control)[0]
        control = CMSG_NXTHDR(header, control)
