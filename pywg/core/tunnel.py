"""The core's surface: datagrams and signals in, datagrams and events out, and the moment of the next call.

A thin composition: it finds the peer that something is about, keeps strangers out (mac1) and lets the peer do the rest.
It never blocks, never reads a clock and never raises for what came from the network.

The core decides which handshake messages count. The data plane checks mac1 and the receiver index before it, only to
spare the core work (dataplane/receive/admit.pxd), and the core relies on neither check. The plane alone asks for
cookies and limits sources. The plane alone knows a peer's endpoint: the caller tells it of each message that
`receive_datagram` found authentic.

Between two calls that take input the owner drains `events()`, then `datagrams_to_send()`: an answer must not leave
before the data plane has the keypair that it announces.
"""

from collections.abc import Callable, KeysView

from pywg.constants import KEY_LEN, MESSAGE_COOKIE_REPLY, MESSAGE_INITIATION
from pywg.core import events, messages
from pywg.core.carried import CarriedPeer
from pywg.core.context import Context
from pywg.core.cookie import mac1_holds
from pywg.core.events import Activity, Datagram, Dropped, Endpoint, Event
from pywg.core.handshake import Handshake, Identity, consume_initiation
from pywg.core.index_table import IndexTable
from pywg.core.messages import CookieReply, Initiation, Response
from pywg.core.peer import Peer, PeerState
from pywg.core.timers import DeadlineQueue, Timer
from pywg.dataplane.crypto.cookie_mac import mac1_key
from pywg.dataplane.crypto.secret import Secret, wipe_traces
from pywg.errors import LocalProtocolError, RemoteProtocolError

__all__ = ["Activity", "Datagram", "Endpoint", "PeerState", "Tunnel"]


