"""A data plane with the test on both of its sides: no root, no interface.

The TUN is one end of a socket pair that keeps packet boundaries; the network is loopback. What the peer does is done
here in plain Python, with `cryptography` as the oracle. Nothing waits for a fixed time: `until` asks again.
"""

import hashlib
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import NamedTuple, Self

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from pywg._fastpath import Plane, now
from pywg.runtime.net.sockets import Sockets, open_sockets
from tests.aead import USUAL
from tests.fastpath.packets import ADDRESSES4, ADDRESSES6, Ip, Vnet
from tests.native.packets import segment
from tests.paper import LABEL_MAC1, TRANSPORT

Addr = tuple[bytes, int, int, bytes, int]

MTU = 1420
HEADER_LEN = TRANSPORT[1]
TAG_LEN = 16
PATIENCE = 20.0  # seconds after which a test says what never came
TUN_BUFFER_LEN = 4 << 20
EVERYWHERE = [(bytes(4), 0), (bytes(16), 0)]
FAR_PREFIXES = [(ADDRESSES4[1], 32), (ADDRESSES6[1], 128)]
IDENTITY = bytes(range(32))
UDP_SEGMENT = 103
DROPS = ("malformed", "truncated", "bad_mac1", "unknown_index", "expired", "replayed", "forged", "bad_cookie_reply")
"""Why a datagram is refused: each refused datagram is in exactly one of these counters."""


@dataclass(frozen=True)
class Raw(Ip):
    """An IP packet of a protocol (253, RFC 3692) that no offload knows."""

    protocol: int = 253

    def l4(self, check: int) -> bytes:
        return self.payload

    def right_checksum(self) -> int:
        return 0


def raw_packet(length: int, version: int = 4, fill: int = 0) -> bytes:
    """An outbound IP packet of `length` bytes in all, at least a bare header."""
    header_len = 20 if version == 4 else 40
    body = bytes((fill + i) & 0xFF for i in range(length - header_len))
    return Raw(version=version, payload=body).build()


def inbound(packet: Ip) -> Ip:
    """The same packet on its way from the peer to us."""
    source, destination = packet.addresses or (ADDRESSES4 if packet.version == 4 else ADDRESSES6)
    return replace(packet, addresses=(destination, source))


def reply(number: int, length: int = 60) -> bytes:
    """An inbound packet that says which one it is."""
    return inbound(Raw(payload=number.to_bytes(4, "big") + bytes(length - 24))).build()


