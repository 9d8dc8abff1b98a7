"""The nth system call of a start fails: a whole daemon, or one line, exit status 1 and nothing left. Some n of each.

`python -m tests.faults` tries all.
"""

import pytest

from tests.faults.calls import CASES, SANDBOX, Case, number_of
from tests.faults.injector import SUPPORTED
from tests.faults.starts import BACKGROUND, FLOWS_MOVE, FOREGROUND, ONE_SHARD, SHARDED, Starter
from tests.requirements import require_root
from tests.runtime.namespace import run_inside

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(not SUPPORTED, reason="numbers of system calls are known for x86-64 alone"),
]
MOST = 2
PARTS = 4


@pytest.mark.parametrize("part", range(PARTS))
def test_the_nth_call_of_each_kind_is_refused(part: int) -> None:
    cases = [
        case for case in CASES if case.call not in SANDBOX and not (case.background or case.takeover or case.shards)
    ]
    _try(cases[part::PARTS], FOREGROUND)


def test_the_nth_call_of_a_start_in_the_background_is_refused() -> None:
    """Of those that it alone makes: the parent hears of it, and leaves no daemon behind."""
    _try([case for case in CASES if case.background], BACKGROUND)


def test_the_nth_call_by_which_shards_are_made_is_refused() -> None:
    """There is one, which a line says, or no program keeps flows in their queues; it serves."""
    lacks = _try([case for case in CASES if case.shards], SHARDED)
    assert {ONE_SHARD, FLOWS_MOVE} <= lacks


def _try(cases: list[Case], options: tuple[str, ...]) -> set[str]:
    """What daemons went on without, of what shards are for."""
    require_root()
    lacks: set[str] = set()

    def test() -> None:
        found = []
        with Starter() as starter:
            for case in cases:
                tried = 0
                for number, start in starter.nth(
                    case.call,
                    number_of(case.errors[0]),
                    kind=case.kind,
                    arguments=case.arguments,
                    most=MOST,
                    options=options,
                ):
                    tried += 1
                    lacks.add(start.lacks)
                    found += [
                        f"{case.name}, call {number}, {case.errors[0]}: {fault}: {start.text}" for fault in start.faults
                    ]
                assert tried or case.running, f"{case.name}: a start makes no such call"
        assert found == []

    run_inside(test, timeout=170)
    return lacks
