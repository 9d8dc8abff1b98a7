"""Questions and hints over rtnetlink(7)."""

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from pywg.runtime.base.log import Level, Log
from pywg.runtime.net import netlink
from pywg.runtime.net.netlink import Hints, Message, Questions, number
from pywg.runtime.net.rtmessages import LINK
from tests.lines import StreamOutput

LOG = Log("wg0", Level.SILENT, output=StreamOutput())
RTM_NEWLINK = 16
RTM_GETLINK = 18
NLMSG_ERROR = 2
IFF_LOOPBACK = 8
HEADER = struct.Struct("=IHHII")
LINK_FIELDS = struct.Struct("=BxHiII")


def test_a_link_of_the_kernel() -> None:
    questions = Questions()
    link = questions.ask(RTM_GETLINK, LINK, {}, {"IFLA_IFNAME": b"lo"})
    assert link["flags"] & IFF_LOOPBACK
    assert number(link, "IFLA_MTU") == int(Path("/sys/class/net/lo/mtu").read_text())
    questions.close()
    questions.close()


def test_an_error_of_the_kernel_is_an_oserror() -> None:
    questions = Questions()
    with pytest.raises(OSError, match="No such device") as caught:
        questions.ask(RTM_GETLINK, LINK, {}, {"IFLA_IFNAME": b"not-there"})
    assert caught.value.errno == errno.ENODEV
    questions.close()


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The other end of each netlink socket: what a test puts in is what the runtime reads."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setblocking(False)
    monkeypatch.setattr(netlink, "_open", lambda groups: ours)
    yield theirs
    ours.close()
    theirs.close()


def reply(sequence: int, body: bytes, kind: int = RTM_NEWLINK) -> bytes:
    return HEADER.pack(HEADER.size + len(body), kind, 0, sequence, 0) + body


def link(flags: int) -> bytes:
    return LINK_FIELDS.pack(0, 1, 7, flags, 0) + struct.pack("=HHI", 8, 4, 1400)


def ask() -> Message:
    return Questions().ask(RTM_GETLINK, LINK, {"index": 7}, {})


def test_the_question(kernel: socket.socket) -> None:
    kernel.send(reply(1, link(0x41)))
    answer = ask()
    assert (answer["index"], answer["flags"], number(answer, "IFLA_MTU")) == (7, 0x41, 1400)
    sent = kernel.recv(1000)
    assert HEADER.unpack_from(sent)[:4] == (len(sent), RTM_GETLINK, 1, 1)  # NLM_F_REQUEST
    assert LINK_FIELDS.unpack_from(sent, HEADER.size) == (0, 0, 7, 0, 0)


def test_answers_to_other_questions_are_passed_over(kernel: socket.socket) -> None:
    kernel.send(reply(0, link(1)))
    kernel.send(reply(9, struct.pack("=i", -errno.EPERM), NLMSG_ERROR))
    kernel.send(b"")
    kernel.send(reply(1, link(2)))
    assert ask()["flags"] == 2


def test_no_answer(kernel: socket.socket) -> None:
    with pytest.raises(OSError, match="no answer") as caught:
        ask()
    assert caught.value.errno == errno.EPROTO


@pytest.mark.parametrize("body", [b"", bytes(5), link(1)[:-2]], ids=len)
def test_an_answer_that_can_not_be_read(kernel: socket.socket, body: bytes) -> None:
    kernel.send(reply(1, body))
    with pytest.raises(OSError, match="rtnetlink") as caught:
        number(ask(), "IFLA_MTU")
    assert caught.value.errno == errno.EPROTO


@pytest.mark.parametrize("code", [0, 1, -(2**31), 2**31 - 1, -4096])
def test_an_error_that_is_none(kernel: socket.socket, code: int) -> None:
    kernel.send(reply(1, struct.pack("=i", code), NLMSG_ERROR))
    with pytest.raises(OSError, match="without an answer") as caught:
        ask()
    assert caught.value.errno == errno.EPROTO


def test_an_attribute_that_is_missing() -> None:
    message = LINK.decode(reply(1, LINK_FIELDS.pack(0, 1, 7, 1, 0)))
    with pytest.raises(OSError, match="without IFLA_MTU"):
        number(message, "IFLA_MTU")


class DeafLoop:
    """What is readable in it is taken by the test."""

    def add_reader(self, *_: object) -> None:
        """Never calls."""

    def remove_reader(self, *_: object) -> None:
        """Calls no more."""

    def call_soon(self, *_: object) -> NoReturn:
        raise AssertionError

    call_later = call_exception_handler = call_soon


def hints_to_take() -> Hints:
    return Hints(1, DeafLoop(), lambda: None, LOG)


def test_all_hints_are_taken(kernel: socket.socket) -> None:
    hints = hints_to_take()
    for size in range(100):
        kernel.send(bytes(size))
    hints.take_all()
    with pytest.raises(BlockingIOError):
        socket.socket.recv(hints._socket, 1)
    hints.take_all()
    hints.close()
    assert hints._socket.fileno() == -1


def test_lost_hints_are_hints(monkeypatch: pytest.MonkeyPatch) -> None:
    class Overflown:
        def __init__(self) -> None:
            self.results: list[OSError | bytes] = [
                OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS)),
                b"x",
                BlockingIOError(),
                b"newer",
            ]

        def fileno(self) -> int:
            return 99

        def recv(self, length: int) -> bytes:
            result = self.results.pop(0)
            if isinstance(result, OSError):
                raise result
            return result

    sock = Overflown()
    monkeypatch.setattr(netlink, "_open", lambda groups: sock)
    hints_to_take().take_all()
    assert sock.results == [b"newer"]


def test_hints_are_heard_until_they_pause_or_end(kernel: socket.socket) -> None:
    async def main() -> None:
        heard: list[int] = []

        def take() -> None:
            heard.append(1)
            hints.take_all()

        hints = Hints(1, asyncio.get_running_loop(), take, LOG)
        kernel.send(b"one")
        await turns()
        assert len(heard) == 1
        hints.pause()
        kernel.send(b"two")
        await turns()
        assert len(heard) == 1
        hints.resume()
        await turns()
        assert len(heard) == 2
        kernel.send(b"three")
        hints.close()
        hints.close()
        hints.resume()
        await turns()
        assert len(heard) == 2
        assert hints._socket.fileno() == -1

    async def turns() -> None:
        for _ in range(3):
            await asyncio.sleep(0)

    asyncio.run(main())
