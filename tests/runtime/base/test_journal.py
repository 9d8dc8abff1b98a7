"""Entries of the journal, in systemd's own words, and what happens without a journal."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pywg.runtime.base.journal import Journal, is_stream
from pywg.runtime.base.log import Level, Log, peer_name
from pywg.runtime.base.log_output import StandardError

KEY = bytes(range(32))


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket where journald's would be."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "socket"))
        sock.setblocking(False)
        yield sock


@pytest.fixture
def other() -> Iterator[tuple[StandardError, int]]:
    far, near = os.pipe()
    yield StandardError(fd=near), far
    os.close(near)
    os.close(far)


def fields(entry: bytes) -> dict[str, str]:
    assert entry.endswith(b"\n")
    return dict(line.split("=", 1) for line in entry.decode().splitlines())


def test_an_entry(journald: socket.socket, other: tuple[StandardError, int], tmp_path: Path) -> None:
    log = Log("wg7", Level.INFO, output=Journal("wg7", other[0], path=str(tmp_path / "socket")))
    log.info("ready")
    assert fields(journald.recv(4096)) == {
        "MESSAGE": "(wg7) ready",
        "PRIORITY": "6",
        "SYSLOG_FACILITY": "3",
        "SYSLOG_IDENTIFIER": "pywg",
        "SYSLOG_PID": str(os.getpid()),
        "WIREGUARD_INTERFACE": "wg7",
    }
    log.error(f"{peer_name(KEY)}: no\nway=1\nPRIORITY=0")
    entry = fields(journald.recv(4096))
    assert entry["WIREGUARD_PEER"] == peer_name(KEY)[len("peer(") : -1]
    assert entry["PRIORITY"] == "3", "a message can set no field"
    assert entry["MESSAGE"].endswith("no way=1 PRIORITY=0")


def test_a_journal_that_does_not_read(
    journald: socket.socket, other: tuple[StandardError, int], tmp_path: Path
) -> None:
    """Nothing waits, and the number of lost lines follows."""
    log = Log("wg7", Level.INFO, output=Journal("wg7", other[0], path=str(tmp_path / "socket")))
    for _ in range(10_000):
        log.info("x" * 100)
    read = 0
    while True:
        try:
            read += bool(journald.recv(4096))
        except BlockingIOError:
            break
    assert 0 < read < 10_000
    log.info("afterwards")
    assert fields(journald.recv(4096))["MESSAGE"] == f"(wg7) {10_000 - read} log lines were lost: nobody read the log"
    assert fields(journald.recv(4096))["MESSAGE"] == "(wg7) afterwards"


@pytest.mark.parametrize("when", ["never", "gone"])
def test_without_a_journal_another_output_has_the_lines(
    journald: socket.socket, other: tuple[StandardError, int], tmp_path: Path, when: str
) -> None:
    path = tmp_path / ("socket" if when == "gone" else "missing")
    log = Log("wg7", Level.INFO, output=Journal("wg7", other[0], path=str(path)))
    if when == "gone":
        journald.close()
    log.info("ready")
    assert os.read(other[1], 4096).decode().endswith("ready\n")


def test_standard_error_that_is_the_journals() -> None:
    near, far = socket.socketpair()
    with near, far:
        found = os.fstat(near.fileno())
        assert is_stream(f"{found.st_dev}:{found.st_ino}", near.fileno())
        assert not is_stream(f"{found.st_dev}:{found.st_ino}", far.fileno())
        assert not is_stream("", near.fileno())
    assert not is_stream("8:1", -1)
