"""No fuzzer finds anything in a minute of CPU. They run beside the other tests (tests/fuzz/background.py)."""

import pytest

from tests.fuzz import guided
from tests.fuzz.background import Background
from tests.fuzz.fuzzer import Fuzzer
from tests.fuzz.registry import fuzzers


@pytest.mark.background
@pytest.mark.timeout(0)  # a machine that is busy with something else is no fault
@pytest.mark.parametrize("fuzzer", fuzzers(), ids=lambda fuzzer: fuzzer.name)
def test_it_finds_nothing(fuzzer: Fuzzer, background: Background) -> None:
    result = background.result(fuzzer.name)
    print(result)
    assert not result.found, str(result)


def test_no_target_is_left_out() -> None:
    if not guided.is_here():
        pytest.skip(guided.NOT_HERE)
    assert guided.TARGETS.keys() <= {fuzzer.name for fuzzer in fuzzers()}
