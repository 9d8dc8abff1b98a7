"""Questions and hints over rtnetlink(7)."""

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from pywg.runtime.base.log import Level, Log
from pywg.runtime.net import netlink
from pywg.runtime.net.netlink import LINK, Hints, Listener, Message, Questions, decode
from tests.lines import StreamOutput

LOG = Log("wg0", Level.SILENT, output=StreamOutput())
RTM_NEWLINK = 16
RTM_GETLINK = 18
NLMSG_ERROR = 2
IFF_LOOPBACK = 8
IFLA_IFNAME, IFLA_MTU = 3, 4
HEADER = struct.Struct("=IHHII")
LINK_FIELDS = struct.Struct("=BxHiII")


def test_a_link_of_the_kernel() -> None:
    questions = Questions()
    link = questions.ask(RTM_GETLINK, LINK, (0,) * 5, {IFLA_IFNAME: b"lo\0"})
    assert link.fields[3] & IFF_LOOPBACK
    assert link.number(IFLA_MTU) == int(Path("/sys/class/net/lo/mtu").read_text())
    questions.close()
    questions.close()


def test_an_error_of_the_kernel_is_an_oserror() -> None:
    questions = Questions()
    with pytest.raises(OSError, match="No such device") as caught:
        questions.ask(RTM_GETLINK, LINK, (0,) * 5, {IFLA_IFNAME: b"not-there\0"})
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
    return Questions().ask(RTM_GETLINK, LINK, (0, 0, 7, 0, 0), {IFLA_IFNAME: b"wg0\0", IFLA_MTU: 1420})


def test_the_question(kernel: socket.socket) -> None:
    kernel.send(reply(1, link(0x41)))
    answer = ask()
    assert answer.fields == (0, 1, 7, 0x41, 0)
    assert answer.attributes == {IFLA_MTU: struct.pack("=I", 1400)}
    sent = kernel.recv(1000)
    assert HEADER.unpack_from(sent)[:4] == (len(sent), RTM_GETLINK, 1, 1)  # NLM_F_REQUEST
    assert LINK_FIELDS.unpack_from(sent, HEADER.size) == (0, 0, 7, 0, 0)
    name, mtu = struct.pack("=HH4s", 8, 3, b"wg0\0"), struct.pack("=HHI", 8, 4, 1420)
    assert sent[HEADER.size + LINK_FIELDS.size :] == name + mtu


def test_attributes_are_aligned(kernel: socket.socket) -> None:
    """A name of three bytes and its zero fill a word, one of four takes another; what is nested says so in its type."""
    nested = 1 << 15
    body = LINK_FIELDS.pack(0, 1, 7, 0, 0) + struct.pack("=HH5s3xHHI", 9, 3, b"eth7\0", 8, nested | 4, 1400)
    kernel.send(reply(1, body))
    questions = Questions()
    answer = questions.ask(RTM_GETLINK, LINK, (0, 0, 7, 0, 0), {IFLA_IFNAME: b"eth7\0", IFLA_MTU: 1400})
    assert answer.attributes == {IFLA_IFNAME: b"eth7\0", IFLA_MTU: struct.pack("=I", 1400)}
    sent = kernel.recv(1000)
    assert sent[HEADER.size + LINK_FIELDS.size :] == struct.pack("=HH5s3xHHI", 9, 3, b"eth7\0", 8, 4, 1400)


def test_answers_to_other_questions_are_passed_over(kernel: socket.socket) -> None:
    kernel.send(reply(0, link(1)))
    kernel.send(reply(9, struct.pack("=i", -errno.EPERM), NLMSG_ERROR))
    kernel.send(b"")
    kernel.send(reply(1, link(2)))
    assert ask().fields[3] == 2


def test_no_answer(kernel: socket.socket) -> None:
    with pytest.raises(OSError, match="no answer") as caught:
        ask()
    assert caught.value.errno == errno.EPROTO


@pytest.mark.parametrize("body", [b"", bytes(5), link(1)[:-2], link(1) + bytes(2), link(1) + bytes(4)], ids=len)
def test_an_answer_that_can_not_be_read(kernel: socket.socket, body: bytes) -> None:
    kernel.send(reply(1, body))
    with pytest.raises(OSError, match="rtnetlink") as caught:
        ask().number(IFLA_MTU)
    assert caught.value.errno == errno.EPROTO


def test_an_attribute_that_is_missing() -> None:
    message = decode(LINK, reply(1, LINK_FIELDS.pack(0, 1, 7, 1, 0)))
    with pytest.raises(OSError, match="without attribute 4"):
        message.number(IFLA_MTU)


@pytest.mark.parametrize("length", [0, 2, 8])
def test_a_number_of_another_length(length: int) -> None:
    message = Message((), {IFLA_MTU: bytes(length)})
    with pytest.raises(OSError, match="without attribute 4"):
        message.number(IFLA_MTU)


def test_all_hints_are_taken(kernel: socket.socket) -> None:
    hints = Hints(1)
    for size in range(100):
        kernel.send(bytes(size))
    hints.take_all()
    with pytest.raises(BlockingIOError):
        socket.socket.recv(hints._socket, 1)
    hints.take_all()
    hints.close()
    assert hints.fileno() == -1


def test_lost_hints_are_hints(monkeypatch: pytest.MonkeyPatch) -> None:
    class Overflown:
        def __init__(self) -> None:
            self.results: list[OSError | bytes] = [
                OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS)),
                b"x",
                BlockingIOError(),
                b"newer",
            ]

        def recv(self, length: int) -> bytes:
            result = self.results.pop(0)
            if isinstance(result, OSError):
                raise result
            return result

    sock = Overflown()
    monkeypatch.setattr(netlink, "_open", lambda groups: sock)
    Hints(1).take_all()
    assert sock.results == [b"newer"]


def test_a_listener_pauses_and_ends(kernel: socket.socket) -> None:
    async def main() -> None:
        heard: list[int] = []
        hints = Hints(1)

        def take() -> None:
            heard.append(1)
            listener.take_all()

        listener = Listener(hints, asyncio.get_running_loop(), take, LOG)
        kernel.send(b"one")
        await turns()
        assert len(heard) == 1
        listener.pause()
        kernel.send(b"two")
        await turns()
        assert len(heard) == 1
        listener.resume()
        await turns()
        assert len(heard) == 2
        kernel.send(b"three")
        listener.close()
        listener.close()
        listener.resume()
        await turns()
        assert len(heard) == 2
        assert hints.fileno() == -1

    async def turns() -> None:
        for _ in range(3):
            await asyncio.sleep(0)

    asyncio.run(main())
