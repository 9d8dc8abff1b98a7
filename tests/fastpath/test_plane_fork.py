"""A plane in a child of fork(), which has a copy of its memory and none of its threads."""

import contextlib
import os
import signal
import time

import pytest

from pywg._fastpath import Plane

LONG_S = 20.0


@pytest.mark.parametrize("helpers", [0, 2])
def test_a_child_waits_for_no_thread_of_its_parents(helpers: int) -> None:
    plane = Plane(helpers=helpers)
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            plane.close()
            del plane
            os._exit(0)
        os._exit(1)
    try:
        until = time.monotonic() + LONG_S
        ended = status = 0
        while not ended and time.monotonic() < until:
            ended, status = os.waitpid(child, os.WNOHANG)
            os.sched_yield()
        assert (ended, os.waitstatus_to_exitcode(status)) == (child, 0)
    finally:
        if not ended:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        before = plane.heartbeats()
        while plane.heartbeats() == before:  # the parent's go on
            os.sched_yield()
        plane.close()
