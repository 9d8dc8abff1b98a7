"""rtnetlink(7) for the runtime: questions with their answers, and hints that something has changed.

The messages are pyroute2's own classes, without its front door: `import pyroute2` runs a package __init__ that imports
all of the library, which costs a small daemon more memory and time than the rest of it together. The few modules with
the messages need none of that. So this module imports them below a bare package of the same name, and takes them out of
sys.modules again: a later import of pyroute2 finds it as if it had not been imported.
"""

import contextlib
import errno
import functools
import importlib
import importlib.util
import os
import socket
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from pywg.runtime.base.log import Log
from pywg.runtime.base.reader import Loop, Reader

_PACKAGE = "pyroute2"
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_NLM_F_REQUEST = 1
_NLM_F_DUMP = 0x300
_LENGTH = slice(0, 4)
_TYPE = slice(4, 6)
_FLAGS = slice(6, 8)
_SEQUENCE = slice(8, 12)
_HEADER_LEN = 16
_SOL_NETLINK = 270
_NETLINK_LISTEN_ALL_NSID = 8
_REPLY_LEN = 1 << 16
_LAST_ERRNO = 4095  # linux/err.h
_HINTS_A_WAKE_UP = 1024
"""Hints taken at a wake-up: more than a socket buffer of the default length holds, so that the rest are newer."""

Message: TypeAlias = Any
"""An nlmsg of pyroute2: a dict of the fixed fields, with `get_attr(name)` for attributes."""


class Messages(NamedTuple):
    """pyroute2's classes for the messages of this daemon."""

    link: Message
    route: Message
    address: Message
    namespace: Message
    error: Message


@functools.cache
def messages() -> Messages:
    """The classes, imported with the first call. Raises ImportError where pyroute2 is not installed."""
    if _PACKAGE not in sys.modules:
        with contextlib.suppress(ImportError, AttributeError), _bare_package():
            return _import_messages()
    return _import_messages()  # the front door: pyroute2 is imported already, or there is no other way


def _import_messages() -> Messages:
    link = importlib.import_module(f"{_PACKAGE}.netlink.rtnl.ifinfmsg")
    route = importlib.import_module(f"{_PACKAGE}.netlink.rtnl.rtmsg")
    address = importlib.import_module(f"{_PACKAGE}.netlink.rtnl.ifaddrmsg")
    namespace = importlib.import_module(f"{_PACKAGE}.netlink.rtnl.nsidmsg")
    netlink = importlib.import_module(f"{_PACKAGE}.netlink")
    return Messages(link.ifinfmsg, route.rtmsg, address.ifaddrmsg, namespace.nsidmsg, netlink.nlmsgerr)


