"""Cookie replies to us: only to the last message that we sent a peer, while it is in flight, and only an authentic one.

The other end makes them with `cryptography`.
"""

import random
import socket
from collections.abc import Iterator

import pytest

from pywg.core.cookie import CookieJar
from pywg.core.events import Endpoint
from tests import cookies
from tests.fastpath.plane_harness import FAR_PREFIXES, Far, PlaneHarness, handshake_message, key_of, reply, udp_socket
from tests.paper import COOKIE_REPLY, INITIATION, RESPONSE

pytestmark = pytest.mark.dropin("20")

PEER = 7
PEER_KEY = key_of("the peer's public key")
INDEX = 0x01020304
NOW = 1.0
SOURCE = Endpoint(bytes([127, 0, 0, 1]), 1)


class Other:
    """The peer, which is under load; and whoever else can send to the plane."""

    def __init__(self, harness: PlaneHarness, sock: socket.socket) -> None:
        self.harness = harness
        self.sock = sock
        self.jar = CookieJar(PEER_KEY)  # the core's of the plane's side
        self.responder = cookies.Responder(PEER_KEY, random.Random(1).randbytes)
        harness.plane.add_peer(PEER, PEER_KEY)
        harness.plane.set_endpoint(PEER, (bytes([127, 0, 0, 1]), sock.getsockname()[1], 0, b"", 0))

    def gets(self, kind: tuple[int, int] = INITIATION, index: int = INDEX) -> bytes:
        """The plane sends it a handshake message, as the core would."""
        body = (kind[0].to_bytes(4, "little") + index.to_bytes(4, "little")).ljust(kind[1] - 32, b"b")
        message = self.jar.add_macs(body, NOW)
        assert self.harness.plane.send_to_peer(PEER, message)
        assert self.sock.recv(2048) == message
        return message

    def reply_to(self, message: bytes) -> bytes:
        return self.responder.make_reply(message, SOURCE)

    def send(self, *replies: bytes) -> None:
        seen = self.harness.counter("rx_datagrams")
        for one in replies:
            self.sock.sendto(one, ("127.0.0.1", self.harness.sockets.port))
        self.harness.until(lambda: self.harness.counter("rx_datagrams") == seen + len(replies), "cookie replies")


@pytest.fixture
def harness() -> Iterator[PlaneHarness]:
    with PlaneHarness() as harness:
        yield harness


@pytest.fixture
def other(harness: PlaneHarness) -> Iterator[Other]:
    with udp_socket(socket.AF_INET, "127.0.0.1") as sock:
        yield Other(harness, sock)


def heard(harness: PlaneHarness) -> list[bytes]:
    harness.drain(4096)
    return [data for data, _ in harness.messages]


def forged(message: bytes) -> bytes:
    """Names the message's index, and opens under no key."""
    return bytes([COOKIE_REPLY[0], 0, 0, 0]) + message[4:8] + random.Random(2).randbytes(56)


def test_a_reply_to_our_initiation_is_taken_once(harness: PlaneHarness, other: Other) -> None:
    harness.plane.open_index(INDEX, PEER)
    message = other.gets()
    first, second = other.reply_to(message), other.reply_to(message)
    other.send(first, first, second)
    assert heard(harness) == [first]
    harness.counted(rx_bad_cookie_reply=2)


def test_forged_replies_do_not_use_up_the_genuine_one(harness: PlaneHarness, other: Other) -> None:
    harness.plane.open_index(INDEX, PEER)
    message = other.gets()
    good = other.reply_to(message)
    flipped = [good[:at] + bytes([good[at] ^ 1 << bit]) + good[at + 1 :] for at in range(8, 64) for bit in range(8)]
    for start in range(0, len(flipped), 16):
        other.send(*flipped[start : start + 16])
    other.send(forged(message))
    harness.counted(rx_bad_cookie_reply=len(flipped) + 1)
    assert heard(harness) == []
    other.send(good)
    assert heard(harness) == [good]


def test_a_reply_that_names_a_running_session_is_refused(harness: PlaneHarness, other: Other) -> None:
    """Also an authentic one: the message that it answers has long had its answer."""
    harness.plane.open_index(INDEX, PEER)
    message = other.gets()
    keys = bytes(32), bytes(range(32))
    harness.plane.install_keypair(PEER, INDEX, 1, *keys, initiator=True, created_at=NOW, confirmed=True)
    other.send(other.reply_to(message), forged(message))
    harness.counted(rx_unknown_index=2)
    assert heard(harness) == []


