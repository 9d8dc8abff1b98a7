"""Fuzzers in the background of a test session, in time that no test wants (SCHED_IDLE).

They start with a session that has one of the tests marked `background`, which pytest then runs last: each waits until
its fuzzer had SECONDS of CPU, and fails with what that has found. By then there is little left to wait for.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.fuzz.fuzzer import ROOT, Fuzzer
from tests.fuzz.supervisor import HURRY, Result, read_result

SECONDS = 60.0
"""Of CPU, for each fuzzer."""
_ENDING_S = 10.0
_Key = pytest.StashKey["Background"]()


class Background:
    """The process that runs the fuzzers of a session."""

    def __init__(self, names: list[str], seconds: float) -> None:
        self._directory = tempfile.TemporaryDirectory()
        self._results = Path(self._directory.name)
        self._output = (self._results / "output").open("wb")
        command = ["--idle", "--each", str(seconds), "--results", str(self._results), *names]
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.supervisor", *command],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )

    def result(self, name: str) -> Result:
        """Waits for the result of that fuzzer. The tests are over, so the fuzzers need not stand back any more."""
        (self._results / HURRY).touch()
        while True:
            ended = self._child.poll() is not None
            if (result := read_result(self._results, name)) is not None:
                return result
            if ended:
                said = (self._results / "output").read_text(errors="replace")
                pytest.fail(f"the fuzzers ended before {name} had its time: status {self._child.returncode}\n{said}")
            time.sleep(0.1)

    def close(self) -> None:
        """Ends what still runs."""
        self._child.terminate()
        try:
            self._child.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._output.close()
        self._directory.cleanup()


def name_of(item: pytest.Item) -> str | None:
    """The fuzzer that the test waits for."""
    if item.get_closest_marker("background") is None or not isinstance(item, pytest.Function):
        return None
    fuzzer = item.callspec.params["fuzzer"]
    assert isinstance(fuzzer, Fuzzer)
    return fuzzer.name


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What waits for fuzzers comes last."""
    items.sort(key=lambda item: item.get_closest_marker("background") is not None)


def pytest_runtestloop(session: pytest.Session) -> None:
    """Starts the fuzzers that the chosen tests wait for."""
    names = [name for item in session.items if (name := name_of(item)) is not None]
    if names and not session.config.option.collectonly and not session.testsfailed:
        session.config.stash[_Key] = Background(names, SECONDS)


def pytest_unconfigure(config: pytest.Config) -> None:
    if (background := config.stash.get(_Key, None)) is not None:
        background.close()


@pytest.fixture(scope="session")
def background(request: pytest.FixtureRequest) -> Background:
    """The fuzzers of this session."""
    return request.config.stash[_Key]
