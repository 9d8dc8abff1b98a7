"""A terminal taken over for a full screen, and given back as it was, whatever ends the program.

Keys come one by one, and unseen. A signal that ends the program becomes an exception in `wait`, so that `with` gives
the terminal back; Ctrl-Z gives it back while the program is stopped.
"""

import contextlib
import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from types import FrameType

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"
"""The other screen, no cursor, and no wrapping of lines."""
_LEAVE = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
_CODES = {
    "up": (b"\x1b[A", b"\x1bOA"),
    "down": (b"\x1b[B", b"\x1bOB"),
    "right": (b"\x1b[C", b"\x1bOC"),
    "left": (b"\x1b[D", b"\x1bOD"),
    "page up": (b"\x1b[5~",),
    "page down": (b"\x1b[6~",),
    "home": (b"\x1b[H", b"\x1b[1~"),
    "end": (b"\x1b[F", b"\x1b[4~"),
    "escape": (b"\x1b",),
}
_KEYS = {code: name for name, codes in _CODES.items() for code in codes}
"""What terminals send for keys without a letter."""
_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)


class EndedError(Exception):
    """A signal asks the program to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Terminal:
    """Standard input and output, both a terminal, between `with` and its end."""

    def __init__(self) -> None:
        self._in = sys.stdin.fileno()
        self._out = sys.stdout.fileno()
        self._pending = 0
        self._stop = False
        self._resized = False

    @contextlib.contextmanager
    def taken(self) -> Iterator["Terminal"]:
        """Raises EndedError from `wait` for a signal; the terminal is as it was afterwards."""
        before = termios.tcgetattr(self._in)
        read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._woken = read_end
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, read_end)
            stack.callback(os.close, write_end)
            for number in (*_ENDING, signal.SIGTSTP, signal.SIGWINCH):
                stack.callback(signal.signal, number, signal.signal(number, self._on_signal))
            stack.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(write_end, warn_on_full_buffer=False))
            stack.callback(self._give_back, before)
            self._before = before
            self._take()
            yield self

    def size(self) -> tuple[int, int]:
        """(columns, lines), of a terminal of 80x24 where it doesn't say."""
        with contextlib.suppress(OSError):
            size = os.get_terminal_size(self._out)
            if size.columns and size.lines:
                return size.columns, size.lines
        return 80, 24

    def draw(self, text: str) -> None:
        """Shows a screen of lines, from the top, without a flash of emptiness. Raises OSError when nobody reads."""
        data = ("\x1b[H" + "\x1b[K\r\n".join(text.rstrip("\n").split("\n")) + "\x1b[K\x1b[J").encode()
        while data:
            try:
                data = data[os.write(self._out, data) :]
            except InterruptedError:
                self._act()

    def wait(self, seconds: float) -> list[str] | None:
        """The keys that came within `seconds`, or none; None when the terminal was resized or taken anew."""
        self._act()
        ready, _, _ = select.select([self._in, self._woken], [], [], max(seconds, 0.0))
        if self._woken in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._woken, 4096)
        self._act()
        if self._resized:
            self._resized = False
            return None
        if self._in not in ready:
            return []
        data = os.read(self._in, 1024)
        if not data:
            raise EndedError(signal.SIGHUP)
        return list(_keys(data))

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGTSTP:
            self._stop = True
        elif number == signal.SIGWINCH:
            self._resized = True
        else:
            self._pending = number

    def _act(self) -> None:
        if self._pending:
            raise EndedError(self._pending)
        if self._stop:
            self._stop = False
            self._give_back(self._before)
            handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTSTP)
            signal.signal(signal.SIGTSTP, handler)
            self._take()
            self._resized = True

    def _take(self) -> None:
        tty.setcbreak(self._in, termios.TCSAFLUSH)
        self._write(_ENTER)

    def _give_back(self, before: "list[int | list[bytes | int]]") -> None:
        with contextlib.suppress(OSError):
            self._write(_LEAVE)
        with contextlib.suppress(termios.error):  # it hung up
            termios.tcsetattr(self._in, termios.TCSAFLUSH, before)

    def _write(self, text: str) -> None:
        os.write(self._out, text.encode())


def _keys(data: bytes) -> Iterator[str]:
    """Names of keys, or their characters. What a terminal sends for a key that is none of ours is skipped."""
    while data:
        known = next((code for code in sorted(_KEYS, key=len, reverse=True) if data.startswith(code)), b"")
        if known and known != b"\x1b":
            yield _KEYS[known]
            data = data[len(known) :]
        elif data[:1] == b"\x1b" and len(data) > 1:
            data = data[_sequence_len(data) :]
        else:
            yield _KEYS.get(data[:1]) or data[:1].decode("latin-1")
            data = data[1:]


def _sequence_len(data: bytes) -> int:
    """Bytes of the sequence at the beginning, which an escape begins."""
    if data[1:2] == b"\x1b":
        return 1
    if data[1:2] == b"[":
        return next((at for at, byte in enumerate(data[2:], 2) if 0x40 <= byte <= 0x7E), len(data) - 1) + 1
    return 3 if data[1:2] == b"O" else 2
