"""A bench that was given a priority gives it to what it starts, whose sessions the kernel would else treat alike."""

import os
from pathlib import Path

import pytest

from bench.tunnel.command import prioritised, run
from tests.requirements import require_root

GROUP = Path("/proc/self/autogroup")
# The priority comes once the command runs.
AWAITED = 'until grep -q "nice -3$" /proc/self/autogroup; do :; done'


def test_a_session_of_its_own_keeps_the_priority() -> None:
    require_root()
    if not GROUP.exists():
        pytest.skip("this kernel has no autogroups")
    before = os.getpriority(os.PRIO_PROCESS, 0), GROUP.read_text()
    with prioritised(-3):
        assert GROUP.read_text().endswith("nice -3\n")
        run("sh", "-c", AWAITED, timeout=20)
    assert (os.getpriority(os.PRIO_PROCESS, 0), GROUP.read_text()) == before
