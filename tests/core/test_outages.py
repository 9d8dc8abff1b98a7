"""How long a tunnel that both ends use stands still when one message is lost, late, repeated, or crosses another.

The network does one thing to one message of a handshake, or keepalive, and is perfect otherwise. While there is a
session nothing of that is felt, nor is a preshared key that one end has some seconds before the other. Without one,
each thing costs one more try, and two ends that try do not go on crossing each other.
"""

import itertools
from collections.abc import Callable

import pytest

from pywg.core.events import Endpoint
from pywg.dataplane.crypto.secret import Secret
from tests import paper
from tests.simulation import TRANSPORT, Site, World, introduce

KEEPALIVE_LEN = 32
TALKS_EVERY = 0.5
A_TRY = paper.REKEY_TIMEOUT + paper.REKEY_TIMEOUT_JITTER
SLACK = TALKS_EVERY + 0.5
Act = tuple[str, float]
LOST: Act = ("lost", 0.0)
ACTS = [LOST, ("late", 1.0), ("late", 5.1), ("late", 20.0), ("again", 0.5), ("again", 5.2)]


class OneAct(World):
    """Does `act` to the message number `at` of handshakes and keepalives, from `arm` on."""

    def __init__(self, seed: int, at: int, act: Act, delay: float) -> None:
        super().__init__(seed)
        self.delay = (delay, delay)
        self._at, self._act = at, act
        self._seen = 0
        self._armed = False

    def arm(self) -> None:
        self._armed = True

    def transmit(self, sender: Site, to: Endpoint, data: bytes) -> None:
        what, seconds = self._act
        if self._armed and (data[0] != TRANSPORT or len(data) == KEEPALIVE_LEN):
            self._seen += 1
            if self._seen == self._at:
                if what != "lost":
                    self.after(self.delay[0] + seconds, lambda: self.deliver(to, data, sender.address))
                if what != "again":
                    return
        super().transmit(sender, to, data)


class Arrivals(list[bytes]):
    """Packets, and when they came."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self.times: list[float] = []

    def append(self, packet: bytes) -> None:
        super().append(packet)
        self.times.append(self._world.now)


def outage(
    at: int,
    act: Act,
    *,
    seed: int = 1,
    delay: float = 0.02,
    apart: float = 0.0,
    phases: tuple[float, float] = (0.0, 0.0),
    age: float = 0.0,
    unrest: Callable[[World, Site, Site], None] = lambda _world, _near, _far: None,
    for_s: float = 40.0,
) -> float:
    """The longest time without a packet, in either direction, while both ends have one to send every half second.

    They begin `apart` seconds apart, each with one packet and `phases` later with the others, with a session that is
    `age` seconds old; 0: without one.
    """
    world = OneAct(seed, at, act, delay)
    near, far = Site(world, "near", b"\x0a\x00\x00\x01"), Site(world, "far", b"\x0a\x00\x00\x02")
    introduce(near, far)
    if age:
        near.send(b"first")
        world.run(1)
        far.send(b"first")
        world.run(age - 1)
    world.arm()
    unrest(world, near, far)
    began, end = world.now, world.now + for_s
    arrivals = []
    for site, other, begins, phase in ((near, far, 0.0, phases[0]), (far, near, apart, phases[1])):
        other.plane.delivered = Arrivals(world)
        arrivals.append(other.plane.delivered)

        def talk(site: Site = site) -> None:
            world.every(TALKS_EVERY, lambda: site.send(b"x"), end)

        world.after(begins, lambda it=site: it.send(b"x"))  # type: ignore[misc]
        world.after(begins + phase, talk)
    world.run(for_s)
    moments = [[began, *of.times, end] for of in arrivals]
    return max(later - earlier for of in moments for earlier, later in itertools.pairwise(of))


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("act", ACTS, ids=str)
def test_with_a_session_nothing_is_felt_of_it(at: int, act: Act) -> None:
    assert outage(at, act, age=paper.REKEY_AFTER_TIME - 5) < SLACK


@pytest.mark.parametrize("apart", [0.0, 0.03, 3.0, 30.0])
def test_with_a_session_nothing_is_felt_of_a_preshared_key_that_one_end_has_first(apart: float) -> None:
    def change(world: World, near: Site, far: Site) -> None:
        for site, after in ((near, 4.9), (far, 4.9 + apart)):
            world.after(after, lambda it=site: it.tunnel.set_preshared_key(it.peer, Secret(b"\x07" * 32)))  # type: ignore[misc]

    assert outage(0, LOST, age=paper.REKEY_AFTER_TIME - 5, unrest=change, for_s=80.0) < SLACK


@pytest.mark.parametrize("act", ACTS, ids=str)
@pytest.mark.parametrize("at", [1, 2, 3])
def test_without_a_session_it_costs_a_try(at: int, act: Act) -> None:
    """From the moment on that the other end, too, has something to send: what is late may cross that."""
    apart = 1.0
    assert outage(at, act, apart=apart) < apart + A_TRY + SLACK


@pytest.mark.parametrize("phases", [(0.2, 0.15), (0.2, 0.1), (0.2, 0.3), (0.0, 0.1), (0.4, 0.35)])
def test_a_lost_answer_makes_no_two_tries_cross(phases: tuple[float, float]) -> None:
    """Both ends have something to send, and their next try with it: one goes first, whichever has it sooner."""
    assert outage(2, LOST, delay=0.1, apart=1.0, phases=phases) < A_TRY + SLACK


def test_one_end_alone_tries_again_where_the_first_packet_of_a_session_was_lost() -> None:
    """The responder, which can't tell that from a lost answer, does so a little later."""
    world = OneAct(1, 3, LOST, 0.02)
    near, far = Site(world, "near", b"\x0a\x00\x00\x01"), Site(world, "far", b"\x0a\x00\x00\x02")
    introduce(near, far)
    world.arm()
    near.tunnel.rekey_wanted(near.peer, near.now)
    near.pump()
    world.run(0.1)
    far.send(b"x")
    world.run(A_TRY + 2 * paper.REKEY_TIMEOUT_JITTER + SLACK)
    assert near.delivered == [b"x"]


@pytest.mark.parametrize("delay", [0.02, 0.1])
@pytest.mark.parametrize("seed", range(1, 7))
def test_initiations_that_cross_cost_a_try_and_a_lost_answer_another(seed: int, delay: float) -> None:
    """And not a second crossing: both ends wait for a session, and have sent something at the same time."""
    assert outage(0, LOST, seed=seed, delay=delay) < A_TRY + SLACK
    assert max(outage(at, LOST, seed=seed, delay=delay) for at in (5, 6)) < 2 * A_TRY + SLACK
