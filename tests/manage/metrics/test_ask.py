"""Daemons are asked within a bound: one that hangs, refuses, lies or tells keys is one without an answer."""

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pywg.manage.metrics.ask import Answer, ask, monitored

STATS = b"version=0.1.0\nup=1\nerrno=0\n\n"
NOTHING = b"errno=0\n\n"
PEER = b"public_key=" + b"11" * 32 + b"\nrx_bytes=5\n"


class Daemon:
    """One that says what it is told to, to each question; None: it never answers."""

    def __init__(self, path: Path, replies: list[bytes] | None) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self.asked: list[bytes] = []
        if replies is not None:
            threading.Thread(target=self._answer, args=[replies], daemon=True).start()

    def _answer(self, replies: list[bytes]) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with client:
                    for reply in replies:
                        self.asked.append(client.recv(4096))
                        client.sendall(reply)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[dict[str, Daemon]]:
    made: dict[str, Daemon] = {}
    yield made
    for one in made.values():
        one.close()


def asked(folder: Path, *wanted: str, patience_s: float = 5.0) -> dict[str, Answer]:
    found = asyncio.run(ask(wanted, directories=[str(folder)], patience_s=patience_s))
    return {one.interface: one for one in found}


def good(folder: Path, name: str = "good") -> Daemon:
    return Daemon(folder / f"{name}.monitor", [STATS, NOTHING, PEER + NOTHING])


def test_one_that_hangs_holds_up_no_other(tmp_path: Path, daemons: dict[str, Daemon]) -> None:
    daemons["good"] = good(tmp_path)
    for name in ("hangs", "full"):
        daemons[name] = Daemon(tmp_path / f"{name}.monitor", None)
    queue = []
    with contextlib.suppress(BlockingIOError):
        while True:  # until its queue is full
            queue.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
            queue[-1].connect(str(tmp_path / "full.monitor"))
    found = asked(tmp_path, patience_s=1.5)
    assert found["good"].sight is not None
    assert found["good"].sight.status.peers[0].rx_bytes == 5
    assert found["hangs"].sight is found["full"].sight is None
    assert "has not answered within 1.5 s" in found["hangs"].why
    assert "temporarily unavailable" in found["full"].why
    for one in queue:
        one.close()


def test_what_it_says_it_answers(tmp_path: Path, daemons: dict[str, Daemon]) -> None:
    daemons["good"] = good(tmp_path)
    found = asked(tmp_path)["good"]
    assert found.sight is not None
    assert daemons["good"].asked == [b"stats=1\n\n", b"peers=1\n\n", b"get=1\n\n"]
    assert found.sight.resident_bytes > 0  # this process's own
    assert found.threads


@pytest.mark.parametrize(
    ("replies", "why"),
    [
        ([], "hung up"),
        ([b"version=1\nerrno=0\n"], "hung up"),
        ([b"errno=-13\n\n"], "no statistics"),
        ([b"\xff=\xfe\nerrno=0\n\n"], "no statistics"),
        ([b"version=1\nmtu=" + b"9" * 400 + b"\n" + NOTHING], "too large"),
        ([b"version=1\nmtu=" + b"9" * 5000 + b"\n" + NOTHING], "too large"),
        ([b"version=1\nx=" + b"y" * (1 << 20) + b"\n" + NOTHING], "too large"),
        ([STATS, b"errno=-1\n\n"], ""),
        ([STATS, NOTHING, b"public_key=zz\n" + NOTHING], ""),
        ([STATS, NOTHING, b"private_key=" + b"22" * 32 + b"\n" + NOTHING], "tells keys"),
        ([STATS, NOTHING, PEER + b"preshared_key=" + b"22" * 32 + b"\n" + NOTHING], "tells keys"),
    ],
)
def test_what_is_no_answer(replies: list[bytes], why: str, tmp_path: Path, daemons: dict[str, Daemon]) -> None:
    daemons["odd"] = Daemon(tmp_path / "odd.monitor", replies)
    daemons["good"] = good(tmp_path)
    found = asked(tmp_path)
    assert found["odd"].sight is None
    assert why in found["odd"].why
    assert "22" * 8 not in found["odd"].why
    assert found["good"].sight is not None


def test_only_sockets_for_monitors_are_looked_at(tmp_path: Path, daemons: dict[str, Daemon]) -> None:
    daemons["sock"] = Daemon(tmp_path / "wg0.sock", [STATS, NOTHING, NOTHING])
    (tmp_path / "wg1.monitor").write_text("")
    assert monitored([str(tmp_path), str(tmp_path / "nosuch")]).keys() == {"wg1"}
    found = asked(tmp_path, "wg0", "wg1")
    assert "no socket for monitors" in found["wg0"].why
    assert found["wg1"].sight is None
    assert daemons["sock"].asked == []
    assert asked(tmp_path).keys() == {"wg1"}


def test_the_first_folder_wins(tmp_path: Path) -> None:
    for name in ("own", "all"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "wg0.monitor").write_text("")
    (tmp_path / "all" / "wg1.monitor").write_text("")
    found = monitored([str(tmp_path / "own"), str(tmp_path / "all")])
    assert {name: os.path.basename(os.path.dirname(path)) for name, path in found.items()} == {
        "wg0": "own",
        "wg1": "all",
    }
