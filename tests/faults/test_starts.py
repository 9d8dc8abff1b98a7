"""The nth system call of a start fails: a whole daemon, or one line, exit status 1 and nothing left. Some n of each.

`python -m tests.faults` tries all.
"""

import pytest

from tests.faults.calls import CASES, SANDBOX, Case, number_of
from tests.faults.injector import SUPPORTED
from tests.faults.starts import BACKGROUND, FOREGROUND, Starter
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
    cases = [case for case in CASES if case.call not in SANDBOX and not (case.background or case.takeover)]
    _try(cases[part::PARTS], FOREGROUND)


def test_the_nth_call_of_a_start_in_the_background_is_refused() -> None:
    """Of those that it alone makes: the parent hears of it, and leaves no daemon behind."""
    _try([case for case in CASES if case.background], BACKGROUND)


def _try(cases: list[Case], options: tuple[str, ...]) -> None:
    require_root()

    def test() -> None:
        found = []
        with Starter() as starter:
            for case in cases:
                tried = 0
                error = number_of(case.errors[0])
                for number, start in starter.nth(case.call, error, kind=case.kind, most=MOST, options=options):
                    tried += 1
                    found += [
                        f"{case.name}, call {number}, {case.errors[0]}: {fault}: {start.text}" for fault in start.faults
                    ]
                assert tried or case.running, f"{case.name}: a start makes no such call"
        assert found == []

    run_inside(test, timeout=170)
