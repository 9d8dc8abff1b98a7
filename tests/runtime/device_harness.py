"""A device on a virtual clock, with a fake data plane and fake sockets, and a wire between two of them."""

import errno
import io
import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from pywg.config.model import AllowedIpChange, DeviceChange, PeerChange, PeerStatus
from pywg.core.events import Endpoint
from pywg.errors import BindError
from pywg.runtime.base.clock import CallLater
from pywg.runtime.base.log import Level, Log
from pywg.runtime.device.device import Device
from tests.fake_plane import FakePlane
from tests.lines import StreamOutput

LOCALHOST = bytes([127, 0, 0, 1])
_fds = itertools.count(1000)


def clamped(seed: int) -> bytes:
    """A fresh object each time: a device wipes the key bytes it is given."""
    key = bytearray([seed]) * 32
    key[0] &= 248
    key[31] = (key[31] & 127) | 64
    return bytes(key)


def public(private: bytes) -> bytes:
    """RFC 7748, by the library."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def peer_key(number: int) -> bytes:
    """The public key of some peer."""
    return public(number.to_bytes(4, "big") * 8)


def prefix(text: str) -> AllowedIpChange:
    """`10.0.0.0/8`, or `-10.0.0.0/8` to take it away."""
    ip, _, cidr = text.removeprefix("-").partition("/")
    return AllowedIpChange(bytes(int(part) for part in ip.split(".")), int(cidr), text.startswith("-"))


@dataclass
class FakeSockets:
    """What bind.Sockets is to a device."""

    port: int
    mark: int
    fd4: int = field(default_factory=lambda: next(_fds))
    fd6: int = field(default_factory=lambda: next(_fds))
    open: bool = True
    refuse_mark: bool = False
    udp_gro: bool = True
    receive_buffer: int = 7 << 20
    send_buffer: int = 7 << 20
    ifindex: int = 0
    held: bool = False
    shards: int = 1
    trouble: str = ""

    @property
    def pairs(self) -> list[tuple[int, int]]:
        return [(self.fd4 + 2 * number, self.fd6 + 2 * number) for number in range(self.shards)]

    def hold(self) -> None:
        self.held = True

    def use(self) -> None:
        assert self.held
        self.held = False

    def set_mark(self, fwmark: int) -> None:
        if self.refuse_mark:
            raise BindError(errno.EPERM, "no mark for you")
        self.mark = fwmark

    def close(self) -> None:
        self.open = False


class FakeRefusals:
    """Endpoints that refuse with errno `code`, a second after they are asked; 0: they don't."""

    def __init__(self, call_later: CallLater) -> None:
        self.code = 0
        self.asked: list[Endpoint] = []
        self._call_later = call_later

    def ask(self, endpoint: Endpoint, fwmark: int, told: Callable[[int], None]) -> None:
        self.asked.append(endpoint)
        if self.code:
            self._call_later(1.0, lambda: told(self.code))

    def close(self) -> None:
        """Nothing is open."""


