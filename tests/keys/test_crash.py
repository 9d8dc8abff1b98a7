"""A daemon that dies of a fault leaves no core, and nobody but root reads it, also where core files are wanted."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import waits_in
from tests.requirements import require_root, require_tool
from tests.runtime.daemon.test_service import Foreground, answers, ask, until
from tests.runtime.namespace import run_inside, unique

pytestmark = pytest.mark.netns

PATTERN = Path("/proc/sys/kernel/core_pattern")
UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
WITH_CORES = ("prlimit", "--core=unlimited:unlimited")
WITHOUT_PTRACE = ("setpriv", "--bounding-set", "-sys_ptrace")
READ = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def told(result):
    print(os.strerror(ctypes.get_errno()) if result < 0 else "done")
pid, here = int(sys.argv[1]), ctypes.create_string_buffer(8)
one = (ctypes.c_size_t * 2)(ctypes.addressof(here), 8)
other = (ctypes.c_size_t * 2)(int(sys.argv[2], 16), 8)
told(libc.process_vm_readv(pid, one, ctypes.c_ulong(1), other, ctypes.c_ulong(1), ctypes.c_ulong(0)))
told(libc.ptrace(0x4206, pid, None, None))
try:
    open(f"/proc/{pid}/mem", "rb").close()
    print("done")
except OSError as error:
    print(error.strerror)
"""
"""By process_vm_readv(2), ptrace(2), and /proc/PID/mem: what comes of each."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory, in which the processes of the test run."""
    require_root()
    require_tool("prlimit")
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    directory = tmp_path / "here"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


def closed(name: str) -> bool:
    """The daemon runs, as it does from then on."""
    return answers(name) and b"sandbox_seccomp=1\n" in ask(name, b"stats=1\n\n")


def test_a_crash_leaves_no_core(here: Path) -> None:
    name = unique("pywgc")

    def test() -> None:
        with Foreground(name, before=WITH_CORES) as daemon:
            until(lambda: closed(name))
            assert resource.prlimit(daemon.process.pid, resource.RLIMIT_CORE) == (0, 0)
            daemon.process.send_signal(signal.SIGSEGV)
            assert daemon.exit_status() == -signal.SIGSEGV

    run_inside(test)
    assert list(here.iterdir()) == []


def test_another_process_would_leave_one(here: Path) -> None:
    """Where the pattern is a name of a file: a program that takes cores is not asked to by a test."""
    if set(pattern := PATTERN.read_text().strip()) & set("|/"):
        pytest.skip(f"cores go to {pattern!a}: none would lie here")
    with subprocess.Popen([*WITH_CORES, "sleep", "100"]) as process:
        until(lambda: resource.prlimit(process.pid, resource.RLIMIT_CORE) == UNLIMITED)
        until(lambda: waits_in(process.pid, "sleep"))
        process.send_signal(signal.SIGSEGV)
        assert process.wait(20) == -signal.SIGSEGV
    assert list(here.iterdir()) != []


def what_is_read(pid: int) -> list[str]:
    """What comes of reading a process as its own user, who has every capability but CAP_SYS_PTRACE."""
    start = Path(f"/proc/{pid}/maps").read_text().split("-")[0]
    command = [*WITHOUT_PTRACE, sys.executable, "-c", READ, str(pid), start]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")[:3]


def test_its_own_user_can_not_read_it(here: Path) -> None:
    require_tool("setpriv")
    name = unique("pywgc")
    del here

    def test() -> None:
        with subprocess.Popen([*WITHOUT_PTRACE, "sleep", "100"]) as other:  # a process of more capabilities is refused
            until(lambda: waits_in(other.pid, "sleep"))
            read = what_is_read(other.pid)
            other.kill()
        assert read == ["done"] * 3
        with Foreground(name) as daemon:
            until(lambda: closed(name))
            refused = ["Operation not permitted", "Operation not permitted", "Permission denied"]
            assert what_is_read(daemon.process.pid) == refused
            daemon.process.terminate()
            assert daemon.exit_status() == 0

    run_inside(test)
