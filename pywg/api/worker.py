"""A thread for calls that wait, one at a time, in the network namespace of the thread that made it."""

import asyncio
import contextlib
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pywg.errors import PywgError
from pywg.manage.tunnel.interrupt import Interrupted

_Result = TypeVar("_Result")


class _StoppedError(Exception):
    """A call that was told to stop has stopped, and undone what it had done."""


class Worker:
    """Calls are made in the order in which they are asked for."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="pywg-api")

    def close(self) -> None:
        """Makes no further call."""
        self._executor.shutdown(wait=False)

    async def ask(self, call: Callable[[], _Result]) -> _Result:
        """The result of a call that changes nothing: a task that is cancelled does not wait for it."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, functools.partial(_caught, call))

    async def do(self, call: Callable[[], _Result], stop: Callable[[], None] | None = None) -> _Result:
        """The result of a call that is whole or not at all. A task that is cancelled has `stop` called, waits until the
        call has ended, whichever way, and is cancelled then."""
        future = asyncio.get_running_loop().run_in_executor(self._executor, functools.partial(_caught, call))
        cancelled: asyncio.CancelledError | None = None
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError as error:
                cancelled = error
                if stop is not None:
                    stop()
        if cancelled is None:
            return future.result()
        with contextlib.suppress(_StoppedError):
            try:
                future.result()
            except PywgError as error:
                raise cancelled from error
        raise cancelled


def _caught(call: Callable[[], _Result]) -> _Result:
    """What signals raise in a command would end the event loop."""
    try:
        return call()
    except Interrupted as error:
        raise _StoppedError(str(error)) from None
