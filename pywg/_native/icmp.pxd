"""Destination unreachable, to the inner sender of a packet that no peer takes: what the kernel's WireGuard answers.

Host unreachable (RFC 792) or address unreachable (RFC 4443). It comes from the destination's own address: the TUN's
would be a martian on its way in, and the destination's is routed to the TUN, so that reverse path filters let it pass.
"""
from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    ICMP_REPLY_MAX = 1280           # RFC 4443 section 2.4 (c); RFC 1812 section 4.3.2.3 says 576 for IPv4
    ICMP_BURST = 50                 # Linux's icmp_msgs_burst
    ICMP_PER_SECOND = 1000          # Linux's icmp_msgs_per_sec


cdef uint32_t icmp_unreachable(const uint8_t *packet, uint32_t packet_len, uint8_t *reply) noexcept nogil
