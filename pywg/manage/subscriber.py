"""A client of the operation `events=1`: of one interface, or of all that run, whose daemons may end and come back."""

import contextlib
import errno
import select
import time
from collections.abc import Callable, Iterator

from pywg.config.uapi_event_reader import Event, EventReader
from pywg.config.uapi_events import SUBSCRIBED
from pywg.errors import DeviceError, UapiError
from pywg.manage import client
from pywg.manage.event_text import DISCONNECTED

RETRY_S = 0.5
"""Seconds between two looks for a daemon that isn't there, and for further interfaces."""
_MUTE_S = 10.0
"""Seconds until a daemon that tells nothing is asked again, beside others that do."""
_CHUNK = 1 << 16


class Subscriber:
    """Yields what the daemons tell. `interface` None: of all that run, those that come later too.

    `watched` is a descriptor whose error or end ends the wait with a BrokenPipeError: that of the program's output.
    """

    def __init__(self, interface: str | None, *, directory: str | None = None, watched: int = -1) -> None:
        self._interface = interface
        self._directory = directory
        self._streams: dict[str, _Stream] = {}
        self._mute: dict[str, float] = {}
        """Interfaces of daemons that tell no events, or not to this caller, and until when they are left alone."""
        self._heard = False
        """whether any daemon has told something: what then goes wrong may pass, as a daemon that is just ending"""
        self._poll = select.poll()
        if watched >= 0:
            with contextlib.suppress(OSError):
                self._poll.register(watched, 0)
        self._watched = watched

    def close(self) -> None:
        """Hangs up. Idempotent."""
        for stream in self._streams.values():
            stream.close()
        self._streams.clear()

    def events(self) -> Iterator[tuple[str, Event]]:
        """(interface, event), for ever. Raises DeviceError when at the start no daemon answers, or none may be asked,
        and later where the daemon of the one interface tells no events."""
        self._connect(first=True)
        while True:
            for stream in self._ready():
                yield from self._told(stream)
            self._connect(first=False)

    def _connect(self, *, first: bool) -> None:
        wanted = [self._interface] if self._interface else client.served(directory=self._directory)
        now = time.monotonic()
        failed: DeviceError | None = None
        for name in wanted:
            if name in self._streams or self._mute.get(name, 0.0) > now:
                continue
            try:
                self._streams[name] = stream = _Stream(name, self._directory)
                self._poll.register(stream.sock, select.POLLIN)
            except DeviceError as error:
                failed = error
                if error.errno in client.DENIED:
                    self._mute[name] = now + _MUTE_S
        if first and failed is not None and not self._streams:
            raise failed

    def _ready(self) -> "list[_Stream]":
        looks = self._interface is None or not self._streams
        happened = self._poll.poll(RETRY_S * 1000 if looks else None)
        if any(fd == self._watched for fd, _ in happened):
            raise BrokenPipeError
        fds = {fd for fd, _ in happened}
        return [stream for stream in self._streams.values() if stream.sock.fileno() in fds]

    def _told(self, stream: "_Stream") -> Iterator[tuple[str, Event]]:
        name = stream.interface
        try:
            for event in stream.read():
                self._heard = True
                yield name, event
        except (OSError, UapiError):
            stream.ended = True
        if not stream.ended:
            return
        self._poll.unregister(stream.sock)
        stream.close()
        del self._streams[name]
        if stream.subscribed:
            yield name, Event(DISCONNECTED, time.time(), {})
            return
        if self._interface and not self._heard:
            raise stream.refusal()
        if not self._interface:
            self._mute[name] = time.monotonic() + _MUTE_S


class _Stream:
    """One connection. Raises DeviceError when none can be made."""

    def __init__(self, interface: str, directory: str | None) -> None:
        self.interface = interface
        self.sock, _ = client.connect_to_see(interface, directory)
        self.subscribed = False
        self.ended = False
        self._reader = EventReader()
        try:
            self.sock.settimeout(None)
            self.sock.sendall(b"events=1\n\n")
            self.sock.setblocking(False)
        except OSError as error:
            self.sock.close()
            text = f"the daemon of {interface} doesn't answer: {error.strerror}"
            raise DeviceError(error.errno or errno.EIO, text) from error

    def read(self) -> Iterator[Event]:
        """What has come. Raises OSError, and UapiError for what no pywg says."""
        try:
            data = self.sock.recv(_CHUNK)
        except BlockingIOError:
            return
        self.ended = not data
        for event in self._reader.take(data):
            self.subscribed |= event.name == SUBSCRIBED
            yield event
        self.ended |= self._reader.errno is not None

    def refusal(self) -> DeviceError:
        """Why there was no event at all."""
        return refusal(self.interface, self._reader.errno)

    def close(self) -> None:
        self.sock.close()


def refusal(interface: str, code: int | None) -> DeviceError:
    """Why a daemon told no event at all; `code`: the errno with which it ended, None where it hung up."""
    if code == errno.EBUSY:
        return DeviceError(code, f"{interface} has as many subscribers as it takes: end one of them")
    return DeviceError(code or errno.ENOTSUP, f"the daemon of {interface} tells no events: it is not this pywg")


def until_interrupted(subscriber: Subscriber, say: Callable[[str, Event], None]) -> None:
    """Says each event until the caller is interrupted."""
    try:
        for interface, event in subscriber.events():
            say(interface, event)
    except KeyboardInterrupt:
        pass
    finally:
        subscriber.close()
