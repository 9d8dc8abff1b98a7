"""Log lines about handshakes: at the default level why there is none, and at debug each step.

The log says a trouble once, with its cause and what to check, and once more when it is over. While it lasts, attempts
are lines at debug alone. A stranger can cause three of these lines, with our public key or a recorded message: all
three are limited, at whatever rate they come. Lines name peers by their public keys.
"""

import contextlib
import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from pywg.config.addresses import format_sock_addr
from pywg.config.model import PeerTrouble
from pywg.constants import MESSAGE_INITIATION, MESSAGE_RESPONSE, REKEY_ATTEMPT_TIME
from pywg.core import events
from pywg.core.events import Dropped, Endpoint
from pywg.core.tunnel import Tunnel
from pywg.errors import LocalProtocolError
from pywg.runtime.base.log import Level, Log, key_name, peer_name

REPLAYS = 3
"""Initiations in a row that are no newer than one before them. Fewer may be copies that the network made."""
UNKNOWN_KEYS = 64
"""Unknown public keys that are remembered, so that the log says each once in UNKNOWN_KEY_SECONDS."""
UNKNOWN_KEY_SECONDS = 3600.0
TRIES_A_QUESTION = 9
"""Initiations between two questions why an endpoint doesn't answer. The second initiation brings the first."""
STRANGERS_SECONDS = 300.0
"""Seconds in which strangers can cause no more than LIMIT_BURST lines."""

_KINDS = {MESSAGE_INITIATION: "initiation", MESSAGE_RESPONSE: "response"}
_ADVICE = {
    errno.EPERM: "a packet filter of this host drops it",
    errno.EACCES: "a route or a packet filter of this host prohibits it",
    errno.ENETUNREACH: "no route leads there",
    errno.EHOSTUNREACH: "no route leads there, or nobody answers at that address",
    errno.EAFNOSUPPORT: "there is no socket of that family: it is off on this host, or other addresses are listened on",
    errno.EINVAL: "the address can't be sent to",
}
_REFUSALS = {
    errno.ECONNREFUSED: "no program listens on that port there",
    errno.EHOSTUNREACH: "the host is down, or a firewall rejects",
    errno.EACCES: "a firewall rejects",
}
_PASSING = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.EDESTADDRREQ})
"""Errors without a line at the default level: the next attempt may pass, or the peer has to speak first."""


@dataclass(slots=True)
class _Story:
    """The course of one peer's handshakes."""

    trouble: str = ""
    """the kind that the log said last; "" when all is well"""
    level: Level = Level.ERROR
    """at which the log said it"""
    seen_at: float = 0.0
    """when it last showed itself"""
    cause: str = ""
    """the trouble in words, for `troubles`; "" when all is well"""
    unanswered: int = 0
    """initiations since the last handshake, given up or not"""
    first_unanswered_at: float = 0.0
    unanswered_since: float | None = None
    tries: int = 0
    replays: int = 0
    endpoint_is_set: bool = False
    """by configuration: the operator expects an answer from there"""


