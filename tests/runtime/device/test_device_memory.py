"""A device that runs out of memory in the middle of a change: core and plane agree on what there is, and go on."""

import itertools
from collections.abc import Callable
from typing import TypeAlias, TypeVar

import pytest

from pywg.config.model import DeviceChange, PeerChange, Prefix, SockAddr
from tests.fake_plane import FakePlane
from tests.runtime.device_harness import DeviceHarness, clamped, peer_key, prefix

T = TypeVar("T")

MUTATING = [
    name
    for name in vars(FakePlane)
    if name.startswith(("add_", "remove_", "set_", "allow_many", "disallow", "clear_", "attach_", "send_", "drop_"))
    or name in ("reserve", "open_index", "close_index", "install_keypair", "use_keypair", "retire_keypair")
]
RELEASING = ("remove_peer", "clear_allowed", "disallow", "retire_keypair", "close_index", "drop_staged")
"""Those that give memory back, and will not fail twice for want of it."""
ADDRESS = (bytes([192, 0, 2, 9]), 7, 0)


class Failing:
    """Makes the n-th call of the plane raise MemoryError, once or from then on; from 0."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, plane: FakePlane) -> None:
        self.calls: list[str] = []
        self.at: int | None = None
        self.for_good = False
        for name in MUTATING:
            monkeypatch.setattr(plane, name, self._wrap(name, getattr(plane, name)))

    def _wrap(self, name: str, call: Callable[..., T]) -> Callable[..., T]:
        def wrapped(*arguments: object, **named: object) -> T:
            number = len(self.calls)
            self.calls.append(name)
            if self.at is not None and (
                number == self.at or (self.for_good and number > self.at and name not in RELEASING)
            ):
                raise MemoryError
            return call(*arguments, **named)

        return wrapped

    def start(self, at: int | None, *, for_good: bool = False) -> None:
        self.calls.clear()
        self.at, self.for_good = at, for_good


def prepare(harness: DeviceHarness) -> None:
    """Up, with a key and three peers, of which one has a handshake in flight."""
    harness.set(
        *(PeerChange(peer_key(n), allowed_ips=[prefix(f"10.0.{n}.0/24")], endpoint=ADDRESS) for n in (1, 2, 3)),
        private_key=clamped(1),
    )
    harness.device.up()
    harness.report(1, 1)


CHANGES = {
    "add": lambda: DeviceChange(
        peers=[
            PeerChange(
                peer_key(n),
                preshared_key=bytes([n]) * 32,
                endpoint=ADDRESS,
                allowed_ips=[prefix(f"10.1.{n}.0/24"), prefix(f"-10.1.{n}.0/24"), prefix(f"10.0.{n - 3}.0/24")],
                persistent_keepalive=25,
            )
            for n in (4, 5)
        ]
    ),
    "alter": lambda: DeviceChange(
        peers=[
            PeerChange(peer_key(1), replace_allowed_ips=True, allowed_ips=[prefix("10.9.0.0/16")], endpoint=ADDRESS),
            PeerChange(peer_key(2), remove=True),
        ]
    ),
    "replace": lambda: DeviceChange(
        private_key=clamped(3),
        listen_port=4444,
        fwmark=7,
        replace_peers=True,
        peers=[PeerChange(peer_key(n), allowed_ips=[prefix(f"10.0.{n}.0/24")]) for n in (1, 6)],
    ),
    "key": lambda: DeviceChange(private_key=clamped(9)),
}


Shown: TypeAlias = tuple[bytes, int, int, list[tuple[bytes, bytes, SockAddr | None, int, list[Prefix]]]]


def shown(harness: DeviceHarness) -> Shown:
    status = harness.device.status()
    peers = [
        (peer.public_key, bytes(peer.preshared_key), peer.endpoint, peer.persistent_keepalive, peer.allowed_ips)
        for peer in status.peers
    ]
    return bytes(status.private_key or b""), status.listen_port, status.fwmark, peers


def agree(harness: DeviceHarness) -> None:
    """Whatever there is now, both know it, and it can be taken down and set again."""
    tunnel = harness.device._tunnel
    assert set(tunnel.peers()) == set(harness.plane.peers)
    assert {peer.public_key for peer in tunnel._peers.values()} == set(tunnel._by_key)
    assert [tunnel.peer_by_key(peer.public_key) for peer in harness.device.status().peers] == list(tunnel.peers())


def run(harness: DeviceHarness, name: str) -> bool:
    """False: MemoryError."""
    try:
        harness.device.apply(CHANGES[name]())
    except MemoryError:
        return False
    return True


@pytest.mark.parametrize("name", CHANGES)
def test_one_failure_at_any_call_changes_nothing_or_everything(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    whole = DeviceHarness()
    prepare(whole)
    before = shown(whole)
    assert run(whole, name)
    after = shown(whole)
    assert before != after
    outcomes = set()
    for at in itertools.count():
        harness = DeviceHarness()
        failing = Failing(monkeypatch, harness.plane)
        prepare(harness)
        failing.start(at)
        done = run(harness, name)
        if at >= len(failing.calls):
            break
        outcomes.add(done)
        failing.start(None)
        assert shown(harness) == (after if done else before), failing.calls
        agree(harness)
        harness.device.down()
        harness.device.close()
    assert at >= 3
    assert outcomes == {True, False}


@pytest.mark.parametrize("name", CHANGES)
def test_failures_without_end_leave_core_and_plane_agreed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    whole = DeviceHarness()
    prepare(whole)
    assert run(whole, name)
    for at in itertools.count():
        harness = DeviceHarness()
        failing = Failing(monkeypatch, harness.plane)
        prepare(harness)
        failing.start(at, for_good=True)
        done = run(harness, name)
        if at >= len(failing.calls):
            break
        failing.start(None)
        agree(harness)
        if not done:
            assert run(harness, name)
            agree(harness)
            assert [peer[0] for peer in sorted(shown(harness)[3])] == [peer[0] for peer in sorted(shown(whole)[3])]
        harness.device.down()
        harness.device.close()


def test_what_memory_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = DeviceHarness()
    asked: list[tuple[int, ...]] = []
    monkeypatch.setattr(harness.plane, "reserve", lambda **numbers: asked.append(tuple(numbers.values())))
    prepare(harness)
    for name in CHANGES:
        assert run(harness, name)
    assert asked == [(3, 3), (2, 6), (0, 1), (0, 2), (0, 0)]


def test_what_is_reserved_lasts_until_the_change_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may empty the trie before it fills it again. A change that is refused has ended too."""
    harness = DeviceHarness()
    prepare(harness)
    failing = Failing(monkeypatch, harness.plane)
    monkeypatch.setattr(harness.plane, "unreserve", lambda: failing.calls.append("unreserve"))
    for name in ("replace", "add"):
        failing.start(None)
        assert run(harness, name)
        assert (failing.calls[0], failing.calls[-1]) == ("reserve", "unreserve")
        assert "allow_many" in failing.calls
        assert failing.calls.count("unreserve") == 1
    failing.start(0)
    assert not run(harness, "alter")
    assert failing.calls == ["reserve", "unreserve"]
