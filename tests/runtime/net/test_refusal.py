"""What the network answers to a datagram that nobody expects."""

import errno
import socket
from collections.abc import Iterator

import pytest

from pywg.config.addresses import parse_ip
from pywg.core.events import Endpoint
from pywg.runtime.net.refusal import MOST_QUESTIONS, PATIENCE_S, Refusals
from tests.requirements import require_root, require_tool
from tests.runtime.device_harness import FakeTimers
from tests.runtime.namespace import ip, run_inside

LOOPBACKS = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]


@pytest.fixture
def asking() -> Iterator[tuple[Refusals, FakeTimers]]:
    timers = FakeTimers()
    refusals = Refusals(timers.call_later)
    yield refusals, timers
    refusals.close()


@pytest.mark.parametrize(("family", "address"), LOOPBACKS)
def test_a_port_that_nobody_listens_on_refuses(
    asking: tuple[Refusals, FakeTimers], family: socket.AddressFamily, address: str
) -> None:
    refusals, timers = asking
    with socket.socket(family, socket.SOCK_DGRAM) as taken:
        taken.bind((address, 0))
        port = taken.getsockname()[1]
    told: list[int] = []
    refusals.ask(Endpoint(parse_ip(address), port), 0, told.append)
    assert told == []
    timers.advance(PATIENCE_S)
    assert told == [errno.ECONNREFUSED]
    assert timers.pending() == []


@pytest.mark.parametrize(("family", "address"), LOOPBACKS)
def test_a_port_that_is_listened_on_does_not(
    asking: tuple[Refusals, FakeTimers], family: socket.AddressFamily, address: str
) -> None:
    refusals, timers = asking
    told: list[int] = []
    with socket.socket(family, socket.SOCK_DGRAM) as listener:
        listener.bind((address, 0))
        refusals.ask(Endpoint(parse_ip(address), listener.getsockname()[1]), 0, told.append)
        timers.advance(PATIENCE_S)
        assert listener.recv(100) == b""
    assert told == []


def test_questions_are_bounded(asking: tuple[Refusals, FakeTimers]) -> None:
    refusals, timers = asking
    told: list[int] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    for _ in range(3 * MOST_QUESTIONS):
        refusals.ask(Endpoint(bytes([127, 0, 0, 1]), port), 0, told.append)
    timers.advance(PATIENCE_S)
    assert told == [errno.ECONNREFUSED] * MOST_QUESTIONS
    refusals.ask(Endpoint(bytes([127, 0, 0, 1]), port), 0, told.append)
    refusals.close()
    timers.advance(PATIENCE_S)
    assert len(told) == MOST_QUESTIONS


@pytest.mark.netns
def test_no_route_is_no_answer(asking: tuple[Refusals, FakeTimers]) -> None:
    """It is an error of the sockets in use, which tell it."""
    require_root()
    require_tool("ip")

    def test() -> None:
        refusals, timers = asking
        told: list[int] = []
        for address in ("203.0.113.9", "2001:db8::9"):
            refusals.ask(Endpoint(parse_ip(address), 9), 7, told.append)
        timers.advance(PATIENCE_S)
        assert told == []
        ip("link", "set", "lo", "up")
        refusals.ask(Endpoint(bytes([127, 0, 0, 1]), 9), 7, told.append)
        timers.advance(PATIENCE_S)
        assert told == [errno.ECONNREFUSED]

    run_inside(test)
