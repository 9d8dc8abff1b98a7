"""Starts of the daemon in which one system call, the first, the second, the third ..., is refused.

What a start may do then: it goes on and is a whole daemon, which ends well; or there is one line on standard error that
says what can't be had, exit status 1, and nothing is left behind.
"""

import contextlib
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

from tests.faults.calls import LIBUV, ROOT, SANDBOX
from tests.faults.injector import ANY, Arguments, Injector
from tests.processes import has_ended
from tests.runtime.daemon.test_service import DIRECTORY, answers, ask, environment
from tests.runtime.namespace import unique

PATIENCE_S = 20.0
MOST = 2000
"""Refusals of one call that are tried."""
FOREGROUND: tuple[str, ...] = ("-f",)
BACKGROUND: tuple[str, ...] = ("--user", "nobody")
"""Also as another user, so that all is done that a start can do."""
SHARDED: tuple[str, ...] = ("-f", "--shards", "2")
ONE_SHARD, FLOWS_MOVE = "starts with one shard", "starts, flows may move"
"""What a start with SHARDED went on without: a further queue of the TUN, or the program that keeps flows in theirs."""
_ITS_LINE = re.compile(r"has 1 of 2 queues: \S")
_NAME = "pywg"
"""How the names of the daemon's threads begin, and those of what starts it: no call of any other fails."""
_DIED_OF_ABORT = "died of SIGABRT"


@dataclass(frozen=True, slots=True)
class Start:
    """What became of a start: `outcome` is "starts" or "refused", and `text` its standard error."""

    outcome: str
    text: str
    refused: int
    """calls that the injector refused"""
    matched: int
    """such calls in all"""
    faults: tuple[str, ...]
    """what it should not have done, in words"""
    ended_by_libuv: bool = False
    lacks: str = ""
    """with SHARDED: ONE_SHARD, FLOWS_MOVE, or nothing"""

    def lines(self, name: str) -> list[str]:
        """What it said, without what differs from run to run."""
        plain = re.sub(r"^(\w+): \(\S+\) \S+ \S+ ", r"", self.text, flags=re.MULTILINE).replace(name, "wg0")
        plain = re.sub(r"/\S*/", "", plain)  # where this machine has its packages
        return [] if self.ended_by_libuv else plain.splitlines()


class Tried(Protocol):
    """What is tried with one call refused: a start, a takeover."""

    @property
    def refused(self) -> int:
        """Calls that the injector refused."""

    @property
    def matched(self) -> int:
        """Such calls in all."""


_Tried = TypeVar("_Tried", bound=Tried)


