"""Senders of handshake messages to a harness's plane, and load: what cookies are about."""

import socket
import struct
from collections.abc import Iterator
from itertools import count

from pywg.core.cookie import CookieJar
from pywg.core.messages import CookieReply
from tests.fastpath.plane_harness import IDENTITY, PlaneHarness, udp_socket
from tests.paper import COOKIE_REPLY, INITIATION, RESPONSE, SOURCE_HANDSHAKES_BURST

UNDER_LOAD_AT = 512  # an eighth of the queue
PORTION = 16
OUTCOMES = (
    "handshakes",
    "queue_full",
    "under_load",
    "source_limited",
    "bad_mac1",
    "unknown_index",
    "bad_cookie_reply",
    "malformed",
)
_NOW = 1.0  # of the jar, whose cookies the plane believes as long as it believes them


class Sender:
    """Knows the plane's public key, and with it all that MAC1 takes. `jar` is the core's: an oracle for cookies."""

    def __init__(self, harness: PlaneHarness, sock: socket.socket, first: int = 1) -> None:
        self.harness = harness
        self.sock = sock
        self.jar = CookieJar(IDENTITY)
        self.sent: list[bytes] = []
        """all of it, in order"""
        self.at = ("127.0.0.1" if sock.family == socket.AF_INET else "::1", harness.sockets.port)
        self._numbers = count(first)

    def initiation(self) -> bytes:
        """Another one, with a MAC2 if there is a cookie. What it holds is the core's to judge."""
        body = struct.pack("<II", INITIATION[0], next(self._numbers)).ljust(INITIATION[1] - 32, b"i")
        return self.jar.add_macs(body, _NOW)

    def response(self, receiver_index: int) -> bytes:
        """To the handshake of that index; otherwise as initiation()."""
        body = struct.pack("<III", RESPONSE[0], next(self._numbers), receiver_index).ljust(RESPONSE[1] - 32, b"r")
        return self.jar.add_macs(body, _NOW)

    def send(self, *messages: bytes) -> None:
        """Sends them, none of which gets lost on the way: the plane is done with them all when this returns."""
        for start in range(0, len(messages), PORTION):
            portion = messages[start : start + PORTION]
            wanted = outcomes(self.harness) + len(portion)
            for message in portion:
                self.sock.sendto(message, self.at)
            self.sent += portion
            self._until(wanted)

    def _until(self, wanted: int) -> None:
        self.harness.until(lambda: outcomes(self.harness) >= wanted, "handshake messages")

    def replies(self) -> list[bytes]:
        """What was received and not asked for yet."""
        got = []
        self.sock.setblocking(False)
        try:
            while True:
                got.append(self.sock.recv(2048))
        except BlockingIOError:
            return got
        finally:
            self.sock.settimeout(20)

    def ask(self, receiver_index: int | None = None) -> bytes:
        """Sends one without a cookie until it is answered with one, which the jar takes. The answer."""
        self.replies()
        got: list[bytes] = []

        def answered() -> bool:
            self.send(self.initiation() if receiver_index is None else self.response(receiver_index))
            got[:] = self.replies()
            return bool(got)

        self.harness.until(answered, "a cookie reply")
        reply = got[-1]
        assert (reply[0], len(reply)) == COOKIE_REPLY
        self.jar.consume_reply(CookieReply.unpack(reply), _NOW)
        return reply


def outcomes(harness: PlaneHarness) -> int:
    """How many handshake messages were handed over, answered or refused so far."""
    counters = harness.plane.counters()
    return counters["tx_cookie_replies"] + sum(counters["rx_" + name] for name in OUTCOMES)


def load(harness: PlaneHarness, sender: Sender) -> None:
    """Puts the plane under load, and leaves its queue as it is, so that it stays so."""
    sender.send(*(sender.initiation() for _ in range(UNDER_LOAD_AT + 1)))


def fill_queue(harness: PlaneHarness) -> Iterator[bytes]:
    """Makes the queue run over, which takes many sources that each have a cookie; their messages, as they are sent."""
    with udp_socket(socket.AF_INET, "127.0.0.1") as sock:
        first = Sender(harness, sock)
        for _ in range(UNDER_LOAD_AT + 1):
            message = first.initiation()
            first.send(message)
            yield message
    address = int.from_bytes(bytes([127, 1, 0, 1]), "big")
    while not harness.counter("rx_queue_full"):
        with udp_socket(socket.AF_INET, socket.inet_ntoa(address.to_bytes(4, "big"))) as sock:
            source = Sender(harness, sock, first=address << 3 & 0xFFFFFFF)
            source.ask()
            source.send(*(source.initiation() for _ in range(SOURCE_HANDSHAKES_BURST)))
        yield from source.sent  # what asks for a cookie too: after a second without a message there is no load
        address += 1