class FakeTimers:
    """The clock, and a loop's call_later on it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._waiting: list[FakeTimer] = []

    def call_later(self, delay: float, callback: Callable[[], None]) -> "FakeTimer":
        entry = FakeTimer(self.now + delay, callback)
        self._waiting.append(entry)
        return entry

    def pending(self) -> list[float]:
        return sorted(entry.at for entry in self._waiting if not entry.done)

    def advance(self, seconds: float) -> None:
        """Runs what comes due, in order, at its time."""
        end = self.now + seconds
        while due := [entry for entry in self._waiting if not entry.done and entry.at <= end]:
            entry = min(due, key=lambda it: it.at)
            entry.done = True
            self.now = max(self.now, entry.at)
            entry.callback()
        self._waiting = [entry for entry in self._waiting if not entry.done]
        self.now = end


@dataclass
class FakeTimer:
    at: float
    callback: Callable[[], None]
    done: bool = False

    def cancel(self) -> None:
        self.done = True


class DeviceHarness:
    """One device and everything around it."""

    def __init__(
        self,
        timers: FakeTimers | None = None,
        address: bytes = LOCALHOST,
        *,
        random: Callable[[int], bytes] = os.urandom,
        make_plane: Callable[[Callable[[], float]], FakePlane] = lambda now: FakePlane(now=now),
    ) -> None:
        self.timers = timers or FakeTimers()
        self.address = address
        self.plane = make_plane(lambda: self.timers.now)
        self.opened: list[FakeSockets] = []
        self.taken_ports: set[int] = set()
        self.refuse_mark = False
        self.tun_gone = 0
        self.clock_offset = 0.0
        """seconds that the wall clock is ahead"""
        self.refusals = FakeRefusals(self.timers.call_later)
        self.text = io.StringIO()
        self._free_ports = itertools.count(40000)
        self.device = Device(
            self.plane,
            log=Log("wg0", Level.DEBUG, output=StreamOutput(self.text), monotonic=lambda: self.timers.now),
            call_later=self.timers.call_later,
            boot_later=self.timers.call_later,
            tun_gone=self._on_tun_gone,
            now=lambda: self.timers.now,
            wall_ns=lambda: int((1_700_000_000 + self.timers.now + self.clock_offset) * 1e9),
            random=random,
            open_sockets=self._open,
            refusals=self.refusals,
        )

    def lines(self, level: str) -> list[str]:
        """What was logged at one level, without level, interface and time."""
        return [line.split(" ", 4)[4] for line in self.text.getvalue().splitlines() if line.startswith(f"{level}: ")]

    def _on_tun_gone(self) -> None:
        self.tun_gone += 1

    def _open(self, port: int, fwmark: int) -> FakeSockets:
        if port in self.taken_ports or any(sockets.open and sockets.port == port for sockets in self.opened):
            raise BindError(errno.EADDRINUSE, f"UDP port {port} (IPv4) can't be opened")
        if fwmark and self.refuse_mark:
            raise BindError(errno.EPERM, "no mark for you")
        self.opened.append(
            FakeSockets(port or next(self._free_ports), fwmark, refuse_mark=self.refuse_mark, shards=self.plane.shards)
        )
        return self.opened[-1]

    @property
    def sockets(self) -> FakeSockets | None:
        """The open ones, of which there is at most one."""
        found = [sockets for sockets in self.opened if sockets.open and not sockets.held]
        assert len(found) <= 1
        if found:
            assert [self.plane.sockets, *self.plane.more_pairs] == found[0].pairs
        else:
            assert self.plane.sockets is None
        return found[0] if found else None

    @property
    def in_use(self) -> FakeSockets:
        """The open ones, which there are."""
        assert self.sockets is not None
        return self.sockets

    def set(
        self,
        *peers: PeerChange,
        private_key: bytes | None = None,
        listen_port: int | None = None,
        fwmark: int | None = None,
        replace_peers: bool = False,
    ) -> None:
        self.device.apply(DeviceChange(private_key, listen_port, fwmark, replace_peers, list(peers)))

    def peers(self) -> list[PeerStatus]:
        return self.device.status().peers

    def peer(self, public_key: bytes) -> PeerStatus:
        return next(peer for peer in self.peers() if peer.public_key == public_key)

    def poll(self) -> None:
        """What the loop does when the plane's descriptor is readable."""
        while self.plane.messages or self.plane.peer_events or self.plane.state:
            self.device.on_plane_ready()

    def write(self, peer: int) -> None:
        """The host sends something to `peer`."""
        self.plane.write(peer, b"data")
        self.poll()

    def report(self, peer: int, flags: int, confirmed_index: int = 0) -> None:
        self.plane.report(peer, flags, confirmed_index)
        self.poll()


class Pair:
    """Two devices, each other's peer, that are up, on a wire that carries datagrams."""

    def __init__(self) -> None:
        self.timers = FakeTimers()
        self.a, self.b = (
            DeviceHarness(self.timers, bytes([192, 0, 2, 1])),
            DeviceHarness(self.timers, bytes([192, 0, 2, 2])),
        )
        self.a_key, self.b_key = public(clamped(1)), public(clamped(2))
        self.a.set(
            PeerChange(self.b_key, endpoint=(self.b.address, 2, 0), allowed_ips=[prefix("10.2.0.0/16")]),
            private_key=clamped(1),
            listen_port=1,
        )
        self.b.set(PeerChange(self.a_key, allowed_ips=[prefix("10.1.0.0/16")]), private_key=clamped(2), listen_port=2)
        self.a.device.up()
        self.b.device.up()

    def carry(self) -> int:
        """Delivers until nothing moves; returns the number of messages."""
        carried = 0
        while self.a.plane.sent or self.b.plane.sent:
            for here, there in ((self.a, self.b), (self.b, self.a)):
                messages, here.plane.sent = here.plane.sent, []
                for _, data in messages:
                    carried += 1
                    there.plane.receive(data, (here.address, here.in_use.port, 0, there.address, 1))
                there.poll()
        return carried

    def handshake(self) -> None:
        """A session, begun by `a` and confirmed to `b` by a keepalive."""
        self.a.report(1, 1)
        assert self.carry() == 3
