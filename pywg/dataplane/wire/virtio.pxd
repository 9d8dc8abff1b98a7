"""The virtio header before each packet of the TUN (linux/virtio_net.h): the offloads that the packet still needs.

Little-endian (wireguard.pxd), and read in place.
"""
from libc.stdint cimport uint8_t, uint16_t

cdef enum:
    VNET_F_NEEDS_CSUM = 1
    VNET_GSO_NONE = 0
    VNET_GSO_TCPV4 = 1
    VNET_GSO_TCPV6 = 4
    VNET_GSO_UDP_L4 = 5
    VNET_GSO_ECN = 0x80
    VNET_HDR_LEN = 10
    VNET_HDR_MAX = 12               # with num_buffers behind it


cdef packed struct VnetHdr:
    uint8_t flags
    uint8_t gso_type
    uint16_t hdr_len
    uint16_t gso_size
    uint16_t csum_start
    uint16_t csum_offset
