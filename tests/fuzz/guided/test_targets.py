"""Every kept input of every target passes."""

import pytest

from tests.fuzz.guided import TARGETS
from tests.fuzz.guided.inputs import failures, kept


@pytest.mark.parametrize("name", TARGETS)
def test_the_kept_inputs(name: str) -> None:
    files = kept(name)
    assert files, "a target without a corpus learns everything anew"
    failed = failures(name, files)
    assert failed == [], "\n".join(failed)
