"""One peer: its handshake, keypairs, cookie and timers, and the steps that involve several of them.

The steps and their order are those of Linux's send.c, receive.c and noise.c. Results go to the tunnel's context as
events and datagrams. The caller has checked whether a message may be answered (mac1); the data plane limits answers
under load, and knows the peer's endpoint.
"""

from typing import NamedTuple

from pywg.constants import ANSWERED_WAIT, CROSSED_WAIT, REKEY_TIMEOUT
from pywg.core import carried, events, handshake
from pywg.core.carried import CarriedKeypair, CarriedPeer
from pywg.core.context import Context
from pywg.core.cookie import CookieJar
from pywg.core.events import Datagram, Endpoint
from pywg.core.handshake import Handshake
from pywg.core.keypair import Keypair, Keypairs
from pywg.core.messages import CookieReply, Response
from pywg.core.timers import Timer, Timers
from pywg.dataplane.crypto.secret import Secret
from pywg.errors import RemoteProtocolError

_LONG_AGO = float("-inf")


class PeerState(NamedTuple):
    """A snapshot for status reports. `preshared_key` is the live handle, not a copy; None when there is none."""

    public_key: bytes
    preshared_key: Secret | None
    last_handshake_wall_ns: int
    """Nanoseconds since the epoch of the last completed handshake; 0 for never."""
    persistent_keepalive: int


