"""Receiving from the outer sockets: recvmmsg with UDP_GRO, in batches, and each message's source and destination."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from pywg.dataplane.sys.linux cimport iovec, mmsghdr, sockaddr_in6
from pywg.dataplane.wire.endpoint cimport Endpoint

cdef enum:
    RECEIVE_BATCH = 16
    RECEIVE_LEN = 65536         # UDP's largest payload, and so GRO's, is below
    CONTROL_WORDS = 16          # 64-bit words of control data: well above what the sockets' options ask for


cdef struct Receiver:
    uint8_t *buffers
    int used                    # messages of the last batch, whose headers the kernel has changed
    mmsghdr messages[RECEIVE_BATCH]
    iovec iov[RECEIVE_BATCH]
    sockaddr_in6 names[RECEIVE_BATCH]
    uint64_t control[RECEIVE_BATCH][CONTROL_WORDS]


cdef struct ReceiveMeta:
    uint8_t *data
    uint32_t len
    uint32_t stride             # bytes of each datagram in it but the last
    uint8_t tos
    bint truncated
    Endpoint source

cdef Receiver *udp_receiver_new() noexcept nogil
cdef void udp_receiver_free(Receiver *receiver) noexcept nogil
cdef int udp_receive(Receiver *receiver, int fd, int limit) noexcept nogil
cdef void udp_received(Receiver *receiver, int i, ReceiveMeta *message) noexcept nogil
