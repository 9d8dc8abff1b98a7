"""Modules that no part of a daemon uses, and that others of the library import: a daemon loads something empty instead.

They would be a good part of a small daemon's memory and of its start. It speaks no TLS and starts no program: its
filters of system calls refuse that, too. And it asks no function of C for its signature, for which alone inspect reads
Python's syntax.
"""

import contextlib
import sys
import types
from collections.abc import Iterator

UNUSED = ("ssl", "asyncio.sslproto", "subprocess", *(("ast",) if sys.version_info < (3, 14) else ()))
"""TLS: OpenSSL's, its tables, the names of the system's certificates, asyncio's protocol. Programs: with a table of all
locales. Syntax trees: of inspect, which dataclasses and asyncio import; from Python 3.14 on annotations need them."""


class _StandIn(types.ModuleType):
    """It has every name, each a class or a number that nothing has to do with."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return 0 if name.isupper() else type(name, (Exception,), {})


@contextlib.contextmanager
def without_unused() -> Iterator[None]:
    """What is imported in the body, and was not before, finds stand-ins. Later imports find the modules themselves."""
    stand_ins = [name for name in UNUSED if name not in sys.modules]
    for name in stand_ins:
        sys.modules[name] = _StandIn(name)
    try:
        yield
    finally:
        for name in stand_ins:
            del sys.modules[name]
