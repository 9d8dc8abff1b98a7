"""What the kernel answers over rtnetlink, and what something in its place could: cut off, of another kind, interrupted.

Every answer is read as rtnetlink(7) says, which a second reader checks, or it is an OSError. The watchers raise
nothing, report no state that was not told, and look again for one that they could not read.
"""

import errno
import itertools
import os
import struct
import sys
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import NamedTuple

from pywg.core.events import Endpoint
from pywg.runtime.base.log import Level, Log
from pywg.runtime.base.system import LinkState
from pywg.runtime.net import link, netlink, rtmessages
from pywg.runtime.net.link import LinkWatcher, read_state
from pywg.runtime.net.netlink import Questions, number
from pywg.runtime.net.routes import RouteWatcher
from pywg.runtime.net.tun_device import TUNGETDEVNETNS
from tests.fuzz.guided.choices import Choices
from tests.fuzz.guided.replaced import replaced
from tests.lines import StreamOutput
from tests.runtime.device_harness import FakeTimers
from tests.runtime.route_harness import FakeDevice

LOG = Log("wg0", Level.SILENT, output=StreamOutput())
TUN_FD, FAKE_FD = 4, 99
NLMSG_ERROR, NLMSG_DONE = 2, 3
IFF_UP = 1
TYPES = (16, 24, 20, 88, NLMSG_ERROR, NLMSG_DONE, 1, 0)
FLAGS = (0, 2, 0x10, 0x12, 0x100, 0xFFFF)
"""Multi, and interrupted, among them."""
ERRORS = (errno.ENOBUFS, errno.EINTR, errno.ECONNREFUSED, errno.EIO)
MOST_ANSWERS = 8
TOKENS = (
    *(struct.pack("=HH", length, kind) for length in (0, 3, 4, 8, 0xFFFF) for kind in (1, 3, 4, 0x8004, 46)),
    *(struct.pack("=i", -code) for code in (errno.ENODEV, errno.ENETUNREACH, errno.EPERM, 0)),
    *(b"\x80\0\0\0", b"\0\0\0\x80", b"\xff\xff\xff\xff", struct.pack("=HHI", 8, 4, 1420)),
)


class Form(NamedTuple):
    """One of the answers that are read: the bytes before its attributes, and the attribute that is asked for.

    `sizes` are those that the kernel gives the others that are read, with their headers.
    """

    message: rtmessages.Form
    fixed: int
    name: str
    attribute: int
    sizes: Mapping[int, tuple[int, ...]]


FORMS = (
    Form(rtmessages.LINK, 16, "IFLA_MTU", 4, {46: (8,)}),
    Form(rtmessages.ROUTE, 12, "RTA_OIF", 4, {1: (8, 20), 2: (8, 20), 16: (8,)}),
    Form(rtmessages.NAMESPACE, 4, "NETNSA_NSID", 1, {3: (8,)}),
)


class Socket:
    """Gives answers, each a datagram or an error, then none."""

    def __init__(self, answers: list[bytes | OSError]) -> None:
        self.answers = answers

    def fileno(self) -> int:
        return FAKE_FD

    def send(self, data: bytes | bytearray) -> int:
        return len(data)

    def recv(self, length: int) -> bytes:
        if not self.answers:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        answer = self.answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer[:length]

    def setsockopt(self, *_: int) -> None:
        """It takes any."""

    def close(self) -> None:
        """There is nothing to close."""


def run(data: bytes) -> None:
    choices = Choices(data)
    how = choices.byte()
    case = (one_question, state, watched_link, way_back)[how % 4]
    answers = [an_answer(choices) for _ in range(MOST_ANSWERS) if choices.left]
    with replaced(netlink, _open=lambda groups: Socket(answers)):
        case(how >> 2, answers)


def an_answer(choices: Choices) -> bytes | OSError:
    how = choices.byte()
    if how == 0xFF:
        code = choices.one_of(ERRORS)
        return OSError(code, os.strerror(code))
    body = choices.text()
    if how & 0x80:
        return body
    kind, flags, sequence = choices.one_of(TYPES), choices.one_of(FLAGS), how & 3
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body


def one_question(how: int, answers: list[bytes | OSError]) -> None:
    form = FORMS[how % len(FORMS)]
    answer = the_answer(list(answers), 1)
    try:
        value = number(Questions().ask(0, form.message, {}, {}), form.name)
    except OSError as error:
        if isinstance(answer, OSError):
            assert error.errno == answer.errno
        elif is_error(answer) and len(answer) >= 20:
            assert error.errno in (-int.from_bytes(answer[16:20], sys.byteorder, signed=True), errno.EPROTO)
        else:
            assert error.errno == errno.EPROTO
            assert not well_formed(answer, form) or attribute_of(answer, form) is None
        return
    assert isinstance(answer, bytes)
    assert not is_error(answer)
    assert not well_formed(answer, form) or value == attribute_of(answer, form), "read otherwise than it was written"


def the_answer(answers: list[bytes | OSError], sequence: int) -> bytes | OSError:
    """The first to this question; empty for none."""
    for answer in answers:
        if isinstance(answer, OSError) or int.from_bytes(answer[8:12], sys.byteorder) == sequence:
            return answer
    return b""


