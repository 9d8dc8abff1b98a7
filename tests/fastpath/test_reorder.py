"""The helpers' pipeline by itself: every slot once, in order, and whole, however the threads meet."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest

from tests.native_build import build_module, load_module

SOURCE = Path(__file__).with_name("reorder_stress.pyx")
SLOTS = 1_000_000
REFUSED = 500
HELD = 3_000


@pytest.fixture(scope="module")
def stress() -> ModuleType:
    return load_module(build_module(SOURCE))


@pytest.mark.parametrize("refusals", [0, REFUSED])
@pytest.mark.parametrize("helpers", [1, 2, 5])
def test_every_slot_once_in_order_and_whole(stress: ModuleType, helpers: int, refusals: int) -> None:
    one = stress.Stress(refusals=refusals)
    with ThreadPoolExecutor(helpers) as pool:
        helping = [pool.submit(one.help) for _ in range(helpers)]
        assert one.read(SLOTS, HELD) == (SLOTS, 0)
        assert [each.result() for each in helping] == [None] * helpers
