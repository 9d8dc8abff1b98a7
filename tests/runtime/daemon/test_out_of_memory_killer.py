"""A daemon whose control group has no memory left: the kernel kills it whole, and a restart is all that it takes."""

import contextlib
import signal

import pytest

from tests import stale
from tests.memory_group import kills, limited
from tests.requirements import require_root
from tests.runtime.daemon.test_service import DIRECTORY, Foreground, answers, ask, until
from tests.runtime.daemon.test_service_memory import patient, request
from tests.runtime.namespace import ip, run_inside, unique

pytestmark = pytest.mark.netns

LIMIT = 8 << 20
"""Bytes, of which the start uses none: the daemon comes to the group when it answers."""
PEERS = 2_000
CHANGES = 100
"""Of so many peers each: far more than the limit has room for."""


def fill(name: str) -> None:
    """More peers than there is memory for; ends with the daemon."""
    with contextlib.suppress(OSError):
        for number in range(CHANGES):
            reply = patient(name, request(range(number * PEERS, (number + 1) * PEERS)))
            if not reply.endswith(b"errno=0\n\n"):
                return


def test_the_kernel_kills_it_whole_and_it_starts_again() -> None:
    require_root()
    name = unique("pywgt")

    def test() -> None:
        with limited(name, LIMIT) as group:
            with Foreground(name) as daemon:
                until(lambda: answers(name))
                (group / "cgroup.procs").write_text(str(daemon.process.pid))
                ip("link", "set", name, "up")
                assert patient(name, request(range(3))) == b"errno=0\n\n", "the control: a little is had"
                assert kills(group) == 0
                fill(name)
                assert daemon.process.wait(60) == -signal.SIGKILL
                assert kills(group) == 1
            until(lambda: name not in ip("link"))
            stale.lies_at(f"{DIRECTORY}/{name}.sock")
            with Foreground(name) as daemon:
                until(lambda: answers(name))
                assert patient(name, request(range(3))) == b"errno=0\n\n"
                assert ask(name).count(b"public_key=") == 3
                daemon.process.terminate()
                assert daemon.exit_status() == 0

    run_inside(test, timeout=170)