def test_a_reply_to_our_response_is_taken_until_the_session_is_confirmed(harness: PlaneHarness, other: Other) -> None:
    far = Far(harness, 1, session=False)
    far.peer = PEER  # whose keys it installs
    harness.plane.allow_many(PEER, FAR_PREFIXES)
    far.install(initiator=False, confirmed=False)
    good = other.reply_to(other.gets(RESPONSE, far.local_index))
    other.send(good)
    assert heard(harness) == [good]
    late = other.reply_to(other.gets(RESPONSE, far.local_index))
    far.send(reply(1))
    assert harness.read(1) == [reply(1)]
    other.send(late)
    harness.counted(rx_unknown_index=1)
    assert heard(harness) == [good]


def test_only_the_last_message_has_an_answer(harness: PlaneHarness, other: Other) -> None:
    harness.plane.open_index(INDEX, PEER)
    early = other.reply_to(other.gets())
    harness.plane.open_index(INDEX + 1, PEER)
    late = other.reply_to(other.gets(index=INDEX + 1))
    wrong_index = early[:4] + (INDEX + 1).to_bytes(4, "little") + early[8:]
    other.send(early, wrong_index)
    harness.counted(rx_unknown_index=1, rx_bad_cookie_reply=1)
    other.send(late)
    assert heard(harness) == [late]


def test_nothing_sent_nothing_answered(harness: PlaneHarness, other: Other) -> None:
    harness.plane.open_index(INDEX, PEER)
    other.send(forged(handshake_message(*INITIATION)[:4] + INDEX.to_bytes(4, "little")))
    harness.counted(rx_bad_cookie_reply=1)
    zero_mac1 = other.reply_to(bytes(4) + INDEX.to_bytes(4, "little") + bytes(140))
    other.send(zero_mac1)
    harness.counted(rx_bad_cookie_reply=2)
    assert heard(harness) == []


def test_a_reply_of_another_peers_is_refused(harness: PlaneHarness, other: Other) -> None:
    harness.plane.open_index(INDEX, PEER)
    message = other.gets()
    stranger = cookies.Responder(key_of("somebody else's"), random.Random(3).randbytes)
    other.send(stranger.make_reply(message, SOURCE))
    harness.counted(rx_bad_cookie_reply=1)
    assert heard(harness) == []
    good = other.reply_to(message)
    other.send(good)
    assert heard(harness) == [good]


def test_a_handshake_that_is_over_has_no_reply(harness: PlaneHarness, other: Other) -> None:
    harness.plane.open_index(INDEX, PEER)
    good = other.reply_to(other.gets())
    harness.plane.close_index(INDEX)
    other.send(good)
    harness.counted(rx_unknown_index=1)
    harness.plane.open_index(INDEX, PEER)
    other.send(good)
    assert heard(harness) == [good]


def test_a_keepalive_or_a_cookie_reply_of_ours_is_no_message_to_answer(harness: PlaneHarness, other: Other) -> None:
    """The plane notes initiations and responses, whatever else is sent to a peer."""
    harness.plane.open_index(INDEX, PEER)
    message = other.gets()
    assert harness.plane.send_to_peer(PEER, bytes(64))
    other.sock.recv(2048)
    other.send(other.reply_to(message))
    harness.counted(rx_bad_cookie_reply=1)


@pytest.mark.dropin("16")
@pytest.mark.known_bug("Roams on a cookie reply")
def test_a_cookie_reply_moves_no_endpoint(harness: PlaneHarness, other: Other) -> None:
    """Its key is public: it may have come from anybody on the way, and from anywhere."""
    harness.plane.open_index(INDEX, PEER)
    good = other.reply_to(other.gets())
    before = harness.plane.endpoint(PEER)
    with udp_socket(socket.AF_INET, "127.0.0.2") as elsewhere:
        elsewhere.sendto(good, ("127.0.0.1", harness.sockets.port))
        harness.until(lambda: heard(harness) == [good], "the reply")
    assert harness.plane.endpoint(PEER) == before
