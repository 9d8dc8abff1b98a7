"""Log lines and readers that don't read: nothing waits, and what doesn't fit is counted and told."""

import fcntl
import os
import pty
import re
import select
import socket
import termios
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pywg.runtime.base.log import RECHECK_S, Level, Log
from pywg.runtime.base.log_output import QUEUE_LEN, StandardError, SystemLog
from tests.runtime.device_harness import FakeTimers

LINE = "x" * 80
LOST = re.compile(r"(\d+) log lines? (?:was|were) lost: nobody read the log$")
MANY = 3 * (QUEUE_LEN + (1 << 20)) // len(LINE)
"""Lines that neither the queue nor any pipe, terminal or socket has room for."""


@dataclass
class Reader:
    """The far end of what a daemon has as its standard error, `fd`; `resume` is Ctrl-Q, where there was a Ctrl-S."""

    fd: int
    far: int
    resume: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        os.set_blocking(self.far, False)

    def read(self) -> bytes:
        return os.read(self.far, 1 << 16)


def _pipe(_: Path) -> Reader:
    far, near = os.pipe()
    return Reader(near, far)


def _fifo(directory: Path) -> Reader:
    path = directory / "fifo"
    os.mkfifo(path)
    far = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    return Reader(os.open(path, os.O_WRONLY), far)


def _terminal(_: Path) -> Reader:
    far, near = pty.openpty()
    return Reader(near, far)


def _held_terminal(_: Path) -> Reader:
    far, near = pty.openpty()
    termios.tcflow(near, termios.TCOOFF)
    return Reader(near, far, lambda: termios.tcflow(near, termios.TCOON))


def _stream(_: Path) -> Reader:
    far, near = socket.socketpair()
    return Reader(near.detach(), far.detach())


READERS = {"pipe": _pipe, "fifo": _fifo, "terminal": _terminal, "Ctrl-S": _held_terminal, "journal": _stream}