@dataclass(slots=True)
class HandshakeLog:
    """The lines of one tunnel. `endpoint(peer)` is a peer's endpoint; None when it is unknown or the peer is gone.

    `ask(endpoint, told)` asks the network about an endpoint that doesn't answer.
    """

    log: Log
    tunnel: Tunnel
    now: Callable[[], float]
    endpoint: Callable[[int], Endpoint | None]
    ask: Callable[[Endpoint, Callable[[int], None]], None]
    _stories: dict[int, _Story] = field(default_factory=dict)
    _unknown: dict[bytes, float] = field(default_factory=dict)
    _said_no_key: bool = False

    # Configuration

    def endpoint_set(self, peer: int, *, moved: bool) -> None:
        """The operator set a peer's endpoint; `moved` when it differs from the one before."""
        self._story(peer).endpoint_is_set = True
        if moved:
            self.changed(peer)

    def endpoint_was_set(self, peer: int) -> bool:
        """Whether a peer's endpoint is of configuration."""
        story = self._stories.get(peer)
        return story is not None and story.endpoint_is_set

    def endpoint_cleared(self, peer: int) -> None:
        """The operator took a peer's endpoint away."""
        self._stories[peer] = _Story()

    def changed(self, peer: int) -> None:
        """A peer's endpoint or our key changed: a trouble may be over, and the log says it again if it isn't."""
        self._stories[peer] = _Story(endpoint_is_set=self._story(peer).endpoint_is_set)

    def all_changed(self) -> None:
        """Our key changed, or the interface went down."""
        self._said_no_key = False
        for peer in list(self._stories):
            self.changed(peer)

    def removed(self, peer: int) -> None:
        """The operator removed a peer."""
        self._stories.pop(peer, None)

    def troubles(self) -> list[PeerTrouble]:
        """Of each peer that owes an answer: since when, and why as far as that is known."""
        now = self.now()
        found = []
        for peer, story in self._stories.items():
            if story.unanswered or story.cause:
                seconds = int(now - story.first_unanswered_at) if story.unanswered else 0
                with contextlib.suppress(LocalProtocolError):  # it is gone
                    public_key = self.tunnel.peer_state(peer).public_key
                    found.append(PeerTrouble(public_key, story.unanswered, seconds, story.cause))
        return found

    # What we send

    def wanted(self, peer: int) -> None:
        """The data plane has data for a peer, and no session."""
        if self.tunnel.public_key is None and not self._said_no_key:
            self._said_no_key = True
            self.log.error(f"{self.name(peer)}: no handshake without a private key, and none is set")

    def sent(self, peer: int, kind: int) -> None:
        """A handshake message left for a peer."""
        story = self._story(peer)
        what = _KINDS.get(kind, "message")
        if story.trouble.startswith("sending"):
            self._over(peer, story, f"sending to {self._place(peer)} works again")
        if kind != MESSAGE_INITIATION:
            self._debug(peer, f"{what} sent to {self._place(peer)}")
            return
        self._count_try(story)
        self._debug(peer, f"{what} sent to {self._place(peer)}, try {story.tries}")
        if story.tries % TRIES_A_QUESTION == 2 and story.endpoint_is_set:
            self._find_out(peer)
        self._judge(peer, story)

    def not_sent(self, peer: int, kind: int, error: int) -> None:
        """A handshake message could not leave."""
        story = self._story(peer)
        if kind == MESSAGE_INITIATION:
            self._count_try(story)
        if error == errno.EDESTADDRREQ:
            self._debug(peer, "nothing sent: no endpoint is known")
            return
        text = f"sending to {self._place(peer)} fails: {_why(error, _ADVICE)}"
        if error in _PASSING:
            self._debug(peer, text)
        else:
            self._trouble(peer, story, f"sending {error}", text)

    # What comes of it

    def received(self, peer: int, kind: int) -> None:
        """An authentic handshake message came from a peer."""
        self._story(peer).replays = 0
        self._debug_limited(peer, f"{_KINDS.get(kind, 'message')} received from {self._place(peer)}")

    def cookie_received(self, peer: int) -> None:
        """A peer wants a cookie in the next message."""
        self._debug_limited(peer, "cookie reply received: it is under load, and the next message brings the cookie")

    def completed(self, peer: int) -> None:
        """A session with a peer is up."""
        story = self._story(peer)
        if story.trouble:
            self._over(peer, story, f"handshake with {self._place(peer)} works again")
        self._debug_limited(peer, "handshake completed")
        story.unanswered_since, story.tries, story.replays = None, 0, 0
        story.unanswered, story.cause = 0, ""

    def given_up(self, peer: int) -> None:
        """The core sends a peer no further initiation until there is new data."""
        story = self._story(peer)
        self._debug(peer, f"no answer to {story.tries} initiations: handshake given up")
        if not story.tries:
            self._trouble(peer, story, "public key", "no handshake: nobody can have its public key, which is malformed")
        elif self.endpoint(peer) is None:
            self._trouble(peer, story, "endpoint", "no endpoint is known: it has to speak first", Level.INFO)
        else:
            self._judge(peer, story, given_up=True)
        story.unanswered_since, story.tries = None, 0

    def dropped(self, event: Dropped) -> None:
        """The core rejected a handshake message."""
        place = "" if event.source is None else f" from {format_sock_addr(event.source[:3])}"
        self.log.limited(event.reason, f"handshake message{place} dropped: {event.reason}")
        if event.public_key is None:
            return
        peer = self.tunnel.peer_by_key(event.public_key)
        if event.reason == events.UNKNOWN_PEER:
            self._unknown_key(event.public_key, place)
        elif peer is None:
            return
        elif event.reason == events.BAD_RESPONSE:
            text = f"the answer{place} does not authenticate: has the other end another preshared key?"
            self._trouble(peer, self._story(peer), "answer", text)
        elif event.reason == events.REPLAYED_INITIATION:
            story = self._story(peer)
            story.replays += 1
            if story.replays >= REPLAYS:
                text = f"its initiations{place} are older than one before: has its clock gone back?"
                self._trouble(peer, story, "clock", text)

    # How it is said

    def _judge(self, peer: int, story: _Story, *, given_up: bool = False) -> None:
        """Says that there is no answer, after the time of an attempt in which no better cause showed itself.

        New data starts attempts anew, so the core may never give up an attempt that this tells of.
        """
        since = self.now() if story.unanswered_since is None else story.unanswered_since
        if not given_up and self.now() - since < REKEY_ATTEMPT_TIME:
            return
        if story.trouble not in ("", "no answer") and self.now() - story.seen_at <= REKEY_ATTEMPT_TIME:
            return
        own = self.tunnel.public_key
        cause = (
            f"no answer from {self._place(peer)} for {REKEY_ATTEMPT_TIME} s: check the endpoint, the firewalls for "
            "that UDP port, its public key here, and ours there"
        )
        text = f"{cause} ({key_name(own) if own is not None else 'none'})"
        level = Level.ERROR if story.endpoint_is_set else Level.INFO
        self._trouble(peer, story, "no answer", text, level, cause=cause)

    def _find_out(self, peer: int) -> None:
        endpoint = self.endpoint(peer)
        if endpoint is None:
            return

        def told(error: int) -> None:
            story = self._stories.get(peer)
            if story is not None and story.tries:  # still unanswered
                text = f"{self._place(peer)} refuses what is sent there: {_why(error, _REFUSALS)}"
                self._trouble(peer, story, f"refusal {error}", text)

        self.ask(endpoint, told)

    def _unknown_key(self, public_key: bytes, place: str) -> None:
        now = self.now()
        if now - self._unknown.pop(public_key, float("-inf")) < UNKNOWN_KEY_SECONDS:
            self._unknown[public_key] = now
            return
        self._unknown[public_key] = now
        if len(self._unknown) > UNKNOWN_KEYS:
            del self._unknown[next(iter(self._unknown))]
        text = f"initiation{place} under the unknown public key {key_name(public_key)}: it is no peer's here"
        self.log.limited("unknown public key", text, Level.ERROR, burst_seconds=STRANGERS_SECONDS)

    def _trouble(
        self, peer: int, story: _Story, kind: str, text: str, level: Level = Level.ERROR, *, cause: str = ""
    ) -> None:
        """`cause` is what `troubles` tells, where that is less than the text: monitors don't learn our public key."""
        story.seen_at = self.now()
        story.cause = cause or text
        if story.trouble == kind:
            self._debug_limited(peer, text)
            return
        # A later attempt says what the limit holds back here.
        if self.log.limited("handshake trouble", f"{self.name(peer)}: {text}", level):
            story.trouble, story.level = kind, level

    def _over(self, peer: int, story: _Story, text: str) -> None:
        story.trouble = story.cause = ""
        self.log.limited("handshake trouble over", f"{self.name(peer)}: {text}", story.level)

    def _debug(self, peer: int, text: str) -> None:
        """Tells a step of our own, whose timers limit it."""
        if self.log.level >= Level.DEBUG:
            self.log.debug(f"{self.name(peer)}: {text}")

    def _debug_limited(self, peer: int, text: str) -> None:
        """Tells a step that a peer or a stranger can cause at will, and so limits it."""
        if self.log.level >= Level.DEBUG:
            self.log.limited("handshake step", f"{self.name(peer)}: {text}")

    def _count_try(self, story: _Story) -> None:
        if story.unanswered_since is None:
            story.unanswered_since = self.now()
        story.tries += 1
        if not story.unanswered:
            story.first_unanswered_at = self.now()
        story.unanswered += 1

    def _story(self, peer: int) -> _Story:
        return self._stories.setdefault(peer, _Story())

    def _place(self, peer: int) -> str:
        endpoint = self.endpoint(peer)
        return "an unknown endpoint" if endpoint is None else format_sock_addr(endpoint[:3])

    def name(self, peer: int) -> str:
        """The peer as the log names it."""
        try:
            return peer_name(self.tunnel.peer_state(peer).public_key)
        except LocalProtocolError:
            return "a peer that is gone"


def _why(error: int, advice: dict[int, str]) -> str:
    text = os.strerror(error)
    return f"{text} ({advice[error]})" if error in advice else text
