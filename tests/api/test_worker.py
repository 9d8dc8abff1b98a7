"""Calls that wait, in a thread: cancelled tasks, what a call raises, and the order of calls."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from pywg.api.worker import Worker
from pywg.errors import DeviceError
from pywg.manage.tunnel.interrupt import Interrupts


def run(body: Callable[[Worker], Awaitable[None]]) -> None:
    async def main() -> None:
        worker = Worker()
        try:
            await body(worker)
        finally:
            worker.close()

    asyncio.run(main())


def test_results_and_errors_come_back() -> None:
    def fail() -> None:
        raise DeviceError(5, "a reason")

    async def body(worker: Worker) -> None:
        assert await worker.ask(lambda: 7) == await worker.do(lambda: 7) == 7
        for call in (worker.ask, worker.do):
            with pytest.raises(DeviceError, match="a reason"):
                await call(fail)

    run(body)


def test_a_task_that_is_cancelled_waits_until_what_it_does_is_stopped_and_undone() -> None:
    interrupts, began, told = Interrupts(), threading.Event(), []

    def steps() -> None:
        wait = threading.Event()
        try:
            with interrupts.waiting(wait.set):
                began.set()
                wait.wait()
        finally:
            told.append("undone")

    async def body(worker: Worker) -> None:
        task = asyncio.create_task(worker.do(steps, interrupts.stop))
        await asyncio.to_thread(began.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert told == ["undone"]
        assert await worker.do(lambda: 7) == 7

    run(body)


def test_what_can_not_be_stopped_comes_to_its_end_before_the_task_is_cancelled() -> None:
    began, go, told = threading.Event(), threading.Event(), []

    def whole() -> None:
        began.set()
        go.wait()
        told.append("whole")

    async def body(worker: Worker) -> None:
        task = asyncio.create_task(worker.do(whole))
        await asyncio.to_thread(began.wait)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert told == ["whole"]

    run(body)


def test_an_error_of_the_undo_is_the_cause_of_the_cancellation() -> None:
    began, go = threading.Event(), threading.Event()

    def fails() -> None:
        began.set()
        go.wait()
        raise DeviceError(5, "this could not be undone")

    async def body(worker: Worker) -> None:
        task = asyncio.create_task(worker.do(fails, go.set))
        await asyncio.to_thread(began.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert "could not be undone" in str(caught.value.__cause__)

    run(body)


def test_a_call_that_has_not_begun_is_not_made_and_what_goes_on_is_not_stopped() -> None:
    began, go, told = threading.Event(), threading.Event(), []

    def long() -> int:
        began.set()
        go.wait()
        return 7

    async def body(worker: Worker) -> None:
        first = asyncio.create_task(worker.do(long, go.set))
        await asyncio.to_thread(began.wait)
        second = asyncio.create_task(worker.do(lambda: told.append("made"), lambda: told.append("stopped")))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert await worker.ask(lambda: 8) == 8  # meanwhile
        assert not first.done()
        go.set()
        assert await first == 7
        assert await worker.do(lambda: 9) == 9
        assert told == []

    run(body)


def test_a_question_is_given_up_at_once() -> None:
    began, go = threading.Event(), threading.Event()

    def long() -> None:
        began.set()
        go.wait()

    async def body(worker: Worker) -> None:
        task = asyncio.create_task(worker.ask(long))
        await asyncio.to_thread(began.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not go.is_set()
        go.set()

    run(body)
