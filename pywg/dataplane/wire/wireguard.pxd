"""WireGuard's messages on the wire: types, lengths, the transport header (paper section 5.4).

Packed structs are read in place: x86-64 and AArch64 are little-endian, as WireGuard's wire is, and load from any
alignment.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef extern from *:
    """
    #if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    #error "pywg's data plane reads WireGuard's little-endian fields in place"
    #endif
    """

cdef enum:
    MESSAGE_INITIATION = 1
    MESSAGE_RESPONSE = 2
    MESSAGE_COOKIE_REPLY = 3
    MESSAGE_TRANSPORT = 4
    INITIATION_LEN = 148
    RESPONSE_LEN = 92
    COOKIE_REPLY_LEN = 64
    WG_HEADER_LEN = 16
    TAG_LEN = 16
    TRANSPORT_MIN_LEN = 32
    MAC_LEN = 16
    KEY_LEN = 32
    HANDSHAKE_TOS = 0x88        # of the outer header of all but transport data: AF41, not ECN-capable, as in Linux


cdef packed struct TransportHeader:
    uint8_t type
    uint8_t reserved[3]
    uint32_t receiver_index
    uint64_t counter


cdef inline uint32_t padded_len(uint32_t inner_len, uint32_t mtu) noexcept nogil:
    """`inner_len` rounded up to 16, but never past the MTU (paper section 5.4.6; the kernel's rule for the MTU)."""
    cdef uint32_t rounded = (inner_len + 15) & ~<uint32_t>15
    if rounded <= mtu:
        return rounded
    return inner_len if inner_len > mtu else mtu
