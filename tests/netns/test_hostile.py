"""Replayed, forged and misdirected datagrams from a host that sees the whole wire: none is delivered or answered.

Each test shows that its injector works: what it sends is counted where the daemon counts, and the same message as it
was passes by the same way.
"""

import contextlib
import random
from collections.abc import Iterator

import pytest

from bench.tunnel.lab import Lab
from bench.tunnel.site import Site, poll

from .conftest import OpenLab
from .inner_udp import MAX_PAYLOAD_LEN, Wire, assert_same, payload
from .outer_link import COOKIE_REPLY, INITIATION, RESPONSE, TRANSPORT, Link, Stranger, held_back, hold_back, junk

pytestmark = pytest.mark.dropin("17")

INDEX = slice(4, 8)
COUNTER = slice(8, 16)
ELSEWHERE = 40_000
"""A source port that no daemon has."""
SIZES = (0, 1, 48, 200)
REASONS = ("malformed", "truncated", "bad_mac1", "unknown_index", "expired", "replayed", "forged", "bad_cookie_reply")
"""Why pywg refuses a datagram before its control plane hears of it: each refused one is in exactly one counter."""


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
def held(lab: Lab, wire: Wire) -> list[bytes]:
    """Genuine transport messages, of the payloads of SIZES, that far has not seen."""
    return _hold(lab, wire)


@pytest.fixture
def recorded(wire: Wire, stranger: Stranger, held: list[bytes]) -> list[bytes]:
    """Transport messages that far has seen once: the stranger brought them, and they were delivered."""
    stranger.send(*held)
    assert_same(wire.receive(len(held)), [payload(size) for size in SIZES])
    return held


def _hold(lab: Lab, wire: Wire) -> list[bytes]:
    with held_back(lab.far) as link:
        for number, size in enumerate(SIZES):
            wire.send(payload(size))  # one at a time: a burst is one superframe on the veth
            _until_more(link, number)
        return _messages(link, TRANSPORT)


def _until_more(link: Link, count: int) -> None:
    poll(lambda: len(link.received(TRANSPORT)) > count, "the message on the link")


def _brings(stranger: Stranger, wire: Wire, held: list[bytes], number: int) -> None:
    """The control: as it was, the message passes, and is the next thing that far delivers."""
    stranger.send(held[number])
    assert_same(wire.receive(1), [payload(SIZES[number])])


def _messages(link: Link, kind: int | None = None) -> list[bytes]:
    return [one.message for one in link.received(kind)]


def _replace(message: bytes, where: slice, value: bytes) -> bytes:
    return message[: where.start] + value + message[where.stop :]


def _endpoint(site: Site) -> str:
    return site.wg("show", site.interface, "endpoints").split()[1]


@contextlib.contextmanager
def _refused(site: Site, count: int, **reasons: int) -> Iterator[None]:
    """What is sent in the block is `count` datagrams, each refused, for these reasons; of daemons that count them."""

    def refused() -> dict[str, int]:
        stats = site.stats()
        return {name: int(stats[f"counter_rx_{name}"]) for name in REASONS if stats}

    before = refused()
    yield
    if before:
        poll(lambda: sum(refused().values()) >= sum(before.values()) + count, f"{count} datagrams are refused")
        grown = {name: number - before[name] for name, number in refused().items()}
        assert sum(grown.values()) == count
        assert {name: grown[name] for name in reasons} == reasons


def test_replays_are_not_delivered(lab: Lab, wire: Wire, stranger: Stranger, recorded: list[bytes]) -> None:
    with _refused(lab.far, 12, replayed=12):
        stranger.send(*recorded * 3)
    wire.check_alive(b"the next datagram after all the replays")


@pytest.mark.dropin("16")
def test_replay_from_elsewhere_does_not_move_the_endpoint(
    lab: Lab, wire: Wire, stranger: Stranger, recorded: list[bytes]
) -> None:
    before = _endpoint(lab.far)
    with _refused(lab.far, 4, replayed=4):
        stranger.send(*recorded, source_port=ELSEWHERE)
    with Wire(lab.far, lab.near) as back:
        back.check_alive()
    assert _endpoint(lab.far) == before
    fresh = _hold(lab, wire)
    stranger.send(*fresh, source_port=ELSEWHERE)
    assert_same(wire.receive(len(fresh)), [payload(size) for size in SIZES])
    assert _endpoint(lab.far) == f"{lab.near.outer(4)}:{ELSEWHERE}", "what was not seen before does"
    wire.check_alive()
    assert _endpoint(lab.far) == before


