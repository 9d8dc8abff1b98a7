from collections.abc import Iterable, Sequence
from typing import Final

from typing_extensions import Buffer

REASONS: Final[dict[int, str]]

def datagrams(
    vnet_hdr: Buffer, packet: bytes, mtu: int, *, room: int = 200_000, max_runs: int = 16
) -> list[list[tuple[bytes, int]]]: ...
def segment(vnet_hdr: Buffer, packet: bytes, mtu: int) -> list[bytes]: ...
def finish(vnet_hdr: Buffer, packet: Buffer) -> bytes: ...
def internet_checksum(data: Buffer) -> int: ...
def coalesce(
    packets: Sequence[bytes],
    tcp: bool = True,
    udp: bool = True,
    *,
    max_packets: int = 1024,
    vnet_hdr_len: int = 10,
    tunnels: Iterable[tuple[bytes, int]] = (),
    apart: bool = False,
) -> list[tuple[bytes, bytes]]: ...
def unreachable(packet: bytes) -> bytes | None: ...
def decapsulate(packet: bytes, outer: int) -> bytes: ...
