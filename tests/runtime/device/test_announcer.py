"""What a device tells its subscribers, and that it looks for nothing while there are none."""

from collections.abc import Callable, Iterator

import pytest

from pywg.config import uapi_events
from pywg.config.model import PeerChange
from pywg.config.uapi_event_reader import Event, EventReader
from pywg.runtime.base.feed import Subscription
from pywg.runtime.device.announcer import DROPS_S, ENDPOINTS_A_LOOK
from tests.runtime.device_harness import DeviceHarness, Pair, clamped, peer_key

SECRETS = (clamped(1), clamped(9), bytes(range(64, 96)))


class Heard:
    """What the subscriber of a device is told."""

    def __init__(self, harness: DeviceHarness) -> None:
        self.subscription: Subscription = harness.device.feed.subscribe()
        self.text = b""
        self._reader = EventReader()

    def all(self) -> list[Event]:
        text = self.subscription.take()
        self.text += text
        return list(self._reader.take(text))

    def names(self) -> list[str]:
        return [event.name for event in self.all()]


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.a.device.close()
    pair.b.device.close()
    assert not pair.a.timers.pending(), "a timer is left"


def lose(pair: Pair, seconds: int) -> None:
    """`a` wants to send, and nothing arrives."""
    for _ in range(seconds):
        pair.a.report(1, 1)
        pair.a.plane.sent.clear()
        pair.b.plane.sent.clear()
        pair.timers.advance(1)


def recover(pair: Pair) -> None:
    """`a` wants to send, and all arrives again."""
    for _ in range(8):
        pair.a.report(1, 1)
        pair.carry()
        pair.timers.advance(1)


def test_a_handshake_is_told_and_that_the_peer_is_up_once(pair: Pair) -> None:
    heard = Heard(pair.a)
    pair.handshake()
    first, second = heard.all()
    assert (first.name, second.name) == ("handshake", "peer_up")
    assert first.facts == second.facts == {"public_key": pair.b_key.hex(), "endpoint": "192.0.2.2:2"}
    assert first.time == pytest.approx(1_700_000_000 + pair.timers.now)
    pair.timers.advance(30)
    heard.all()
    pair.handshake()
    assert heard.names() == ["handshake"]
    heard.subscription.close()


def test_a_try_elsewhere_is_no_change_of_the_configuration(pair: Pair) -> None:
    pair.handshake()
    pair.timers.advance(6)
    pair.carry()
    heard = Heard(pair.a)
    there = (bytes([198, 51, 100, 7]), 4500, 0)
    pair.a.set(PeerChange(pair.b_key, update_only=True, probe_endpoint=there))
    assert len(pair.a.plane.sent_elsewhere) == 1
    assert heard.names() == []
    pair.a.set(PeerChange(pair.b_key, update_only=True, probe_endpoint=there, persistent_keepalive=7))
    assert heard.names() == ["configuration"]
    heard.subscription.close()


def test_the_responder_tells_when_the_session_is_confirmed(pair: Pair) -> None:
    heard = Heard(pair.b)
    pair.handshake()
    assert heard.names() == ["handshake", "peer_up"]
    heard.subscription.close()


def test_no_answer_is_told_after_2_seconds_and_less_and_less_often(pair: Pair) -> None:
    heard = Heard(pair.a)
    lose(pair, 4)
    (event,) = heard.all()
    assert event.name == "unanswered"
    assert event.facts["initiations"] == "1"
    assert event.facts["endpoint"] == "192.0.2.2:2"
    lose(pair, 300)
    told = [int(event.facts["initiations"]) for event in heard.all() if event.name == "unanswered"]
    assert told == [2, 4, 8, *range(16, told[-1] + 1, 16)]
    assert told[-1] >= 48
    recover(pair)
    assert [name for name in heard.names() if name != "endpoint"][:2] == ["handshake", "peer_up"]
    lose(pair, 30)
    assert [event.facts["initiations"] for event in heard.all() if event.name == "unanswered"][:2] == ["1", "2"]
    heard.subscription.close()


def test_a_peer_is_stale_without_a_handshake_that_is_asked_for(pair: Pair) -> None:
    pair.handshake()
    heard = Heard(pair.a)
    pair.timers.advance(190)  # it is asked for nothing
    assert "peer_stale" not in heard.names()
    lose(pair, 10)
    stale = [event for event in heard.all() if event.name == "peer_stale"]
    assert [event.facts["public_key"] for event in stale] == [pair.b_key.hex()]
    assert int(stale[0].facts["handshake_age"]) > 180
    lose(pair, 30)
    assert "peer_stale" not in heard.names()  # once
    recover(pair)
    assert "peer_up" in heard.names()
    heard.subscription.close()


def test_a_peer_that_is_to_be_kept_alive_is_asked_for(pair: Pair) -> None:
    pair.handshake()
    pair.a.set(PeerChange(pair.b_key, persistent_keepalive=60000))
    heard = Heard(pair.a)
    pair.timers.advance(190)
    assert "peer_stale" in heard.names()
    heard.subscription.close()


def test_an_endpoint_that_moves_is_told_by_a_look(pair: Pair) -> None:
    pair.handshake()
    heard = Heard(pair.a)
    pair.timers.advance(2)
    assert heard.names() == []
    pair.a.plane.set_endpoint(1, (bytes([192, 0, 2, 77]), 7, 0, b"", 0))
    pair.timers.advance(2)
    (event,) = heard.all()
    assert event.name == "endpoint"
    assert event.facts == {"public_key": pair.b_key.hex(), "endpoint": "192.0.2.77:7", "before": "192.0.2.2:2"}
    pair.timers.advance(5)
    assert heard.names() == []
    heard.subscription.close()


