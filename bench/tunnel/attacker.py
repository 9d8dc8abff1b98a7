"""A host that floods a site of the lab, and what it floods it with.

    attacker's namespace                              far namespace
      flood 10.79.0.1/16  <---------- veth pair ------>  flood 10.79.0.2/16, and 11.0.0.0/8 by way of 10.79.0.1

Whatever it forges comes from 11.0.0.0/8. Real addresses, of the attacker and of honest strangers, are in 10.79.0.0/16.
"""

import base64
import contextlib
import hashlib
import secrets
import signal
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from subprocess import PIPE
from types import TracebackType
from typing import Self

from pywg.core.cookie import CookieJar
from pywg.core.messages import CookieReply

from .command import CommandError, run
from .lab import Lab
from .namespace import Namespace
from .site import LINK, LISTEN_PORT, poll

LINE_RATE = 0
INITIATION, RESPONSE, COOKIE_REPLY, TRANSPORT = 1, 2, 3, 4

_SOURCE = Path(__file__).with_name("flood.c")
_PROGRAM = "flood"
_LINK = "flood"
_HERE, _THERE = "10.79.0.1", "10.79.0.2"
_FORGED, _FORGED_BITS = "11.0.0.0", 24
_REAL = "10.79.2.1"
_REAL_PORT = 4000
_SILENT = "10.79.2.9"
_VARIANTS = 256
_ETH_P_ALL = 3


