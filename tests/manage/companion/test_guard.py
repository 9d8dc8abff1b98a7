"""The first process of a companion: which ends of the second bring another."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.tunnel.site import poll
from tests.processes import status

PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from pywg.manage.companion import guard
guard._FIRST_PAUSE_S = 0.005
begun = Path(sys.argv[1], "begun")

def work(ready):
    with begun.open("a") as file:
        file.write(f"{os.getpid()}\\n")
    number = len(begun.read_text().splitlines())
    {work}

def succeed():
    print("the next", flush=True)

guard.guard(work, lambda: None, print, succeed)
print("over")
"""
STAYS = "ready(); signal.pause()"


def guarded(folder: Path, work: str) -> "subprocess.Popen[str]":
    argv = [sys.executable, "-c", PROGRAM.replace("{work}", work), str(folder)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def begun(folder: Path) -> list[int]:
    """The processes that have been there so far."""
    path = folder / "begun"
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_that_is_killed_is_followed_by_another_until_a_signal_ends_both(
    tmp_path: Path, number: signal.Signals
) -> None:
    with guarded(tmp_path, STAYS) as guardian:
        for count in range(1, 4):
            poll(lambda count=count: len(begun(tmp_path)) == count, "another begins")  # type: ignore[misc]
            if count < 3:
                os.kill(begun(tmp_path)[-1], signal.SIGKILL)
        guardian.send_signal(number)
        out, _ = guardian.communicate(timeout=30)
    assert guardian.returncode == 0
    assert out.count("was killed by signal 9; another starts in") == 2
    assert out.endswith("over\n")
    assert not any(map(is_there, begun(tmp_path)))


def test_one_that_was_never_ready_is_an_error(tmp_path: Path) -> None:
    with guarded(tmp_path, 'raise OSError(1, "not allowed")') as guardian:
        out, errors = guardian.communicate(timeout=30)
    assert (guardian.returncode, out, errors) == (1, "", "pywg: not allowed\n")
    assert len(begun(tmp_path)) == 1


def test_one_that_fails_later_is_followed_by_another(tmp_path: Path) -> None:
    with guarded(tmp_path, "ready(); number < 3 and 1 / 0") as guardian:
        out, _ = guardian.communicate(timeout=30)
    assert guardian.returncode == 0
    assert out.count("has failed; another starts in") == 2
    assert len(begun(tmp_path)) == 3


def test_where_the_first_is_killed_the_second_takes_its_place(tmp_path: Path) -> None:
    """Again and again, and a signal ends it as it would have ended the first."""
    with guarded(tmp_path, STAYS) as guardian:
        poll(lambda: len(begun(tmp_path)) == 1, "it begins")
        guardian.kill()
        for count in (2, 3):
            poll(lambda count=count: len(begun(tmp_path)) == count, "another begins")  # type: ignore[misc]
            assert is_there(begun(tmp_path)[-2])
            if count == 2:
                os.kill(begun(tmp_path)[-2], signal.SIGKILL)
        os.kill(begun(tmp_path)[-1], signal.SIGKILL)
        poll(lambda: len(begun(tmp_path)) == 4, "it looks after its own")
        os.kill(begun(tmp_path)[1], signal.SIGTERM)
        out, errors = guardian.communicate(timeout=30)
    assert (out.count("the next\n"), errors) == (2, "")
    assert out.endswith("over\n")
    poll(lambda: not any(map(is_there, begun(tmp_path))), "all have ended, and those whose parent had are waited for")


WAITS = """
import signal
from pywg.manage.companion import guard
signal.pthread_sigmask(signal.SIG_BLOCK, guard._ENDS)
print("waits", flush=True)
print(guard._is_asked_to_end(float(__import__("sys").argv[1])))
"""


@pytest.mark.parametrize(("within_s", "number"), [("0.3", signal.SIGCONT), ("60", signal.SIGTERM)])
def test_a_process_that_was_stopped_is_not_asked_to_end(within_s: str, number: signal.Signals) -> None:
    """Until the time was over, for which it had to wait; the control is asked."""
    argv = [sys.executable, "-c", WAITS, within_s]
    said = ""
    for _ in range(20):  # where the machine takes all of its time before it is stopped, another is
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "waits\n"
            poll(lambda: status(process.pid).get("State", "Z")[0] in "SZ", "it waits")
            process.send_signal(signal.SIGSTOP)
            in_time = not select.select([process.stdout], [], [], 0.4)[0]
            for one in (number, signal.SIGCONT):
                process.send_signal(one)
            said = process.stdout.read()
        if in_time:
            break
    assert said == f"{number == signal.SIGTERM}\n"
