"""The bridge between core and data plane.

Events and datagrams go from the core to the plane; handshake messages and signs of life go from the plane to the core.
One call of `move` after each input leaves nothing behind. No transport packet comes this way.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeVar

from pywg import _fastpath as flags
from pywg._fastpath import reserve_spend
from pywg.constants import COOKIE_SECRET_MAX_AGE
from pywg.core import events
from pywg.core.events import Endpoint
from pywg.core.tunnel import Tunnel
from pywg.runtime.base.clock import CallLater, TimerHandle, cancel
from pywg.runtime.base.log import Level, Log
from pywg.runtime.device.announcer import Announcer
from pywg.runtime.device.handshake_log import HandshakeLog
from pywg.runtime.device.plane import Addr, DataPlane

DRAIN_LIMIT = 16
"""Messages for each wake-up, which take 10 ms or so at most: a flood leaves the event loop time for the rest. The
descriptor stays readable while there is more."""


HOLD_S = 3.0
"""Seconds in which data from elsewhere does not move a peer that has answered where it was tried: until what is under
way on its old path has come, and it has heard that it is to use the new one."""

_Result = TypeVar("_Result")

_NEVER = float("inf")
RETRY_S = 0.1
"""Seconds from a timer whose work failed to the next."""


def surely(call: Callable[..., _Result], *arguments: object) -> _Result:
    """Completes a change that has begun, with all the memory that is held in reserve where there is no other.

    A `call` that raises MemoryError has done nothing, or does the same again when it is called again.
    """
    try:
        return call(*arguments)
    except MemoryError:
        reserve_spend()
        return call(*arguments)


def _attempt(errors: list[Exception], call: Callable[..., object], *arguments: object) -> None:
    """Adds an error of the call to `errors`."""
    try:
        call(*arguments)
    except Exception as error:  # noqa: BLE001 - the caller raises it
        errors.append(error)


class Bridge:
    """Joins one Tunnel and one DataPlane. Calls `tun_gone` when the plane finds its interface deleted.

    `call_later` counts by the clock of `now`, and may call too early.
    """

    def __init__(
        self,
        tunnel: Tunnel,
        plane: DataPlane,
        *,
        call_later: CallLater,
        now: Callable[[], float],
        log: Log,
        handshakes: HandshakeLog,
        announcer: Announcer,
        tun_gone: Callable[[], None],
    ) -> None:
        self.dropped: Counter[str] = Counter()
        """Handshake messages that the core rejected, by reason."""
        self.handshakes = 0
        """Those that were completed."""
        self._tunnel = tunnel
        self._plane = plane
        self._call_later = call_later
        self._now = now
        self._log = log
        self._handshakes = handshakes
        self._announcer = announcer
        self._tun_gone = tun_gone
        self._timer: TimerHandle | None = None
        self._timer_at = 0.0
        self._cookies_until = _NEVER
        """When the plane's secrets of cookies are to be looked at: it draws them under load alone."""
        self._closed = False
        self._not_installed: set[int] = set()
        """Keypairs that the plane had no memory for, by local index; to the core they are good until they retire."""
        self._handlers: dict[type[events.Event], Callable[..., object]] = {
            events.KeypairDerived: self._keypair_derived,
            events.SendingKeypairChanged: self._sending_keypair_changed,
            events.KeypairRetired: self._keypair_retired,
            events.HandshakeIndexOpened: lambda e: plane.open_index(e.local_index, e.peer),
            events.HandshakeIndexClosed: lambda e: plane.close_index(e.local_index),
            events.ProbeAnswered: lambda e: plane.hold_endpoint(e.peer, tuple(e.source), HOLD_S),
            events.KeepaliveWanted: lambda e: plane.send_keepalive(e.peer),
            events.SendStaged: lambda e: plane.send_staged(e.peer),
            events.DropStaged: lambda e: plane.drop_staged(e.peer),
            events.SourceCleared: lambda e: plane.clear_source(e.peer),
            events.HandshakeCompleted: self._handshake_completed,
            events.HandshakeGivenUp: lambda e: self._handshakes.given_up(e.peer),
            events.CookieReceived: lambda e: self._handshakes.cookie_received(e.peer),
            events.Dropped: self._dropped,
        }

    def close(self) -> None:
        """Stops the timer; later calls do nothing."""
        self._closed = True
        cancel(self._timer)

    # Handover

    def settle(self) -> None:
        """Takes all that the plane has still told, of which the core must know before it is carried elsewhere.

        For a plane without sockets: handshake messages that wait are lost, as the network might lose them.
        """
        while True:
            messages, peer_events, _ = self._plane.drain(DRAIN_LIMIT)
            now = self._now()
            for peer, what, confirmed_index in peer_events:
                self._peer_event(peer, what, confirmed_index, now)
            self._carry()
            if not messages and not peer_events:
                break
        self._tunnel.rest()

    def pause(self) -> None:
        """Does nothing, by no timer, until `go_on`."""
        self._closed = True
        cancel(self._timer)
        self._timer = None

    def go_on(self, not_installed: Iterable[int] = ()) -> None:
        """After `pause`, or where another process has stopped. `not_installed`: keypairs that the plane lacks."""
        self._not_installed.update(not_installed)
        self._closed = False
        self.move()

    # What happens

    def on_plane_ready(self) -> None:
        """Hands the plane's messages and events to the core, when its descriptor is readable.

        Raises the first error once all are handed over: the plane tells nothing twice, and one peer's trouble, for want
        of random numbers or memory, is not another's.
        """
        if self._closed:
            return
        messages, peer_events, state = self._plane.drain(DRAIN_LIMIT)
        now = self._now()
        errors: list[Exception] = []
        for peer, what, confirmed_index in peer_events:
            _attempt(errors, self._peer_event, peer, what, confirmed_index, now)
        if state & flags.UNDER_LOAD:
            self._cookies_until = min(self._cookies_until, now + COOKIE_SECRET_MAX_AGE)
            self._log.limited("under load", "under load: handshakes have to bring a cookie", Level.INFO)
        for data, addr in messages:
            _attempt(errors, self._message, data, addr, now)
        _attempt(errors, self.move)
        if state & flags.TUN_GONE:
            self._tun_gone()
        if errors:
            self._tunnel.rest()
            raise errors[0]

    def _message(self, data: bytes, addr: Addr, now: float) -> None:
        sender = self._tunnel.receive_datagram(data, Endpoint(*addr), now)
        if sender is not None:
            self._plane.handshake_received(sender, addr, len(data))
            self._handshakes.received(sender, data[0])
        self._carry()

    def move(self) -> None:
        """Brings the core's events to the plane, sends the core's datagrams, and sets the timer for its next deadline.

        The end of a turn: the core has nothing at hand any more.
        """
        self._carry()
        self._tunnel.rest()
        self._set_timer()

    def _carry(self) -> None:
        """Carries events first: a session's keys are there before the message leaves that lets the peer use them."""
        self.move_events()
        for data, peer, to in self._tunnel.datagrams_to_send():
            if to is not None:  # nobody waits for its answer
                surely(self._plane.send_to_peer, peer, data, tuple(to))
            elif surely(self._plane.send_to_peer, peer, data):
                self._handshakes.sent(peer, data[0])
            else:
                self._handshakes.not_sent(peer, data[0], self._plane.send_error)

    def move_events(self, *, unknown: int | None = None) -> None:
        """The first part of `move` alone: what the plane must know before the device removes a peer from it.

        The plane has never had peer `unknown`, and hears nothing of it.
        """
        handlers = self._handlers
        for event in self._tunnel.events():
            if unknown is not None and getattr(event, "peer", None) == unknown:
                continue
            try:
                surely(handlers[type(event)], event)
            except MemoryError:  # the events after it hold all the same
                self._log.limited("memory", f"out of memory: {type(event).__name__} is lost", Level.ERROR)
                if isinstance(event, events.KeypairDerived):
                    self._not_installed.add(event.local_index)

    def _set_timer(self) -> None:
        deadline = min(self._tunnel.next_deadline() or _NEVER, self._cookies_until)
        if deadline == _NEVER or self._closed:
            return
        if self._timer is not None and self._timer_at <= deadline:
            return  # the timer looks again when it fires; moving it at each handshake would cost more
        cancel(self._timer)
        now = self._now()
        delay = max(deadline - now, 0.0)
        self._timer_at = now + delay
        self._timer = self._call_later(delay, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._closed:
            return
        try:
            deadline, now = self._tunnel.next_deadline(), self._now()
            if self._cookies_until <= now:
                self._cookies_until = now + COOKIE_SECRET_MAX_AGE if self._plane.forget_cookies() else _NEVER
            if deadline is not None and deadline <= now:
                self._tunnel.handle_deadline(now)
            self.move()
        except Exception:
            self._tunnel.rest()
            if self._timer is None:  # without a timer, deadlines would wait for the next input
                self._timer_at = self._now() + RETRY_S
                self._timer = self._call_later(RETRY_S, self._on_timer)
            raise

    def _peer_event(self, peer: int, what: int, confirmed_index: int, now: float) -> None:
        tunnel = self._tunnel
        if what & flags.ROUTING_LOOP:
            name = self._handshakes.name(peer)
            line = f"routing loop: what is sent to {name} comes back to be sent again, and is dropped"
            self._log.limited("routing loop", line, Level.WARNING)
        if what & flags.CONFIRMED:
            tunnel.keypair_confirmed(peer, confirmed_index, now)
        if what & flags.ACTIVITY:
            tunnel.activity_started(peer, now)
        if what & flags.REKEY_WANTED:
            tunnel.rekey_wanted(peer, now)
        if what & flags.HANDSHAKE_WANTED:
            self._handshakes.wanted(peer)
            tunnel.handshake_wanted(peer, now)

    def _keypair_derived(self, event: events.KeypairDerived) -> None:
        self._plane.install_keypair(
            event.peer,
            event.local_index,
            event.remote_index,
            event.send_key,
            event.receive_key,
            initiator=event.initiator,
            created_at=event.created_at,
            confirmed=event.initiator,
        )

    def _sending_keypair_changed(self, event: events.SendingKeypairChanged) -> None:
        """Skips a keypair that the plane lacks: it goes on with the one before, and the next handshake mends that."""
        if event.local_index not in self._not_installed:
            self._plane.use_keypair(event.peer, event.local_index)

    def _keypair_retired(self, event: events.KeypairRetired) -> None:
        self._not_installed.discard(event.local_index)
        self._plane.retire_keypair(event.local_index)

    def _handshake_completed(self, event: events.HandshakeCompleted) -> None:
        self.handshakes += 1
        self._handshakes.completed(event.peer)
        self._announcer.completed(event.peer)

    def _dropped(self, event: events.Dropped) -> None:
        self.dropped[event.reason] += 1
        self._handshakes.dropped(event)