class Peer:
    """`id` names it in events; it is never used again for another."""

    __slots__ = (
        "_context",
        "cookies",
        "handshake",
        "id",
        "keypairs",
        "last_handshake_wall_ns",
        "last_sent_handshake",
        "probing",
        "public_key",
        "timers",
    )

    def __init__(self, peer: int, public_key: bytes, context: Context) -> None:
        self._context = context
        self.id = peer
        self.public_key = public_key
        self.handshake = Handshake(peer, public_key)
        self.keypairs = Keypairs()
        self.cookies = CookieJar(public_key)
        self.timers = Timers(context.random)
        self.last_handshake_wall_ns = 0
        self.last_sent_handshake = _LONG_AGO
        self.probing = False
        """our handshake in flight is one that `probe` began"""

    def state(self) -> PeerState:
        return PeerState(
            self.public_key,
            self.handshake.preshared_key,
            self.last_handshake_wall_ns,
            self.timers.persistent_keepalive,
        )

    # Another process goes on

    def carried(self) -> CarriedPeer:
        """What another process needs to go on; its preshared key is the live handle."""
        roles = (
            (carried.PREVIOUS, self.keypairs.previous),
            (carried.CURRENT, self.keypairs.current),
            (carried.NEXT, self.keypairs.next),
        )
        return CarriedPeer(
            self.public_key,
            self.handshake.preshared_key,
            self.timers.persistent_keepalive,
            self.last_handshake_wall_ns,
            self.last_sent_handshake,
            self.handshake.latest_timestamp,
            self.handshake.last_sent_ns,
            self.handshake.last_consumption,
            self.timers.carried(),
            tuple(
                CarriedKeypair(role, one.local_index, one.initiator, one.created_at, one.may_send)
                for role, one in roles
                if one is not None
            ),
        )

    def resume(self, state: CarriedPeer) -> None:
        """Goes on from there: of a new peer. Raises LocalProtocolError for an index that is in use."""
        self.timers.persistent_keepalive = state.persistent_keepalive
        self.timers.resume(state.timers)
        self.last_handshake_wall_ns = state.last_handshake_wall_ns
        self.last_sent_handshake = state.last_sent_handshake
        self.handshake.latest_timestamp = state.latest_timestamp
        self.handshake.last_sent_ns = state.last_sent_ns
        self.handshake.last_consumption = state.last_consumption
        found: dict[int, Keypair] = {}
        for role, local_index, initiator, created_at, may_send in state.keypairs:
            self._context.indices.take(local_index, self.id)
            found[role] = Keypair(local_index, initiator, created_at, may_send)
        self.keypairs = Keypairs(found.get(carried.PREVIOUS), found.get(carried.CURRENT), found.get(carried.NEXT))

    # Initiator

    def want_handshake(self, now: float) -> None:
        """Data waits for a session. If it is too early for an initiation now, one goes as soon as it may."""
        self.timers.attempts = 0
        current = self.keypairs.current
        waiting = self.timers.retransmit_pending or (current is not None and current.usable(now))
        if not self.send_initiation(now) and not waiting and self._context.identity is not None:
            self.timers.retransmit_after(self.last_sent_handshake)

    def want_rekey(self, now: float) -> None:
        """The session gets old, or nothing comes back under it."""
        self.timers.attempts = 0
        if not self.send_initiation(now) and self.probing:
            self.timers.retransmit_after(self.last_sent_handshake)  # a probe is not sent again by itself

    def probe(self, to: Endpoint, now: float) -> None:
        """Tries whether the peer answers at `to`: one initiation goes there, and all else where it went.

        Only beside a session, and while no other handshake is in flight: nothing waits for the answer. Without one
        it is as if nothing had been sent. The answer makes a session like any, and is the peer's new endpoint.
        """
        current = self.keypairs.current
        if current is not None and current.usable(now) and not self.timers.retransmit_pending:
            self.send_initiation(now, to)

    def send_initiation(self, now: float, to: Endpoint | None = None) -> bool:
        """Sends one if due: at most one per REKEY_TIMEOUT, counting responses; none without a key. False: not due.

        `to`: a probe goes there, for which no timer runs.
        """
        identity = self._context.identity
        if identity is None or now < self.last_sent_handshake + REKEY_TIMEOUT:
            return False
        old_index = self.handshake.local_index
        try:
            index = self._context.indices.insert(self.id)
        except Exception:  # the system's, for random numbers or memory: the next try has them
            self.timers.retransmit_after(now)
            raise
        try:
            timestamp = self.handshake.next_timestamp(self._context.wall_ns())
            message = handshake.create_initiation(self.handshake, identity, index, timestamp, self._context.random)
        except RemoteProtocolError:
            # A public key of low order: nothing can be sent, no answer comes, and the handshake is given up like any.
            self._context.indices.remove(index)
            self.last_sent_handshake = now
            self.timers.handshake_initiated(now)
            return True
        except Exception:
            self._context.indices.remove(index)
            self.timers.retransmit_after(now)
            raise
        if old_index is not None:
            self._close_index(old_index)
        self._context.events.append(events.HandshakeIndexOpened(self.id, index))
        self._send(message.pack(), now, to)
        self.probing = to is not None
        if not self.probing:
            self.timers.handshake_initiated(now)
        return True

    def consume_response(self, message: Response, source: Endpoint, now: float) -> None:
        """Ends our handshake, or raises RemoteProtocolError and leaves it waiting."""
        identity = self._context.identity
        if identity is None or self.handshake.local_index != message.receiver_index:
            raise RemoteProtocolError(events.UNKNOWN_INDEX)
        handshake.consume_response(message, self.handshake, identity)
        self.timers.handshake_received(now)
        if self.probing:
            self._context.events.append(events.ProbeAnswered(self.id, source))
        self.probing = False
        self._context.events.append(events.HandshakeIndexClosed(message.receiver_index))
        self._begin_session(now)
        self._complete_handshake()
        self._context.events.append(events.KeepaliveWanted(self.id))

    # Responder

    def respond(self, now: float) -> None:
        """Answers the initiation that the handshake has just consumed, with an unconfirmed session."""
        self.timers.handshake_received(now)
        crossed = self.handshake.local_index
        if crossed is not None:
            # Our initiation was under way too. The peer's takes its place: a handshake has one initiator.
            self._close_index(crossed)
            self.handshake.local_index = None
            self.probing = False
        waiting = self.keypairs.next
        if waiting is not None and self._context.withdraw(self.id, waiting.local_index):
            self.confirm(waiting.local_index)
        index = self._context.indices.insert(self.id)
        try:
            message = handshake.create_response(self.handshake, index, self._context.random)
        except Exception:  # as in send_initiation
            self._context.indices.remove(index)
            raise
        self._begin_session(now)
        self._send(message.pack(), now)
        self.last_sent_handshake = now + self._wait_after_response(crossed=crossed is not None)

    def confirm(self, local_index: int) -> None:
        """The first authentic packet came under a responder's keypair: it may send with it now."""
        confirmed = self.keypairs.confirm(local_index)
        if confirmed is None:
            return
        self._announce_sending()
        if confirmed.may_send:
            self._complete_handshake()
            self._context.events.append(events.SendStaged(self.id))

    # Both

    def consume_cookie_reply(self, reply: CookieReply, now: float) -> None:
        """Takes a reply to our message in flight: an initiation, or a response whose session is yet to be confirmed.

        Raises RemoteProtocolError for any other, and changes nothing.
        """
        unconfirmed = self.keypairs.next.local_index if self.keypairs.next is not None else None
        if reply.receiver_index not in (self.handshake.local_index, unconfirmed):
            raise RemoteProtocolError(events.UNKNOWN_INDEX)
        self.cookies.consume_reply(reply, now)
        self._context.events.append(events.CookieReceived(self.id))

    def fire(self, timer: Timer, now: float) -> None:
        """Does what a timer that has fired asks for."""
        match timer:
            case Timer.RETRANSMIT_HANDSHAKE:
                self._context.events.append(events.SourceCleared(self.id))
                if not self.send_initiation(now) and self._context.identity is not None:
                    self.timers.retransmit_after(self.last_sent_handshake)
            case Timer.GIVE_UP:
                self._context.events += (events.DropStaged(self.id), events.HandshakeGivenUp(self.id))
            case Timer.NEW_HANDSHAKE:
                self._context.events.append(events.SourceCleared(self.id))
                self.want_rekey(now)
            case Timer.PASSIVE_KEEPALIVE | Timer.PERSISTENT_KEEPALIVE:
                self._context.events.append(events.KeepaliveWanted(self.id))
            case Timer.ZERO_KEY_MATERIAL:
                self.forget_keys()

    def forget_keys(self) -> None:
        """Closes the handshake, forgets the peer's cookie and retires every keypair."""
        self._forget_handshake()
        self.cookies.forget()
        if self.keypairs.current is not None:
            self._context.events.append(events.SendingKeypairChanged(self.id, None))
        self._retire(self.keypairs.clear())

    def expire_sessions(self) -> None:
        """Our static key has changed: nothing is sent under the old one. What the peer has sent may still come in."""
        self._forget_handshake()
        self.cookies.forget()
        self.handshake.forget_identity()
        self.last_sent_handshake = _LONG_AGO
        for keypair in self.keypairs.all():
            keypair.may_send = False
        # Also without a current one: a next that is confirmed later must not be sent with either.
        self._context.events.append(events.SendingKeypairChanged(self.id, None))

    def set_preshared_key(self, preshared_key: Secret | None) -> None:
        """From the next handshake on; wipes the one before."""
        old, self.handshake.preshared_key = self.handshake.preshared_key, preshared_key
        if old is not None:
            old.wipe()

    def stop(self) -> None:
        """The interface goes down, or the peer goes: no timers, no keys, nothing staged."""
        self.timers.stop()
        self.forget_keys()
        self.last_sent_handshake = _LONG_AGO
        self._context.events.append(events.DropStaged(self.id))

    def _wait_after_response(self, *, crossed: bool) -> float:
        """Seconds beyond REKEY_TIMEOUT without an initiation of ours: the peer's next try is to come before it.

        Else the two cross, and cost a try more. After a crossing both answers may be for nobody, and both ends be here.
        """
        identity = self._context.identity
        if crossed and identity is not None and identity.public_key > self.public_key:
            return 0.0
        return CROSSED_WAIT if crossed or self.timers.retransmit_pending else ANSWERED_WAIT

    def _begin_session(self, now: float) -> None:
        session = handshake.begin_session(self.handshake, now)
        old_current = self.keypairs.current
        retired = self.keypairs.add(Keypair(session.local_index, session.initiator, now))
        # No more than three at a time, and none retired that is still sent with.
        self._retire([keypair for keypair in retired if keypair is not old_current])
        self._context.events.append(session)
        if session.initiator:
            self._announce_sending()
        self._retire([keypair for keypair in retired if keypair is old_current])
        self.timers.session_derived(now)

    def _complete_handshake(self) -> None:
        self.timers.handshake_complete()
        self.last_handshake_wall_ns = self._context.wall_ns()
        self._context.events.append(events.HandshakeCompleted(self.id, self.last_handshake_wall_ns))

    def _announce_sending(self) -> None:
        current = self.keypairs.current
        index = current.local_index if current is not None and current.may_send else None
        self._context.events.append(events.SendingKeypairChanged(self.id, index))

    def _send(self, body: bytes, now: float, to: Endpoint | None = None) -> None:
        self.last_sent_handshake = now
        if to is None:
            self.timers.sent(now)
        self._context.datagrams.append(Datagram(self.cookies.add_macs(body, now), self.id, to))

    def _forget_handshake(self) -> None:
        self.probing = False
        self.handshake.clear()
        if self.handshake.local_index is not None:
            self._close_index(self.handshake.local_index)
            self.handshake.local_index = None

    def _close_index(self, index: int) -> None:
        self._context.indices.remove(index)
        self._context.events.append(events.HandshakeIndexClosed(index))

    def _retire(self, keypairs: list[Keypair]) -> None:
        for keypair in keypairs:
            self._context.indices.remove(keypair.local_index)
            self._context.events.append(events.KeypairRetired(self.id, keypair.local_index))
