from collections.abc import Sequence

def coalesce(
    packets: Sequence[bytes],
    tcp: bool = True,
    udp: bool = True,
    *,
    max_packets: int = 1024,
    vnet_hdr_len: int = 10,
) -> list[tuple[bytes, bytes]]: ...