class Starter:
    """Starts daemons in the network namespace of the calling thread."""

    def __init__(self) -> None:
        self.injector = Injector()
        self.name = unique("pywgs")
        self._log = tempfile.NamedTemporaryFile(prefix="pywg-start-")  # noqa: SIM115 - until the end of the block
        os.makedirs(DIRECTORY, exist_ok=True)
        command = [*self.injector.command, sys.executable, "-m", "tests.faults.start_server", _NAME]
        self._server = subprocess.Popen(
            command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(PATIENCE_S)
        self._log.close()

    def nth(
        self,
        call: str,
        code: int,
        *,
        kind: int = ANY,
        arguments: Arguments = (),
        most: int = MOST,
        options: tuple[str, ...] = FOREGROUND,
    ) -> Iterator[tuple[int, Start]]:
        """(n, the start whose nth call fails): see each_nth."""
        return each_nth(partial(self.start, call, code, kind=kind, arguments=arguments, options=options), most)

    def start(
        self,
        call: str,
        code: int,
        *,
        skip: int = 0,
        most: int = 0,
        kind: int = ANY,
        arguments: Arguments = (),
        options: tuple[str, ...] = FOREGROUND,
    ) -> Start:
        """One start, from pywg's first line until it answers its configuration socket or ends."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        with self.injector.failing(
            call, code, skip=skip, most=most, kind=kind, thread=_NAME, arguments=arguments
        ) as rule:
            self._server.stdin.write(json.dumps([[*options, self.name], self._log.name]) + "\n")
            self._server.stdin.flush()
            pid = int(self._server.stdout.readline())
            outcome, daemon = self._await(pid, foreground="-f" in options)
            refused, matched = rule.failed, rule.matched
        faults = []
        if outcome == "starts" and call not in SANDBOX and not self._is_confined(rooted=call not in ROOT):
            faults.append("the sandbox is open")
        lacks = self._lacks() if outcome == "starts" and options == SHARDED else ""
        if outcome == "starts":
            os.kill(daemon, signal.SIGTERM)
        if outcome != "hangs" and not _ends(daemon):
            outcome = "doesn't end"
        if outcome not in ("starts", "refused"):
            faults.append(outcome)
            for started in {pid, daemon}:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(started, signal.SIGKILL)
        status = int(self._server.stdout.readline())
        text = Path(self._log.name).read_text()
        aborted = status == -signal.SIGABRT or _DIED_OF_ABORT in text
        if call in LIBUV and (aborted or (outcome == "refused" and status == 0)):  # 0: just after it was ready
            self._left_behind()
            return Start("refused", text, refused, matched, (), ended_by_libuv=True)
        if not faults and status != (0 if outcome == "starts" else 1):
            faults.append(f"exit status {status}")
        faults += faults_of_text(text, outcome)
        if lacks == ONE_SHARD and not _ITS_LINE.search(text):
            faults.append("has one shard without a word")
        faults += self._left_behind()
        return Start(outcome, text, refused, matched, tuple(faults), lacks=lacks)

    def _await(self, pid: int, *, foreground: bool) -> tuple[str, int]:
        """What becomes of a start, and the process that serves. What has begun in the background may outlive `pid`."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            ended = has_ended(pid)
            if (foreground or ended) and os.path.exists(f"{DIRECTORY}/{self.name}.sock") and self._answers():
                return "starts", pid if foreground else self._serving()
            if ended and (foreground or self.name not in {name for _, name in socket.if_nameindex()}):
                return "refused", pid
            time.sleep(0.002)
        return "hangs", pid

    def _serving(self) -> int:
        """The process that made the configuration socket."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(f"{DIRECTORY}/{self.name}.sock")
            pid, _, _ = struct.unpack("=3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return int(pid)

    def _answers(self) -> bool:
        try:
            return answers(self.name)
        except AssertionError:  # it hung up: of this client, a call may have been refused
            return False

    def _is_confined(self, *, rooted: bool) -> bool:
        """The sandbox closes when the daemon is ready, and a little later where that failed."""
        wanted = {b"sandbox_seccomp=1"} | ({b"sandbox_root=1"} if rooted else set())
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            with contextlib.suppress(AssertionError, OSError):
                if wanted <= set(ask(self.name, b"stats=1\n\n").splitlines()):
                    return True
            time.sleep(0.005)
        return False

    def _lacks(self) -> str:
        """What of `--shards` a daemon went on without."""
        until = time.monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(AssertionError, OSError):  # of this client, too, a call may be refused
                said = set(ask(self.name, b"stats=1\n\n").splitlines())
                return ONE_SHARD if b"shards=2" not in said else "" if b"tun_steering=1" in said else FLOWS_MOVE
            assert time.monotonic() < until

    def _left_behind(self) -> list[str]:
        left = []
        if os.path.lexists(f"{DIRECTORY}/{self.name}.sock"):
            left.append("a socket is left behind")
            os.unlink(f"{DIRECTORY}/{self.name}.sock")
        until = time.monotonic() + PATIENCE_S
        while self.name in {name for _, name in socket.if_nameindex()}:  # the kernel needs a moment
            if time.monotonic() > until:
                return [*left, "the interface is left behind"]
            time.sleep(0.002)
        return left


_ROOT = Path(__file__).resolve().parents[2]
_UNWANTED = re.compile(r"Traceback|internal error|\[Errno|\bNone\b|^\s", re.MULTILINE)


def each_nth(one: Callable[..., _Tried], most: int) -> Iterator[tuple[int, _Tried]]:
    """(n, what became of one whose nth call fails), from 1 until one makes no nth call.

    At most `most` of them, spread over all: the first, the last, and some between. `one` takes `skip` and `most`, as
    Injector.failing does.
    """
    usual = one(skip=1 << 40).matched
    for number in numbers_of(usual, most):
        tried = one(skip=number - 1, most=1)
        if not tried.refused:
            return
        yield number, tried


def numbers_of(usual: int, most: int) -> list[int]:
    """At most `most` numbers, spread over all from 1 to `usual`."""
    tried = min(usual, most)
    return sorted({1 + at * (usual - 1) // max(tried - 1, 1) for at in range(tried)})


def faults_of_text(text: str, outcome: str) -> list[str]:
    """What no line on standard error may be, and that one that was refused has one."""
    faults = []
    if found := _UNWANTED.search(text):
        faults.append(f"says {found[0]!r}")
    if outcome == "refused" and (text.count("\n") != 1 or not text.startswith("pywg: ")):
        faults.append(f"{text.count(chr(10))} lines")
    return faults


def _ends(pid: int) -> bool:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if has_ended(pid):
            return True
        time.sleep(0.002)
    return False
