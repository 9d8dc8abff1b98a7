"""rtnetlink(7) for the operator's commands: questions, lists and changes, with all that pyroute2's messages can say.

`import pyroute2` runs a package __init__ that imports all of the library, which takes longer than all else that a
command does. The few modules with the messages need none of that. So this module imports them below a bare package of
the same name, and takes them out of sys.modules again: a later import of pyroute2 finds it as if it had not been
imported. The daemon asks in the same way (pywg.runtime.net.netlink), with the few messages that it knows itself.
"""

import contextlib
import errno
import functools
import importlib
import importlib.util
import struct
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pywg.runtime.net.netlink import Form, Message, Questions, refusal

_PACKAGE = "pyroute2"
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_DUMP_INTR, _NLM_F_DUMP = 0x1, 0x4, 0x10, 0x300
_SOL_NETLINK, _NETLINK_GET_STRICT_CHK = 270, 12
_HEADER = struct.Struct("=IHHII")
"""Length, kind, flags, sequence number, port."""
_FLAGS, _CODE = slice(6, 8), slice(16, 20)
_TRIES = 10
"""Of a list that changes while it is read. The last may lack what moved, as `ip` would say."""


class Rtnetlink(Questions):
    """Questions, lists and changes, one at a time, in the network namespace of the thread that makes it.

    Each raises OSError with the kernel's errno; EPROTO when the kernel didn't answer, or not in this form.
    """

    def __init__(self) -> None:
        super().__init__()
        with contextlib.suppress(OSError):  # Linux before 4.20, which lists more than it is asked for
            self.socket.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)

    def dump(
        self, kind: int, form: Form, fields: Mapping[str, int], attributes: Mapping[str, object] | None = None
    ) -> list[Message]:
        """All messages that answer `kind` (RTM_GET...), decoded as `form`; asked again while they change."""
        question = form.encode(kind, fields, attributes or {})
        for _ in range(_TRIES):
            found, is_whole = self._put(question, form, _NLM_F_REQUEST | _NLM_F_DUMP)
            if is_whole:
                break
        return found

    def change(
        self, kind: int, form: Form, fields: Mapping[str, int], attributes: Mapping[str, object], *, flags: int = 0
    ) -> None:
        """Has the kernel do `kind` (RTM_NEW..., RTM_DEL...); returns when it is done."""
        self._put(form.encode(kind, fields, attributes), form, _NLM_F_REQUEST | _NLM_F_ACK | flags)

    def _put(self, question: bytearray, form: Form, flags: int) -> tuple[list[Message], bool]:
        """(the messages before the end or the acknowledgement, whether nothing changed while they were told)."""
        question[_FLAGS] = flags.to_bytes(2, sys.byteorder)
        self._send(question)
        found: list[Message] = []
        is_whole = True
        while True:
            for kind, its_flags, data in self._messages():
                is_whole &= not its_flags & _NLM_F_DUMP_INTR
                if kind not in (_NLMSG_ERROR, _NLMSG_DONE):
                    found.append(form.decode(data))
                elif any(data[_CODE]):  # the end of a list has an error too
                    raise refusal(data)
                else:
                    return found, is_whole

    def _messages(self) -> Iterator[tuple[int, int, bytes]]:
        """(kind, flags, all of it) of the messages of one read, those of this question."""
        data = self._read()
        while len(data) >= _HEADER.size:
            length, kind, flags, sequence, _ = _HEADER.unpack_from(data)
            if length < _HEADER.size:
                raise OSError(errno.EPROTO, "an answer of rtnetlink without a length")
            if sequence == self._sequence:
                yield kind, flags, data[:length]
            data = data[(length + 3) & ~3 :]


class LibraryForm:
    """A class of pyroute2's as Questions asks with it."""

    def __init__(self, library_class: Any) -> None:
        self.library_class = library_class

    def encode(self, kind: int, fields: Mapping[str, int], attributes: Mapping[str, object]) -> bytearray:
        """A question of type `kind`, with its attributes in the order given."""
        question = self.library_class()
        question.update(fields)
        question["attrs"] = list(attributes.items())
        question["header"] = {"type": kind, "flags": _NLM_F_REQUEST}
        question.encode()
        data: bytearray = question.data
        return data

    def decode(self, data: bytes) -> Message:
        """Raises OSError EPROTO when `data` is no such message."""
        message = self.library_class(data)
        try:
            message.decode()
        except Exception as error:  # the library promises no type
            raise OSError(errno.EPROTO, f"an rtnetlink message that can't be read: {error}") from error
        return message


class Messages(NamedTuple):
    """Those that the commands need."""

    link: LibraryForm
    route: LibraryForm
    address: LibraryForm
    rule: LibraryForm


@functools.cache
def messages() -> Messages:
    """Imports them with the first call. Raises ImportError where pyroute2 is not installed."""
    if _PACKAGE not in sys.modules:
        with contextlib.suppress(ImportError, AttributeError), _bare_package():
            return _import_messages()
    return _import_messages()  # the front door: pyroute2 is imported already, or there is no other way


def _import_messages() -> Messages:
    link = importlib.import_module(f"{_PACKAGE}.netlink.rtnl.ifinfmsg")
    route = importlib.import_module(f"{_PACKAGE}.netlink.rtnl.rtmsg")
    address = importlib.import_module(f"{_PACKAGE}.netlink.rtnl.ifaddrmsg")
    rule = importlib.import_module(f"{_PACKAGE}.netlink.rtnl.fibmsg")
    classes = (link.ifinfmsg, route.rtmsg, address.ifaddrmsg, rule.fibmsg)
    return Messages(*map(LibraryForm, classes))


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
