"""Going to the background: when the parent returns, with what, and what the child is. dropin: 4."""

import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.dropin("4")

PROGRAM = """
import os, sys, time
from pywg.runtime.daemon.background import in_background
kind, keep = sys.argv[1], sys.argv[2] == "keep"
def serve(ready):
    if kind == "fail":
        print("what is missing", file=sys.stderr)
        return 3
    if kind == "zero":
        return 0
    if kind == "die":
        os.kill(os.getpid(), 9)
    ready()
    print("printed afterwards", flush=True)
    with open(sys.argv[3], "w") as report:
        print(os.getpid(), os.getsid(0), os.readlink("/proc/self/fd/0"), os.getcwd(), file=report)
    return 0
sys.exit(in_background(serve, keep_output=lambda: keep))
"""


def start(kind: str, report: str = "", keep: str = "drop") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, kind, keep, report]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def read_when_whole(path: Path) -> str:
    end = time.monotonic() + 30
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < end
        select.select([], [], [], 0.005)
    return path.read_text()


def test_ready_returns_0_and_the_child_is_a_session_of_its_own(tmp_path: Path) -> None:
    ended = start("ready", str(tmp_path / "report"))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    pid, session, stdin, directory = read_when_whole(tmp_path / "report").split()
    assert pid == session
    assert (stdin, directory) == ("/dev/null", "/")


def test_output_can_be_kept(tmp_path: Path) -> None:
    assert start("ready", str(tmp_path / "report"), "keep").stdout == "printed afterwards\n"


def test_closed_standard_descriptors_become_null(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pywg.runtime.daemon.background import open_standard_descriptors as f; f();"
        " fds = sorted(map(int, os.listdir('/proc/self/fd')))[:3];"
        " open(sys.argv[1], 'w').write(' '.join(os.readlink(f'/proc/self/fd/{fd}') for fd in fds) + f' {fds}\\n')"
    )
    report = tmp_path / "report"
    command = f'exec {sys.executable} -c "$0" {report} <&- >&- 2>&-'
    subprocess.run(["sh", "-c", command, program], timeout=30, check=True)
    assert report.read_text() == "/dev/null /dev/null /dev/null [0, 1, 2]\n"


@pytest.mark.parametrize(("kind", "code"), [("fail", 3), ("zero", 1), ("die", 1)])
def test_a_child_that_is_never_ready_is_a_failure(kind: str, code: int) -> None:
    ended = start(kind)
    assert ended.returncode == code
    expected = {
        "fail": "what is missing\n",
        "zero": "",
        "die": "pywg: the daemon died of SIGKILL before it was ready\n",
    }
    assert ended.stderr == expected[kind]
