"""ecn.pxd on plain bytes, for tests."""
from cpython.bytearray cimport PyByteArray_AS_STRING
from libc.stdint cimport uint8_t, uint32_t

from pywg.dataplane.wire.ip cimport IpView, ip_read


def decapsulate(packet: bytes, uint8_t outer) -> bytes:
    """The inner packet (whole IPv4 or IPv6 header) as it is delivered. ValueError: too short."""
    cdef bytearray copy = bytearray(packet)
    cdef IpView ip
    if not ip_read(&ip, <uint8_t *>PyByteArray_AS_STRING(copy), <uint32_t>len(copy)):
        raise ValueError("the packet is shorter than its IP header")
    ecn_decapsulate(&ip, outer)
    return bytes(copy)