class Attacker:
    """Stands beside a lab whose two daemons have not spoken yet, and makes them do so. It can reach the far site."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.namespace = Namespace(lab.near.namespace.name[:-1] + "c")
        self.target = (_THERE, LISTEN_PORT)
        self._directory = lab.far.directory
        self._public_key = base64.b64decode(lab.far.keys.public)
        self._silent_key = ""
        self._initiation = b""
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._stack.callback(self.namespace.remove)
        try:
            self._build()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def _build(self) -> None:
        far = self.lab.far
        run("cc", "-O2", str(_SOURCE), "-o", str(self._directory / _PROGRAM))
        self.namespace.create()
        ends = "netns", self.namespace.name, "type", "veth", "peer", _LINK, "netns", far.namespace.name
        run("ip", "link", "add", _LINK, *ends)
        for where, address in ((self.namespace, _HERE), (far.namespace, _THERE)):
            where.run("ip", "address", "add", f"{address}/16", "dev", _LINK)
            where.run("ip", "link", "set", _LINK, "up")
        far.ip("route", "add", "11.0.0.0/8", "via", _HERE)
        for address in (_REAL, _SILENT):
            self.add_address(address)
        self.namespace.run("ping", "-n", "-c", "1", "-W", "2", _THERE)
        with self._wiretap() as seen:
            self.lab.establish()
            self._initiation = _first(seen, INITIATION, lambda: None)

    def add_address(self, address: str) -> None:
        """A real one, in 10.79.0.0/16."""
        self.namespace.run("ip", "address", "add", f"{address}/32", "dev", _LINK)

    def socket(self, address: str, port: int = 0) -> socket.socket:
        """A UDP socket with a real address, which does not wait."""
        sock = self.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((address, port))
        sock.setblocking(False)
        return sock

    @contextlib.contextmanager
    def flooding(
        self, messages: Sequence[bytes], rate: int, *, real: bool = False, seconds: float = 60.0
    ) -> Iterator["Flood"]:
        """Sends the messages, in turn and again, while the block lasts: `rate` a second, LINE_RATE: all that goes.

        They come from forged addresses, or from one real one.
        """
        path = self._directory / "messages"
        path.write_bytes(b"".join(struct.pack("!H", len(one)) + one for one in messages))
        source = (_REAL, "0", str(_REAL_PORT)) if real else (_FORGED, str(_FORGED_BITS), "0")
        words = [*self.target[:1], str(LISTEN_PORT), *source, str(rate), str(seconds), str(path)]
        program = self.namespace.start([str(self._directory / _PROGRAM), *words], stdout=PIPE, stderr=PIPE)
        flood = Flood(program)
        try:
            yield flood
        finally:
            flood.stop()

    # What a flood consists of

    def with_mac1(self, body: bytes) -> bytes:
        """The message: the body, a MAC1 that is good, and no MAC2."""
        key = hashlib.blake2s(b"mac1----" + self._public_key).digest()
        return body + hashlib.blake2s(body, key=key, digest_size=16).digest() + bytes(16)

    def initiations(self) -> list[bytes]:
        """Initiations with a good MAC1, whose contents do not open."""
        return [self.with_mac1(struct.pack("<I", INITIATION) + secrets.token_bytes(112)) for _ in range(_VARIANTS)]

    def bad_initiations(self) -> list[bytes]:
        """With a bad MAC1."""
        return [struct.pack("<I", INITIATION) + secrets.token_bytes(144) for _ in range(_VARIANTS)]

    def unknown_index(self) -> list[bytes]:
        """Transport messages for sessions that don't exist."""
        return [struct.pack("<I", TRANSPORT) + secrets.token_bytes(108) for _ in range(_VARIANTS)]

    def junk(self) -> list[bytes]:
        """No messages at all, of 1 to 512 bytes."""
        return [secrets.token_bytes(1 + secrets.randbelow(512)) for _ in range(_VARIANTS)]

    def cookie_replies(self) -> list[bytes]:
        """That name the session of near and far."""
        index = self._session_index()
        return [struct.pack("<I", COOKIE_REPLY) + index + secrets.token_bytes(56) for _ in range(_VARIANTS)]

    def bad_transport(self) -> list[bytes]:
        """Of the session of near and far, with counters that may come, and tags that do not hold."""
        index = self._session_index()
        start = struct.pack("<I", TRANSPORT) + index
        return [start + struct.pack("<Q", 2**40 + i) + secrets.token_bytes(96) for i in range(_VARIANTS)]

    def replayed_initiation(self) -> list[bytes]:
        """Near's, as it went over the wire; far has answered it."""
        return [self._initiation]

    def forged_responses(self) -> list[bytes]:
        """To an initiation that far has just sent to a peer which does not answer."""
        far = self.lab.far
        if not self._silent_key:
            self._silent_key = run("wg", "pubkey", stdin=run("wg", "genkey")).strip()
        with self._wiretap(self.namespace, _LINK) as seen:
            where = ("endpoint", f"{_SILENT}:{LISTEN_PORT}", "persistent-keepalive", "1")
            far.wg("set", far.interface, "peer", self._silent_key, "remove")
            far.wg("set", far.interface, "peer", self._silent_key, *where)
            index = _first(seen, INITIATION, lambda: None)[4:8]
        bodies = [
            struct.pack("<I", RESPONSE) + secrets.token_bytes(4) + index + secrets.token_bytes(48)
            for _ in range(_VARIANTS)
        ]
        return [self.with_mac1(body) for body in bodies]

    def with_mac2(self) -> list[bytes]:
        """Initiations with the cookie of the attacker's real address, which takes some load to get."""
        jar = CookieJar(self._public_key)
        with self.socket(_REAL, _REAL_PORT) as sock, self.flooding(self.initiations(), 20_000):

            def given() -> bool:
                sock.sendto(jar.add_macs(struct.pack("<I", INITIATION) + secrets.token_bytes(112), 1.0), self.target)
                with contextlib.suppress(TimeoutError):
                    sock.settimeout(0.2)
                    reply = sock.recv(2048)
                    if reply[0] == COOKIE_REPLY:
                        jar.consume_reply(CookieReply.unpack(reply), 1.0)
                        return True
                return False

            poll(given, "a cookie for the attacker's real address")
        bodies = [struct.pack("<I", INITIATION) + secrets.token_bytes(112) for _ in range(_VARIANTS)]
        return [jar.add_macs(body, 1.0) for body in bodies]

    def _session_index(self) -> bytes:
        with self._wiretap() as seen:
            return _first(seen, TRANSPORT, self._talk)[4:8]

    def _talk(self) -> None:
        with contextlib.suppress(CommandError):
            self.lab.near.namespace.run("ping", "-n", "-c", "1", "-W", "0.2", self.lab.far.inner(4))

    @contextlib.contextmanager
    def _wiretap(self, namespace: Namespace | None = None, link: str = LINK) -> Iterator[Callable[[], list[bytes]]]:
        """In the body, calling what it gives takes the WireGuard messages to far, or to the silent peer, since then."""
        where = namespace or self.lab.near.namespace
        to = socket.inet_aton(_SILENT if namespace else self.lab.far.outer(4))
        with where.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL)) as tap:
            tap.bind((link, _ETH_P_ALL))
            tap.setblocking(False)

            def seen() -> list[bytes]:
                messages = []
                with contextlib.suppress(BlockingIOError):
                    while True:
                        packet = tap.recv(1 << 16)
                        if packet[16:20] == to and packet[9] == socket.IPPROTO_UDP:
                            messages.append(packet[28:])
                return messages

            yield seen


class Flood:
    """A running flood."""

    def __init__(self, program: subprocess.Popen[bytes]) -> None:
        self._program = program
        self.sent = 0

    def stop(self) -> None:
        """Ends it; `sent` is then how many datagrams it was. CommandError: it failed."""
        if self._program.poll() is None:
            self._program.terminate()
        output, errors = self._program.communicate(timeout=10)
        if self._program.returncode == -signal.SIGTERM:  # before it could say that it would stop by itself
            return
        if self._program.returncode:
            raise CommandError(f"the flood ended with status {self._program.returncode}: {errors.decode()}")
        self.sent = int(output)


def _first(seen: Callable[[], list[bytes]], kind: int, act: Callable[[], None]) -> bytes:
    """The first message of the kind that is seen, while `act` is done again and again."""
    found: list[bytes] = []

    def there() -> bool:
        act()
        found.extend(message for message in seen() if message[:1] == bytes([kind]))
        return bool(found)

    poll(there, f"a message of type {kind} on the wire", every_s=0.02)
    return found[-1]
