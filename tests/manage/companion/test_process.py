"""The companion as a process: what is left of one that does not start, and which process is ended."""

import fcntl
import os
import subprocess
import time
from pathlib import Path

import pytest

from pywg.errors import DeviceError
from pywg.manage.companion import process
from pywg.manage.tunnel.names import Target
from tests.processes import has_ended

_NEVER_READY = """
echo it says why >&2
eval "sleep 1000 $PYWG_COMPANION_READY_FD>&- &"
echo $! > "$0.pid"
eval "exec $PYWG_COMPANION_READY_FD>&-"
wait
"""


def test_one_that_is_never_ready_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child of it has standard error open: `pywg up` would wait for that child's end."""
    program = ["/bin/bash", "-c", _NEVER_READY, str(tmp_path / "child")]
    monkeypatch.setattr(process, "program_of_pywg", lambda: program)
    with pytest.raises(DeviceError, match="it says why"):
        process.start(Target("wg0", str(tmp_path / "wg0.conf")), dict(os.environ))
    child = int((tmp_path / "child.pid").read_text())
    until = time.monotonic() + 30
    while not has_ended(child):
        assert time.monotonic() < until


@pytest.mark.parametrize("gone", [False, True])
def test_a_process_is_ended_only_while_it_is_the_companion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, gone: bool
) -> None:
    """`gone`: the companion ends between the look at its PID and the hold on the process that has this PID."""
    pidfd_open = os.pidfd_open

    def opened_late(pid: int) -> int:
        fcntl.flock(lock, fcntl.LOCK_UN)
        return pidfd_open(pid)

    monkeypatch.setattr(process, "DIRECTORY", str(tmp_path))
    with open(process.lock_file("wg0"), "w+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with subprocess.Popen(["sleep", "100"], pass_fds=[lock.fileno()]) as other:
            lock.write(str(other.pid))
            lock.flush()
            if gone:
                monkeypatch.setattr(os, "pidfd_open", opened_late)
            else:
                lock.close()  # its own is the last that has the lock
            try:
                assert process.stop("wg0")
                assert (other.poll() is None) is gone
            finally:
                other.kill()


def test_one_that_does_not_end_keeps_its_lock_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it a second companion could start beside it."""
    monkeypatch.setattr(process, "DIRECTORY", str(tmp_path))
    monkeypatch.setattr(process, "_END_S", 0.05)
    with open(process.lock_file("wg0"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DeviceError, match="the companion of wg0 does not end"):
            process.stop("wg0")
        assert process.lock_file("wg0").exists()
    assert not process.stop("wg0")
    assert not process.lock_file("wg0").exists()
