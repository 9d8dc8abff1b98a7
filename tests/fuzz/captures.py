"""What the kernel gives a TUN, as kept inputs: `python -m tests.fuzz.captures` (root, iperf3, wg).

Two TUNs, opened as the daemon opens its own, each in a network namespace, are joined: what is read from one is written
to the other. Through them go ping, TCP and UDP of iperf3, and the same in VXLAN. One frame of each kind
becomes an input with a name, of the targets that take packets as they are. What wg asks of a configuration socket, with
a listener of this program's on it, becomes inputs of uapi. The other targets take choices: of theirs no capture can be
made.
"""

import base64
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.tunnel.command import CommandError
from bench.tunnel.namespace import Namespace
from bench.tunnel.site import UAPI_DIR
from pywg.runtime.net.tun import VNET_HDR_LEN, VNET_TUNNEL_HDR_LEN, Tun, open_tun
from tests.fuzz import corpus
from tests.fuzz.guided.targets.uapi import CUTS

PREFIX = "capture-"
GSO_TUNNEL, GSO_ECN = 0x60, 0x80
ETHERNET_LEN = 14
KEPT_LEN = 192
LONGEST = 65535
MTU = 1420
GSO = {1: "tcp4", 4: "tcp6", 5: "udp"}
TCP = 6
SOL_UDP, UDP_SEGMENT = 17, 103
NOBODYS_PORT = 9
VXLAN = (("10.90.0.{}", "noudpcsum"), ("10.90.0.{}", "udpcsum"), ("fd90::{}", "udp6zerocsumrx"))
"""The other end, and the tunnel's checksum."""


class Frame:
    """What was read: a virtio header of 24 bytes, and a packet."""

    def __init__(self, data: bytes) -> None:
        self.header, self.packet = data[:VNET_TUNNEL_HDR_LEN], data[VNET_TUNNEL_HDR_LEN:]
        fields: tuple[int, ...] = struct.unpack_from("<BBHHHH10xHH", self.header)
        self.flags, self.gso, _, self.gso_size, self.csum_start, self.csum_offset, self.outer_l4, self.inner = fields
        self.tunnel = self.gso & GSO_TUNNEL

    @property
    def kind(self) -> str:
        """A name for all that are alike."""
        version = self.packet[0] >> 4
        if self.gso:
            inside = GSO[self.gso & ~(GSO_TUNNEL | GSO_ECN)]
            last = len(self.packet) - self.headers_len
            parts = [inside, *(["in", f"udp{version}"] if self.tunnel else [])]
            parts += ["checked"] * bool(self.flags & 8) + ["whole" if last % self.gso_size == 0 else "short"]
            return "-".join(parts)
        protocol, l4 = (self.packet[9], 20) if version == 4 else (self.packet[6], 40)
        detail = self.packet[l4 + 13] if protocol == TCP else self.packet[l4] if protocol in (1, 58) else 0
        return f"ip{version}-{protocol}-{detail}{'-unfinished' if self.flags & 1 else ''}"

    @property
    def headers_len(self) -> int:
        """Of all headers of a superframe."""
        is_udp = self.gso & ~(GSO_TUNNEL | GSO_ECN) == 5
        return self.csum_start + (8 if is_udp else (self.packet[self.csum_start + 12] >> 4) * 4)

    def written(self) -> bytes:
        """As a TUN takes it: the offset of a tunnel's UDP is as if behind an Ethernet header."""
        outer = self.outer_l4 + (ETHERNET_LEN if self.tunnel else 0)
        return self.header[:20] + struct.pack("<HH", outer, self.inner) + self.packet


def segment_input(frame: Frame) -> bytes:
    """Of a superframe: its headers, and how long its payload is, which the target makes up."""
    shape = bytes([1]) + struct.pack("<HBB", MTU, 16, 7)
    offsets = bytes([frame.outer_l4, frame.inner - frame.outer_l4]) if frame.tunnel else b""
    payload = len(frame.packet) - frame.headers_len
    return (
        shape + frame.header[:VNET_HDR_LEN] + offsets + struct.pack("<H", payload) + frame.packet[: frame.headers_len]
    )


def ip_input(frame: Frame) -> bytes:
    """Of a packet, with the checksum that is to be finished, if there is one."""
    return struct.pack("<BHB", 0, frame.csum_start, frame.csum_offset & 0xFF) + frame.packet


def inputs(frames: dict[str, Frame]) -> dict[str, dict[str, bytes]]:
    """By target and name: superframes for segment, whole short packets for the two that read any."""
    found: dict[str, dict[str, bytes]] = {"segment": {}, "ip": {}, "unreachable": {}}
    for kind, frame in sorted(frames.items()):
        if frame.gso:
            found["segment"][PREFIX + kind] = segment_input(frame)
        elif len(frame.packet) < KEPT_LEN - VNET_HDR_LEN:
            found["ip"][PREFIX + kind] = ip_input(frame)
            found["unreachable"][PREFIX + kind] = frame.packet
    return found


def keep(target: str, captured: dict[str, bytes]) -> int:
    """From now on these are the target's captures. How many inputs it has."""
    others = {name: data for name, data in corpus.kept(target).items() if not name.startswith(PREFIX)}
    together = others | captured
    corpus.packed(target).write_text(corpus.form(together))
    return len(together)


