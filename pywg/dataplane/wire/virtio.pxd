"""The virtio header before each packet of the TUN (linux/virtio_net.h): the offloads that the packet still needs.

Little-endian (wireguard.pxd), and read in place.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef enum:
    VNET_F_NEEDS_CSUM = 1
    VNET_F_UDP_TUNNEL_CSUM = 8      # a UDP tunnel's own checksum is to be filled in, too
    VNET_GSO_NONE = 0
    VNET_GSO_TCPV4 = 1
    VNET_GSO_TCPV6 = 4
    VNET_GSO_UDP_L4 = 5
    VNET_GSO_UDP_TUNNEL_IPV4 = 0x20     # beside one of those: of a packet in a UDP tunnel, whose own IP is this
    VNET_GSO_UDP_TUNNEL_IPV6 = 0x40
    VNET_GSO_UDP_TUNNEL = 0x60
    VNET_GSO_ECN = 0x80
    VNET_HDR_LEN = 10
    VNET_TUNNEL_HDR_LEN = 24        # a VnetTunnelHdr
    VNET_HDR_MAX = 24


cdef packed struct VnetHdr:
    uint8_t flags
    uint8_t gso_type
    uint16_t hdr_len
    uint16_t gso_size
    uint16_t csum_start
    uint16_t csum_offset


cdef packed struct VnetTunnelHdr:
    # struct virtio_net_hdr_v1_hash_tunnel. What follows the first 10 bytes means something in UDP tunnels alone.
    VnetHdr inner                   # of the packet in the tunnel; its offsets are from the outer IP header, too
    uint16_t num_buffers
    uint32_t hash_value
    uint16_t hash_report
    uint16_t padding
    uint16_t outer_th_offset        # of the tunnel's UDP header
    uint16_t inner_nh_offset        # of the IP header in the tunnel