def pad(inner: bytes, mtu: int = MTU) -> bytes:
    """Paper section 5.4.6: zeros up to a multiple of 16; never past the MTU."""
    return inner + bytes(max(len(inner), min((len(inner) + 15) // 16 * 16, mtu)) - len(inner))


def seal(key: bytes, receiver_index: int, counter: int, text: bytes) -> bytes:
    """A transport message, byte by byte from the paper's section 5.4.6."""
    sealed = ChaCha20Poly1305(key).encrypt(bytes(4) + counter.to_bytes(8, "little"), text, None)
    return struct.pack("<IIQ", TRANSPORT[0], receiver_index, counter) + sealed


class Opened(NamedTuple):
    """A transport message that was authentic."""

    receiver_index: int
    counter: int
    text: bytes


def unseal(key: bytes, datagram: bytes) -> Opened:
    """Raises InvalidTag for a forged one."""
    kind, receiver_index, counter = struct.unpack_from("<IIQ", datagram)
    assert kind == TRANSPORT[0]
    nonce = bytes(4) + counter.to_bytes(8, "little")
    return Opened(receiver_index, counter, ChaCha20Poly1305(key).decrypt(nonce, datagram[HEADER_LEN:], None))


def key_of(*names: object) -> bytes:
    """A key that is the same every time, and another one for every name."""
    return hashlib.sha256(repr(names).encode()).digest()


def with_mac1(message: bytes, public_key: bytes = IDENTITY) -> bytes:
    """The message, whose last 32 bytes are mac1 and mac2, with the mac1 of section 5.4.4; mac2 stays."""
    key = hashlib.blake2s(LABEL_MAC1.encode() + public_key).digest()
    mac1 = hashlib.blake2s(message[:-32], key=key, digest_size=16).digest()
    return message[:-32] + mac1 + message[-16:]


def handshake_message(kind: int, length: int, receiver_index: int = 0, body: bytes = b"") -> bytes:
    """An initiation, response or cookie reply with this receiver index (where it has one) and a mac1 (likewise)."""
    index = receiver_index.to_bytes(4, "little")
    start = {1: b"\1\0\0\0", 2: b"\2\0\0\0" + bytes(4) + index, 3: b"\3\0\0\0" + index}[kind]
    message = (start + body).ljust(length, b"\x5a")
    return message if kind == 3 else with_mac1(message)


def udp_socket(family: socket.AddressFamily, address: str, port: int = 0) -> socket.socket:
    """A plain socket of the far end: without UDP_GRO, with as much buffer as it gets."""
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.settimeout(PATIENCE)
    sock.bind((address, port))
    return sock


def addr_of(sock: socket.socket) -> Addr:
    """Where `sock` is, as the plane's endpoints say it."""
    host, port = sock.getsockname()[:2]
    return socket.inet_pton(sock.family, host), port, 0, b"", 0


def tun_pair(buffer_len: int = TUN_BUFFER_LEN) -> tuple[socket.socket, socket.socket]:
    """(the plane's end, the test's end): whole packets in order, a full buffer says EAGAIN."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_len)
    ends[0].setblocking(False)
    ends[1].settimeout(PATIENCE)
    return ends


class PlaneHarness:
    """A plane, its TUN and its sockets. Use as a context manager."""

    aead = USUAL
    helpers = 0
    """of a harness that is not told"""

    def __init__(
        self,
        *,
        aead: str = "",
        vnet_hdr_len: int = 10,
        tunnels: bool = False,
        mtu: int = MTU,
        udp_gso: bool = True,
        udp_gso_equal_tail: bool = True,
        udp_gro: bool = True,
        coalesce: bool = True,
        helpers: int | None = None,
        turns: bool = False,
        staged_bytes: int = 16 << 20,
        shards: int = 1,
        pairs: int | None = None,
    ) -> None:
        """`pairs`: how many of the shards get sockets, each pair on a port of its own here: the test steers."""
        self.vnet_hdr_len = vnet_hdr_len
        self.mtu = mtu
        self.plane = Plane(
            aead=aead or self.aead,
            udp_gso=udp_gso,
            udp_gso_equal_tail=udp_gso_equal_tail,
            coalesce=coalesce,
            helpers=self.helpers if helpers is None else helpers,
            turns=turns,
            staged_bytes=staged_bytes,
            shards=shards,
        )
        queues = [tun_pair() for _ in range(shards)]
        self.tun_ends = [end for end, _ in queues]
        self.tuns = [end for _, end in queues]
        self.pairs = [open_sockets(0, 0, udp_gro=udp_gro) for _ in range(pairs or shards)]
        self.messages: list[tuple[bytes, Addr]] = []
        self.happened: list[tuple[int, int, int]] = []
        self.device_flags = 0
        self.fars: list[Far] = []
        self.plane.set_mtu(mtu)
        self.plane.set_identity(IDENTITY)
        more = [end.fileno() for end in self.tun_ends[1:]]
        self.plane.attach_tun(self.tun_end.fileno(), vnet_hdr_len=vnet_hdr_len, uso=True, tunnels=tunnels, more=more)
        self.attach_sockets()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Idempotent."""
        self.plane.close()
        for pair in self.pairs:
            pair.close()
        for sock in (*self.tuns, *self.tun_ends, *(far.sock for far in self.fars)):
            sock.close()

    # Of the first shard

    @property
    def tun(self) -> socket.socket:
        """The test's end."""
        return self.tuns[0]

    @tun.setter
    def tun(self, end: socket.socket) -> None:
        self.tuns[0] = end

    @property
    def tun_end(self) -> socket.socket:
        """The plane's end."""
        return self.tun_ends[0]

    @tun_end.setter
    def tun_end(self, end: socket.socket) -> None:
        self.tun_ends[0] = end

    @property
    def sockets(self) -> Sockets:
        return self.pairs[0]

    @sockets.setter
    def sockets(self, sockets: Sockets) -> None:
        self.pairs[0] = sockets

    def attach_sockets(self) -> None:
        """Those of all shards that have any."""
        first, *more = ((pair.fd4, pair.fd6) for pair in self.pairs)
        self.plane.attach_sockets(*first, more=more)

    # ---- waiting

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Asks until it is so."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"never came: {what}; counters {self.nonzero()}"
            time.sleep(0.0005)

    def counted(self, **counters: int) -> None:
        """Until each of the counters named is at least what is given (and then: exactly that)."""
        self.until(lambda: all(self.counter(name) >= n for name, n in counters.items()), repr(counters))
        self.settle()
        assert {name: self.counter(name) for name in counters} == counters

    def settle(self) -> None:
        """Until the threads are done with what they have begun: they count a message before what follows from it."""
        self.plane.set_mtu(self.mtu)  # as any change, between two batches

    def counter(self, name: str) -> int:
        return self.plane.counters()[name]

    def batches(self) -> dict[str, int]:
        """The sizes of batches that there were, and how many of each."""
        return {name: n for name, n in self.plane.batches().items() if n}

    def nonzero(self) -> dict[str, int]:
        return {name: n for name, n in self.plane.counters().items() if n}

    def drops(self) -> int:
        """Datagrams refused so far, for whatever reason."""
        counters = self.plane.counters()
        return sum(counters["rx_" + name] for name in DROPS)

    def dropped(self, count: int) -> None:
        """Until so many datagrams were refused, each counted once."""
        self.until(lambda: self.drops() >= count, f"{count} datagrams refused")
        self.settle()
        assert self.drops() == count

    # ---- what the control plane hears

    def drain(self, limit: int = 64) -> None:
        messages, happened, self.device_flags = self.plane.drain(limit)
        self.messages += messages
        self.happened += happened

    def flags_of(self, peer: int) -> int:
        """What `drain` has told of the peer so far."""
        flags = 0
        for one, its_flags, _ in self.happened:
            flags |= its_flags if one == peer else 0
        return flags

    def heard(self, peer: int, flag: int) -> None:
        """Until the event came, through `event_fd`."""
        deadline = time.monotonic() + PATIENCE
        while not self.flags_of(peer) & flag:
            assert select.select([self.plane.event_fd], [], [], deadline - time.monotonic())[0], f"no event {flag}"
            self.drain()

    def received(self, count: int) -> list[tuple[bytes, Addr]]:
        """The first `count` handshake messages, once they have come."""
        deadline = time.monotonic() + PATIENCE
        while len(self.messages) < count:
            assert select.select([self.plane.event_fd], [], [], deadline - time.monotonic())[0], (
                f"{len(self.messages)} of {count} messages; counters {self.nonzero()}"
            )
            self.drain()
        return self.messages

    def forget(self) -> None:
        """What was heard so far is no longer of interest."""
        self.drain()
        self.messages.clear()
        self.happened.clear()

    # ---- the TUN

    def write(self, packet: bytes, vnet: Vnet | None = None, shard: int = 0) -> None:
        """Gives the plane a frame from the kernel."""
        header = (vnet or Vnet()).build().ljust(self.vnet_hdr_len, b"\0")
        self.tuns[shard].send(header[: self.vnet_hdr_len] + packet)

    def read_frame(self, shard: int = 0) -> tuple[bytes, bytes]:
        """(virtio header, frame) that the plane wrote."""
        data = self.tuns[shard].recv(1 << 17)
        return data[: self.vnet_hdr_len], data[self.vnet_hdr_len :]

    def read_packets(self, shard: int = 0) -> list[bytes]:
        """The inner packets of one frame, as the kernel would cut it."""
        header, frame = self.read_frame(shard)
        if self.vnet_hdr_len == 0 or Vnet.parse(header) == Vnet():
            return [frame]
        return segment(header[:10], frame, 65535)

    def read(self, count: int) -> list[bytes]:
        """The next `count` inner packets; more than that is an error."""
        packets: list[bytes] = []
        while len(packets) < count:
            packets += self.read_packets()
        assert len(packets) == count
        return packets

    def tun_is_empty(self, shard: int = 0) -> bool:
        return not select.select([self.tuns[shard]], [], [], 0)[0]


class Far:
    """A peer of the harness, as the peer sees it: a socket, one session, and what it sent last."""

    def __init__(
        self,
        harness: PlaneHarness,
        peer: int = 1,
        *,
        family: socket.AddressFamily = socket.AF_INET,
        prefixes: list[tuple[bytes, int]] | None = None,
        sock: socket.socket | None = None,
        session: bool = True,
        initiator: bool = True,
        age: float = 0.0,
        confirmed: bool = True,
    ) -> None:
        self.harness = harness
        self.peer = peer
        self.sock = sock or udp_socket(family, "127.0.0.1" if family == socket.AF_INET else "::1")
        self.local_index = 0x10000000 + peer  # what we send to the plane is named by it
        self.remote_index = 0xA0000000 + peer
        self.key = key_of(peer, "from the plane")
        self.send_key = key_of(peer, "to the plane")
        self.counter = 0
        harness.fars.append(self)
        harness.plane.add_peer(peer)
        harness.plane.allow_many(peer, FAR_PREFIXES if prefixes is None else prefixes)
        harness.plane.set_endpoint(peer, addr_of(self.sock))
        if session:
            self.install(initiator=initiator, age=age, confirmed=confirmed)
            harness.plane.use_keypair(peer, self.local_index)

    def install(
        self, *, initiator: bool = True, age: float = 0.0, confirmed: bool = True, first_counter: int = 0
    ) -> None:
        """Gives the plane the session's keys, as if the handshake had been `age` seconds ago."""
        self.harness.plane.install_keypair(
            self.peer,
            self.local_index,
            self.remote_index,
            self.key,
            self.send_key,
            initiator=initiator,
            created_at=now() - age,
            confirmed=confirmed,
            first_counter=first_counter,
        )

    def plane_addr(self, shard: int = 0) -> tuple[str, int]:
        return ("127.0.0.1" if self.sock.family == socket.AF_INET else "::1"), self.harness.pairs[shard].port

    def expect(self, counter: int, inner: bytes) -> bytes:
        """What the plane has to send for `inner`."""
        return seal(self.key, self.remote_index, counter, pad(inner, self.harness.mtu))

    def receive(self) -> bytes:
        """The next datagram from the plane."""
        return self.sock.recv(1 << 16)

    def open(self) -> Opened:
        """The next datagram, which has to be authentic and for this session."""
        opened = unseal(self.key, self.receive())
        assert opened.receiver_index == self.remote_index
        return opened

    def message(self, inner: bytes, counter: int | None = None) -> bytes:
        """A transport message to the plane, padded; takes the next counter unless one is given."""
        if counter is None:
            counter = self.counter
            self.counter += 1
        return seal(self.send_key, self.local_index, counter, pad(inner, self.harness.mtu))

    def send_datagram(self, datagram: bytes, shard: int = 0) -> None:
        self.sock.sendto(datagram, self.plane_addr(shard))

    def send(self, inner: bytes, counter: int | None = None) -> None:
        self.send_datagram(self.message(inner, counter))

    def send_train(self, datagrams: list[bytes], shard: int = 0) -> None:
        """Datagrams of equal length (the last may be shorter) in one UDP_SEGMENT send: what GRO delivers whole."""
        control = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("H", len(datagrams[0])))]
        self.sock.sendmsg([b"".join(datagrams)], control, 0, self.plane_addr(shard))

    def is_silent(self) -> bool:
        """Whether nothing of the plane's waits to be received."""
        return not select.select([self.sock], [], [], 0)[0]


@contextmanager
def traffic(harness: PlaneHarness, far: Far) -> Iterator[None]:
    """Packets in both directions, as fast as they go, until the block ends."""
    stop = threading.Event()
    harness.tun.settimeout(0.05)
    noise = udp_socket(socket.AF_INET, "127.0.0.1")
    address = far.plane_addr()

    def outbound() -> None:
        while not stop.is_set():
            try:
                harness.write(raw_packet(1000))
            except TimeoutError:
                continue

    def inbound() -> None:
        number = 0
        while not stop.is_set():
            noise.sendto(far.message(reply(number, 800)), address)
            number += 1
            while select.select([harness.tun], [], [], 0)[0]:
                harness.read_packets()

    threads = [threading.Thread(target=run) for run in (outbound, inbound)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        noise.close()


def flows(harness: PlaneHarness) -> None:
    """Until packets have gone both ways since now."""
    sent, received = harness.counter("tx_packets"), harness.counter("rx_datagrams")
    harness.until(
        lambda: harness.counter("tx_packets") > sent and harness.counter("rx_datagrams") > received, "traffic"
    )