def test_every_flipped_bit(lab: Lab, wire: Wire, stranger: Stranger, held: list[bytes]) -> None:
    message = held[2]
    spoilt = []
    for bit in range(len(message) * 8):
        flipped = bytearray(message)
        flipped[bit // 8] ^= 1 << bit % 8
        spoilt.append(bytes(flipped))
    with _refused(lab.far, len(spoilt), malformed=32, unknown_index=32):  # the type and the reserved bytes; the index
        stranger.send(*spoilt)
    _brings(stranger, wire, held, 2)


@pytest.mark.known_bug("Window moved")
def test_forged_counters_do_not_move_the_replay_window(
    lab: Lab, wire: Wire, stranger: Stranger, held: list[bytes]
) -> None:
    """A window that moved before authentication would now refuse every honest packet."""
    counters = (2**20, 2**60, 2**63, 2**64 - 2**13 - 2, 2**64 - 1)
    with _refused(lab.far, len(counters)):
        stranger.send(*(_replace(held[-1], COUNTER, counter.to_bytes(8, "little")) for counter in counters))
    _brings(stranger, wire, held, -1)
    wire.check([payload(size) for size in range(100)])


def test_other_receiver_index(lab: Lab, wire: Wire, stranger: Stranger, held: list[bytes]) -> None:
    index = int.from_bytes(held[-1][INDEX], "little")
    others = [0, 0xFFFFFFFF, index ^ 1, index ^ 1 << 31, (index + 1) % 2**32]
    others += [random.Random(number).getrandbits(32) for number in range(100)]
    with _refused(lab.far, len(others), unknown_index=len(others)):
        stranger.send(*(_replace(held[-1], INDEX, other.to_bytes(4, "little")) for other in others))
    _brings(stranger, wire, held, -1)


def test_reflected_to_its_sender(lab: Lab, recorded: list[bytes]) -> None:
    with Stranger(lab.far, lab.near) as stranger, Wire(lab.far, lab.near) as back:
        with _refused(lab.near, len(recorded), unknown_index=len(recorded)):
            stranger.send(*recorded)
        back.check_alive()


def test_truncated_and_extended(lab: Lab, wire: Wire, stranger: Stranger, held: list[bytes]) -> None:
    message = held[-1]
    spoilt = [message[:length] for length in range(len(message))] + [message + bytes(extra) for extra in range(1, 33)]
    with _refused(lab.far, len(spoilt)):
        stranger.send(*spoilt)
    _brings(stranger, wire, held, -1)


@pytest.mark.parametrize("kind", [0, INITIATION, RESPONSE, COOKIE_REPLY, TRANSPORT, 5, 255])
def test_junk_of_every_type_and_length_gets_no_answer(lab: Lab, wire: Wire, stranger: Stranger, kind: int) -> None:
    lengths = (*range(2049), *range(2049, MAX_PAYLOAD_LEN, 4093), MAX_PAYLOAD_LEN - 1, MAX_PAYLOAD_LEN)
    with Link(lab.near, unsegmented=False) as answers, Wire(lab.far, lab.near) as back:
        with _refused(lab.far, len(lengths)):
            stranger.send(*(junk(kind, length) for length in lengths))
        wire.check_alive()
        back.check_alive()
        answered = _messages(answers)
        assert answered, "what far sends to near is seen"
        assert [message[:4] for message in answered if message[0] != TRANSPORT] == []


@pytest.mark.known_bug("An oversized UDP datagram")
def test_many_oversized_datagrams(lab: Lab, wire: Wire, stranger: Stranger, recorded: list[bytes]) -> None:
    """A datagram larger than any buffer that was meant for it must not end the receiving thread."""
    extended = recorded[-1] + bytes(MAX_PAYLOAD_LEN - len(recorded[-1]))
    with _refused(lab.far, 400):
        stranger.send(*[extended, junk(INITIATION, MAX_PAYLOAD_LEN)] * 200)
    wire.check_alive()
    wire.check([payload(size) for size in range(100)])


def _fresh_initiation(lab: Lab) -> bytes:
    """One that near has just sent, and far has not seen. What far knows of its peer stays."""

    def begin() -> None:
        lab.near.wg("set", lab.near.interface, "peer", lab.far.keys.public, "remove")
        lab.near.add_peer(lab.far, endpoint=4)
        lab.near.wg("set", lab.near.interface, "peer", lab.far.keys.public, "persistent-keepalive", "60")

    return hold_back(lab.far, INITIATION, begin)


def test_replayed_handshake_messages(pair: tuple[str, str], open_lab: OpenLab) -> None:
    """Neither an initiation (its timestamp is old) nor a response (nothing waits for it) is answered twice."""
    lab = open_lab(*pair)
    with (
        Link(lab.near, unsegmented=False) as to_near,
        Stranger(lab.near, lab.far) as as_near,
        Stranger(lab.far, lab.near) as as_far,
    ):
        initiation = _fresh_initiation(lab)
        as_near.send(initiation)
        poll(lab.near.has_handshake, "the stranger's copy, which is the first, is answered")
        (response,) = _messages(to_near, RESPONSE)
        poll(lab.far.has_handshake, "near's first packet, by which far knows that its answer came")
        handshakes = lab.far.wg("show", lab.far.interface, "latest-handshakes")
        for _ in range(3):
            as_near.send(initiation)
            as_far.send(response)
        with Wire(lab.near, lab.far) as there, Wire(lab.far, lab.near) as back:
            there.check_alive()
            back.check_alive()
        assert _messages(to_near, RESPONSE) == [response] * 4, "as_far's copies apart, there is no other response"
        assert lab.far.wg("show", lab.far.interface, "latest-handshakes") == handshakes


@pytest.mark.dropin("16")
def test_stolen_initiation_from_elsewhere_does_not_move_the_endpoint(pair: tuple[str, str], open_lab: OpenLab) -> None:
    lab = open_lab(*pair)
    with Link(lab.far, unsegmented=False) as capture:
        lab.establish()
        initiation = _messages(capture, INITIATION)[0]
    before = _endpoint(lab.far)
    with Stranger(lab.near, lab.far) as stranger:
        stranger.send(initiation, source_port=ELSEWHERE)
        with Wire(lab.far, lab.near) as back:
            back.check_alive()
        assert _endpoint(lab.far) == before
        stranger.send(_fresh_initiation(lab), source_port=ELSEWHERE)
        poll(lambda: _endpoint(lab.far) == f"{lab.near.outer(4)}:{ELSEWHERE}", "one that far has not seen does")
