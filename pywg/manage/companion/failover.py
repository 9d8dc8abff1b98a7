"""Which endpoint a peer is to have: a decision from events, answers of name servers and the time. Pure.

An endpoint that does not answer is given up for the next: first for another address of its name, which is asked for
again then, and after that for the peer's next endpoint, round and round. One that answers stays; to set an earlier one
to see whether it answers again would cost a tunnel that works. Where failback is wanted, the daemon tries the earlier
ones, in turn: by a handshake beside the session, whose answer moves the peer. A peer that has moved by itself is left
where it is while it answers.
When the time of a name's answer is over, it is asked again, and the peer follows it if it was where the name had it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pywg.config.addresses import V4_LEN
from pywg.config.model import SockAddr
from pywg.manage.companion.settings import PeerSetting

SETTLE_S = 7.0
"""Seconds that an endpoint has to answer, from when it was set: the next initiation leaves within 5.4 s, and the answer
takes a round trip more."""
TRIES_S = 90.0
"""Seconds after the last word that there is no answer, in which the daemon still tries: it tells ever more rarely."""
FRESH_S = 1.0
"""Age up to which an answer is new enough for an endpoint that does not answer."""
LEAST_TTL_S, MOST_TTL_S = 5.0, 3600.0
DOWN_TTL_S = 5.0
"""Seconds until the names of a peer that does not answer, or has no endpoint, are asked for again."""
FAILED_TTL_S = 30.0
"""Seconds until a name without an answer is asked for again."""
MOST_ADDRESSES = 8
"""Of one name."""


@dataclass
class Name:
    """A host, as it was resolved last. One that is an address is never asked for."""

    host: str
    addresses: list[bytes] = field(default_factory=list)
    literal: bool = False
    asked_at: float = float("-inf")
    due_at: float = float("-inf")
    asking: bool = False


@dataclass
class _Peer:
    setting: PeerSetting
    current: SockAddr | None = None
    placed: SockAddr | None = None
    """that was set by this program, or by the file"""
    position: int = 0
    """of the endpoint in the list"""
    set_at: float = float("-inf")
    """since when the endpoint has its time to answer"""
    down: bool = False
    """it does not answer"""
    told_at: float = float("-inf")
    """when that was told last"""
    tried_at: float = float("-inf")
    """when an earlier endpoint was tried last, or this one taken"""
    tries: int = 0
    tried: SockAddr | None = None
    waiting: bool = False
    """for that, names are being asked for"""


class Failover:
    """All peers of an interface. `move` sets a peer's endpoint; `ask` has a name resolved, for `answered`.

    `probe` has an endpoint tried; `failback_s` seconds are between two tries of a peer's, 0 for none.
    """

    def __init__(
        self,
        peers: list[PeerSetting],
        *,
        numeric: Callable[[str], SockAddr | None],
        move: Callable[[bytes, SockAddr], bool],
        probe: Callable[[bytes, SockAddr], None],
        ask: Callable[[str], None],
        failback_s: float = 0,
    ) -> None:
        self._probe = probe
        self._failback_s = failback_s
        self._move = move
        self._ask = ask
        self._peers = {peer.public_key: _Peer(peer) for peer in peers}
        self._names: dict[str, Name] = {}
        self._scopes: dict[str, int] = {}
        self._begun = False
        for peer in peers:
            for host, _ in peer.endpoints:
                if host in self._names:
                    continue
                found = numeric(host)
                self._names[host] = Name(host, [found[0]] if found else [], literal=found is not None)
                self._scopes[host] = found[2] if found else 0

    def begin(self, endpoints: Mapping[bytes, SockAddr], now: float) -> None:
        """Where the daemon has the peers, as this program begins or comes back: where the file, or this, had put them.

        Names are not asked for before: an answer would move a peer that is elsewhere with reason.
        """
        self._begun = True
        for key, peer in self._peers.items():
            peer.current = peer.placed = endpoints.get(key)
            peer.tried_at = now
            self._find_position(peer)
            if peer.current is None:
                for name in self._names_of(peer):
                    if not name.literal:
                        self._begin(name, now)
                self._decide(peer, now)

    def moved(self, key: bytes, endpoint: SockAddr | None) -> None:
        """The daemon tells where a peer is."""
        if (peer := self._peers.get(key)) is not None:
            peer.current = endpoint
            if endpoint == peer.tried:
                peer.placed = endpoint
            self._find_position(peer)

    def answers(self, key: bytes) -> None:
        """A handshake is complete."""
        if (peer := self._peers.get(key)) is not None:
            peer.waiting = peer.down = False

    def unanswered(self, key: bytes, now: float) -> None:
        """An initiation has no answer."""
        peer = self._peers.get(key)
        if peer is None:
            return
        peer.down = True
        peer.told_at = now
        self._give_up(peer, now)

    def _give_up(self, peer: _Peer, now: float) -> None:
        """Takes the next endpoint, if this one has had its time."""
        if peer.waiting or now - peer.set_at < SETTLE_S:
            return
        peer.waiting = True
        peer.set_at = now
        for name in self._names_of(peer):
            if not name.literal and now - name.asked_at > FRESH_S:
                self._begin(name, now)
        self._decide(peer, now)

    def due(self, now: float) -> float:
        """Gives up the endpoints and asks for the names whose time is over, and returns when the next one's is."""
        soonest = float("inf")
        if not self._begun:
            return soonest
        for peer in self._peers.values():
            if peer.down and not peer.waiting and now < peer.told_at + TRIES_S and self._has_another(peer):
                self._give_up(peer, now)
                soonest = min(soonest, peer.set_at + SETTLE_S)
            soonest = min(soonest, self._try_earlier(peer, now))
        in_need = [peer for peer in self._peers.values() if peer.down or peer.current is None]
        hurried = {name.host for peer in in_need for name in self._names_of(peer)}
        for name in self._names.values():
            if name.literal or name.asking:
                continue
            due = min(name.due_at, name.asked_at + DOWN_TTL_S) if name.host in hurried else name.due_at
            if due <= now:
                self._begin(name, now)
            else:
                soonest = min(soonest, due)
        return soonest

    def _try_earlier(self, peer: _Peer, now: float) -> float:
        """Has an endpoint tried that comes before the one in use, if it is time, and returns when it is again."""
        if not self._failback_s or peer.down or peer.position == 0 or peer.current != peer.placed:
            return float("inf")
        if now >= peer.tried_at + self._failback_s:
            peer.tried_at = now
            earlier = [target for position in range(peer.position) for target in self._targets(peer, position)]
            if earlier:
                peer.tried = earlier[peer.tries % len(earlier)]
                peer.tries += 1
                self._probe(peer.setting.public_key, peer.tried)
        return peer.tried_at + self._failback_s

    def answered(self, host: str, addresses: list[bytes], ttl_s: float, now: float) -> None:
        """What a name was resolved to; no addresses: it could not be, and what is known of it stays."""
        name = self._names.get(host)
        if name is None or name.literal:
            return
        name.asking = False
        name.asked_at = now
        name.due_at = now + (min(max(ttl_s, LEAST_TTL_S), MOST_TTL_S) if addresses else FAILED_TTL_S)
        if addresses:
            name.addresses = list(dict.fromkeys(addresses))[:MOST_ADDRESSES]
        for peer in self._peers.values():
            if not any(one is name for one in self._names_of(peer)):
                continue
            if peer.waiting or peer.current is None:
                self._decide(peer, now)
            elif peer.setting.endpoints[peer.position][0] == host:
                self._follow(peer, now)

    def _follow(self, peer: _Peer, now: float) -> None:
        """The name of the endpoint in use was asked for: the peer goes where it is, if it was where that had been."""
        targets = self._targets(peer, peer.position)
        if targets and peer.current not in targets and (peer.down or peer.current == peer.placed):
            self._set(peer, targets[0], now)

    def _decide(self, peer: _Peer, now: float) -> None:
        """Once no name is being asked for: the next address of all, after the one that does not answer."""
        if any(name.asking for name in self._names_of(peer)):
            return
        peer.waiting = False
        number = len(peer.setting.endpoints)
        of_current = self._targets(peer, peer.position)
        if of_current and peer.current not in of_current:  # the name has moved
            self._set(peer, of_current[0], now)
            return
        everything = [
            (position, target)
            for position in (*range(peer.position, number), *range(peer.position))
            for target in self._targets(peer, position)
        ]
        behind = [target for _, target in everything]
        if peer.current in behind:
            at = behind.index(peer.current)
            everything = everything[at + 1 :] + everything[:at]
        if everything:
            peer.position = everything[0][0]
            self._set(peer, everything[0][1], now)

    def _set(self, peer: _Peer, target: SockAddr, now: float) -> None:
        if target != peer.current and self._move(peer.setting.public_key, target):
            peer.current = peer.placed = target
            peer.set_at = peer.tried_at = now

    def _begin(self, name: Name, now: float) -> None:
        if not name.asking:
            name.asking = True
            name.asked_at = now
            self._ask(name.host)

    def _names_of(self, peer: _Peer) -> list[Name]:
        return [self._names[host] for host, _ in peer.setting.endpoints]

    def _has_another(self, peer: _Peer) -> bool:
        return sum(len(name.addresses) for name in self._names_of(peer)) > 1

    def _targets(self, peer: _Peer, position: int) -> list[SockAddr]:
        host, port = peer.setting.endpoints[position]
        scope = self._scopes[host]
        return [(ip, port, scope if len(ip) != V4_LEN else 0) for ip in self._names[host].addresses]

    def _find_position(self, peer: _Peer) -> None:
        for position in range(len(peer.setting.endpoints)):
            if peer.current in self._targets(peer, position):
                peer.position = position
                return
