"""Replayed, forged and misdirected datagrams from a host that sees the whole wire: none is delivered or answered."""

import random
from collections.abc import Iterator

import pytest

from bench.tunnel.lab import Lab

from .conftest import OpenLab
from .outer import COOKIE_REPLY, INITIATION, RESPONSE, TRANSPORT, Link, Stranger, junk
from .udp import MAX_PAYLOAD_LEN, Wire, payload

pytestmark = pytest.mark.dropin("17")

INDEX = slice(4, 8)
COUNTER = slice(8, 16)


@pytest.fixture
def wire(lab: Lab) -> Iterator[Wire]:
    with Wire(lab.near, lab.far) as wire:
        wire.check_alive()
        yield wire
        wire.check_alive()
        assert lab.far.alive()


@pytest.fixture
def stranger(lab: Lab) -> Iterator[Stranger]:
    with Stranger(lab.near, lab.far) as stranger:
        yield stranger


@pytest.fixture
def recorded(lab: Lab, wire: Wire) -> list[bytes]:
    """Transport messages that were sent, and delivered once."""
    with Link(lab.far, unsegmented=False) as capture:
        for size in (0, 1, 48, 200):
            wire.check([payload(size)])  # one at a time: a burst is one superframe on the veth
        return _messages(capture, TRANSPORT)


def _messages(link: Link, kind: int | None = None) -> list[bytes]:
    return [one.message for one in link.received(kind)]


def _replace(message: bytes, where: slice, value: bytes) -> bytes:
    return message[: where.start] + value + message[where.stop :]


def test_replays_are_not_delivered(wire: Wire, stranger: Stranger, recorded: list[bytes]) -> None:
    for message in recorded * 3:
        stranger.send(message)
    wire.check_alive(b"the next datagram after all the replays")


@pytest.mark.dropin("16")
def test_replay_from_elsewhere_does_not_move_the_endpoint(lab: Lab, wire: Wire, recorded: list[bytes]) -> None:
    before = lab.far.wg("show", lab.far.interface, "endpoints")
    with Stranger(lab.near, lab.far) as stranger:
        for message in recorded:
            stranger.send(message, source_port=40_000)
    wire_back = Wire(lab.far, lab.near)
    with wire_back:
        wire_back.check_alive()
    assert lab.far.wg("show", lab.far.interface, "endpoints") == before


def test_every_flipped_bit(wire: Wire, stranger: Stranger, recorded: list[bytes]) -> None:
    message = recorded[2]
    for bit in range(len(message) * 8):
        flipped = bytearray(message)
        flipped[bit // 8] ^= 1 << bit % 8
        stranger.send(bytes(flipped))
    wire.check_alive()


@pytest.mark.known_bug("Window moved")
def test_forged_counters_do_not_move_the_replay_window(wire: Wire, stranger: Stranger, recorded: list[bytes]) -> None:
    """A window that moved before authentication would now refuse every honest packet."""
    for counter in (2**20, 2**60, 2**63, 2**64 - 2**13 - 2, 2**64 - 1):
        stranger.send(_replace(recorded[-1], COUNTER, counter.to_bytes(8, "little")))
    wire.check_alive()
    wire.check([payload(size) for size in range(100)])


def test_other_receiver_index(wire: Wire, stranger: Stranger, recorded: list[bytes]) -> None:
    index = int.from_bytes(recorded[-1][INDEX], "little")
    others = [0, 0xFFFFFFFF, index ^ 1, index ^ 1 << 31, (index + 1) % 2**32]
    others += [random.Random(number).getrandbits(32) for number in range(100)]
    for other in others:
        stranger.send(_replace(recorded[-1], INDEX, other.to_bytes(4, "little")))
    wire.check_alive()


def test_reflected_to_its_sender(lab: Lab, wire: Wire, recorded: list[bytes]) -> None:
    with Stranger(lab.far, lab.near) as stranger, Wire(lab.far, lab.near) as back:
        for message in recorded:
            stranger.send(message)
        back.check_alive()


def test_truncated_and_extended(wire: Wire, stranger: Stranger, recorded: list[bytes]) -> None:
    message = recorded[-1]
    for length in range(len(message)):
        stranger.send(message[:length])
    for extra in range(1, 33):
        stranger.send(message + bytes(extra))
    wire.check_alive()


@pytest.mark.parametrize("kind", [0, INITIATION, RESPONSE, COOKIE_REPLY, TRANSPORT, 5, 255])
def test_junk_of_every_type_and_length_gets_no_answer(lab: Lab, wire: Wire, stranger: Stranger, kind: int) -> None:
    with Link(lab.near, unsegmented=False) as answers:
        for length in (*range(2049), *range(2049, MAX_PAYLOAD_LEN, 4093), MAX_PAYLOAD_LEN - 1, MAX_PAYLOAD_LEN):
            stranger.send(junk(kind, length))
        wire.check_alive()
        assert [message[:4] for message in _messages(answers) if message[0] != TRANSPORT] == []


@pytest.mark.known_bug("An oversized UDP datagram")
def test_many_oversized_datagrams(wire: Wire, stranger: Stranger, recorded: list[bytes]) -> None:
    """A datagram larger than any buffer that was meant for it must not end the receiving thread."""
    for _ in range(200):
        stranger.send(recorded[-1] + bytes(MAX_PAYLOAD_LEN - len(recorded[-1])))
        stranger.send(junk(INITIATION, MAX_PAYLOAD_LEN))
    wire.check_alive()
    wire.check([payload(size) for size in range(100)])


def test_replayed_handshake_messages(pair: tuple[str, str], open_lab: OpenLab) -> None:
    """Neither an initiation (its timestamp is old) nor a response (nothing waits for it) is answered twice."""
    lab = open_lab(*pair)
    with Link(lab.far, unsegmented=False) as to_far, Link(lab.near, unsegmented=False) as to_near:
        lab.establish()
        initiations, responses = _messages(to_far, INITIATION), _messages(to_near, RESPONSE)
        assert initiations
        assert responses
        handshakes = lab.far.wg("show", lab.far.interface, "latest-handshakes")
        with Stranger(lab.near, lab.far) as as_near, Stranger(lab.far, lab.near) as as_far:
            for _ in range(3):
                as_near.send(initiations[0])
                as_far.send(responses[0])
        with Wire(lab.near, lab.far) as there, Wire(lab.far, lab.near) as back:
            there.check_alive()
            back.check_alive()
        assert set(_messages(to_near, RESPONSE)) == set(responses), "as_far's copies apart, there is no other response"
        assert lab.far.wg("show", lab.far.interface, "latest-handshakes") == handshakes


@pytest.mark.dropin("16")
def test_stolen_initiation_from_elsewhere_does_not_move_the_endpoint(pair: tuple[str, str], open_lab: OpenLab) -> None:
    lab = open_lab(*pair)
    with Link(lab.far, unsegmented=False) as capture:
        lab.establish()
        initiation = _messages(capture, INITIATION)[0]
    before = lab.far.wg("show", lab.far.interface, "endpoints")
    with Stranger(lab.near, lab.far) as stranger:
        stranger.send(initiation, source_port=40_000)
    with Wire(lab.far, lab.near) as back:
        back.check_alive()
    assert lab.far.wg("show", lab.far.interface, "endpoints") == before
