"""`pywg top` on a terminal, with a made-up daemon: whatever ends it, the terminal is as it was."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pywg.manage.terminal import _keys

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30.0
ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"
PROGRAM = """
import os, sys
from pywg.cli.main import main
from pywg.errors import DeviceError
from pywg.manage import client, top_loop
from tests.manage import made
looks = 0
def glance(name):
    global looks
    looks += 1
    if os.path.exists(sys.argv[1]):
        raise DeviceError(2, "no daemon answers")
    return made.sight(50, tick=looks)
top_loop.glance = glance
top_loop.serving = lambda name: None
client.troubles = lambda name: []
sys.exit(main(["top", "wg0", "--interval", "0.2"]))
"""


class OnTerminal:
    """A program whose terminal is ours: it leads a session with it, as a shell's job does."""

    def __init__(self, *argv: str, **environment: str) -> None:
        self.near, self._far = pty.openpty()
        self.resize(80, 24)
        self.before = termios.tcgetattr(self._far)
        self.shown = b""
        self.process = subprocess.Popen(
            ["setsid", "--ctty", sys.executable, "-c", *argv],
            stdin=self._far,
            stdout=self._far,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "TERM": "xterm", **environment},
        )

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.near, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))

    def until(self, condition: Callable[[bytes], Any]) -> None:
        """Reads what is shown until it is so."""
        end = time.monotonic() + PATIENCE_S
        while not condition(self.shown):
            assert time.monotonic() < end, self.shown[-2000:]
            if select.select([self.near], [], [], 0.05)[0]:
                with contextlib.suppress(OSError):
                    self.shown += os.read(self.near, 1 << 16)

    def type(self, text: bytes) -> None:
        os.write(self.near, text)

    def frames(self) -> int:
        return self.shown.count(b"\x1b[H")

    def ended(self) -> tuple[int, str]:
        """The exit status and what was said; the terminal is as it was."""
        self.until(lambda _: self.process.poll() is not None)
        self.until(lambda shown: shown.count(LEAVE) == shown.count(ENTER))
        assert termios.tcgetattr(self._far) == self.before
        assert self.shown.rfind(LEAVE) >= self.shown.rfind(b"\x1b[H")
        assert self.shown.rfind(b"\x1b[?25h") >= self.shown.rfind(b"\x1b[?25l")
        assert self.shown.rfind(b"\x1b[?7h") >= self.shown.rfind(b"\x1b[?7l")
        assert self.process.stderr is not None
        return self.process.returncode, self.process.stderr.read().decode()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()
        os.close(self.near)
        os.close(self._far)


@pytest.fixture
def top(tmp_path: Path) -> Iterator[OnTerminal]:
    """On its second screen; the made-up daemon ends when the file `ended` is there."""
    found = OnTerminal(PROGRAM, str(tmp_path / "ended"))
    try:
        found.until(lambda shown: found.frames() > 1)
        assert ENTER in found.shown
        assert termios.tcgetattr(found._far) != found.before
        yield found
    finally:
        found.close()


@pytest.mark.parametrize("keys", [b"q", b"\x1b[Bq", b"\x1b", b"xyzq"])
def test_a_key_ends_it(top: OnTerminal, keys: bytes) -> None:
    top.type(keys)
    assert top.ended() == (0, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_ends_it(top: OnTerminal, number: signal.Signals) -> None:
    top.process.send_signal(number)
    assert top.ended() == (0, "")


@pytest.mark.parametrize("key", [b"\x03", b"\x1c"], ids=["Ctrl-C", "Ctrl-backslash"])
def test_a_key_that_is_a_signal_ends_it(top: OnTerminal, key: bytes) -> None:
    top.type(key)
    assert top.ended() == (0, "")


def test_the_daemons_end_ends_it(top: OnTerminal, tmp_path: Path) -> None:
    (tmp_path / "ended").touch()
    assert top.ended() == (0, "pywg: wg0 has ended\n")


def test_it_follows_the_terminals_size_and_its_keys(top: OnTerminal) -> None:
    assert b"1-14 of 50" in top.shown
    top.resize(100, 40)
    top.until(lambda shown: b"1-30 of 50" in shown)
    top.type(b"\x1b[6~")
    top.until(lambda shown: b"21-50 of 50" in shown)
    top.type(b"\x1b[C")
    top.until(lambda shown: "tx/s▼".encode() in shown)
    top.type(b"q")
    assert top.ended() == (0, "")


def test_a_stop_gives_the_terminal_back_until_it_goes_on(top: OnTerminal) -> None:
    top.process.send_signal(signal.SIGTSTP)
    top.until(lambda shown: LEAVE in shown)

    def state() -> str:
        (found,) = re.findall(r"^State:\t(\w)", Path(f"/proc/{top.process.pid}/status").read_text(), re.M)
        return str(found)

    # A session of its own has no shell that could continue it: the kernel ignores the stop there, and it goes on.
    top.until(lambda _: state() == "T" or top.shown.count(ENTER) == 2)
    top.process.send_signal(signal.SIGCONT)
    top.until(lambda shown: shown.count(ENTER) == 2)
    frames = top.frames()
    top.until(lambda shown: top.frames() > frames)
    top.type(b"q")
    assert top.ended() == (0, "")


def test_a_terminal_that_hangs_up_ends_it(top: OnTerminal) -> None:
    os.close(top.near)
    os.close(top._far)
    assert top.process.wait(PATIENCE_S) in (0, 1)
    assert top.process.stderr is not None
    assert "Traceback" not in top.process.stderr.read().decode()
    top.near, top._far = pty.openpty()


@pytest.mark.parametrize(
    ("arguments", "environment", "line"),
    [
        (["top", "wg0"], {"TERM": "dumb"}, "top needs a terminal that can move its cursor"),
        (["top", "wg0", "--interval", "0"], {}, "a number of seconds in 0.2..3600"),
        (["top", "pywgno"], {}, "no daemon answers for pywgno"),
    ],
)
def test_what_keeps_it_from_starting_is_one_line(arguments: list[str], environment: dict[str, str], line: str) -> None:
    found = OnTerminal(f"import sys; from pywg.cli.main import main; sys.exit(main({arguments}))", **environment)
    try:
        status, said = found.ended()
        assert status in (1, 2)
        assert line in said
        assert said.count("\n") == 1
        assert ENTER not in found.shown
    finally:
        found.close()


def test_without_rich_it_says_what_installs_it() -> None:
    program = "import sys; sys.modules['rich'] = None\nfrom pywg.cli.main import main; sys.exit(main(['top']))"
    found = OnTerminal(program)
    try:
        status, said = found.ended()
        assert (status, said.count("\n")) == (1, 1)
        assert "pip install 'pywg-tunnel[tools]'" in said
    finally:
        found.close()


def test_without_a_terminal_it_names_status() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "pywg", "top"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert "`pywg status`" in ended.stderr


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"q", ["q"]),
        (b"\x1b[A\x1bOB", ["up", "down"]),
        (b"\x1b[5~x", ["page up", "x"]),
        (b"\x1b", ["escape"]),
        (b"\x1b[1;5Cq", ["q"]),
        (b"\x1b[200~", []),
        (b"\x1b\x1b[A", ["up"]),
        (b"\x1bOPq\x1bxq", ["q", "q"]),
        (b"\xff", ["\xff"]),
        (b"", []),
    ],
)
def test_keys_that_terminals_send(data: bytes, keys: list[str]) -> None:
    assert list(_keys(data)) == keys
