"""Inner packets' headers are read by the data plane's module `ip` alone: others have names for what stands there."""

import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "pywg"
READERS = {"ip", "checksum"}  # the latter sums bytes, whatever they mean
BYTES = "data|datagram|extension|frame|inner|packet|reply"
"""Names of pointers to bytes; `tcp + 1` is behind a struct, and no offset."""
RAW = re.compile(rf"(?<!&)(?<!uint8_t )\b(?:{BYTES})\s*(?:\[[^]:]*\b\d[^]:]*\]|\+\s*\(?\d)")


def test_no_other_module_reads_at_a_raw_offset() -> None:
    sources = [path for path in PACKAGE.rglob("*.p[yx][xd]") if path.stem not in READERS]
    assert len(sources) > 50
    assert [
        f"{path.name}: {line.strip()}" for path in sources for line in path.read_text().splitlines() if RAW.search(line)
    ] == []


@pytest.mark.parametrize(
    "line",
    [
        "if packet_len >= 20 and packet[0] >> 4 == 4:",
        "peer = <Peer *>allowedips_lookup4(dp.allowed, packet + 16)",
        "len = (<uint32_t>packet[2] << 8) | packet[3]",
        "and memcmp(packet + (16 if is4 else 24), peer.endpoint.ip, peer.endpoint.ip_len) == 0",
        "reply[8] = TTL",
        "memcpy(&in4.sin_addr, reply + 16, 4)",
        "p.version = p.data[0] >> 4 if p.len else 0",
        "if following == PROTO_ROUTING and extension[3] != 0:",
        "if packet[IP6_LEN + 2] << 8:",
    ],
)
def test_raw_offsets_are_seen(line: str) -> None:
    assert RAW.search(line)


@pytest.mark.parametrize(
    "line",
    [
        "datagram[:4] == bytes((4, 0, 0, 0))",
        "ip_read(&ip, &packet[0], len)",
        "    uint8_t data[1]",
        "memcmp(tcp + 1, head + 1)",
        "packet + s.ip.l4_offset",
    ],
)
def test_what_is_no_raw_offset(line: str) -> None:
    assert not RAW.search(line)
