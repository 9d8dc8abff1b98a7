"""Explicit congestion notification through the tunnel: RFC 6040, sections 4.1 (normal mode) and 4.2.

Sealing copies the inner ECN field to the outer header, and no DSCP: a mask in egress. Opening combines both here, as
the kernel's WireGuard does: it never drops, so that a link which rewrites the outer TOS can't black-hole the tunnel.
"""
from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    ECN_MASK = 3
    ECN_NOT_ECT = 0
    ECN_ECT1 = 1
    ECN_ECT0 = 2
    ECN_CE = 3


cdef inline void ecn_set(uint8_t *packet, uint8_t ecn) noexcept nogil:
    """Writes the ECN field of a whole IPv4 (checksum kept right, RFC 1624) or IPv6 header."""
    cdef uint32_t check
    cdef uint8_t old
    if packet[0] >> 4 == 6:
        packet[1] = (packet[1] & 0xCF) | <uint8_t>(ecn << 4)
        return
    old = packet[1]
    packet[1] = (old & ~<uint8_t>ECN_MASK) | ecn
    # The field stands in the low byte of the first 16-bit word: HC' = ~(~HC + ~m + m').
    check = (((<uint32_t>packet[10] << 8) | packet[11]) ^ 0xFFFF) + (old ^ 0xFFFF) + packet[1]
    check = (check & 0xFFFF) + (check >> 16)
    check = (check & 0xFFFF) + (check >> 16)
    check ^= 0xFFFF
    packet[10] = <uint8_t>(check >> 8)
    packet[11] = <uint8_t>check


cdef inline void ecn_decapsulate(uint8_t *packet, uint8_t outer) noexcept nogil:
    """Figure 4 of RFC 6040, but that CE outside a packet that is not capable is ignored, where the figure says drop.

    `outer`: the outer TOS or traffic class.
    """
    cdef uint8_t inner
    outer &= ECN_MASK
    if outer == ECN_NOT_ECT or outer == ECN_ECT0:
        return
    inner = packet[1] & ECN_MASK if packet[0] >> 4 == 4 else (packet[1] >> 4) & ECN_MASK
    if outer == ECN_CE:
        if inner != ECN_NOT_ECT and inner != ECN_CE:
            ecn_set(packet, ECN_CE)
    elif inner == ECN_ECT0:
        ecn_set(packet, ECN_ECT1)
