"""The worker of a companion: hears the daemon's events and name servers' answers, and asks the keeper for the rest."""

import contextlib
import select
import socket
import time
from collections.abc import Callable

from pywg.config import uapi_events as events
from pywg.config.addresses import parse_sock_addr
from pywg.config.model import SockAddr
from pywg.config.quick_extensions import EVERY_EVENT
from pywg.config.uapi_event_reader import Event, EventReader
from pywg.errors import ConfigError, UapiError
from pywg.manage.companion.channel import WorkerEnd
from pywg.manage.companion.failover import Failover
from pywg.manage.companion.resolver import Resolver
from pywg.manage.companion.settings import Settings
from pywg.manage.tunnel.resolve import numeric

RETRY_S = 0.5
"""Seconds between two questions for a daemon that is not there."""
_CHUNK = 1 << 16


class Worker:
    """One interface's. `run` goes on until the keeper is gone."""

    def __init__(self, settings: Settings, channel: socket.socket, say: Callable[[str], None]) -> None:
        self._keeper = WorkerEnd(channel)
        self._channel = channel
        self._say = say
        self._names = settings.names
        self._hooked = {event for hook in settings.hooks for event in hook.events}
        self._resolver = Resolver()
        self._failover = Failover(
            settings.peers,
            numeric=lambda host: numeric((host, 1)),
            move=self._keeper.move,
            probe=self._keeper.probe,
            ask=self._resolver.ask,
            failback_s=settings.failback_s,
        )
        self._stream: socket.socket | None = None
        self._reader = EventReader()

    def run(self) -> None:
        """Raises EOFError when the keeper is gone."""
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        poll.register(self._resolver.fd, select.POLLIN)
        try_at = 0.0
        while True:
            now = time.monotonic()
            if self._stream is None and now >= try_at:
                try_at = now + RETRY_S
                self._begin(poll)
            wait = min(self._failover.due(now) - now, RETRY_S if self._stream is None else 3600.0)
            ready = {fd for fd, _ in poll.poll(max(wait, 0.0) * 1000 + 1)}
            if self._channel.fileno() in ready:  # it says nothing unasked
                raise EOFError
            if self._resolver.fd in ready:
                for host, addresses, ttl in self._resolver.answers():
                    self._failover.answered(host, addresses, ttl, time.monotonic())
            stream = self._stream
            if stream is not None and stream.fileno() in ready and self._hear(stream):
                poll.unregister(stream)
                stream.close()
                self._stream = None
                try_at = time.monotonic() + RETRY_S

    def _begin(self, poll: select.poll) -> None:
        """Listens to the daemon, if there is one."""
        if (stream := self._keeper.stream()) is not None:
            stream.setblocking(False)
            self._stream, self._reader = stream, EventReader()
            poll.register(stream, select.POLLIN)

    def _hear(self, stream: socket.socket) -> bool:
        """Whether the stream has ended."""
        try:
            data = stream.recv(_CHUNK)
            for event in self._reader.take(data):
                self._on(event)
        except BlockingIOError:
            return False
        except (OSError, UapiError):
            return True
        return not data or self._reader.errno is not None

    def _on(self, event: Event) -> None:
        if event.name in self._hooked or EVERY_EVENT in self._hooked:
            self._keeper.hook(event)
        if event.name in (events.SUBSCRIBED, events.LOST):
            endpoints = self._keeper.endpoints()
            if endpoints is not None:
                self._failover.begin(endpoints, time.monotonic())
        with contextlib.suppress(ValueError):
            key = bytes.fromhex(event.facts.get("public_key", ""))
            if event.name == events.UNANSWERED:
                self._failover.moved(key, _endpoint(event))
                self._failover.unanswered(key, time.monotonic())
            elif event.name == events.ENDPOINT:
                self._failover.moved(key, _endpoint(event))
            elif event.name == events.HANDSHAKE:
                self._failover.moved(key, _endpoint(event))
                self._failover.answers(key)


def _endpoint(event: Event) -> SockAddr | None:
    with contextlib.suppress(ConfigError):
        return parse_sock_addr(event.facts["endpoint"]) if "endpoint" in event.facts else None
    return None
