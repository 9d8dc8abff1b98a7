"""The kernel as the judge of superframes in UDP tunnels: what it cuts them into, and what pywg does.

A TUN of the test's own gives the kernel a superframe, as pywg's end would. The kernel forwards it to a veth without
segmentation offloads, and so cuts it. What arrives there, pywg has to make of the same superframe; and what pywg merges
of it has to be cut to the same again.
"""

import contextlib
import os
import re
import select
import socket
import struct
import subprocess
from collections.abc import Callable
from dataclasses import replace

import pytest

from pywg.runtime.net.tun import open_tun
from tests.fastpath.packets import ACK, DF, PSH, Tcp, Udp
from tests.fastpath.tunnels import GENEVE_PORT, VXLAN_PORT, Tunnel, ethernet, geneve, tunnel_vnet, vxlan
from tests.native.packets import coalesce, segment
from tests.requirements import require_root, require_tool
from tests.runtime.namespace import ip, run_inside

RELEASE = tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])
ETH_P_ALL = 3
MTU = 1420
ETHERNET_LEN = 14
ADDRESSES = {
    4: (bytes([10, 0, 0, 1]), bytes([10, 0, 1, 2])),
    6: (socket.inet_pton(socket.AF_INET6, "fd00:1::1"), socket.inet_pton(socket.AF_INET6, "fd00:2::2")),
}
SIZES = [(3000, 999), (1000, 999), (3996, 999), (40000, 1200)]
TIMESTAMPS = bytes.fromhex("0101080a0102030405060708")
INNER = [
    Tcp(flags=ACK | PSH, tcp_options=TIMESTAMPS, ident=0xFFFE, fragment=DF),
    Tcp(version=6, flags=ACK | PSH, seq=0xFFFFFF00, tcp_options=TIMESTAMPS),
    Udp(),
    Udp(version=6),
]
OUTER = [
    Udp(version=version, addresses=ADDRESSES[version], check=check, ident=0xFFFD, fragment=0, tos=tos)
    for version in (4, 6)
    for check in (0, None)
    for tos in (0, 2)
]
FRONTS: dict[str, tuple[int, Callable[[int], bytes]]] = {
    "vxlan": (VXLAN_PORT, lambda version: vxlan() + ethernet(version)),
    "geneve": (GENEVE_PORT, lambda version: geneve(options=bytes.fromhex("0102000401020304")) + ethernet(version)),
    "vlan": (VXLAN_PORT, lambda version: vxlan() + ethernet(version, vlan=5)),
}


def payload(length: int) -> bytes:
    return bytes((i * i + 11 * i) & 0xFF for i in range(length))


def routed(packet: bytes) -> bytes:
    """As it is behind a router: one hop less."""
    changed = bytearray(packet)
    if packet[0] >> 4 == 6:
        changed[7] -= 1
        return bytes(changed)
    changed[8] -= 1
    changed[10:12] = bytes(2)
    total = sum(struct.unpack("!10H", changed[:20]))
    total = (total & 0xFFFF) + (total >> 16)
    changed[10:12] = (~((total & 0xFFFF) + (total >> 16)) & 0xFFFF).to_bytes(2)
    return bytes(changed)


class Kernel:
    """A TUN, a router behind it, and a veth at whose far end is what the router has cut."""

    def __init__(self) -> None:
        self.tun = open_tun("judge0")
        ip("link", "add", "out0", "type", "veth", "peer", "name", "out1")
        for name in ("judge0", "out0", "out1"):
            ip("link", "set", name, "mtu", "1500", "up")
        for version, prefix, gateway in ((4, "10.0.1.0/24", "10.0.2.1/24"), (6, "fd00:2::/64", "fd00:3::1/64")):
            ip(f"-{version}", "address", "add", gateway, "dev", "out0", *(["nodad"] if version == 6 else []))
            ip(f"-{version}", "route", "add", prefix, "dev", "out0")
        ip("route", "add", "10.0.0.0/24", "dev", "judge0")
        ip("-6", "route", "add", "fd00:1::/64", "dev", "judge0")
        for address in ("10.0.1.2", "fd00:2::2"):
            ip("neighbor", "add", address, "lladdr", "02:00:00:00:00:09", "dev", "out0", "nud", "permanent")
        for path in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            with open(f"/proc/sys/net/{path}", "w") as knob:
                knob.write("1")
        tunnels = ("tx-udp_tnl-segmentation", "tx-udp_tnl-csum-segmentation")
        for kind in ("tx", "tso", "gso", "tx-udp-segmentation", *tunnels):
            with contextlib.suppress(AssertionError):
                ethtool("out0", kind)
        self.capture = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.capture.bind(("out1", ETH_P_ALL))
        self.capture.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE

    def cut(self, vnet: bytes, frame: bytes, count: int) -> list[bytes]:
        """The packets that the kernel makes of a frame."""
        os.write(self.tun.fd, vnet + frame)
        found: list[bytes] = []
        while len(found) < count and select.select([self.capture], [], [], 5)[0]:
            packet = self.capture.recv(1 << 17)
            if packet[:6] == bytes.fromhex("020000000009"):
                found.append(packet[ETHERNET_LEN:])
        return found

    def close(self) -> None:
        self.capture.close()
        self.tun.close()


def ethtool(device: str, feature: str) -> None:
    done = subprocess.run(["ethtool", "-K", device, feature, "off"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("front", ["vxlan", "geneve"])
def test_what_is_merged(front: str) -> None:
    """The kernel takes what pywg writes, and cuts it to the packets that pywg got."""
    require_root()
    require_tool("ethtool")
    port, between = FRONTS[front]

    def test() -> None:
        with contextlib.closing(Kernel()) as kernel:
            if not kernel.tun.tunnels:
                assert RELEASE < (6, 17)
                return
            for outer in OUTER:
                for inner in INNER[:2]:
                    for length, size in SIZES:
                        tunnel = Tunnel(
                            replace(inner, payload=payload(length)),
                            replace(outer, ports=(50000, port)),
                            between(inner.version),
                        )
                        packets = tunnel.cut(size)
                        assert outer.addresses is not None
                        ((vnet, frame),) = coalesce(packets, vnet_hdr_len=24, tunnels=[(outer.addresses[1], port)])
                        found = kernel.cut(vnet, frame, len(packets))
                        assert found == [routed(one) for one in packets], (tunnel.outer, inner, length)

    run_inside(test)


@pytest.mark.parametrize("front", FRONTS)
def test_what_is_cut(front: str) -> None:
    """Byte for byte."""
    require_root()
    require_tool("ethtool")
    port, between = FRONTS[front]

    def test() -> None:
        with contextlib.closing(Kernel()) as kernel:
            if not kernel.tun.tunnels:
                assert RELEASE < (6, 17)
                return
            for outer in OUTER:
                for inner in INNER:
                    for length, gso_size in SIZES:
                        tunnel = Tunnel(
                            replace(inner, payload=payload(length)),
                            replace(outer, ports=(50000, port)),
                            between(inner.version),
                        )
                        vnet = tunnel_vnet(tunnel, gso_size)
                        ours = segment(vnet.build(), tunnel.unfinished(), MTU)
                        behind_ethernet = replace(vnet, outer_th=vnet.outer_th + ETHERNET_LEN)
                        found = kernel.cut(behind_ethernet.build(), tunnel.unfinished(), len(ours))
                        assert found == [routed(one) for one in ours], (tunnel.outer, inner, length)

    run_inside(test)
