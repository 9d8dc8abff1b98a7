"""The keypairs of one peer: previous, current and next. The rules are those of Linux's noise.c.

    current     what we send with; what the peer sends with
    previous    the one before: packets may still be on their way under it
    next        a responder's new one, until the first packet under it proves that the initiator has it too

The keys themselves are with the data plane: this module decides which keypair has which role, and when one goes. The
plane knows next, too, and makes it current by itself when the packet comes, so that no other keypair ever is promoted.
"""

from dataclasses import dataclass

from pywg.constants import REJECT_AFTER_TIME


@dataclass(slots=True)
class Keypair:
    """One session. `may_send` turns False when our static key changes: what was under way may still come in."""

    local_index: int
    initiator: bool
    created_at: float
    may_send: bool = True

    def usable(self, now: float) -> bool:
        """Whether data may be sent under it, by its age."""
        return self.may_send and now < self.created_at + REJECT_AFTER_TIME


@dataclass(slots=True)
class Keypairs:
    """The three roles. `add` and `clear` return the keypairs that lost theirs and must be retired."""

    previous: Keypair | None = None
    current: Keypair | None = None
    next: Keypair | None = None

    def all(self) -> list[Keypair]:
        """Those there are, oldest role first."""
        return [keypair for keypair in (self.previous, self.current, self.next) if keypair is not None]

    def add(self, keypair: Keypair) -> list[Keypair]:
        """A session has been derived: an initiator's is current at once, a responder's is next."""
        before = self.all()
        if keypair.initiator:
            # An unconfirmed next may be what the peer uses already: it outlives the current one.
            self.previous, self.current, self.next = self.next or self.current, keypair, None
        else:
            self.previous, self.next = None, keypair
        kept = [one.local_index for one in self.all()]
        return [one for one in before if one.local_index not in kept]

    def confirm(self, local_index: int) -> Keypair | None:
        """The first authentic packet under `local_index`: next becomes current. None when it is not next.

        None loses its role: while there is a next there is no previous.
        """
        if self.next is None or self.next.local_index != local_index:
            return None
        assert self.previous is None
        self.previous, self.current, self.next = self.current, self.next, None
        return self.current

    def clear(self) -> list[Keypair]:
        """All of them go."""
        before = self.all()
        self.previous = self.current = self.next = None
        return before
