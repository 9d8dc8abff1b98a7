"""What a daemon answers to `pywg stats` and `pywg log`, whatever program it is."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pywg.cli import uapi_client
from pywg.errors import DeviceError


@contextmanager
def daemon(monkeypatch: pytest.MonkeyPatch, reply: bytes, *, for_ever: bool = False) -> Iterator[None]:
    """It sends the reply, once or again and again, to whoever connects next."""
    near, far = socket.socketpair()

    def answer() -> None:
        with far:
            try:
                assert far.recv(100).endswith(b"\n\n")
                far.sendall(reply)
                while for_ever:
                    far.sendall(reply)
            except OSError:
                return  # the command hung up

    monkeypatch.setattr(uapi_client, "connect", lambda interface: near)
    thread = threading.Thread(target=answer)
    thread.start()
    yield
    near.close()
    thread.join()


def test_statistics(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with daemon(monkeypatch, b"peers=2\nbound_device=\xff\nerrno=0\n\n"):
        assert uapi_client.stats("wg0") == 0
    assert capsys.readouterr().out == "peers=2\nbound_device=\\xff\n"


def test_a_reply_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with daemon(monkeypatch, b"x" * 1000, for_ever=True), pytest.raises(DeviceError, match="says too much"):
        uapi_client.stats("wg0")


@pytest.mark.parametrize("line", ["\x1b[2Jpeers=2", "peers=2\r", "a\x00b=1"])
def test_a_reply_that_moves_the_cursor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    with daemon(monkeypatch, f"{line}\nerrno=0\n\n".encode()), pytest.raises(DeviceError, match="not pywg"):
        uapi_client.stats("wg0")
    assert capsys.readouterr().out == ""


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
            if clock.now > 100 + uapi_client._TIMEOUT_S:
                raise TimeoutError("timed out")
            return b"x"

    class Clock:
        now = 100.0

        def monotonic(self) -> float:
            return self.now

    clock, trickle = Clock(), Trickle()
    monkeypatch.setattr(uapi_client, "time", clock)
    monkeypatch.setattr(uapi_client, "connect", lambda interface: trickle)
    with pytest.raises(DeviceError, match="doesn't answer"):
        uapi_client.stats("wg0")
    assert trickle.timeouts == [10.0, 6.0, 2.0]
