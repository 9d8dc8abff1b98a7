"""The lines that UAPI text is made of, read and written so that no copy of a secret is left behind.

A secret key is decoded straight from the caller's buffer into a Secret, which is wiped when it is dropped, whatever
becomes of the request; and it is written once, into a buffer that the caller can wipe.
"""

import re
from binascii import a2b_hex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from pywg.config.addresses import parse_number
from pywg.constants import KEY_LEN
from pywg.dataplane.crypto.secret import Secret
from pywg.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_HEX_LEN: Final = KEY_LEN * 2
_HEX: Final = re.compile(rb"[0-9A-Fa-f]{%d}" % _HEX_LEN)
_NAME_MAX_LEN: Final = 32
"""No name is longer. What is, is not copied: it may be a key in the wrong place."""
_LINE: Final = re.compile(rb"([^=\n]*+)(=?)([^\n]*+)\n?")
_HEX_OF_BYTE: Final = tuple(b"%02x" % byte for byte in range(256))


class TextBuilder:
    """Text built line by line, its secrets written last: a buffer that grows leaves its old self in freed memory."""

    def __init__(self) -> None:
        self._text = bytearray()
        self._secrets: list[tuple[int, ReadableBuffer]] = []

    def line(self, line: str) -> None:
        """Add a line, or several, without its newline."""
        self._text += line.encode("ascii")
        self._text += b"\n"

    def secret(self, name: str, key: "ReadableBuffer") -> None:
        """Add the line of a 32-byte key, to be filled in by `finish`. ConfigError when it has another length."""
        if memoryview(key).nbytes != KEY_LEN:
            raise ConfigError(f"{name} must have {KEY_LEN} bytes")
        self._text += name.encode("ascii")
        self._text += b"="
        self._secrets.append((len(self._text), key))
        self._text += b"0" * _HEX_LEN + b"\n"

    def finish(self) -> bytearray:
        """The text, each secret written into its place; the caller wipes it."""
        text = self._text
        for start, key in self._secrets:
            for position, byte in enumerate(memoryview(key).cast("B")):
                if byte:
                    text[start + 2 * position : start + 2 * position + 2] = _HEX_OF_BYTE[byte]
        return text


def lines(text: "ReadableBuffer") -> Iterator[tuple[bytes, memoryview | None]]:
    """(name, value) of each line up to the blank one. Values are views of `text`; None means there is no "=".

    A name that is too long for one is empty.
    """
    view = memoryview(text).cast("B")
    for match in _LINE.finditer(view):
        start, end = match.span(3)
        if match.start(2) < start:
            name = view[match.start() : start - 1]
            yield bytes(name) if len(name) <= _NAME_MAX_LEN else b"", view[start:end]
        elif match.start() < start:
            yield b"", None
        else:
            return


def key_value(value: memoryview) -> bytes:
    """The 32 bytes of a public key in hexadecimal. ConfigError otherwise."""
    if _HEX.fullmatch(value) is None:
        raise ConfigError(f"expected a key: {_HEX_LEN} hexadecimal digits")
    return a2b_hex(value)


def secret_value(value: memoryview) -> Secret:
    """The same of a key that is secret."""
    return Secret.take(key_value(value))


def ascii_text(value: memoryview) -> str:
    """A value that is no secret, as text. ConfigError when it is not ASCII."""
    try:
        return str(value, "ascii")
    except UnicodeDecodeError:
        raise ConfigError("expected plain ASCII") from None


def number_value(value: memoryview, most: int) -> int:
    """A decimal number in 0..`most`. ConfigError otherwise."""
    return parse_number(ascii_text(value), most)