@pytest.fixture(params=[*READERS, "pipe, no /proc", "fifo, no /proc"])
def reader(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    name, _, without = request.param.partition(", ")
    reader = READERS[name](tmp_path)
    if without:

        def missing(*_: object) -> int:
            raise FileNotFoundError

        with monkeypatch.context() as patch:
            patch.setattr(os, "open", missing)
            yield reader
    else:
        yield reader
    os.close(reader.fd)


def _everything(reader: Reader, log: Log, timers: FakeTimers) -> str:
    """What is read until nothing more comes, while the loop goes on."""
    text = b""
    empty = 0
    while empty < 3:
        try:
            text += reader.read()
            empty = 0
        except BlockingIOError:
            empty += 1
            timers.advance(RECHECK_S)
    return text.decode()


def test_nobody_reads_and_then_everything_is_told(reader: Reader) -> None:
    """All lines there is room for, in order, then the number of the lost ones, and then what came later."""
    timers = FakeTimers()
    log = Log("wg7", Level.INFO, output=StandardError(fd=reader.fd))
    log.follow(timers.call_later)
    for number in range(MANY):
        log.info(f"{number} {LINE}")
    assert not fcntl.fcntl(reader.fd, fcntl.F_GETFL) & os.O_NONBLOCK, "the flag is the parent's as well"
    reader.resume()
    lines = _everything(reader, log, timers).splitlines()
    log.info("afterwards")
    lines += _everything(reader, log, timers).splitlines()
    number = lost = 0
    for line in lines[:-1]:
        if said := LOST.search(line):  # more than once, where the reader takes some meanwhile, as terminals do
            assert line.startswith("WARNING: (wg7) ")
            lost += int(said[1])
            number += int(said[1])
        else:
            assert line.endswith(f" {number} {LINE}")
            number += 1
    assert number == MANY
    assert 0 < lost < MANY - QUEUE_LEN / 2 / len(lines[0])
    assert lines[-1].endswith(" afterwards")
    assert timers.pending() == []


def test_a_reader_that_reads_gets_each_line_at_once(reader: Reader) -> None:
    reader.resume()
    log = Log("wg7", Level.INFO, output=StandardError(fd=reader.fd))
    for number in range(100):
        log.info(f"{number} ä{LINE}")
        told = b""
        while not told.endswith(b"\n"):  # a terminal may give a line's end by itself
            assert select.select([reader.far], [], [], 10)[0]
            told += reader.read()
        assert told.decode().rstrip().endswith(f" {number} ä{LINE}")


def test_a_terminal_that_can_not_be_had_without_waiting_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> int:
        raise FileNotFoundError

    reader = _terminal(Path())
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", missing)
        log = Log("wg7", Level.INFO, output=StandardError(fd=reader.fd))
    for _ in range(MANY):
        log.info(LINE)
    with pytest.raises(BlockingIOError):
        reader.read()


def test_the_next_line_tells_what_was_lost_without_a_loop() -> None:
    reader = _pipe(Path())
    log = Log("wg7", Level.ERROR, output=StandardError(fd=reader.fd))
    for _ in range(MANY):
        log.error(LINE)
    lines: list[str] = []
    while not any(LOST.search(line) for line in lines):
        lines += _everything(reader, log, FakeTimers()).splitlines()
        log.error("the next")
    assert not LOST.search(lines[-1])
    assert lines[-1].endswith("the next")


@pytest.mark.parametrize("make", [_pipe, _terminal, _stream])
def test_a_reader_that_is_gone_is_survived_and_the_system_log_takes_over(make: Callable[[Path], Reader]) -> None:
    class Other:
        waiting = False

        def __init__(self) -> None:
            self.lines: list[tuple[Level, str]] = []

        def put(self, level: Level, _line: str, bare: str) -> bool:
            self.lines.append((level, bare))
            return True

        def flush(self) -> None:
            pass

        def close(self) -> None:
            pass

    reader, other = make(Path()), Other()
    output = StandardError(other, fd=reader.fd)
    log = Log("wg7", Level.INFO, output=output)
    log.info("heard")
    assert b"heard" in reader.read()
    assert other.lines == []
    os.close(reader.far)
    log.error("unheard")
    log.info("too")
    assert other.lines == [(Level.ERROR, "(wg7) unheard"), (Level.INFO, "(wg7) too")]
    os.close(reader.fd)
    log.close()
    log.close()


def test_a_regular_file_is_shared_with_the_shell(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"the shell's\n")
    Log("wg7", Level.INFO, output=StandardError(fd=fd)).info("ours")
    os.write(fd, b"the shell's again\n")
    first, second, third = (tmp_path / "log").read_text().splitlines()
    assert (first, second.split()[-1], third) == ("the shell's", "ours", "the shell's again")
    os.close(fd)


def test_standard_error_that_is_closed_is_survived() -> None:
    fd = os.dup(2)
    os.close(fd)
    Log("wg7", Level.INFO, output=StandardError(fd=fd)).error("nobody hears this")


# The system's log


class Daemon:
    """What listens at /dev/log."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(str(path))

    def heard(self) -> list[str]:
        lines = []
        while True:
            try:
                lines.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return lines


def test_form_of_a_line_for_the_system_log(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "log")
    log = Log("wg7", Level.DEBUG, output=SystemLog(str(tmp_path / "log")))
    log.error("e")
    log.warning("w")
    log.info("i")
    log.debug("d")
    lines = daemon.heard()
    # daemon.err, daemon.warning, daemon.info, daemon.debug
    assert [line.partition(">")[0] for line in lines] == ["<27", "<28", "<30", "<31"]
    assert [line.split("]: ")[1] for line in lines] == ["(wg7) e", "(wg7) w", "(wg7) i", "(wg7) d"]
    assert all(f" pywg[{os.getpid()}]: " in line for line in lines)


def test_a_system_log_that_is_started_anew_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    daemon = Daemon(path)
    log = Log("wg7", Level.ERROR, output=SystemLog(str(path)))
    log.error("one")
    assert len(daemon.heard()) == 1
    daemon.socket.close()
    path.unlink()
    log.error("two")
    daemon = Daemon(path)
    log.error("three")
    assert [line.split("]: ")[1] for line in daemon.heard()] == [
        "(wg7) 1 log line was lost: nobody read the log",
        "(wg7) three",
    ]


def test_a_system_log_that_does_not_read_keeps_nobody_waiting(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "log")
    log = Log("wg7", Level.ERROR, output=SystemLog(str(tmp_path / "log")))
    for _ in range(5000):
        log.error(LINE)
    taken = len(daemon.heard())
    assert 0 < taken < 5000
    log.error("afterwards")
    told, last = (line.split("]: ")[1] for line in daemon.heard())
    assert told == f"(wg7) {5000 - taken} log lines were lost: nobody read the log"
    assert last == "(wg7) afterwards"


def test_no_system_log_is_no_error(tmp_path: Path) -> None:
    log = Log("wg7", Level.ERROR, output=SystemLog(str(tmp_path / "missing")))
    log.error("nobody hears this")
    log.close()