def test_endpoints_of_many_peers_are_looked_at_in_turns() -> None:
    harness = DeviceHarness()
    many = 2 * ENDPOINTS_A_LOOK + 1
    keys = [number.to_bytes(32, "big") for number in range(1, many + 1)]
    harness.set(*(PeerChange(key, endpoint=(bytes([192, 0, 2, 1]), 1, 0)) for key in keys), private_key=clamped(1))
    heard = Heard(harness)
    asked = 0
    whole = harness.plane.endpoint

    def counted(peer: int) -> object:
        nonlocal asked
        asked += 1
        return whole(peer)

    harness.plane.endpoint = counted  # type: ignore[method-assign,assignment]
    harness.timers.advance(1)
    assert 0 < asked <= ENDPOINTS_A_LOOK
    harness.timers.advance(2)
    for peer in list(harness.device.peers()):
        harness.plane.set_endpoint(peer, (bytes([192, 0, 2, 2]), 2, 0, b"", 0))
    harness.timers.advance(4)
    assert sum(name == "endpoint" for name in heard.names()) > 0
    heard.subscription.close()
    harness.device.close()


def test_changes_of_the_configuration_are_told_without_values(pair: Pair) -> None:
    heard = Heard(pair.a)
    key = peer_key(7)
    pair.a.set(PeerChange(key, preshared_key=SECRETS[2], endpoint=(bytes([192, 0, 2, 9]), 9, 0)), fwmark=77)
    added, endpoint, changed = heard.all()
    assert (added.name, added.facts) == ("peer_added", {"public_key": key.hex()})
    assert (endpoint.name, endpoint.facts["endpoint"]) == ("endpoint", "192.0.2.9:9")
    assert (changed.name, changed.facts) == ("configuration", {"changed": "fwmark,peers"})
    pair.a.set(PeerChange(key, remove=True))
    removed, changed = heard.all()
    assert (removed.name, removed.facts) == ("peer_removed", {"public_key": key.hex()})
    pair.a.set(private_key=clamped(9))
    assert [(event.name, event.facts) for event in heard.all()] == [("configuration", {"changed": "private_key"})]
    pair.a.set(PeerChange(pair.b_key, endpoint=(pair.b.address, 22, 0)))
    assert [event.facts.get("endpoint") for event in heard.all() if event.name == "endpoint"] == ["192.0.2.2:22"]
    for secret in SECRETS:
        assert secret.hex().encode() not in heard.text
    heard.subscription.close()


def test_up_and_down_are_told(pair: Pair) -> None:
    pair.handshake()
    heard = Heard(pair.a)
    pair.a.device.down()
    pair.a.device.up()
    assert heard.names() == ["interface_down", "interface_up"]
    recover(pair)
    assert "peer_up" in heard.names()  # the sessions were gone
    heard.subscription.close()


def test_drops_are_told_together_and_not_too_often(pair: Pair) -> None:
    counters = {"rx_forged": 5, "rx_packets": 100}
    pair.a.plane.counters = lambda: dict(counters)  # type: ignore[method-assign]
    heard = Heard(pair.a)
    pair.timers.advance(3)
    assert heard.names() == []  # what was before is no news
    counters["rx_packets"] += 1000
    pair.timers.advance(3)
    assert heard.names() == []  # nor is traffic
    counters["rx_forged"] += 3
    counters["tx_no_peer"] = 2
    pair.timers.advance(1)
    assert [event.facts for event in heard.all()] == [{"rx_forged": "3", "tx_no_peer": "2"}]
    for _ in range(int(DROPS_S) - 2):
        counters["rx_forged"] += 1
        pair.timers.advance(1)
        assert heard.names() == []
    pair.timers.advance(3)
    assert [event.facts for event in heard.all()] == [{"rx_forged": "8"}]
    heard.subscription.close()


def test_nothing_is_looked_for_without_a_subscriber(pair: Pair) -> None:
    asked: list[str] = []
    counters = pair.a.plane.counters

    def counted() -> dict[str, int]:
        asked.append("counters")
        return counters()

    pair.a.plane.counters = counted  # type: ignore[method-assign]
    before = pair.a.timers.pending()
    pair.timers.advance(60)
    assert asked == []
    heard = Heard(pair.a)
    pair.timers.advance(60)
    assert asked  # the positive control
    heard.subscription.close()
    asked.clear()
    assert pair.a.timers.pending() == before
    pair.timers.advance(60)
    assert asked == []


def test_lack_of_memory_for_an_event_is_a_loss_and_no_fault(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard(pair.a)

    def none(*_: object) -> bytes:
        raise MemoryError

    with monkeypatch.context() as context:
        context.setattr("pywg.runtime.base.feed.format_event", none)
        pair.handshake()
    (event,) = heard.all()
    assert (event.name, event.facts) == ("lost", {"events": "2"})
    heard.subscription.close()


def test_every_event_has_a_name_of_the_list(pair: Pair) -> None:
    heard = Heard(pair.a)
    actions: list[Callable[[], object]] = [
        pair.handshake,
        lambda: pair.a.set(PeerChange(peer_key(7))),
        lambda: pair.a.set(PeerChange(peer_key(7), remove=True)),
        pair.a.device.down,
        pair.a.device.up,
        lambda: lose(pair, 300),
    ]
    for action in actions:
        action()
    assert {*heard.names()} <= {*uapi_events.NAMES}
    heard.subscription.close()
