"""The filters of the data plane's threads with musl for a libc: a program of that libc makes their calls under them."""

import platform
import signal
import subprocess
from pathlib import Path

import pytest

from pywg.runtime.base import classic_bpf
from pywg.runtime.confine import bpf, seccomp
from pywg.runtime.confine.seccomp import Thread
from tests.requirements import require_tool
from tests.runtime.confine.interpreter import KILL

SOURCE = Path(__file__).with_name("musl_thread.c")
PLANE = (Thread.SENDER, Thread.RECEIVER, Thread.HELPER)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = require_tool("musl-gcc")
    built = tmp_path_factory.mktemp("musl") / "musl_thread"
    headers = ["-idirafter", "/usr/include", "-idirafter", f"/usr/include/{platform.machine()}-linux-gnu"]  # linux/
    subprocess.run([compiler, "-static", "-O1", "-Wall", *headers, "-o", built, SOURCE], check=True)
    return built


def run(program: Path, on: Thread, *arguments: str, musl: bool = True) -> tuple[int, bytes]:
    """Status and output, under the filter of that kind of thread, by which a refused call ends the process."""
    machine = bpf.machine()
    assert machine is not None
    child = subprocess.Popen([program, str(int(on)), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    filtered = bpf.program(machine, seccomp.allowed(on, child.pid, machine, musl=musl), refuse=KILL)
    said, _ = child.communicate(classic_bpf.code(filtered), timeout=60)
    return child.returncode, said


@pytest.mark.parametrize("on", PLANE)
def test_a_thread_makes_all_of_its_calls_and_no_other(program: Path, on: Thread) -> None:
    assert run(program, on) == (0, b"ended\n")
    assert run(program, on, "planted") == (-signal.SIGSYS, b"")
    assert run(program, on, musl=False) == (-signal.SIGSYS, b""), "the lists of glibc have no sendmsg"
