"""Every kept input of every target passes; with a fault in what the target looks at, one of them fails.

That they are found anew, by what the fuzzer makes of the kept inputs, `python -m tests.fuzz.guided.planted` shows.
"""

import pytest

from tests.fuzz import corpus
from tests.fuzz.guided import TARGETS
from tests.fuzz.guided.inputs import failures, kept
from tests.fuzz.guided.planted import FAULTS, planted

MOST_BYTES = 300 << 10
"""Of all kept inputs: the repository has them for ever."""


@pytest.mark.parametrize("name", TARGETS)
def test_the_kept_inputs(name: str) -> None:
    files = kept(name)
    assert files, "a target without a corpus learns everything anew"
    failed = failures(name, files)
    assert failed == [], "\n".join(failed)


def test_the_corpus_is_small() -> None:
    assert sum(corpus.packed(name).stat().st_size for name in TARGETS) <= MOST_BYTES


def test_every_target_has_a_fault() -> None:
    assert {fault.target for fault in FAULTS.values()} == TARGETS.keys()


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name: str) -> None:
    with planted(name):
        assert failures(FAULTS[name].target, kept(FAULTS[name].target))
