"""rtnetlink's messages with all that they can say: pyroute2's own classes, without its front door.

`import pyroute2` runs a package __init__ that imports all of the library, which takes longer than all else that doctor
does. The few modules with the messages need none of that. So this module imports them below a bare package of the same
name, and takes them out of sys.modules again: a later import of pyroute2 finds it as if it had not been imported.
"""

import contextlib
import errno
import functools
import importlib
import importlib.util
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pywg.runtime.net.netlink import Message

_PACKAGE = "pyroute2"
_NLM_F_REQUEST = 1


class LibraryForm:
    """A class of pyroute2's as netlink.Questions asks with it."""

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
    """Those that doctor asks with."""

    link: LibraryForm
    route: LibraryForm
    address: LibraryForm


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
    return Messages(LibraryForm(link.ifinfmsg), LibraryForm(route.rtmsg), LibraryForm(address.ifaddrmsg))


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
