"""Which peer is meant, which of its addresses, and the search for the largest packet."""

from types import SimpleNamespace
from typing import cast

import pytest

from pywg.config.addresses import format_ip, parse_ip, parse_prefix
from pywg.config.model import DeviceStatus, PeerStatus
from pywg.errors import DeviceError
from pywg.manage import client
from pywg.manage.ping import peers, rounds
from pywg.manage.ping.echo import Echo, Reply
from pywg.manage.ping.fit import TRIES, largest
from pywg.manage.ping.rounds import Trips

BERLIN, PARIS, ROME = (bytes([number]) * 32 for number in (1, 2, 3))


@pytest.fixture(autouse=True)
def _tunnels(monkeypatch: pytest.MonkeyPatch) -> None:
    def peer(key: bytes, *allowed: str) -> PeerStatus:
        return PeerStatus(key, allowed_ips=[parse_prefix(one) for one in allowed])

    states = {
        "wg0": [peer(BERLIN, "10.1.0.0/16", "10.9.0.2/32"), peer(PARIS, "0.0.0.0/0", "10.1.5.0/24")],
        "wg1": [peer(ROME, "fd00::/64", "10.2.0.0/31")],
    }
    monkeypatch.setattr(client, "served_here", lambda: list(states))
    monkeypatch.setattr(client, "watch", lambda name: (DeviceStatus(peers=states[name]), False))
    monkeypatch.setattr(peers, "names_of", lambda name: {BERLIN: "Berlin", PARIS: "Paris"} if name == "wg0" else {})


@pytest.mark.parametrize(
    ("who", "key", "first"),
    [
        ("Berlin", BERLIN, "10.9.0.2"),
        ("berlin", BERLIN, "10.9.0.2"),
        ("par", PARIS, "10.1.5.1"),
        ("AwMD", ROME, "10.2.0.0"),
        ("wg1", ROME, "10.2.0.0"),
        ("10.1.4.7", BERLIN, "10.1.4.7"),
        ("10.1.5.7", PARIS, "10.1.5.7"),
        ("8.8.8.8", PARIS, "8.8.8.8"),
        ("fd00::7", ROME, "fd00::7"),
    ],
)
def test_the_peer_that_is_meant(who: str, key: bytes, first: str) -> None:
    chosen = peers.choose(who)
    assert chosen.peer.public_key == key
    assert format_ip(chosen.addresses[0]) == first


@pytest.mark.parametrize(
    ("who", "text"),
    [
        ("nobody", "Berlin, Paris"),
        ("wg0", "may be any of 2 peers"),
        ("fe80::1", "no peer has fe80::1"),
        ("AwM", "no peer"),
    ],
)
def test_no_such_peer(who: str, text: str) -> None:
    with pytest.raises(DeviceError, match=text):
        peers.choose(who)


def test_the_interface_decides() -> None:
    assert peers.choose("10.2.0.1", interface="wg0").peer.public_key == PARIS
    assert peers.choose("10.2.0.1").peer.public_key == ROME


def test_hosts() -> None:
    allowed = [parse_prefix(one) for one in ("::/0", "0.0.0.0/0", "fd00::1/128", "10.0.0.0/24", "10.0.1.0/31")]
    assert [format_ip(ip) for ip in peers.hosts(allowed)] == ["fd00::1", "10.0.0.1", "10.0.1.0"]
    assert peers.hosts([(parse_ip("10.0.0.0"), 8)] * 99) == [parse_ip("10.0.0.1")] * peers.MOST_ADDRESSES


@pytest.mark.parametrize("limit", [0, 67, 68, 69, 1279, 1280, 1400, 1499, 1500, 9000])
def test_the_largest_packet(limit: int) -> None:
    tried: list[int] = []

    def passes(size: int) -> bool:
        tried.append(size)
        return size <= limit

    assert largest(passes, 68, 1500) == (0 if limit < 68 else min(limit, 1500))
    assert len(tried) <= 40


def test_losses_are_not_taken_for_a_limit() -> None:
    """Each size is lost twice before it passes."""
    losses: dict[int, int] = {}

    def passes(size: int) -> bool:
        losses[size] = losses.get(size, 0) + 1
        return size <= 1400 and losses[size] % 3 == 0

    assert largest(passes, 68, 1500) == 1400
    losses.clear()
    assert largest(passes, 68, 1500, tries=2) == 0  # the control: they do matter


def test_figures() -> None:
    assert Trips().figures() == {}
    trips = Trips(sent=4, seconds=[0.001, 0.003, 0.002])
    assert trips.figures() == {"min": 1.0, "avg": 2.0, "p50": 2.0, "max": 3.0}
    assert trips.lost == 0.25


@pytest.mark.parametrize("begins", range(1, 40))
def test_a_pause_is_not_taken_for_a_limit(begins: int) -> None:
    """All tries of one size are lost in it, whichever that is."""
    tried: list[int] = []

    def passes(size: int) -> bool:
        tried.append(size)
        return size <= 1400 and not begins <= len(tried) - 1 < begins + TRIES

    assert largest(passes, 68, 1500) == 1400


class Late:
    """In place of an Echo: each answer comes when two more were sent, and none to a packet of more than 1400 bytes."""

    overhead = 28

    def __init__(self) -> None:
        self.sent: list[tuple[int, int]] = []

    def send(self, sequence: int, data_len: int) -> str:
        self.sent.append((sequence, data_len + self.overhead))
        return ""

    def receive(self, _within_s: float) -> Reply | None:
        if len(self.sent) > 2 and self.sent[0][1] <= 1400:
            return Reply(self.sent.pop(0)[0], 0.0)
        self.sent = self.sent[1:] if len(self.sent) > 2 else self.sent
        return None


@pytest.fixture
def _time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """0.06 s at each look."""
    now = [0.0]

    def later() -> float:
        now[0] += 0.06
        return now[0]

    monkeypatch.setattr(rounds, "time", SimpleNamespace(monotonic=later))


@pytest.mark.usefixtures("_time_passes")
def test_a_late_answer_is_one() -> None:
    assert rounds.largest_packet(cast(Echo, Late()), 68, 1400, 0.001) == 1400
    assert rounds.largest_packet(cast(Echo, Late()), 68, 1500, 0.001) == 1400


class OfEarlierPings:
    """In place of an Echo: only answers to pings of before come, which were more."""

    overhead = 28

    def send(self, _sequence: int, _data_len: int) -> str:
        return ""

    def receive(self, _within_s: float) -> Reply | None:
        return Reply(500, 1.0)


@pytest.mark.usefixtures("_time_passes")
def test_an_answer_to_a_ping_of_before_is_none() -> None:
    assert rounds.largest_packet(cast(Echo, OfEarlierPings()), 68, 1400, 0.001) == 0
