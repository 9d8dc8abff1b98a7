"""The nth system call of a daemon that takes over fails: it serves, or the old one serves on, and nothing is left.

`python -m tests.faults --takeovers` tries all; here are those that have ended both daemons.
"""

from collections.abc import Iterator

import pytest

from tests.faults.calls import number_of
from tests.faults.injector import OTHER, SUPPORTED, UNIX
from tests.faults.takeovers import Takeovers
from tests.requirements import require_root

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(not SUPPORTED, reason="numbers of system calls are known for x86-64 alone"),
]
ROWS = (
    ("recvfrom", "ENOMEM", UNIX, {"serves on", "takes over"}),  # what the other one says at the end, among others
    ("write", "EIO", OTHER, {"serves on", "takes over"}),  # the line for the operator, the word to the command
)


@pytest.fixture(scope="module")
def takeovers() -> Iterator[Takeovers]:
    require_root()
    with Takeovers() as takeovers:
        yield takeovers


@pytest.mark.parametrize(("call", "error", "kind", "outcomes"), ROWS, ids=[f"{row[0]}-{row[1]}" for row in ROWS])
def test_one_daemon_serves_whichever_call_fails(
    takeovers: Takeovers, call: str, error: str, kind: int, outcomes: set[str]
) -> None:
    tried = list(takeovers.nth(call, number_of(error), kind=kind))
    assert [(number, one.faults, one.text) for number, one in tried if one.faults] == []
    assert {one.outcome for _, one in tried} == outcomes


def test_libuv_is_refused_its_descriptors_before_the_old_daemon_has_gone(takeovers: Takeovers) -> None:
    """It ends the process then. Of its calls and our own, some that come around the old one's last word."""
    tried = [takeovers.one("epoll_ctl", number_of("ENOMEM"), skip=skip, most=1) for skip in range(14, 19)]
    assert [(one.faults, one.text) for one in tried if one.faults] == []
    assert {one.outcome for one in tried} == {"serves on", "takes over"}
