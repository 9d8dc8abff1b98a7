"""Destination unreachable, to the inner sender of a packet that no peer takes: what the kernel's WireGuard answers.

Host unreachable (RFC 792) or address unreachable (RFC 4443). It leaves by a raw socket, for which the kernel chooses
the source as it does for its own errors. Where there is no socket, or it refuses, the answer is written to the TUN,
from the destination's own address. Our own address would be a martian coming from the TUN; the destination's is routed
to the TUN, so reverse path filters let it pass.
"""
from libc.stdint cimport uint8_t, uint32_t

from pywg.dataplane.wire.ip cimport IpView

cdef enum:
    ICMP_REPLY_MAX = 1280           # RFC 4443 section 2.4 (c); RFC 1812 section 4.3.2.3 says 576 for IPv4
    ICMP_BURST = 50                 # Linux's icmp_msgs_burst
    ICMP_PER_SECOND = 1000          # Linux's icmp_msgs_per_sec


cdef bint icmp_send(int fd, const uint8_t *reply, uint32_t reply_len) noexcept nogil
cdef uint32_t icmp_unreachable(const IpView *ip, uint8_t *reply) noexcept nogil
