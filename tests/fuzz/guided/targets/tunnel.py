"""Two ends of a tunnel with an adversary between them, who owns the network, the clocks, the hosts and the operators.

Each byte of the input is an action. Whatever comes, no end raises, believes what the other has not said, or holds more
than it may (ends.py, judge.py); and when the adversary is gone, both soon have a session with each other again.
"""

from collections.abc import Callable

from pywg import _fastpath as flags
from pywg.core import crypto
from pywg.core.cookie import CookieJar
from pywg.runtime.device.plane import Addr
from tests.fuzz.guided.choices import Choices
from tests.fuzz.guided.ends import PUBLIC, STEPS_A_SECOND, End, Packet
from tests.fuzz.guided.judge import Judge
from tests.fuzz.guided.known_keys import private_key_from
from tests.fuzz.guided.replaced import replaced
from tests.paper import COOKIE_REPLY, INITIATION, RESPONSE

MOST_ACTIONS = 120
MOST_FLYING = 32
MOST_REMEMBERED = 64
ELSEWHERE: Addr = (b"\xcb\x00\x71\x09", 4444, 0, b"", 0)
DURATIONS = (0.0, 0.02, 0.5, 1.0, 4.9, 5.0, 5.4, 9.9, 10.1, 15.4, 24.0, 60.0, 89.0, 119.0, 121.0, 179.0, 181.0, 541.0)
LOW_ORDER = bytes(32)
"""A public key that nobody can have."""
KEEPALIVES = (0, 1, 25, 65535)
SETTLES_S = 40
"""Within so many seconds of a good network, data goes both ways: NEW_HANDSHAKE_TIMEOUT, and two attempts."""
TOKENS = ()


def run(data: bytes) -> None:
    with replaced(crypto, private_key_from=private_key_from):
        adversary = Adversary(Choices(data))
        adversary.attack()
        adversary.leave()


