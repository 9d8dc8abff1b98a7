"""A context manager's end, where all that it has opened is on a stack."""

import contextlib
from types import TracebackType


class Opened:
    """`__enter__` leaves in `_stack` what is open then."""

    _stack: contextlib.ExitStack

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)
