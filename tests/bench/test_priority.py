"""A bench that was given a priority gives it to what it starts, whose sessions the kernel would else treat alike."""

import os
from pathlib import Path

import pytest

from bench.tunnel import command
from bench.tunnel.command import prioritised, run
from tests.requirements import require_root

GROUP = Path("/proc/self/autogroup")
# The priority comes once the command runs.
AWAITED = 'until grep -q "nice -3$" /proc/self/autogroup; do :; done'


def test_a_session_of_its_own_keeps_the_priority() -> None:
    require_root()
    before = os.getpriority(os.PRIO_PROCESS, 0), _group()
    with prioritised(-3):
        if before[1]:  # a control group has priorities of its own
            assert _group().endswith("nice -3\n")
            run("sh", "-c", AWAITED, timeout=20)
        assert run("nice") == "-3\n"
    assert (os.getpriority(os.PRIO_PROCESS, 0), _group()) == before


@pytest.mark.parametrize("present", [True, False], ids=["empty", "missing"])
def test_where_sessions_have_no_priority(present: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_root()
    group = tmp_path / "autogroup"
    if present:
        group.touch()
    monkeypatch.setattr(command, "_GROUP", group)
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with prioritised(-3):
        assert run("nice") == "-3\n"
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
    assert not group.exists() or not group.read_text()


def _group() -> str:
    return GROUP.read_text() if GROUP.exists() else ""
