"""Log lines in wireguard-go's form, `LEVEL: (interface) date time message`, or as JSON objects.

The level and the output (log_output.py) can change while the daemon runs. The output never waits for its reader. Lines
that a stranger can cause go through `Log.limited`. No secret reaches this module: callers name peers by `peer_name`.
"""

import enum
import functools
import time
from base64 import b64encode
from collections.abc import Callable

from pywg.errors import ConfigError
from pywg.runtime.base.log_output import Level, Output

__all__ = ["LIMIT_BURST", "LIMIT_SECONDS", "RECHECK_S", "Form", "Level", "Log", "key_name", "level_of"]
__all__ += ["parse_form", "parse_level", "peer_name"]


class Form(enum.Enum):
    """The form of a line."""

    TEXT = "text"
    JSON = "json"


_WORDS = {
    Level.SILENT: "silent quiet off none",
    Level.ERROR: "error err fatal panic crit critical alert emerg emergency 0 1 2 3",
    Level.WARNING: "warning warn 4",
    Level.INFO: "info information notice 5 6",
    Level.DEBUG: "debug verbose trace all 7",
}
"""Words of other loggers for their levels; the numbers are syslog's severities."""
_LEVELS = {word: level for level, words in _WORDS.items() for word in words.split()}

LIMIT_BURST = 5
LIMIT_SECONDS = 10.0
"""At most LIMIT_BURST lines of one limited kind appear in LIMIT_SECONDS."""
RECHECK_S = 0.5
"""Seconds from a write that the reader did not take to the next attempt."""


def level_of(word: str) -> Level | None:
    """The level that a word of ours, a word of another logger, or a number of syslog means; None for any other word."""
    return _LEVELS.get(word.strip().lower())


def parse_level(word: str) -> Level:
    """The level that a word means. Raises ConfigError when it means none."""
    level = level_of(word)
    if level is None:
        raise ConfigError(f"{word!a} is no log level: choose silent, error, warning, info, or debug (or verbose)")
    return level


def parse_form(text: str) -> Form:
    """The form that PYWG_LOG_FORMAT names; text when it is empty. Raises ConfigError for any other word."""
    try:
        return Form(text.lower() or "text")
    except ValueError as error:
        raise ConfigError(f"PYWG_LOG_FORMAT={text!r} is neither text nor json") from error


def key_name(public_key: bytes) -> str:
    """The ends of a key's base64."""
    text = b64encode(public_key).decode()
    return f"{text[:4]}…{text[39:43]}"


def peer_name(public_key: bytes) -> str:
    """A peer as wireguard-go names it in its log."""
    return f"peer({key_name(public_key)})"


class Log:
    """The log of one interface. Writes lines at or below `level` to `output`."""

    def __init__(
        self,
        interface: str,
        level: Level,
        *,
        output: Output,
        form: Form = Form.TEXT,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.interface = interface
        self.level = level
        self._form = form
        if form is Form.JSON:
            from json import dumps  # noqa: PLC0415 - few daemons write it, and a closed sandbox imports nothing

            self._encode = functools.partial(dumps, ensure_ascii=False)
        self._output = output
        self._monotonic = monotonic
        self._limits: dict[str, tuple[float, int]] = {}
        self._lost = 0
        self._call_later: Callable[[float, Callable[[], None]], object] | None = None
        self._looking = False

    def follow(self, call_later: Callable[[float, Callable[[], None]], object] | None) -> None:
        """With the event loop's `call_later`, lines that wait leave once the reader reads, and not with the next line.

        None when the loop ends.
        """
        self._call_later = call_later

    def redirect(self, output: Output) -> None:
        """Sends lines to `output` from now on. Gives up what waits for the reader of the old output."""
        self._output.close()
        self._output = output

    def close(self) -> None:
        """Writes what the reader takes now, without waiting. Later lines are lost."""
        self._flush()
        self._output.close()

    def error(self, message: str) -> None:
        """A line about what the operator asked for and does not get."""
        self._write(Level.ERROR, message)

    def warning(self, message: str) -> None:
        """A line about what works worse than it should."""
        self._write(Level.WARNING, message)

    def info(self, message: str) -> None:
        """A line about a change of the device's state."""
        self._write(Level.INFO, message)

    def debug(self, message: str) -> None:
        """A line about a step of the protocol or of the configuration."""
        self._write(Level.DEBUG, message)

    def limited(
        self, kind: str, message: str, level: Level = Level.DEBUG, *, burst_seconds: float = LIMIT_SECONDS
    ) -> bool:
        """A line that a stranger can cause at any rate: LIMIT_BURST of a kind in `burst_seconds`, then their number.

        `kind` is from a fixed set, and each kind has its own limit. False when the line was one too many.
        """
        if level > self.level:
            return True
        at = self._monotonic()
        started, count = self._limits.get(kind, (at, 0))
        if at - started >= burst_seconds:
            if count > LIMIT_BURST:
                self._write(level, f"{kind}: {count - LIMIT_BURST} more in {at - started:.0f} s")
            started, count = at, 0
        self._limits[kind] = (started, count + 1)
        if count < LIMIT_BURST:
            self._write(level, message)
        return count < LIMIT_BURST

    def _write(self, level: Level, message: str) -> None:
        if level > self.level:
            return
        # No other line is written before the number of lost lines: so the reader sees where the gap is.
        if not (self._told_lost() and self._put(level, message)):
            self._lost += 1
        self._look_again()

    def _told_lost(self) -> bool:
        lost = "1 log line was" if self._lost == 1 else f"{self._lost} log lines were"
        if self._lost and self._put(Level.WARNING, f"{lost} lost: nobody read the log"):
            self._lost = 0
        return not self._lost

    def _put(self, level: Level, message: str) -> bool:
        if self._form is Form.JSON:
            line = self._json(level, message)
            return self._output.put(level, line + "\n", line)
        line = f"{level.name}: ({self.interface}) {time.strftime('%Y/%m/%d %H:%M:%S')} {message}\n"
        return self._output.put(level, line, f"({self.interface}) {message}")

    def _look_again(self) -> None:
        if self._output.waiting and self._call_later is not None and not self._looking:
            self._looking = True
            self._call_later(RECHECK_S, self._look)

    def _look(self) -> None:
        self._looking = False
        self._flush()
        self._look_again()

    def _flush(self) -> None:
        self._output.flush()
        self._told_lost()

    def _json(self, level: Level, message: str) -> str:
        """One object; the time is RFC 3339's, local, in milliseconds."""
        now = time.time()
        at = time.localtime(now)
        zone = time.strftime("%z", at)
        line = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', at)}.{int(now % 1 * 1000):03d}{zone[:3]}:{zone[3:]}",
            "level": level.name.lower(),
            "interface": self.interface,
            "message": message,
        }
        return self._encode(line)
