"""Threads for calls that wait, in the network namespace of the thread that made them: one for what changes something,
one for questions, which so are answered while a change waits."""

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
    """Changes are made in the order in which they are asked for, and so are questions answered."""

    def __init__(self) -> None:
        self._changes = ThreadPoolExecutor(1, thread_name_prefix="pywg-api")
        self._questions = ThreadPoolExecutor(1, thread_name_prefix="pywg-ask")

    def close(self) -> None:
        """Makes no further call."""
        self._changes.shutdown(wait=False)
        self._questions.shutdown(wait=False)

    async def ask(self, call: Callable[[], _Result]) -> _Result:
        """The result of a call that changes nothing: a task that is cancelled does not wait for it."""
        return await asyncio.get_running_loop().run_in_executor(self._questions, functools.partial(_caught, call))

    async def do(self, call: Callable[[], _Result], stop: Callable[[], None] | None = None) -> _Result:
        """The result of a call that is whole or not at all. A task that is cancelled has `stop` called, waits until the
        call has ended, whichever way, and is cancelled then. Where the call has not begun, it never does."""
        made = self._changes.submit(_caught, call)
        future = asyncio.wrap_future(made)
        cancelled: asyncio.CancelledError | None = None
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError as error:
                cancelled = error
                if made.cancel():
                    raise
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