@contextlib.contextmanager
def _bare_package() -> Iterator[None]:
    """Makes pyroute2, in the body, a package whose modules can be imported and whose __init__ has not run."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"No module named {_PACKAGE!r}", name=_PACKAGE)
    bare = types.ModuleType(_PACKAGE)
    bare.__spec__ = spec
    bare.__path__ = spec.submodule_search_locations
    sys.modules[_PACKAGE] = bare
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name == _PACKAGE or name.startswith(f"{_PACKAGE}.")]:
            del sys.modules[name]


class Questions:
    """Questions to the kernel, one at a time, in the network namespace where this was made."""

    def __init__(self) -> None:
        """Raises OSError when the kernel has no rtnetlink for this process."""
        self.socket = _open(groups=0)
        """The socket of the questions. It tells which namespace that is."""
        self._sequence = 0

    def close(self) -> None:
        """Idempotent."""
        self.socket.close()

    def ask(self, kind: int, form: Message, fields: Mapping[str, int], attributes: Mapping[str, object]) -> Message:
        """The one message that answers `kind` (RTM_GET...), decoded as `form`.

        Raises OSError with the kernel's errno; EPROTO when the kernel didn't answer, or not in this form.
        """
        return self.put(encode(kind, form, fields, attributes), form)

    def put(self, question: bytearray, form: Message) -> Message:
        """As `ask`, for an encoded question. Sets its sequence number in place."""
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        question[_SEQUENCE] = self._sequence.to_bytes(4, sys.byteorder)
        self.socket.send(question)
        return self._answer(form)

    def dump(self, kind: int, form: Message, fields: Mapping[str, int]) -> list[Message]:
        """All messages that answer `kind`, decoded as `form`. Raises OSError as `ask` does."""
        question = encode(kind, form, fields, {})
        question[_FLAGS] = (_NLM_F_REQUEST | _NLM_F_DUMP).to_bytes(2, sys.byteorder)
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        question[_SEQUENCE] = self._sequence.to_bytes(4, sys.byteorder)
        self.socket.send(question)
        found: list[Message] = []
        while True:
            for data in self._messages():
                answer = int.from_bytes(data[_TYPE], sys.byteorder)
                if answer == _NLMSG_DONE:
                    return found
                if answer == _NLMSG_ERROR:
                    code = -decode(messages().error, data)["error"]
                    raise OSError(code, os.strerror(code))
                found.append(decode(form, data))

    def _messages(self) -> Iterator[bytes]:
        """The messages of one read, those of this question."""
        try:
            data = self.socket.recv(_REPLY_LEN)
        except BlockingIOError as error:
            raise OSError(errno.EPROTO, "no answer from rtnetlink") from error
        while len(data) >= _HEADER_LEN:
            length = int.from_bytes(data[_LENGTH], sys.byteorder)
            if length < _HEADER_LEN:
                raise OSError(errno.EPROTO, "an answer of rtnetlink without a length")
            if int.from_bytes(data[_SEQUENCE], sys.byteorder) == self._sequence:
                yield data[:length]
            data = data[(length + 3) & ~3 :]

    def _answer(self, form: Message) -> Message:
        """The answer, which is there at once: rtnetlink answers while the question is being sent."""
        while True:
            try:
                data = self.socket.recv(_REPLY_LEN)
            except BlockingIOError as error:
                raise OSError(errno.EPROTO, "no answer from rtnetlink") from error
            kind = int.from_bytes(data[_TYPE], sys.byteorder)
            sequence = int.from_bytes(data[_SEQUENCE], sys.byteorder)
            if sequence != self._sequence:
                continue  # the answer to a question that was given up
            if kind == _NLMSG_ERROR:
                code = -decode(messages().error, data)["error"]
                if not 0 < code <= _LAST_ERRNO:
                    raise OSError(errno.EPROTO, "an answer of rtnetlink without an answer")
                raise OSError(code, os.strerror(code))
            return decode(form, data)


class Hints:
    """Hints, in an event loop, that something in some multicast groups has changed. The watcher asks what it is.

    Calls `heard()` when there are hints, until `close`. The callback takes them, or pauses. The log tells an error that
    it raises, and the call comes again a little later.
    """

    def __init__(
        self, groups: int, loop: Loop, heard: Callable[[], None], log: Log, *, all_namespaces: bool = False
    ) -> None:
        """`groups` is a mask of RTMGRP_... Raises OSError when the kernel has no rtnetlink for this process.

        `all_namespaces`: hints also of namespaces that have an id in this one. Without the privilege, of this one only.
        """
        self._socket = _open(groups)
        if all_namespaces:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(_SOL_NETLINK, _NETLINK_LISTEN_ALL_NSID, 1)
        self._reader = Reader(loop, self._socket.fileno(), heard, what="rtnetlink", log=log)
        self._reader.start()

    def take_all(self) -> None:
        """Takes all hints that wait. Lost hints (ENOBUFS) were hints too. Raises OSError for other errors."""
        for _ in range(_HINTS_A_WAKE_UP):
            try:
                self._socket.recv(1)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise

    def pause(self) -> None:
        """Stops calling. Further hints wait in the socket."""
        self._reader.pause()

    def resume(self) -> None:
        """Calls again after `pause`, at once for hints that have waited."""
        self._reader.start()

    def close(self) -> None:
        """Calls nothing afterwards. Idempotent."""
        self._reader.close()
        self._socket.close()


def encode(kind: int, form: Message, fields: Mapping[str, int], attributes: Mapping[str, object]) -> bytearray:
    """A question of type `kind`, with its attributes in the order given."""
    question = form()
    question.update(fields)
    question["attrs"] = list(attributes.items())
    question["header"] = {"type": kind, "flags": _NLM_F_REQUEST}
    question.encode()
    data: bytearray = question.data
    return data


def decode(form: Message, data: bytes) -> Message:
    """A message of form `form`. Raises OSError EPROTO when `data` isn't one."""
    message = form(data)
    try:
        message.decode()
    except Exception as error:  # the library promises no type
        raise OSError(errno.EPROTO, f"an rtnetlink message that can't be read: {error}") from error
    return message


def number(message: Message, name: str) -> int:
    """The attribute `name` of a message. Raises OSError EPROTO when it isn't there, or can't be read."""
    value = message.get_attr(name)
    if not isinstance(value, int):
        raise OSError(errno.EPROTO, f"an rtnetlink message without {name}")
    return value


def _open(groups: int) -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    sock = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
    try:
        sock.bind((0, groups))
    except OSError:
        sock.close()
        raise
    return sock
