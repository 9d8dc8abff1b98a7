"""Log lines on standard error, in wireguard-go's form: `LEVEL: (interface) date time message`, or as JSON objects.

The level can be changed while the daemon runs.
Lines that a stranger can cause go through `Log.limited`. Nothing here ever sees a secret: callers name peers by
`peer_name`.
"""

import contextlib
import enum
import json
import sys
import time
from base64 import b64encode
from collections.abc import Callable
from typing import TextIO

from pywg.errors import ConfigError


class Level(enum.IntEnum):
    """How much is said: each level includes those before it."""

    SILENT = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    DEBUG = 4


class Form(enum.Enum):
    """How a line is written."""

    TEXT = "text"
    JSON = "json"


_LEVELS = {
    "silent": Level.SILENT,
    "error": Level.ERROR,
    "warning": Level.WARNING,
    "info": Level.INFO,
    "debug": Level.DEBUG,
    "verbose": Level.DEBUG,
}

LIMIT_BURST = 5
LIMIT_SECONDS = 10.0
"""Of one kind of limited line, at most LIMIT_BURST appear in LIMIT_SECONDS."""


def parse_level(text: str) -> Level:
    """The level that LOG_LEVEL names; an empty text is the default, error. Raises ConfigError for any other word."""
    if not text:
        return Level.ERROR
    level = _LEVELS.get(text.lower())
    if level is None:
        raise ConfigError(f"LOG_LEVEL={text!r} is none of {', '.join(_LEVELS)}")
    return level


def parse_form(text: str) -> Form:
    """The form that PYWG_LOG_FORMAT names, by default text. Raises ConfigError for any other word."""
    try:
        return Form(text.lower() or "text")
    except ValueError as error:
        raise ConfigError(f"PYWG_LOG_FORMAT={text!r} is neither text nor json") from error


def peer_name(public_key: bytes) -> str:
    """A peer as wireguard-go names it in its log: the ends of its base64 key."""
    text = b64encode(public_key).decode()
    return f"peer({text[:4]}…{text[39:43]})"


class Log:
    """Writes the lines of one interface at or below `level` to `stream`; by default to what is then standard error."""

    def __init__(
        self,
        interface: str,
        level: Level,
        *,
        form: Form = Form.TEXT,
        stream: TextIO | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.interface = interface
        self.level = level
        self._format = self._json if form is Form.JSON else self._text
        self._stream = stream
        self._monotonic = monotonic
        self._limits: dict[str, tuple[float, int]] = {}

    def error(self, message: str) -> None:
        """Something the operator asked for doesn't work."""
        self._write(Level.ERROR, message)

    def warning(self, message: str) -> None:
        """Something works, but worse than it should."""
        self._write(Level.WARNING, message)

    def info(self, message: str) -> None:
        """The device changed its state."""
        self._write(Level.INFO, message)

    def debug(self, message: str) -> None:
        """A step of the protocol or of the configuration."""
        self._write(Level.DEBUG, message)

    def limited(self, kind: str, message: str, level: Level = Level.DEBUG) -> None:
        """A line that a stranger can cause at any rate.

        `kind` is from a fixed set, and each kind has a limit of its own.
        """
        if level > self.level:
            return
        at = self._monotonic()
        started, count = self._limits.get(kind, (at, 0))
        if at - started >= LIMIT_SECONDS:
            if count > LIMIT_BURST:
                self._write(level, f"{kind}: {count - LIMIT_BURST} more in {at - started:.0f} s")
            started, count = at, 0
        self._limits[kind] = (started, count + 1)
        if count < LIMIT_BURST:
            self._write(level, message)

    def _write(self, level: Level, message: str) -> None:
        if level > self.level:
            return
        line = self._format(level, message)
        stream = self._stream or sys.stderr
        if stream is None:  # standard error was closed when the interpreter started
            return
        with contextlib.suppress(OSError, ValueError):  # nobody reads any more: the tunnel matters more than its log
            stream.write(line)
            stream.flush()

    def _text(self, level: Level, message: str) -> str:
        return f"{level.name}: ({self.interface}) {time.strftime('%Y/%m/%d %H:%M:%S')} {message}\n"

    def _json(self, level: Level, message: str) -> str:
        """One object a line; the time is RFC 3339's, local, in milliseconds."""
        now = time.time()
        at = time.localtime(now)
        zone = time.strftime("%z", at)
        line = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', at)}.{int(now % 1 * 1000):03d}{zone[:3]}:{zone[3:]}",
            "level": level.name.lower(),
            "interface": self.interface,
            "message": message,
        }
        return json.dumps(line, ensure_ascii=False) + "\n"