class Adversary:
    """The network between two ends, in hostile hands."""

    def __init__(self, choices: Choices) -> None:
        self.choices = choices
        self.judge = Judge()
        self.flying: list[Packet] = []
        self.remembered: list[Packet] = []
        self.written = 0
        self.near = End("near", b"\xc0\x00\x02\x01", self.judge, self.fly)
        self.far = End("far", b"\xc0\x00\x02\x02", self.judge, self.fly)
        self.ends = (self.near, self.far)
        for end in self.ends:
            end.introduce(self.beyond(end).public, self.beyond(end).place)
        self.actions: tuple[Callable[[], None], ...] = (
            *(self.deliver, self.deliver, self.deliver, self.deliver_all, self.write, self.write, self.wait, self.wait),
            *(self.drop, self.delay, self.replay, self.replay, self.forge, self.forge, self.reflect, self.relay),
            *(self.restart, self.change_key, self.tell_key, self.change_preshared, self.forget_peer, self.sleep),
            *(self.step_clock, self.load, self.hold, self.interface, self.keepalive, self.stale_signal, self.junk),
        )

    def attack(self) -> None:
        for _ in range(MOST_ACTIONS):
            if not self.choices.left:
                break
            self.choices.one_of(self.actions)()
            for end in self.ends:
                end.check()

    def leave(self) -> None:
        """The network is good again, and the operators set right what they have changed."""
        latest = max(end.harness.clock_offset + end.harness.timers.now for end in self.ends)
        self.flying.clear()
        for end in self.ends:
            # A clock that is behind the greatest timestamp that the other end has seen is for an operator to mend.
            end.harness.clock_offset = latest + 1 - end.harness.timers.now
            end.held = end.under_load = False
            end.poll()
        for end in self.ends:
            end.set_key(end.key)
            end.harness.device.up()
        for end in self.ends:
            end.introduce(self.beyond(end).public, self.beyond(end).place, keepalive=0)
        for _ in range(SETTLES_S):
            for end in self.ends:  # at once, so that their initiations cross
                self.write_at(end)
            self.carry()
            self.advance(1.0, carry=True)
            if self.both_hear():
                break
        else:
            raise AssertionError("no session, long after the adversary has gone")
        self.rest()

    def both_hear(self) -> bool:
        """Whether data goes both ways at once."""
        before = len(self.judge.delivered)
        for end in self.ends:
            self.write_at(end)
            self.carry()
        return len(self.judge.delivered) == before + 2

    def rest(self) -> None:
        """Without data there is nothing left after a while: no keys, no timers, nothing staged."""
        self.advance(700.0, carry=True)
        for end in self.ends:
            end.check()
            end.check_log()
            assert end.plane.keypairs == {}
            assert end.plane.indices == {}
            assert all(peer.staged == [] for peer in end.plane.peers.values())
            assert end.next_timer() is None

    def beyond(self, end: End) -> End:
        return self.far if end is self.near else self.near

    # The network

    def fly(self, packet: Packet) -> None:
        self.flying.append(packet)
        self.remembered.append(packet)
        del self.flying[:-MOST_FLYING], self.remembered[:-MOST_REMEMBERED]

    def arrive(self, packet: Packet, data: bytes | None = None, source: Addr | None = None) -> None:
        """At the end that was not its sender: the adversary may ignore addresses."""
        sender = self.near if packet.sender == "near" else self.far
        self.beyond(sender).receive(packet.data if data is None else data, source or sender.place)

    def carry(self) -> None:
        """All that flies arrives, and what is sent meanwhile too."""
        for _ in range(20 * MOST_FLYING):
            if not self.flying:
                return
            self.arrive(self.flying.pop(0))
        raise AssertionError("two ends that answer each other for ever")

    def advance(self, seconds: float, *, carry: bool = False) -> None:
        """Time passes at both ends, with all timers that fire in it."""
        steps = STEPS_A_SECOND * (seconds + 2)
        while True:
            timers = [timer for end in self.ends if (timer := end.next_timer()) is not None]
            step = min([*timers, seconds])
            for end in self.ends:
                end.advance(step)
            if carry:
                self.carry()
            seconds -= step
            steps -= 1
            assert steps > 0, "timers that never rest"
            if seconds <= 0 and not any(timer == 0 for end in self.ends if (timer := end.next_timer()) is not None):
                return

    # Choices

    def an_end(self) -> End:
        return self.choices.one_of(self.ends)

    def flying_index(self) -> int:
        return self.choices.byte() % len(self.flying)

    # Actions of the network

    def deliver(self) -> None:
        if self.flying:
            self.arrive(self.flying.pop(0))

    def deliver_all(self) -> None:
        for _ in range(len(self.flying)):
            self.deliver()

    def drop(self) -> None:
        if self.flying:
            self.flying.pop(self.flying_index())

    def delay(self) -> None:
        """Another one overtakes it."""
        if self.flying:
            self.arrive(self.flying.pop(self.flying_index()))

    def replay(self) -> None:
        if self.remembered:
            self.arrive(self.remembered[self.choices.byte() % len(self.remembered)])

    def reflect(self) -> None:
        """Back to where it is from."""
        if self.remembered:
            packet = self.remembered[self.choices.byte() % len(self.remembered)]
            sender = self.near if packet.sender == "near" else self.far
            sender.receive(packet.data, self.beyond(sender).place, unfiltered=bool(self.choices.byte() & 1))

    def relay(self) -> None:
        """From an address that is the adversary's."""
        if self.flying:
            self.arrive(self.flying.pop(self.flying_index()), source=ELSEWHERE)

    def forge(self) -> None:
        """One byte is another, and the first MAC right again if it had one."""
        if not self.remembered:
            return
        packet = self.remembered[self.choices.byte() % len(self.remembered)]
        data = bytearray(packet.data)
        data[self.choices.byte() % len(data)] ^= self.choices.byte() or 1
        how = self.choices.byte()
        end = self.far if packet.sender == "near" else self.near
        if how & 1 and len(data) in (INITIATION[1], RESPONSE[1]):
            data[:] = CookieJar(end.public).add_macs(bytes(data[:-32]), 1.0)
        end.receive(bytes(data), self.beyond(end).place, unfiltered=bool(how & 2))

    def junk(self) -> None:
        """Any bytes, of the length of some message."""
        kind, length = self.choices.one_of((INITIATION, RESPONSE, COOKIE_REPLY, (4, 32), (5, 40), (0, 3)))
        given = self.choices.take(self.choices.number(0, 16))
        data = (kind.to_bytes(4, "little") + given + bytes(length))[:length]
        self.an_end().receive(data, ELSEWHERE, unfiltered=bool(self.choices.byte() & 1))

    # Actions of hosts and operators

    def write(self) -> None:
        self.write_at(self.an_end())

    def write_at(self, end: End) -> None:
        self.written += 1
        end.write(b"packet %d" % self.written)

    def keepalive(self) -> None:
        end = self.an_end()
        for peer in list(end.plane.peers.values()):
            end.introduce(peer.public_key, None, keepalive=self.choices.one_of(KEEPALIVES))

    def restart(self) -> None:
        end = self.an_end()
        end.start()
        end.introduce(self.beyond(end).public, self.beyond(end).place if self.choices.byte() & 1 else None)

    def change_key(self) -> None:
        end = self.an_end()
        key = self.choices.byte() % 3
        if key < 2:
            end.set_key(key)
        else:
            end.clear_key()

    def tell_key(self) -> None:
        """The end hears which key the other has, or another that it may have."""
        end = self.an_end()
        key = self.choices.one_of((self.beyond(end).public, *PUBLIC[self.beyond(end).name], LOW_ORDER))
        end.introduce(key, self.beyond(end).place)

    def change_preshared(self) -> None:
        end, preshared = self.an_end(), self.choices.number(0, 2)
        for peer in list(end.plane.peers.values()):
            end.introduce(peer.public_key, None, preshared)

    def forget_peer(self) -> None:
        self.an_end().forget_peers()

    def interface(self) -> None:
        end = self.an_end()
        if end.harness.device.stats()["up"]:
            end.harness.device.down()
        else:
            end.harness.device.up()

    # Actions of machines

    def wait(self) -> None:
        self.advance(self.choices.one_of(DURATIONS))

    def sleep(self) -> None:
        self.an_end().sleep(self.choices.one_of(DURATIONS))

    def step_clock(self) -> None:
        """Of the wall, by up to two days in either direction."""
        self.an_end().harness.clock_offset += (self.choices.number(0, 65535) - 32768) * 5.0

    def load(self) -> None:
        end = self.an_end()
        end.under_load = not end.under_load

    def hold(self) -> None:
        """The control plane is late: what the plane has for it waits, and then comes at once."""
        end = self.an_end()
        end.held = not end.held
        end.poll()

    def stale_signal(self) -> None:
        """The plane tells of a peer, or of a keypair, that is gone by the time that it is heard."""
        end = self.an_end()
        what = self.choices.one_of((flags.HANDSHAKE_WANTED, flags.REKEY_WANTED, flags.ACTIVITY))
        end.plane.report(self.choices.number(0, 15), what)
        end.poll()
