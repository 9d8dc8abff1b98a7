"""Sending on the outer sockets: sendmmsg with UDP_SEGMENT, in batches, with the sticky source.

One thread fills a Sender and flushes it. The Sender keeps copies of the addresses, so that messages that a full socket
blocks can wait outside the gate.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from pywg.dataplane.state.dataplane cimport Dataplane
from pywg.dataplane.state.peer cimport Peer
from pywg.dataplane.sys.linux cimport iovec, mmsghdr, sockaddr_in6
from pywg.dataplane.wire.endpoint cimport Endpoint

cdef enum:
    SEND_BATCH = 64
    CONTROL_WORDS = 16          # 64-bit words of control data, see put_control()


cdef struct Transmit:
    Endpoint to
    Peer *peer                  # NULL once the gate was left with the message unsent: the peer may be freed
    uint8_t *base
    uint32_t len
    uint16_t stride             # bytes of each datagram in it but the last, or 0 for just one
    uint8_t tos                 # of the outer header


cdef struct Sender:
    int count
    int sent
    int failed                  # messages given up since the owner last set this to 0
    int error                   # errno of the last of them
    Transmit queue[SEND_BATCH]
    mmsghdr messages[SEND_BATCH]
    iovec iov[SEND_BATCH]
    sockaddr_in6 names[SEND_BATCH]
    uint64_t control[SEND_BATCH][CONTROL_WORDS]

cdef bint udp_queue(Sender *sender, Peer *peer, const Endpoint *to, uint8_t *base, uint32_t len, uint32_t stride,
                    uint8_t tos) noexcept nogil
cdef bint udp_flush(Sender *sender, Dataplane *dp) noexcept nogil
cdef int udp_send_once(Sender *sender, Dataplane *dp) noexcept nogil
cdef void udp_forget_peers(Sender *sender) noexcept nogil
