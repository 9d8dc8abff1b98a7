"""asyncio and uvloop without TLS, which no part of a daemon speaks: both import ssl, and nothing uses it.

It would be a good part of a small daemon's memory and of its start: OpenSSL's TLS, its tables, the system's
certificates' names.
"""

import contextlib
import sys
import types
from collections.abc import Iterator


class _NoTls(types.ModuleType):
    """Stands in for ssl: it has every name, each a class or a number that nothing has to do with."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return 0 if name.isupper() else type(name, (Exception,), {})


@contextlib.contextmanager
def without_tls() -> Iterator[None]:
    """What is imported in the body, and was not before, finds a stand-in for ssl. Later imports find ssl itself."""
    if "ssl" in sys.modules:
        yield
        return
    sys.modules["ssl"] = _NoTls("ssl")
    try:
        yield
    finally:
        del sys.modules["ssl"]