def is_error(answer: bytes) -> bool:
    return answer[4:6] == NLMSG_ERROR.to_bytes(2, sys.byteorder)


def well_formed(answer: bytes, form: Form) -> bool:
    """Whether it is as long as it says, and is full of attributes that the kernel could have made."""
    at = 16 + form.fixed
    if len(answer) < at or int.from_bytes(answer[:4], sys.byteorder) != len(answer):
        return False
    while at < len(answer):
        if at + 4 > len(answer):
            return False
        size, kind = struct.unpack_from("=HH", answer, at)
        of_another_length = size not in {form.attribute: (8,), **form.sizes}.get(kind & 0x3FFF, (size,))
        if size < 4 or at + size > len(answer) or of_another_length:
            return False
        at += (size + 3) & ~3
    return at == len(answer)


def attribute_of(answer: bytes, form: Form) -> int | None:
    length = min(len(answer), int.from_bytes(answer[:4], sys.byteorder))
    at = 16 + form.fixed
    while at + 4 <= length:
        (size, kind) = struct.unpack_from("=HH", answer, at)
        if kind & 0x3FFF == form.attribute and size >= 8 and at + 8 <= length:
            return int.from_bytes(answer[at + 4 : at + 8], sys.byteorder)
        if size < 4:
            return None
        at += (size + 3) & ~3
    return None


class Ioctl:
    """fcntl(2)'s answers about the namespaces of the TUN and of the socket."""

    def __init__(self, how: int) -> None:
        self.how = how

    def ioctl(self, fd: object, request: int) -> int:
        if request == TUNGETDEVNETNS:
            if self.how & 3 == 3:
                raise OSError(errno.EBADFD, os.strerror(errno.EBADFD))
            if self.how & 3 == 2:
                raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
            return os.open("/", os.O_RDONLY)
        assert request == link.SIOCGSKNS
        if self.how & 4:
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
        return os.open("/dev" if self.how & 1 else "/", os.O_RDONLY)


def with_ioctl(how: int, act: Callable[[], None]) -> None:
    with replaced(link, fcntl=SimpleNamespace(ioctl=Ioctl(how).ioctl), identity=lambda fd: ("wg0", 0)):
        act()


def state(how: int, answers: list[bytes | OSError]) -> None:
    """It is what the answers say, or an OSError."""
    before = list(answers)

    def act() -> None:
        try:
            found = read_state(TUN_FD, Questions())
        except OSError:
            return
        links = [answer for answer in before if isinstance(answer, bytes)]
        if all(well_formed(answer, FORMS[0]) for answer in links):
            told = [answer for answer in links if attribute_of(answer, FORMS[0]) == found.mtu]
            assert told, "a state that no answer has"
            assert any(bool(int.from_bytes(answer[24:28], sys.byteorder) & IFF_UP) == found.up for answer in told)

    with_ioctl(how, act)


class Loop:
    """One descriptor, and timers of a virtual clock."""

    def __init__(self) -> None:
        self.timers = FakeTimers()
        self.call_later = self.timers.call_later
        self.reader: Callable[[], None] | None = None

    def add_reader(self, fd: int, callback: Callable[[], None]) -> None:
        assert fd == FAKE_FD
        self.reader = callback

    def remove_reader(self, fd: int) -> None:
        self.reader = None

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.timers.call_later(0, callback)

    def call_exception_handler(self, context: dict[str, object]) -> None:
        raise AssertionError(context)


def watched_link(how: int, answers: list[bytes | OSError]) -> None:
    """The watcher tells states and the end, raises nothing, and tries again where it got no state."""
    states: list[LinkState] = []
    gone: list[None] = []

    def act() -> None:
        loop = Loop()
        watcher = LinkWatcher(TUN_FD, states.append, lambda: gone.append(None), LOG)
        watcher.start(loop)
        for _ in range(4):
            loop.timers.advance(1.0)
            if loop.reader is not None:
                loop.reader()
        assert len(gone) <= 1
        assert all(before != after for before, after in itertools.pairwise(states))
        assert gone or states or loop.timers.pending() or loop.reader is not None, "nobody looks any more"
        watcher.close()

    with_ioctl(how, act)


def way_back(how: int, answers: list[bytes | OSError]) -> None:
    """A source is dropped only for an answer that says so."""
    device = FakeDevice()
    if how & 1:
        device.add(1, "2001:db8::2", "2001:db8::1", 3)
    else:
        device.add(1, "192.0.2.2", "192.0.2.1", 3)
    before = list(answers)
    loop = Loop()
    watcher = RouteWatcher(device, LOG)
    watcher.start(loop)
    watcher._on_hint()
    for _ in range(4):
        loop.timers.advance(1.0)
    watcher.close()
    if device.cleared:
        says = [answer for answer in before if isinstance(answer, bytes)]
        assert any(wrong(answer) for answer in says), "a source is dropped for nothing"
    endpoint = device.addrs[1]
    assert isinstance(endpoint, Endpoint)


def wrong(answer: bytes) -> bool:
    if is_error(answer) or not well_formed(answer, FORMS[1]):
        return True
    interface = attribute_of(answer, FORMS[1])
    return interface is not None and interface != 3
