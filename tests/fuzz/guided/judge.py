"""What two ends of a tunnel may claim of each other, whoever is between them. Paper, section 5.4 and the proofs of it.

Each end tells the judge what it sends, what it accepts and which sessions it derives. The judge knows both ends, as no
end does, and raises AssertionError for a claim that the other end does not bear out.
"""

from dataclasses import dataclass, field

from tests.simulation import INITIATION, RESPONSE

AUTHENTICATED = {INITIATION: slice(8, 116), RESPONSE: slice(12, 60)}
"""The bytes that Noise protects, by message. Indices are not: they may be changed on the way, in vain."""


@dataclass(frozen=True)
class Session:
    """One end's side of a session."""

    end: str
    own: bytes
    """the static public keys: its own, and the one that it believes the other end to have"""
    other: bytes
    local_index: int
    send_key: bytes
    receive_key: bytes
    initiator: bool

    def mirrors(self, it: "Session") -> bool:
        """Whether the two are the sides of one session: with each other, under the same keys, in opposite roles."""
        return (
            (self.own, self.other) == (it.other, it.own)
            and (self.send_key, self.receive_key) == (it.receive_key, it.send_key)
            and self.initiator != it.initiator
        )


@dataclass
class Judge:
    """Of one run."""

    sessions: list[Session] = field(default_factory=list)
    completed: set[tuple[bytes, bytes]] = field(default_factory=set)
    """(send_key, receive_key) of the initiators' sides"""
    handshakes_sent: dict[bytes, tuple[bytes, bytes]] = field(default_factory=dict)
    """by the bytes that are authenticated: whose message it was, and whom it was for"""
    accepted: set[tuple[object, ...]] = field(default_factory=set)
    written: dict[bytes, tuple[str, bytes, bytes]] = field(default_factory=dict)
    """by the data that a host wrote: at which end, and between which static keys"""
    delivered: set[bytes] = field(default_factory=set)

    def handshake_sent(self, own: bytes, other: bytes, message: bytes) -> None:
        if message[0] in AUTHENTICATED:
            body = message[AUTHENTICATED[message[0]]]
            assert body not in self.handshakes_sent, "the same message was made twice"
            self.handshakes_sent[body] = own, other

    def handshake_accepted(self, own: bytes, other: bytes, message: bytes, memory: tuple[object, ...]) -> None:
        """`memory`: what the end has, and remembers initiations in. A response it accepts once in all its lives."""
        body = message[AUTHENTICATED[message[0]]]
        assert self.handshakes_sent.get(body) == (other, own), "nobody sent this, or it was for another"
        once = (body, *memory) if message[0] == INITIATION else (body,)
        assert once not in self.accepted, "a repeated message was accepted"
        self.accepted.add(once)

    def derived(self, session: Session) -> None:
        """An initiator knows that its peer has the session. A responder learns that later, if ever."""
        for it in self.sessions:
            assert session.send_key != it.send_key, "one key would count its messages twice"
            assert session.receive_key != it.receive_key
        if session.initiator:
            assert sum(session.mirrors(it) for it in self.sessions) == 1, "the responder has no such session"
            self.completed.add((session.send_key, session.receive_key))
        self.sessions.append(session)

    def confirmed(self, end: str, local_index: int) -> None:
        """An authentic packet came to a responder under this keypair: the initiator has it, too."""
        mine = [it for it in self.sessions if (it.end, it.local_index) == (end, local_index) and not it.initiator]
        assert mine, "what was confirmed is not a responder's"
        assert (mine[-1].receive_key, mine[-1].send_key) in self.completed, "no initiator has this session"

    def host_wrote(self, end: str, own: bytes, other: bytes, data: bytes) -> None:
        self.written[data] = end, own, other

    def host_read(self, end: str, own: set[bytes], data: bytes) -> None:
        """`own`: every static key that the end has had; data may come under the one before."""
        assert data not in self.delivered, "a packet was delivered twice"
        self.delivered.add(data)
        sender, _, wanted = self.written[data]
        assert sender != end, "a packet came back to where it was from"
        assert wanted in own, "a packet was for another"
