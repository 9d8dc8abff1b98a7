"""What secret work leaves in the event loop's thread is wiped at the end of each turn: of any input, nothing stays.

Marks stand for keys: on the stack, below the frames of a turn, and in registers that nothing else uses.
"""

from collections.abc import Callable
from typing import NoReturn

import pytest

from pywg.config.model import DeviceChange
from pywg.errors import UapiError
from tests.native import residue
from tests.runtime.device_harness import Pair, clamped


def refused(pair: Pair) -> None:
    """Its key was worked with by then."""
    pair.b.taken_ports.add(1)
    with pytest.raises(UapiError):
        pair.b.set(private_key=clamped(77), listen_port=1)


def failing(pair: Pair) -> None:
    def fail(*_: object) -> NoReturn:
        raise OSError

    pair.b.plane.handshake_received = fail  # type: ignore[method-assign, assignment]
    with pytest.raises(OSError):  # noqa: PT011 - it is the one above
        pair.b.device.on_plane_ready()


TURNS: dict[str, Callable[[Pair], object]] = {
    "a message, or an event": lambda pair: pair.b.device.on_plane_ready(),
    "a change of the configuration": lambda pair: pair.b.device.apply(DeviceChange()),
    "a change that is refused": refused,
    "an input that fails": failing,
    "down": lambda pair: pair.b.device.down(),
    "a timer": lambda pair: pair.timers.advance(1000),
}


def left_by(turn: Callable[[], object]) -> tuple[int, int]:
    """Marks on the stack and in registers after a turn."""
    residue.mark()
    turn()
    return residue.marks()


@pytest.mark.parametrize("name", TURNS)
def test_a_turn_leaves_nothing(name: str) -> None:
    pair = Pair()
    pair.a.report(1, 1)
    ((_, initiation),) = pair.a.plane.sent
    pair.b.plane.receive(initiation, (pair.a.address, 1, 0, b"", 0))
    assert left_by(lambda: TURNS[name](pair)) == (0, 0)


def test_marks_are_found_where_nothing_wipes() -> None:
    stack, registers = left_by(lambda: None)
    assert stack > 10_000
    assert registers in (0, 16), "all, or a processor without them"
