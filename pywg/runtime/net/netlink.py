"""rtnetlink(7) for the runtime: questions with their answers, and hints that something has changed."""

import contextlib
import errno
import os
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

from pywg.runtime.base.log import Log
from pywg.runtime.base.reader import Loop, Reader

_NLMSG_ERROR = 2
_TYPE = slice(4, 6)
_SEQUENCE = slice(8, 12)
_CODE = slice(16, 20)
"""Of an error: the kernel's errno, negative."""
_SOL_NETLINK = 270
_NETLINK_LISTEN_ALL_NSID = 8
_REPLY_LEN = 1 << 16
_LAST_ERRNO = 4095  # linux/err.h
_HINTS_A_WAKE_UP = 1024
"""Hints taken at a wake-up: more than a socket buffer of the default length holds, so that the rest are newer."""

Message: TypeAlias = Any
"""A dict of the fixed fields, with `get_attr(name)` for attributes."""


class Form(Protocol):
    """A layout of messages (rtmessages.py)."""

    def encode(self, kind: int, fields: Mapping[str, int], attributes: Mapping[str, object], /) -> bytearray:
        """A question of type `kind`, with its attributes in the order given."""

    def decode(self, data: bytes, /) -> Message:
        """Raises OSError EPROTO when `data` is no such message."""


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

    def ask(self, kind: int, form: Form, fields: Mapping[str, int], attributes: Mapping[str, object]) -> Message:
        """The one message that answers `kind` (RTM_GET...), decoded as `form`.

        Raises OSError with the kernel's errno; EPROTO when the kernel didn't answer, or not in this form.
        """
        return self.put(form.encode(kind, fields, attributes), form)

    def put(self, question: bytearray, form: Form) -> Message:
        """As `ask`, for an encoded question. Sets its sequence number in place."""
        self._send(question)
        return self._answer(form)

    def _send(self, question: bytearray) -> None:
        """Sends it with the next sequence number."""
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        question[_SEQUENCE] = self._sequence.to_bytes(4, sys.byteorder)
        self.socket.send(question)

    def _answer(self, form: Form) -> Message:
        """The answer, which is there at once: rtnetlink answers while the question is being sent."""
        while True:
            data = self._read()
            kind = int.from_bytes(data[_TYPE], sys.byteorder)
            sequence = int.from_bytes(data[_SEQUENCE], sys.byteorder)
            if sequence != self._sequence:
                continue  # the answer to a question that was given up
            if kind == _NLMSG_ERROR:
                raise refusal(data)
            return form.decode(data)

    def _read(self) -> bytes:
        try:
            return self.socket.recv(_REPLY_LEN)
        except BlockingIOError as error:
            raise OSError(errno.EPROTO, "no answer from rtnetlink") from error


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


def number(message: Message, name: str) -> int:
    """The attribute `name` of a message. Raises OSError EPROTO when it isn't there, or can't be read."""
    value = message.get_attr(name)
    if not isinstance(value, int):
        raise OSError(errno.EPROTO, f"an rtnetlink message without {name}")
    return value


def refusal(data: bytes) -> OSError:
    """What a message of the kind NLMSG_ERROR says, or one of NLMSG_DONE with an error."""
    code = -int.from_bytes(data[_CODE], sys.byteorder, signed=True)
    if len(data[_CODE]) < 4 or not 0 < code <= _LAST_ERRNO:
        return OSError(errno.EPROTO, "an answer of rtnetlink without an answer")
    return OSError(code, os.strerror(code))


def _open(groups: int) -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    sock = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
    try:
        sock.bind((0, groups))
    except BaseException:
        sock.close()
        raise
    return sock
