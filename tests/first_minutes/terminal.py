"""A shell at a terminal: a user's commands, what stands on the screen after each, and how long it took."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

COLUMNS, LINES = 100, 40
_PROMPT = re.compile(rb"\x1e(\d+):([^\x1e\x1f]*):([^\x1e\x1f]*)\x1f")
_PS1 = "\x1e$?:$(id -un)@$(hostname):$(pwd)\x1f"
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[()][A-Z0-9]|\x1b[=>]")
_LONGEST_S = 900.0


@dataclass(frozen=True)
class Played:
    """A command, and what came of it."""

    prompt: str
    """as root@berlin:~#"""
    command: str
    screen: str
    seconds: float
    status: int


class Shell:
    """bash behind a terminal of 100 columns, as long as a `with` block lasts. `argv` ends in what starts it."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        self._argv = list(argv)
        self._environment = dict(environment)
        self._terminal = -1
        self._process: subprocess.Popen[bytes] | None = None
        self._prompt = ""

    def __enter__(self) -> Self:
        self._terminal, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", LINES, COLUMNS, 0, 0))
        modes = termios.tcgetattr(theirs)
        modes[3] &= ~termios.ECHO
        termios.tcsetattr(theirs, termios.TCSANOW, modes)
        environment = {"TERM": "xterm", "LANG": "C.UTF-8", "HOME": "/root", "PS1": _PS1, **self._environment}
        self._process = subprocess.Popen(
            self._argv, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
        )
        os.close(theirs)
        self._until_prompt(())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        os.close(self._terminal)

    @property
    def root(self) -> Path:
        """The root directory of the shell itself, below what has started it."""
        pid = self._process.pid if self._process else 0
        while children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            pid = int(children[0])
        return Path(f"/proc/{pid}/root")

    def type(self, command: str, answers: Sequence[tuple[str, str]] = ()) -> Played:
        """Types a line, and waits for the next prompt. `answers`: texts that are waited for, and what is typed then."""
        prompt, began = self._prompt, time.monotonic()
        os.write(self._terminal, f"{command}\n".encode())
        text, status = self._until_prompt(answers)
        return Played(prompt, command, _screen(text), time.monotonic() - began, status)

    def _until_prompt(self, answers: Sequence[tuple[str, str]]) -> tuple[str, int]:
        seen, looked, left, end = b"", 0, list(answers), time.monotonic() + _LONGEST_S
        while not (found := _PROMPT.search(seen)):
            if not select.select([self._terminal], [], [], max(end - time.monotonic(), 0))[0]:
                raise TimeoutError(f"no prompt, but {seen.decode(errors='replace')[-2000:]}")
            try:
                seen += os.read(self._terminal, 65536)
            except OSError:
                raise EOFError(f"the shell has ended: {seen.decode(errors='replace')[-2000:]}") from None
            if left and (place := seen.find(left[0][0].encode(), looked)) >= 0:
                looked = place + len(left[0][0].encode())
                answer = f"{left.pop(0)[1]}\n".encode()
                os.write(self._terminal, answer)
                seen += answer  # there is no echo
                looked += len(answer)
        who, where = found[2].decode(), found[3].decode()
        self._prompt = f"{who}:{re.sub('^/root', '~', where)}{'#' if who.startswith('root@') else '$'}"
        return seen[: found.start()].decode(errors="replace"), int(found[1])


def _screen(text: str) -> str:
    """What stands there at last: without colours, and of a line that is written over the last text alone."""
    lines = _CONTROL.sub("", text).replace("\r\n", "\n").split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2].rstrip() for line in lines).strip("\n")