class Tunnel:
    """One WireGuard interface's protocol, for any number of peers. It starts down and without a private key.

    `random(n)` gives n unpredictable bytes in a new object, which may be wiped; `wall_ns()` nanoseconds since the
    epoch; `activity(peer)` what the data plane knows. `withdraw(peer, local_index)` keeps packets from confirming an
    unconfirmed keypair from now on, and says whether one has already, whose `keypair_confirmed` may be under way; a
    plane that calls that at once never has. `shards`: of the data plane, by which receiver indices are chosen. `now` is
    monotonic seconds, greater than 0. A peer that does not exist is a LocalProtocolError; signals from the data plane
    about one that is gone are ignored, as they may have been under way.
    """

    def __init__(
        self,
        *,
        random: Callable[[int], bytes],
        wall_ns: Callable[[], int],
        activity: Callable[[int], Activity],
        withdraw: Callable[[int, int], bool] = lambda _peer, _local_index: False,
        shards: int = 1,
    ) -> None:
        self._context = Context(random, wall_ns, activity, withdraw, IndexTable(random, shards))
        self._mac1_key = b""
        self._peers: dict[int, Peer] = {}
        self._by_key: dict[bytes, Peer] = {}
        self._deadlines = DeadlineQueue()
        self._unsettled: list[tuple[Peer, float]] = []
        """Peers of which a keepalive was wanted, and when: only once it was sent is it clear what they wait for."""
        self._last_id = 0

    # Configuration

    @property
    def public_key(self) -> bytes | None:
        """Our public key, None without a private key."""
        identity = self._context.identity
        return identity.public_key if identity is not None else None

    @property
    def private_key(self) -> Secret | None:
        """Our private key: the live handle, not a copy."""
        identity = self._context.identity
        return identity.private_key if identity is not None else None

    def set_private_key(self, private_key: Secret | None, now: float) -> None:
        """As `set_identity`. Takes the Secret over."""
        self.set_identity(Identity(private_key) if private_key is not None else None, now)

    def set_identity(self, identity: Identity | None, now: float) -> None:
        """Changes our identity: every session expires, and what waited for a key begins, while the interface is up.

        Wipes the one before. LocalProtocolError while a peer has our new public key.
        """
        if identity is not None and identity.public_key in self._by_key:
            raise LocalProtocolError("a peer has the public key of this private key: remove it first")
        old, self._context.identity = self._context.identity, identity
        if old is not None:
            old.wipe()
        if identity is not None:
            self._mac1_key = mac1_key(identity.public_key)
        for peer in self._peers.values():
            peer.expire_sessions()
            if identity is not None:
                self._begin(peer, now)
            self._reschedule(peer, now)

    def add_peer(self, public_key: bytes, now: float) -> int:
        """The new peer's number, which is never used again."""
        if len(public_key) != KEY_LEN:
            raise LocalProtocolError(f"a public key has {KEY_LEN} bytes, not {len(public_key)}")
        if public_key == self.public_key:
            raise LocalProtocolError("the public key is our own")
        if public_key in self._by_key:
            raise LocalProtocolError("there is a peer with this public key")
        self._last_id += 1
        peer = Peer(self._last_id, bytes(public_key), self._context)
        self._peers[peer.id] = peer
        try:
            self._by_key[peer.public_key] = peer
        except MemoryError:
            del self._peers[peer.id]
            raise
        return peer.id

    def remove_peer(self, peer: int, now: float) -> None:
        """Retires everything of the peer's."""
        gone = self._peer(peer)
        gone.stop()
        gone.handshake.forget_identity()
        gone.set_preshared_key(None)
        del self._peers[peer], self._by_key[gone.public_key]
        # What an error kept from being sent, the data plane would send to a peer that it no longer has.
        self._context.datagrams = [one for one in self._context.datagrams if one.peer != peer]
        self._deadlines.schedule(peer, float("inf"))

    def peers(self) -> KeysView[int]:
        """All peers, in the order they were added: a view, that changes with them."""
        return self._peers.keys()

    def peer_by_key(self, public_key: bytes) -> int | None:
        """The number of the peer with this public key."""
        peer = self._by_key.get(public_key)
        return peer.id if peer is not None else None

    def peer_state(self, peer: int) -> PeerState:
        """What there is to report about the peer."""
        return self._peer(peer).state()

    def set_preshared_key(self, peer: int, preshared_key: Secret | None) -> None:
        """From the next handshake on. Takes the Secret over, and wipes the one before."""
        self._peer(peer).set_preshared_key(preshared_key)

    def endpoint_known(self, peer: int, now: float) -> None:
        """The peer was nowhere, and the operator has said where it is: what waited for that begins."""
        self._begin(self._peer(peer), now)

    def probe(self, peer: int, to: Endpoint, now: float) -> None:
        """Tries by a handshake whether the peer answers at `to`; an event tells when it does. See Peer.probe."""
        self._signal(peer, now, lambda it: it.probe(to, now))

    def set_persistent_keepalive(self, peer: int, seconds: int, now: float) -> None:
        """0 for off. Turned on while the interface is up, it sends one at once."""
        changed = self._peer(peer)
        was_off = not changed.timers.persistent_keepalive
        changed.timers.persistent_keepalive = seconds
        if was_off and seconds:
            self._begin(changed, now)
        self._reschedule(changed, now)

    def up(self, now: float) -> None:
        """The interface is up: persistent keepalives, and what is staged already, start sessions where wanted."""
        if self._context.running:
            return
        self._context.running = True
        for peer in self._peers.values():
            self._begin(peer, now)

    def down(self, now: float) -> None:
        """The interface is down: every handshake is closed, every keypair retired, what is staged dropped."""
        self._context.running = False
        for peer in self._peers.values():
            peer.stop()
            self._deadlines.schedule(peer.id, float("inf"))

    # Another process goes on

    def carried(self, peer: int) -> CarriedPeer:
        """What another process needs to go on with a peer."""
        return self._peer(peer).carried()

    def resume(self, state: CarriedPeer, now: float) -> int:
        """Adds a peer that another tunnel has had, where that goes on. The new peer's number.

        Raises LocalProtocolError as `add_peer`, and for what no peer's state can be.
        """
        state.check(now)
        peer = self.add_peer(state.public_key, now)
        self._peers[peer].resume(state)
        self.set_preshared_key(peer, state.preshared_key)
        return peer

    def go_on(self, now: float) -> None:
        """The interface has been up all the while: nothing begins, and what is due comes by its timers."""
        self._context.running = True
        for peer in self._peers.values():
            self._reschedule(peer, now)

    # Signals from the data plane

    def handshake_wanted(self, peer: int, now: float) -> None:
        """Data is staged and there is no usable keypair. Also starts a handshake again that was given up."""
        self._signal(peer, now, lambda it: it.want_handshake(now))

    def rekey_wanted(self, peer: int, now: float) -> None:
        """The sending keypair gets old or used up, by age or messages sent or received."""
        self._signal(peer, now, lambda it: it.want_rekey(now))

    def keypair_confirmed(self, peer: int, local_index: int, now: float) -> None:
        """The first authentic transport packet came under an unconfirmed keypair."""
        self._signal(peer, now, lambda it: it.confirm(local_index))

    def activity_started(self, peer: int, now: float) -> None:
        """Some `*_since` of the peer's activity went from 0 to a time."""
        self._signal(peer, now, lambda it: None)

    # Network

    def receive_datagram(self, data: bytes, source: Endpoint, now: float) -> int | None:
        """A handshake message or cookie reply, or what claims to be one. Never raises for what it holds.

        Returns the peer whose authentic handshake message it was, and no replay: that peer is at `source` now. Else
        None, and unless it was a good cookie reply there is one Dropped event that says why.
        """
        try:
            if not self._context.running:
                raise RemoteProtocolError(events.DOWN)
            kind = messages.message_type(data)
            if kind not in messages.MESSAGE_LEN:
                raise RemoteProtocolError(events.BAD_TYPE)
            if len(data) != messages.MESSAGE_LEN[kind]:
                raise RemoteProtocolError(events.BAD_LENGTH)
            if kind == MESSAGE_COOKIE_REPLY:
                self._receive_cookie_reply(CookieReply.unpack(data), now)
                return None
            identity = self._screen(data)
            if kind == MESSAGE_INITIATION:
                peer = self._receive_initiation(Initiation.unpack(data), identity, now)
            else:
                peer = self._receive_response(Response.unpack(data), source, now)
        except RemoteProtocolError as error:
            self._context.events.append(Dropped(error.reason, source, error.public_key))
            return None
        self._reschedule(peer, now)
        return peer.id

    def datagrams_to_send(self) -> list[Datagram]:
        """Takes out what is to be sent, in order."""
        datagrams, self._context.datagrams = self._context.datagrams, []
        return datagrams

    def events(self) -> list[Event]:
        """Takes out what has happened, in order."""
        happened, self._context.events = self._context.events, []
        return happened

    def rest(self) -> None:
        """Nothing is at hand any more: lets go of the copy of the private key that public-key operations need."""
        if self._context.identity is not None:
            self._context.identity.rest()
        wipe_traces()

    # Time

    def next_deadline(self) -> float | None:
        """When to call `handle_deadline`, in seconds of `now`; None: not before something else happens.

        To be asked once `events()` have been carried out.
        """
        unsettled, self._unsettled = self._unsettled, []
        for peer, now in unsettled:
            if self._peers.get(peer.id) is peer:
                self._reschedule(peer, now)
        return self._deadlines.next_deadline()

    def handle_deadline(self, now: float) -> None:
        """Does everything that is due by now; calling it early or late is harmless."""
        due = []
        while (peer := self._deadlines.pop_due(now)) is not None:
            due.append(self._peers[peer])
        for done, it in enumerate(due):
            try:
                self._handle_deadline_of(it, now)
            except Exception:  # the system's, for random numbers or memory: no timer of any peer may be lost for it
                for late in due[done:]:
                    self._deadlines.schedule(late.id, now)
                raise

    def _handle_deadline_of(self, it: Peer, now: float) -> None:
        activity = self._context.activity(it.id)
        fired = it.timers.expire(now, activity)
        for timer in fired:
            it.fire(timer, now)
        if Timer.PASSIVE_KEEPALIVE in fired:
            self._unsettled.append((it, now))
        else:
            self._deadlines.schedule(it.id, it.timers.next_deadline(now, activity))

    def _screen(self, data: bytes) -> Identity:
        """Lets through what is worth the public-key operations."""
        identity = self._context.identity
        if identity is None:
            raise RemoteProtocolError(events.NO_PRIVATE_KEY)
        if not mac1_holds(self._mac1_key, data):
            raise RemoteProtocolError(events.BAD_MAC1)
        return identity

    def _receive_initiation(self, message: Initiation, identity: Identity, now: float) -> Peer:
        peer = self._peers[consume_initiation(message, identity, self._find_handshake, now).peer]
        peer.respond(now)
        return peer

    def _receive_response(self, message: Response, source: Endpoint, now: float) -> Peer:
        peer = self._owner_of(message.receiver_index)
        peer.consume_response(message, source, now)
        return peer

    def _receive_cookie_reply(self, reply: CookieReply, now: float) -> None:
        # It names no peer to the owner, whose endpoint it would move: anyone on the path can make one.
        self._owner_of(reply.receiver_index).consume_cookie_reply(reply, now)

    def _owner_of(self, index: int) -> Peer:
        peer = self._context.indices.find(index)
        if peer is None:
            raise RemoteProtocolError(events.UNKNOWN_INDEX)
        return self._peers[peer]

    def _find_handshake(self, public_key: bytes) -> Handshake | None:
        peer = self._by_key.get(public_key)
        return peer.handshake if peer is not None else None

    def _peer(self, peer: int) -> Peer:
        try:
            return self._peers[peer]
        except KeyError:
            raise LocalProtocolError(f"there is no peer {peer}") from None

    def _signal(self, peer: int, now: float, act: Callable[[Peer], None]) -> None:
        it = self._peers.get(peer)
        if it is not None and self._context.running:
            try:
                act(it)
            finally:  # where the system has no random numbers or memory, the peer tries again by a timer
                self._reschedule(it, now)

    def _begin(self, peer: Peer, now: float) -> None:
        """One of the things that a session takes has come: what waits for one asks for it, if nothing else is missing.

        Key, endpoint, keepalive and interface may come in any order, and the last of them has to start what is wanted.
        """
        if not self._context.running:
            return
        if peer.timers.persistent_keepalive:
            peer.timers.sent(now)
            self._context.events.append(events.KeepaliveWanted(peer.id))
            self._reschedule(peer, now)
        else:
            self._context.events.append(events.SendStaged(peer.id))

    def _reschedule(self, peer: Peer, now: float) -> None:
        if self._context.running:
            self._deadlines.schedule(peer.id, peer.timers.next_deadline(now, self._context.activity(peer.id)))
