"""What a daemon answers, whatever program it is: read whole, or refused in one line."""

import errno
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pywg.config.model import DeviceChange
from pywg.errors import DeviceError
from pywg.manage import client


@contextmanager
def daemon(monkeypatch: pytest.MonkeyPatch, reply: bytes, *, for_ever: bool = False) -> Iterator[None]:
    """It sends the reply, once or again and again, to whoever connects next."""
    near, far = socket.socketpair()

    def answer() -> None:
        with far:
            try:
                assert far.recv(1000).endswith(b"\n\n")
                far.sendall(reply)
                while for_ever:
                    far.sendall(reply)
            except OSError:
                return  # the command hung up

    monkeypatch.setattr(client, "connect", lambda interface, **_: near)
    thread = threading.Thread(target=answer)
    thread.start()
    yield
    near.close()
    thread.join()


def test_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    with daemon(monkeypatch, b"peers=2\nbound_device=\xff\nerrno=0\n\n"):
        assert client.stats("wg0") == {"peers": "2", "bound_device": "\\xff"}


def test_state(monkeypatch: pytest.MonkeyPatch) -> None:
    with daemon(monkeypatch, b"listen_port=51820\nerrno=0\n\n"):
        assert client.get("wg0").listen_port == 51820
    with daemon(monkeypatch, b"listen_port=51820\n"), pytest.raises(DeviceError, match="hung up"):
        client.get("wg0")
    with daemon(monkeypatch, b"errno=-12\n\n"), pytest.raises(DeviceError) as refused:
        client.get("wg0")
    assert refused.value.errno == errno.ENOMEM


def test_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    change = DeviceChange(private_key=bytes(range(32)), listen_port=1)
    with daemon(monkeypatch, b"errno=0\n\n"):
        client.change("wg0", change)
    with daemon(monkeypatch, b"errno=-98\n\n"), pytest.raises(DeviceError, match="UDP port 1 is in use: `ss") as no:
        client.change("wg0", change)
    assert no.value.errno == errno.EADDRINUSE
    with daemon(monkeypatch, b"errno=-22\n\n"), pytest.raises(DeviceError, match="wg0 refuses the change: Invalid"):
        client.change("wg0", change)
    with daemon(monkeypatch, b""), pytest.raises(DeviceError, match="hung up"):
        client.change("wg0", change)


def test_a_reply_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with daemon(monkeypatch, b"x" * 1000, for_ever=True), pytest.raises(DeviceError, match="says too much"):
        client.stats("wg0")


@pytest.mark.parametrize("line", ["\x1b[2Jpeers=2", "peers=2\r", "a\x00b=1"])
def test_a_reply_that_moves_the_cursor(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    with daemon(monkeypatch, f"{line}\nerrno=0\n\n".encode()), pytest.raises(DeviceError, match="not pywg"):
        client.stats("wg0")


def test_a_reply_that_trickles(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is for the whole reply, and not for each piece of it."""

    class Trickle:
        def __init__(self) -> None:
            self.timeouts: list[float] = []

        def __enter__(self) -> "Trickle":
            return self

        def __exit__(self, *_: object) -> None:
            """There is nothing to close."""

        def settimeout(self, seconds: float) -> None:
            self.timeouts.append(seconds)

        def sendall(self, data: bytes) -> None:
            """It is read."""

        def recv(self, length: int) -> bytes:
            clock.now += 4
            if clock.now > 100 + client._TIMEOUT_S:
                raise TimeoutError("timed out")
            return b"x"

    class Clock:
        now = 100.0

        def monotonic(self) -> float:
            return self.now

    clock, trickle = Clock(), Trickle()
    monkeypatch.setattr(client, "time", clock)
    monkeypatch.setattr(client, "connect", lambda interface, **_: trickle)
    with pytest.raises(DeviceError, match="doesn't answer"):
        client.stats("wg0")
    assert trickle.timeouts == [10.0, 6.0, 2.0]


def test_a_folder_that_is_closed_to_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not said that nothing runs, but that the caller can't tell."""

    def closed(_: str) -> list[str]:
        raise PermissionError(errno.EACCES, "Permission denied")

    assert client.served(directory=str(tmp_path / "none")) == []
    monkeypatch.setattr(os, "listdir", closed)
    with pytest.raises(DeviceError, match="only root may see what runs"):
        client.served(directory=str(tmp_path))
    assert client.served_here(directory=str(tmp_path)) == []


def test_what_a_monitor_may_not_do_names_no_monitor(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> socket.socket:
        raise DeviceError(errno.EACCES, "or start its daemon with --monitor-socket or --socket-owner")

    monkeypatch.setattr(client, "connect", refuse)
    changes_alone = r"^\[Errno 13\] wg0 takes changes from root alone: .* --socket-owner$"
    with pytest.raises(DeviceError, match=changes_alone):
        client.set_level("wg0", "info")
    with pytest.raises(DeviceError, match=changes_alone):
        client.change("wg0", DeviceChange())
    with pytest.raises(DeviceError, match="monitor-socket"):
        client.get("wg0")
