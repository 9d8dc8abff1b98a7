"""Log lines on a Python stream, where a test reads them."""

import contextlib
import sys
from typing import TextIO

from pywg.runtime.base.log_output import Level


class StreamOutput:
    """An output of a log, by default to what is standard error at the time. It may wait."""

    waiting = False

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    def put(self, _level: Level, line: str, _bare: str) -> bool:
        stream = self._stream or sys.stderr
        if stream is not None:  # standard error was closed when the interpreter started
            with contextlib.suppress(OSError, ValueError):
                stream.write(line)
                stream.flush()
        return True

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """The stream is its owner's."""
