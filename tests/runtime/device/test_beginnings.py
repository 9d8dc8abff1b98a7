"""What a session takes may come in any order: the last of it starts the handshake, within a second."""

import itertools
from collections.abc import Callable

import pytest

from pywg.config.model import PeerChange
from tests.runtime.device_harness import DeviceHarness, clamped, peer_key, prefix

pytestmark = pytest.mark.dropin("10")

FAR = peer_key(1)
ENDPOINT = (bytes([192, 0, 2, 9]), 51820, 0)
STEPS: dict[str, Callable[[DeviceHarness], None]] = {
    "key": lambda harness: harness.set(private_key=clamped(7)),
    "peer": lambda harness: harness.set(PeerChange(FAR)),
    "endpoint": lambda harness: harness.set(PeerChange(FAR, endpoint=ENDPOINT)),
    "allowed ip": lambda harness: harness.set(PeerChange(FAR, allowed_ips=[prefix("10.0.0.0/8")])),
    "port": lambda harness: harness.set(listen_port=4000),
    "up": lambda harness: harness.device.up(),
    "keepalive": lambda harness: harness.set(PeerChange(FAR, persistent_keepalive=25)),
    "data": lambda harness: harness.write(1),
}
NEEDED = {"keepalive": {"key", "endpoint", "up", "keepalive"}, "data": {"key", "endpoint", "allowed ip", "up", "data"}}


def orders(reason: str) -> list[tuple[str, ...]]:
    """Every order of the steps; data comes when there is someone to stage it for, and before or after all else."""
    found = []
    for order in itertools.permutations([step for step in STEPS if step not in NEEDED or step == reason]):
        at = order.index(reason)
        if reason == "keepalive" or {"endpoint", "allowed ip"} <= set(order[:at]):
            found.append(order)
    return found


@pytest.mark.parametrize("between", [0.0, 7.0, 200.0], ids=lambda seconds: f"{seconds:g} s between")
@pytest.mark.parametrize("reason", ["keepalive", "data"])
def test_the_last_step_begins_a_handshake(reason: str, between: float) -> None:
    for order in orders(reason):
        harness = DeviceHarness()
        missing = set(NEEDED[reason])
        for step in order:
            STEPS[step](harness)
            harness.poll()
            missing.discard(step)
            if not missing:
                break
            assert harness.plane.sent == [], f"{order}: {missing} was missing"
            harness.timers.advance(between)
            harness.poll()
        harness.timers.advance(1.0)
        harness.poll()
        assert len(harness.plane.sent) == 1, order
        harness.plane.close()


@pytest.mark.parametrize("reason", ["keepalive", "data"])
def test_a_new_private_key_begins_a_handshake(reason: str) -> None:
    harness = DeviceHarness()
    for step in ("key", "up", "endpoint", "allowed ip", reason):
        STEPS[step](harness)
        harness.poll()
    assert len(harness.plane.sent) == 1
    harness.set(private_key=clamped(8))
    harness.poll()
    assert len(harness.plane.sent) == 2
    harness.plane.close()
