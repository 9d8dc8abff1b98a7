"""What the control plane of a device knows, as events for those that subscribe.

Handshakes and changes are told when they happen. What the data plane alone sees, endpoints that move and counters of
drops, a timer compares, and it runs only while there is a subscriber: packets cost nothing more.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from pywg.config import uapi_events as events
from pywg.config.addresses import format_sock_addr
from pywg.config.model import PeerTrouble, SockAddr
from pywg.config.uapi_events import TRAFFIC
from pywg.constants import REJECT_AFTER_TIME
from pywg.core.events import Endpoint
from pywg.core.tunnel import Tunnel
from pywg.errors import LocalProtocolError
from pywg.runtime.base.clock import CallLater, TimerHandle, cancel
from pywg.runtime.base.feed import Feed

TICK_S = 1.0
"""Seconds between two looks."""
ENDPOINTS_A_LOOK = 512
"""Peers whose endpoints one look compares; the rest has its turn in the next."""
DROPS_S = 10.0
"""Seconds between two events that tell of drops."""
UNANSWERED_S = 2.0
"""Seconds in which an answer to a first initiation may come without a word."""
_EVERY = 16
"""Of initiations without an answer, told after the powers of two below it."""


class Sources(NamedTuple):
    """Where a look looks."""

    endpoint: Callable[[int], Endpoint | None]
    troubles: Callable[[], Iterable[PeerTrouble]]
    counters: Callable[[], Mapping[str, int]]


class Announcer:
    """The events of one device. `feed` has the subscribers."""

    def __init__(
        self, tunnel: Tunnel, sources: Sources, *, now: Callable[[], float], wall: Callable[[], float], later: CallLater
    ) -> None:
        self.feed = Feed(self._began, self._ended, wall=wall)
        self._tunnel = tunnel
        self._sources = sources
        self._now = now
        self._later = later
        self._timer: TimerHandle | None = None
        self._up: dict[int, float] = {}
        """Peers that are up, and when their last handshake was."""
        self._endpoints: dict[int, SockAddr] = {}
        """As they were told, or were when they were first looked at."""
        self._unlooked: list[int] = []
        self._told: dict[bytes, int] = {}
        """Initiations without an answer that were told last, by public key."""
        self._counters: Mapping[str, int] = {}
        self._drops_at = 0.0

    def close(self) -> None:
        """Looks no more."""
        cancel(self._timer)
        self._timer = None

    # What happens

    def completed(self, peer: int) -> None:
        """A session with a peer is up."""
        now = self._now()
        before = self._up.get(peer)
        self._up[peer] = now
        if not self.feed.wanted:
            return
        facts = self._peer(peer)
        self._compare_endpoint(peer)
        self.feed.tell(events.HANDSHAKE, **facts)
        if before is None or now - before > REJECT_AFTER_TIME:
            self.feed.tell(events.PEER_UP, **facts)

    def resumed(self, peer: int, at: float) -> None:
        """A peer is up since a handshake that another process has completed."""
        self._up[peer] = at

    def endpoint_set(self, peer: int) -> None:
        """The operator set or cleared a peer's endpoint."""
        if self.feed.wanted:
            self._compare_endpoint(peer, was_known=True)

    def added(self, peer: int) -> None:
        """The operator added a peer."""
        if self.feed.wanted:
            self.feed.tell(events.PEER_ADDED, public_key=self._key(peer))

    def removed(self, peer: int, public_key: bytes) -> None:
        """The operator removed a peer, which the tunnel knows no more."""
        self._up.pop(peer, None)
        self._endpoints.pop(peer, None)
        self._told.pop(public_key, None)
        self.feed.tell(events.PEER_REMOVED, public_key=public_key.hex())

    def all_sessions_ended(self) -> None:
        """Our key changed, or the interface went down."""
        self._up.clear()
        self._told.clear()

    def link(self, *, up: bool) -> None:
        """The operator set the interface up or down."""
        self.feed.tell(events.INTERFACE_UP if up else events.INTERFACE_DOWN)

    def configured(self, changed: Iterable[str]) -> None:
        """A change was applied; `changed` names what of the interface itself, and no values."""
        if self.feed.wanted:
            self.feed.tell(events.CONFIGURATION, changed=",".join(changed))

    # What is looked for

    def _began(self) -> None:
        self._counters = dict(self._sources.counters())
        self._drops_at = self._now() - DROPS_S
        self._timer = self._later(TICK_S, self._look)

    def _ended(self) -> None:
        self.close()
        self._endpoints.clear()
        self._unlooked = []
        self._told.clear()

    def _look(self) -> None:
        self._timer = None
        if not self.feed.wanted:
            return
        try:
            self._look_at_answers()
            self._look_at_sessions()
            self._look_at_endpoints()
            self._look_at_drops()
        finally:
            self._timer = self._later(TICK_S, self._look)

    def _look_at_answers(self) -> None:
        """Tells of initiations without an answer: the first, then the second, fourth, eighth, and each 16th."""
        troubles = [one for one in self._sources.troubles() if one.initiations_unanswered]
        owed = {}
        for one in troubles:
            number = one.initiations_unanswered
            told = owed[one.public_key] = self._told.get(one.public_key, 0)
            if number < told:  # a handshake has come between
                told = 0
            if number == 1 and one.unanswered_seconds < UNANSWERED_S:
                owed[one.public_key] = 0
            elif told == 0 or number >= min(2 * told, told - told % _EVERY + _EVERY):
                owed[one.public_key] = number
                peer = self._tunnel.peer_by_key(one.public_key)
                if peer is not None:
                    more = {"seconds": one.unanswered_seconds} | ({"trouble": one.trouble} if one.trouble else {})
                    self.feed.tell(events.UNANSWERED, **self._peer(peer), initiations=number, **more)
        self._told = owed

    def _look_at_sessions(self) -> None:
        """Tells of peers without a handshake for too long: those that are asked for one, or are to be kept alive."""
        now = self._now()
        for peer, at in list(self._up.items()):
            if now - at <= REJECT_AFTER_TIME:
                continue
            with contextlib.suppress(LocalProtocolError):
                state = self._tunnel.peer_state(peer)
                if state.persistent_keepalive or state.public_key in self._told:
                    del self._up[peer]
                    self.feed.tell(events.PEER_STALE, **self._peer(peer), handshake_age=int(now - at))

    def _look_at_endpoints(self) -> None:
        if not self._unlooked:
            self._unlooked = list(self._tunnel.peers())
        for peer in self._unlooked[-ENDPOINTS_A_LOOK:]:
            self._compare_endpoint(peer)
        del self._unlooked[-ENDPOINTS_A_LOOK:]

    def _compare_endpoint(self, peer: int, *, was_known: bool = False) -> None:
        """`was_known`: one that is met for the first time is told too."""
        found = self._sources.endpoint(peer)
        before = self._endpoints.get(peer)
        if found is None:
            if self._endpoints.pop(peer, None) is None and not was_known:
                return
        elif before == found[:3]:
            return
        else:
            self._endpoints[peer] = found[:3]
            if before is None and not was_known:
                return
        facts = self._peer(peer)
        if facts:
            self.feed.tell(events.ENDPOINT, **facts, **({"before": format_sock_addr(before)} if before else {}))

    def _look_at_drops(self) -> None:
        now = self._now()
        if now - self._drops_at < DROPS_S:
            return
        counters = dict(self._sources.counters())
        grown = {
            name: count - self._counters.get(name, 0)
            for name, count in counters.items()
            if name not in TRAFFIC and count > self._counters.get(name, 0)
        }
        if grown:
            self._counters, self._drops_at = counters, now
            self.feed.tell(events.DROPS, **grown)

    def _peer(self, peer: int) -> dict[str, str]:
        """Which peer, and where it is. {} for one that is gone."""
        key = self._key(peer)
        if not key:
            return {}
        endpoint = self._sources.endpoint(peer)
        return {"public_key": key} | ({"endpoint": format_sock_addr(endpoint[:3])} if endpoint else {})

    def _key(self, peer: int) -> str:
        try:
            return self._tunnel.peer_state(peer).public_key.hex()
        except LocalProtocolError:
            return ""
