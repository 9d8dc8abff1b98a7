"""Fuzzers get their time and no more, what they find is told, and nothing of them is left when their tests end."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fuzz.fuzzer import FOUND, ROOT, Fuzzer, executions
from tests.fuzz.registry import fuzzers
from tests.fuzz.supervisor import Result, read_result, supervise, write_result
from tests.processes import has_ended

LOOKS = """
import os, signal, sys
def end(*_):
    print("stat::number_of_executed_units: 1234")
    sys.exit(0)
signal.signal(signal.SIGUSR1, end)
while True: pass
"""
FINDS = """
import os, sys
os.makedirs(sys.argv[1], exist_ok=True)
open(sys.argv[1] + "/crash-1", "w").close()
print("something is wrong")
sys.exit(77)
"""
HANGS = "import signal; signal.signal(signal.SIGUSR1, signal.SIG_IGN)\nwhile True: pass"


def python(name: str, program: str, *arguments: str) -> Fuzzer:
    return Fuzzer(name, (sys.executable, "-c", program, *arguments), again=("again",))


def results(*chosen: Fuzzer, cpu_seconds: float = 0.3, at_once: int = 2) -> dict[str, Result]:
    found: dict[str, Result] = {}
    supervise(chosen, cpu_seconds, at_once=at_once, done=lambda result: found.update({result.name: result}))
    return found


def test_what_finds_nothing_ends_after_its_time() -> None:
    one, other = results(python("one", LOOKS), python("other", LOOKS)).values()
    for result in (one, other):
        assert result.found == ""
        assert result.cpu_seconds >= 0.3
        assert result.executions == 1234
    assert "none failed" in str(one)


def test_what_is_found_is_told_with_the_command_that_has_it_again(tmp_path: Path) -> None:
    name = f"test-{os.getpid()}"
    folder = ROOT / FOUND / name
    folder.mkdir(parents=True)
    (folder / "crash-0").touch()  # of another run
    try:
        result = results(python(name, FINDS, str(folder)))[name]
    finally:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    assert "it ended with status 77" in result.found
    assert f"again with: again {FOUND}/{name}/crash-1\n" in result.found
    assert "crash-0" not in result.found
    assert "something is wrong" in result.found


def test_an_input_that_takes_for_ever_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.supervisor.GRACE_CPU_S", 0.2)
    result = results(python("hangs", HANGS))["hangs"]
    assert "one input took more than" in result.found
    assert result.cpu_seconds >= 0.5


def test_what_can_not_be_built_is_told_once_for_each() -> None:
    fails = (sys.executable, "-c", "print('no compiler'); raise SystemExit(1)")
    built = Fuzzer("built", (sys.executable, "-c", LOOKS), ("true",))
    one, other, control = results(Fuzzer("one", ("true",), fails), Fuzzer("other", ("true",), fails), built).values()
    assert "no compiler" in one.found
    assert one.found == other.found
    assert control.found == ""


WAITS = """
import pathlib, sys, time
end = time.monotonic() + 60
while not pathlib.Path(sys.argv[1]).exists():
    assert time.monotonic() < end, "the one before has not ended"
    time.sleep(0.01)
"""


def test_what_is_built_for_one_holds_up_no_other(tmp_path: Path) -> None:
    """It would go on beyond its time, and be taken for one that hangs."""
    build = (sys.executable, "-c", WAITS, str(tmp_path / "one"))
    found: dict[str, Result] = {}

    def done(result: Result) -> None:
        found[result.name] = result
        (tmp_path / result.name).touch()

    other = Fuzzer("other", (sys.executable, "-c", LOOKS), build)
    supervise([python("one", LOOKS), other], 0.3, at_once=2, done=done)
    assert [(name, result.found) for name, result in found.items()] == [("one", ""), ("other", "")]


def test_nothing_runs_on_when_the_supervisor_is_killed() -> None:
    program = (
        "import sys, time\nfrom tests.fuzz.fuzzer import Fuzzer\nfrom tests.fuzz.supervisor import Running\n"
        "running = Running(Fuzzer('x', (sys.executable, '-c', 'while True: pass')), 60)\n"
        "print(running.child.pid, flush=True)\ntime.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        parent.kill()
    until_gone(pid)


def until_gone(pid: int) -> None:
    end = time.monotonic() + 60
    while not has_ended(pid):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_number_of_inputs() -> None:
    assert executions("INFO\nstat::number_of_executed_units: 77\nstat::x: 3\n") == 77
    assert executions("something else") == 0


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    result = Result("some", 1.5, 7, "found\nthis")
    assert read_result(tmp_path, "some") is None
    write_result(tmp_path, result)
    assert read_result(tmp_path, "some") == result


SESSION = """
import pytest
from tests.fuzz import background
from tests.fuzz.fuzzer import Fuzzer
from tests.fuzz.registry import fuzzers

@pytest.mark.background
@pytest.mark.parametrize("fuzzer", fuzzers()[:1], ids=lambda fuzzer: fuzzer.name)
def test_last(fuzzer, background):
    result = background.result(fuzzer.name)
    print("RESULT", result)

def test_first(request):
    began = request.config.stash.get(background._Key, None)
    print("BEGAN" if began is not None else "NOTHING BEGAN")
"""


@pytest.mark.parametrize("only", ["", "test_first"])
def test_a_session_has_fuzzers_where_a_test_waits_for_them(tmp_path: Path, only: str) -> None:
    """They begin before its first test, and the tests that wait for them come last."""
    if not fuzzers():
        pytest.skip("there is no fuzzer here")
    (tmp_path / "test_it.py").write_text(SESSION)
    (tmp_path / "conftest.py").write_text("from tests.fuzz import background\nbackground.SECONDS = 0.1\n")
    options = ["-c", os.devnull, "-p", "tests.conftest", "-rA", "-k", only, str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert ("\nNOTHING BEGAN" in done.stdout) == bool(only)
    assert ("\nRESULT" in done.stdout) == (not only)


def test_the_fuzzers_get_what_no_other_process_wants() -> None:
    """When the tests are over, they are as any other process, where the system lets them."""
    program = (
        "import os, sys\nfrom tests.fuzz.fuzzer import Fuzzer\n"
        "from tests.fuzz.supervisor import Running, idle, no_longer_idle\n"
        "idle()\nrunning = Running(Fuzzer('x', (sys.executable, '-c', 'while True: pass')), 60)\n"
        "print([os.sched_getscheduler(pid) for pid in (0, running.child.pid)])\nno_longer_idle()\n"
        "print([os.sched_getscheduler(pid) for pid in (0, running.child.pid)])\nrunning.kill()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == str([os.SCHED_IDLE] * 2)
    if os.geteuid() == 0:
        assert done.stdout.splitlines()[1] == str([os.SCHED_OTHER] * 2)
