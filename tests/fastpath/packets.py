"""Inner packets, built in plain Python from the RFCs (791, 8200, 9293, 768, 1071), to check the data plane against.

`Tcp` and `Udp` are packets as values: `build()` gives the bytes, with every checksum right unless `check` says
otherwise; `dataclasses.replace` makes the variants that a test needs.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))
NEEDS_CSUM = 1
GSO_NONE, GSO_TCPV4, GSO_UDP, GSO_TCPV6, GSO_UDP_L4, GSO_ECN = 0, 1, 3, 4, 5, 0x80
TCP, UDP = 6, 17
DF, MF = 0x4000, 0x2000

ADDRESSES4 = (bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]))
ADDRESSES6 = (bytes.fromhex("fd00" + "00" * 13 + "01"), bytes.fromhex("fd00" + "00" * 13 + "02"))


def fold(data: bytes) -> int:
    """The one's complement sum of `data` as 16-bit big-endian words (RFC 1071), not complemented."""
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def checksum(data: bytes) -> int:
    return ~fold(data) & 0xFFFF


@dataclass(frozen=True)
class Ip:
    """What TCP and UDP packets share.

    `options`: IPv4 options or IPv6 extension headers, whole; `first_header` is the first one's protocol number.
    `ip_len_error` is added to the IP header's length field.
    """

    payload: bytes = b""
    version: int = 4
    addresses: tuple[bytes, bytes] | None = None
    ports: tuple[int, int] = (1000, 2000)
    ttl: int = 64
    tos: int = 0
    flow_label: int = 0
    ident: int = 7
    fragment: int = DF
    options: bytes = b""
    first_header: int | None = None
    ip_len_error: int = 0
    check: int | None = None
    protocol: int = 0

    def source_and_destination(self) -> bytes:
        return b"".join(self.addresses or (ADDRESSES4 if self.version == 4 else ADDRESSES6))

    def pseudo_header(self, l4_len: int) -> bytes:
        form = "!BBH" if self.version == 4 else "!I3xB"
        fields = (0, self.protocol, l4_len) if self.version == 4 else (l4_len, self.protocol)
        return self.source_and_destination() + struct.pack(form, *fields)

    def ip_header(self, l4_len: int) -> bytes:
        following = self.protocol if self.first_header is None else self.first_header
        if self.version == 6:
            word = 6 << 28 | self.tos << 20 | self.flow_label
            payload_len = len(self.options) + l4_len + self.ip_len_error
            fixed = struct.pack("!IHBB", word, payload_len, following, self.ttl)
            return fixed + self.source_and_destination() + self.options
        ihl = 5 + len(self.options) // 4
        total_len = ihl * 4 + l4_len + self.ip_len_error
        start = struct.pack("!BBHH", 4 << 4 | ihl, self.tos, total_len, self.ident & 0xFFFF)
        start += struct.pack("!HBB", self.fragment, self.ttl, self.protocol)
        rest = self.source_and_destination() + self.options
        return start + struct.pack("!H", checksum(start + rest)) + rest

    def l4_offset(self) -> int:
        return (20 if self.version == 4 else 40) + len(self.options)

    def l4(self, check: int) -> bytes:
        raise NotImplementedError

    def right_checksum(self) -> int:
        l4 = self.l4(0)
        return checksum(self.pseudo_header(len(l4)) + l4)

    def partial_checksum(self) -> int:
        """What the kernel leaves in a field that still has to be finished: the pseudo header's sum."""
        return fold(self.pseudo_header(len(self.l4(0))))

    def build(self) -> bytes:
        l4 = self.l4(self.right_checksum() if self.check is None else self.check)
        return self.ip_header(len(l4)) + l4

    def unfinished(self) -> bytes:
        return replace(self, check=self.partial_checksum()).build()


@dataclass(frozen=True)
class Tcp(Ip):
    """A TCP segment. `tcp_options`: a multiple of 4 bytes. `data_offset`: instead of the right one."""

    seq: int = 100
    ack: int = 200
    flags: int = ACK
    reserved: int = 0
    window: int = 512
    urgent: int = 0
    tcp_options: bytes = b""
    data_offset: int | None = None
    protocol: int = TCP

    def l4(self, check: int) -> bytes:
        words = 5 + len(self.tcp_options) // 4 if self.data_offset is None else self.data_offset
        offset = words << 4 | self.reserved
        numbers = struct.pack("!HHII", *self.ports, self.seq & 0xFFFFFFFF, self.ack)
        rest = struct.pack("!BBHHH", offset, self.flags, self.window, check, self.urgent)
        return numbers + rest + self.tcp_options + self.payload


@dataclass(frozen=True)
class Udp(Ip):
    """A UDP datagram. `udp_len`: instead of the right length field."""

    udp_len: int | None = None
    protocol: int = UDP

    def l4(self, check: int) -> bytes:
        length = 8 + len(self.payload) if self.udp_len is None else self.udp_len
        return struct.pack("!HHHH", *self.ports, length, check) + self.payload

    def right_checksum(self) -> int:
        return super().right_checksum() or 0xFFFF


@dataclass(frozen=True)
class Vnet:
    """struct virtio_net_hdr, little-endian as on the machines that pywg runs on."""

    flags: int = 0
    gso_type: int = GSO_NONE
    hdr_len: int = 0
    gso_size: int = 0
    csum_start: int = 0
    csum_offset: int = 0

    def build(self) -> bytes:
        fields = (self.hdr_len, self.gso_size, self.csum_start, self.csum_offset)
        return struct.pack("<BBHHHH", self.flags, self.gso_type, *fields)

    @classmethod
    def parse(cls, data: bytes) -> "Vnet":
        return cls(*struct.unpack_from("<BBHHHH", data))


def gso_type_of(packet: Ip) -> int:
    if isinstance(packet, Udp):
        return GSO_UDP_L4
    return GSO_TCPV4 if packet.version == 4 else GSO_TCPV6


def gso_vnet(packet: Ip, gso_size: int) -> Vnet:
    """The virtio header with which the kernel hands over `packet` as a superframe."""
    l4_len = len(packet.l4(0)) - len(packet.payload)
    csum_offset = 16 if isinstance(packet, Tcp) else 6
    offset = packet.l4_offset()
    return Vnet(NEEDS_CSUM, gso_type_of(packet), offset + l4_len, gso_size, offset, csum_offset)


def cut(packet: Ip, gso_size: int) -> list[bytes]:
    """The packets that `packet` must be cut into, by Linux' rules for segmentation."""
    pieces: Sequence[bytes] = [
        packet.payload[at : at + gso_size] for at in range(0, len(packet.payload), gso_size)
    ] or [b""]
    found: list[bytes] = []
    for number, piece in enumerate(pieces):
        one = replace(packet, payload=piece, ident=packet.ident + number)
        if isinstance(one, Tcp):
            flags = one.flags
            if number:
                flags &= ~CWR
            if number + 1 < len(pieces):
                flags &= ~(FIN | PSH)
            one = replace(one, seq=one.seq + number * gso_size, flags=flags)
        found.append(one.build())
    return found
