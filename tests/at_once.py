"""The texts of the UAPI in one step, which the daemon reads and writes in many."""

from collections.abc import Generator
from typing import TypeVar

from typing_extensions import Buffer

from pywg.config.model import DeviceChange, DeviceStatus, PeerTrouble
from pywg.config.uapi import format_get_steps, format_troubles_steps, parse_set_steps

_Result = TypeVar("_Result")


def parse_set(request: Buffer) -> DeviceChange:
    return _at_once(parse_set_steps(request))


def format_get(status: DeviceStatus) -> bytearray:
    return _at_once(format_get_steps(status))


def format_troubles(troubles: list[PeerTrouble]) -> bytearray:
    return _at_once(format_troubles_steps(troubles))


def _at_once(steps: Generator[None, None, _Result]) -> _Result:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: _Result = end.value
            return result
