"""ecn.pxd on plain bytes, for tests."""
from cpython.bytearray cimport PyByteArray_AS_STRING
from libc.stdint cimport uint8_t


def decapsulate(packet: bytes, uint8_t outer) -> bytes:
    """The inner packet (whole IPv4 or IPv6 header) as it is delivered. ValueError: too short."""
    cdef bytearray copy = bytearray(packet)
    if len(copy) < 20 or (copy[0] >> 4 == 6 and len(copy) < 40):
        raise ValueError("the packet is shorter than its IP header")
    ecn_decapsulate(<uint8_t *>PyByteArray_AS_STRING(copy), outer)
    return bytes(copy)
