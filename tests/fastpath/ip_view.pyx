# cython: language_level=3
"""What `ip_read` finds in plain bytes. test_ip_view.py builds it."""
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from pywg.dataplane.wire.ip cimport IpView, ip_headers_len, ip_read


def view(packet: bytes) -> tuple | None:
    """(version, TOS, protocol, source, destination, total length, where the transport header is, fragment, length of
    all headers), as ip.pxd has it; None: no whole IP header."""
    # An exact copy on the heap, so that a memory checker sees a step outside.
    cdef uint32_t packet_len = <uint32_t>len(packet)
    cdef uint8_t *copy = <uint8_t *>malloc(packet_len or 1)
    cdef IpView ip
    if copy == NULL:
        raise MemoryError
    memcpy(copy, <const uint8_t *><const char *>packet, packet_len)
    try:
        if not ip_read(&ip, copy, packet_len):
            return None
        source, destination = ip.source[:ip.address_len], ip.destination[:ip.address_len]
        return (ip.version, ip.tos, ip.protocol, source, destination, ip.total_len, ip.l4_offset, bool(ip.fragment),
                ip_headers_len(&ip))
    finally:
        free(copy)
