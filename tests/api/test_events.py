"""Events, from a socket that a test writes: what is lost, what ends, and how a program is told."""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable

import pytest

from pywg.api.events import EVENTS_MAX, Events
from pywg.config.uapi_event_reader import Event
from pywg.config.uapi_events import CONFIGURATION, ENDING, HANDSHAKE, LOST, SUBSCRIBED, format_event
from pywg.errors import DeviceError, TunnelGoneError
from pywg.manage.event_text import DISCONNECTED

KEY = bytes(range(32))


class Daemon:
    """The far end."""

    def __init__(self) -> None:
        self.sock, self._near = socket.socketpair()
        self.events = Events("wg7", self._connect)

    async def _connect(self) -> socket.socket:
        return self._near

    def say(self, name: str, **facts: object) -> None:
        self.sock.sendall(format_event(name, 1.0, facts))

    def end(self, code: int = 0) -> None:
        self.sock.sendall(f"errno={code}\n\n".encode())
        self.sock.close()


def run(body: Callable[[Daemon], Awaitable[None]], *, subscribed: bool = True) -> None:
    async def main() -> None:
        daemon = Daemon()
        if subscribed:
            daemon.say(SUBSCRIBED)
        try:
            await body(daemon)
        finally:
            await daemon.events.aclose()
            daemon.sock.close()

    asyncio.run(main())


async def settled() -> None:
    """All that was said has been heard."""
    for _ in range(50):
        await asyncio.sleep(0)


def test_events_come_in_order_and_name_their_peer() -> None:
    async def body(daemon: Daemon) -> None:
        async with daemon.events as events:
            assert daemon.sock.recv(100) == b"events=1\n\n"
            daemon.say(HANDSHAKE, public_key=KEY.hex(), endpoint="192.0.2.1:7")
            daemon.say(CONFIGURATION, changed="peers")
            first, second = await anext(events), await anext(events)
        assert (first.name, first.public_key, first.facts["endpoint"]) == (HANDSHAKE, KEY, "192.0.2.1:7")
        assert (second.name, second.public_key) == (CONFIGURATION, None)

    run(body)


@pytest.mark.parametrize("text", ["", "zz", "00" * 31, "00" * 33])
def test_what_is_no_key_is_no_peer(text: str) -> None:
    assert Event(HANDSHAKE, 1.0, {"public_key": text}).public_key is None


def test_a_loop_ends_when_the_program_closes_it() -> None:
    async def body(daemon: Daemon) -> None:
        async def heard() -> list[str]:
            return [event.name async for event in daemon.events]

        task = asyncio.create_task(heard())
        await settled()
        await daemon.events.aclose()
        assert await task == []
        assert daemon.events.closed

    run(body)


@pytest.mark.parametrize("orderly", [True, False])
def test_the_end_of_the_daemon_is_an_event_and_then_an_error(orderly: bool) -> None:
    async def body(daemon: Daemon) -> None:
        async with daemon.events as events:
            if orderly:
                daemon.say(ENDING)
                daemon.end()
            else:
                daemon.sock.close()
            assert (await anext(events)).name == (ENDING if orderly else DISCONNECTED)
            for _ in range(2):
                with pytest.raises(TunnelGoneError, match="wg7 is served no more"):
                    await anext(events)

    run(body)


def test_a_slow_program_is_told_how_many_events_it_has_lost() -> None:
    async def body(daemon: Daemon) -> None:
        async with daemon.events as events:
            for number in range(EVENTS_MAX + 7):
                daemon.say(CONFIGURATION, changed=number)
                await asyncio.sleep(0)
            daemon.say(LOST, events=3)  # its own queue was full as well
            await settled()
            got = [await anext(events) for _ in range(EVENTS_MAX)]
            assert [event.facts["changed"] for event in got] == [str(number) for number in range(EVENTS_MAX)]
            lost = await anext(events)
            assert (lost.name, lost.facts) == (LOST, {"events": "10"})
            daemon.say(HANDSHAKE)
            assert (await anext(events)).name == HANDSHAKE

    run(body)


def test_the_end_is_told_even_to_a_program_that_has_lost_events() -> None:
    async def body(daemon: Daemon) -> None:
        async with daemon.events as events:
            for number in range(EVENTS_MAX + 1):
                daemon.say(CONFIGURATION, changed=number)
                await asyncio.sleep(0)
            daemon.say(ENDING)
            daemon.end()
            await settled()
            names = [(await anext(events)).name for _ in range(EVENTS_MAX + 2)]
            assert names[-2:] == [LOST, ENDING]

    run(body)


@pytest.mark.parametrize(("code", "says"), [(errno.EBUSY, "as many subscribers"), (0, "tells no events")])
def test_a_daemon_that_tells_no_events_is_one_clear_error(code: int, says: str) -> None:
    async def body(daemon: Daemon) -> None:
        daemon.sock.sendall(f"errno={code}\n\n".encode())
        with pytest.raises(DeviceError, match=says):
            async with daemon.events:
                pass

    run(body, subscribed=False)


def test_what_no_pywg_says_ends_it() -> None:
    async def body(daemon: Daemon) -> None:
        async with daemon.events as events:
            daemon.sock.sendall(b"nonsense\n\n")
            assert (await anext(events)).name == DISCONNECTED
            with pytest.raises(Exception, match="no fact of an event"):
                await anext(events)

    run(body)
