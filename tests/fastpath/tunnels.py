"""Packets in UDP tunnels (RFC 7348, RFC 8926), built from those of tests/fastpath/packets.py, and how they are cut."""

import struct
from dataclasses import dataclass, field, replace

from tests.fastpath.packets import Ip, Tcp, Udp, Vnet, cut, gso_vnet

TUNNEL_CSUM = 8
GSO_TUNNEL4, GSO_TUNNEL6 = 0x20, 0x40
VXLAN_PORT, GENEVE_PORT = 4789, 6081


def ethernet(version: int, vlan: int | None = None) -> bytes:
    """A header before an IP packet, with a VLAN's tag perhaps."""
    tag = b"" if vlan is None else struct.pack("!HH", 0x8100, vlan)
    return bytes.fromhex("020000000002 020000000001") + tag + (b"\x08\x00" if version == 4 else b"\x86\xdd")


def vxlan(vni: int = 7, flags: int = 0x08) -> bytes:
    return struct.pack("!B3xI", flags, vni << 8)


def geneve(vni: int = 7, options: bytes = b"", protocol: int = 0x6558) -> bytes:
    return struct.pack("!BBHI", len(options) // 4, 0, protocol, vni << 8) + options


@dataclass(frozen=True)
class Tunnel:
    """A packet in a tunnel. `front`: what is between the tunnel's UDP header and the packet; None: VXLAN's headers.

    `outer.check`: 0 for a tunnel without a checksum, None for one with.
    """

    inner: Ip = field(default_factory=Tcp)
    outer: Udp = field(default_factory=lambda: Udp(ports=(50000, VXLAN_PORT), check=0, fragment=0))
    front: bytes | None = None

    def between(self) -> bytes:
        return vxlan() + ethernet(self.inner.version) if self.front is None else self.front

    def build(self) -> bytes:
        return replace(self.outer, payload=self.between() + self.inner.build()).build()

    def unfinished(self) -> bytes:
        """As the kernel hands it over: the checksums are those of the pseudo headers, or there is none."""
        whole = replace(self.outer, payload=self.between() + self.inner.unfinished())
        return whole.unfinished() if self.outer.check is None else whole.build()

    def inner_offset(self) -> int:
        return self.outer.l4_offset() + 8 + len(self.between())

    def cut(self, gso_size: int) -> list[bytes]:
        """The packets that it must be cut into, by Linux' rules for segmentation."""
        return [
            replace(self.outer, payload=self.between() + piece, ident=self.outer.ident + number).build()
            for number, piece in enumerate(cut(self.inner, gso_size))
        ]


@dataclass(frozen=True)
class TunnelVnet(Vnet):
    """struct virtio_net_hdr_v1_hash_tunnel."""

    outer_th: int = 0
    inner_nh: int = 0

    def build(self) -> bytes:
        return super().build() + struct.pack("<HIHHHH", 0, 0, 0, 0, self.outer_th, self.inner_nh)

    @classmethod
    def parse(cls, data: bytes) -> "TunnelVnet":
        return cls(*struct.unpack_from("<BBHHHH10xHH", data))


def tunnel_vnet(tunnel: Tunnel, gso_size: int) -> TunnelVnet:
    """The virtio header with which the kernel hands it over as a superframe."""
    inner, offset = gso_vnet(tunnel.inner, gso_size), tunnel.inner_offset()
    return TunnelVnet(
        flags=inner.flags | (TUNNEL_CSUM if tunnel.outer.check is None else 0),
        gso_type=inner.gso_type | (GSO_TUNNEL4 if tunnel.outer.version == 4 else GSO_TUNNEL6),
        hdr_len=inner.hdr_len + offset,
        gso_size=gso_size,
        csum_start=inner.csum_start + offset,
        csum_offset=inner.csum_offset,
        outer_th=tunnel.outer.l4_offset(),
        inner_nh=offset,
    )
