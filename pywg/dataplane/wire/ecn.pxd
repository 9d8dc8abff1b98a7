"""Explicit congestion notification through the tunnel: RFC 6040, sections 4.1 (normal mode) and 4.2.

Sending copies the inner ECN field to the outer header, and no DSCP: a mask in send/. Receiving combines both fields
here, as the kernel's WireGuard does. It never drops, so a link that rewrites the outer TOS can't black-hole the tunnel.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t

from pywg.dataplane.sys.checks cimport c_assert
from pywg.dataplane.wire.checksum cimport csum_fold
from pywg.dataplane.wire.ip cimport IP6_CLASS_SHIFT, Ip4Header, Ip6Header, IpView, htonl

cdef enum:
    ECN_MASK = 3
    ECN_NOT_ECT = 0
    ECN_ECT1 = 1
    ECN_ECT0 = 2
    ECN_CE = 3


cdef inline void ecn_set(const IpView *ip, uint8_t ecn) noexcept nogil:
    """Writes the ECN field; keeps the checksum of IPv4 right (RFC 1624: HC' = ~(~HC + ~m + m'))."""
    cdef Ip4Header *ip4 = <Ip4Header *>ip.packet
    cdef Ip6Header *ip6 = <Ip6Header *>ip.packet
    cdef uint8_t tos = (ip.tos & ~<uint8_t>ECN_MASK) | ecn
    if ip.version == 6:
        ip6.version_class_label ^= htonl(<uint32_t>(ip.tos ^ tos) << IP6_CLASS_SHIFT)
        return
    ip4.tos = tos
    # The field stands in the low byte of the first 16-bit word, which is the high byte of a native one.
    ip4.check = csum_fold(<uint32_t><uint16_t>~ip4.check + <uint16_t>~(<uint16_t>ip.tos << 8) + (<uint32_t>tos << 8))


cdef inline void ecn_decapsulate(const IpView *ip, uint8_t outer) noexcept nogil:
    """Combines both fields as figure 4 of RFC 6040 says, but ignores CE around a packet that is not ECN-capable.

    The figure says drop there. `outer`: the outer TOS or traffic class. The view's `tos` stays the old one.
    """
    cdef uint8_t inner = ip.tos & ECN_MASK
    c_assert(ip.version != 0)
    if outer & ECN_MASK == ECN_CE and inner != ECN_NOT_ECT and inner != ECN_CE:
        ecn_set(ip, ECN_CE)
    elif outer & ECN_MASK == ECN_ECT1 and inner == ECN_ECT0:
        ecn_set(ip, ECN_ECT1)