def asked(name: str, command: tuple[str, ...], configuration: str = "") -> bytes:
    """What wg writes to the socket of an interface, which answers that all is well."""
    path = Path(UAPI_DIR, f"{name}.sock")
    received = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        try:
            listener.listen()
            wg = subprocess.Popen(["wg", *command], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
            assert wg.stdin is not None
            wg.stdin.write(configuration.encode())
            wg.stdin.close()
            while wg.poll() is None:
                if not select.select([listener], [], [], 0.1)[0]:
                    continue
                client, _ = listener.accept()
                with client:
                    request = b""
                    while not request.endswith(b"\n\n") and (more := client.recv(1 << 16)):
                        request += more
                    if request:  # and not a look whether there is a daemon
                        client.sendall(b"errno=0\n\n")
                    received += request
        finally:
            path.unlink()
    return received


def conversations() -> dict[str, bytes]:
    """By name, inputs of uapi: what wg asks for, with an interface that is up, in one piece."""
    name = f"cap{os.getpid() % 100_000}"
    keys = [base64.b64encode(bytes([number] * 32)).decode() for number in (0x42, 0x48)]
    peer = f"[Peer]\nPublicKey = {keys[0]}\nEndpoint = [fe80::1%1]:51820\nAllowedIPs = 10.0.0.0/8, fd00::/8\n"
    file = f"[Interface]\nPrivateKey = {keys[1]}\nListenPort = 51820\nFwMark = 0xca6c\n{peer}PersistentKeepalive = 25\n"
    change = ("endpoint", "192.0.2.1:1", "persistent-keepalive", "off", "allowed-ips", "0.0.0.0/0,::/0")
    commands: dict[str, tuple[tuple[str, ...], str]] = {
        "show": (("show", name), ""),
        "set": (("set", name, "listen-port", "1", "fwmark", "off", "peer", keys[0], *change), ""),
        "remove": (("set", name, "peer", keys[0], "remove"), ""),
        "setconf": (("setconf", name, "/dev/stdin"), file),
        "addconf": (("addconf", name, "/dev/stdin"), peer),
        "syncconf": (("syncconf", name, "/dev/stdin"), file),
    }
    whole = b"\1" + bytes(2 * CUTS)
    return {f"{PREFIX}wg-{what}": whole + asked(name, *command) for what, command in commands.items()}


def join(tuns: tuple[Tun, Tun], frames: dict[str, Frame], over: threading.Event) -> None:
    """Until it is over. The first frame of each kind is kept."""
    poll = select.poll()
    for tun in tuns:
        poll.register(tun.fd, select.POLLIN)
    while not over.is_set():
        for fd, _ in poll.poll(100):
            other = tuns[fd == tuns[0].fd]
            with suppress(BlockingIOError):
                frame = Frame(os.read(fd, LONGEST + VNET_TUNNEL_HDR_LEN))
                frames.setdefault(frame.kind, frame)
                os.write(other.fd, frame.written())


@contextmanager
def site(number: int) -> Iterator[tuple[Namespace, Tun]]:
    """A namespace with a TUN, VXLANs over it, and a server of iperf3."""
    namespace, far = Namespace(f"capture-{os.getpid()}-{number}"), 3 - number
    namespace.create()
    try:
        with namespace.entered():
            tun = open_tun("tun")
        if not tun.tunnels:
            raise SystemExit("this kernel gives no superframes in UDP tunnels to a TUN: Linux 6.17 does")
        link(namespace, "tun", 0, number)
        for at, (outer, check) in enumerate(VXLAN, 1):
            name, port = f"over{at}", str(4788 + at)
            own = ("id", str(at), "remote", outer.format(far), "dstport", port, check, "dev", "tun")
            namespace.run("ip", "link", "add", name, "type", "vxlan", *own)
            link(namespace, name, at, number)
        namespace.start(["iperf3", "-s"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        yield namespace, tun
        tun.close()
    finally:
        namespace.remove()


def link(namespace: Namespace, name: str, net: int, number: int) -> None:
    namespace.run("ip", "address", "add", f"10.9{net}.0.{number}/24", "dev", name)
    namespace.run("ip", "address", "add", f"fd9{net}::{number}/64", "dev", name, "nodad")
    namespace.run("ip", "link", "set", name, "up")


def traffic(near: Namespace) -> None:
    """Over the TUN itself, and over each tunnel."""
    for net in range(4):
        for address in (f"10.9{net}.0.2", f"fd9{net}::2"):
            near.run("ping", "-n", "-c", "2", "-i", "0.2", "-s", "40", address)
            for more in ((), ("-R",), ("-u", "-b", "200M", "-l", "1200")):
                patient(near, "iperf3", "-c", address, "-n", "3M", *more)
            family = socket.AF_INET if "." in address else socket.AF_INET6
            with near.socket(family, socket.SOCK_DGRAM) as sender:
                sender.setsockopt(SOL_UDP, UDP_SEGMENT, 1000)
                sender.sendto(bytes(9500), (address, NOBODYS_PORT))


def patient(near: Namespace, *argv: str) -> None:
    """iperf3's server takes one client at a time, and begins when it does."""
    for _ in range(50):
        with suppress(CommandError):
            near.run(*argv)
            return
        time.sleep(0.1)
    raise SystemExit(f"{' '.join(argv)} fails")


def main() -> int:
    """The exit status."""
    frames: dict[str, Frame] = {}
    over = threading.Event()
    with site(1) as (near, first), site(2) as (_, second):
        joined = threading.Thread(target=join, args=((first, second), frames, over))
        joined.start()
        try:
            traffic(near)
        finally:
            over.set()
            joined.join()
    for target, captured in (*inputs(frames).items(), ("uapi", conversations())):
        print(f"{target}: {len(captured)} captures, {keep(target, captured)} inputs: {', '.join(captured)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
