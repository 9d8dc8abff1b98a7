"""Handshake messages to the core: a changed one leaves no trace, and the right one still works after it."""

from tests.core.test_hostile_datagrams import check_refused, with_mac1
from tests.fuzz.engine import Attempt
from tests.fuzz.mutate import flip, mutate
from tests.simulation import INITIATION, RESPONSE, Site, two_sites

MAC1_LEN = MAC2_LEN = 16
AUTHENTICATED = {INITIATION: (8, 116), RESPONSE: (12, 60)}
"""The bytes that Noise protects, by message: behind the indices, before the MACs (paper section 5.4)."""
LENGTHS = {INITIATION: 148, RESPONSE: 92}


def first_datagram(site: Site) -> bytes:
    ((data, _),) = site.tunnel.datagrams_to_send()
    return data


def attack(attempt: Attempt, kind: int, message: bytes, target: Site) -> None:
    """Changed copies of a message that `target` waits for, with a mac1 that is wrong, or right."""
    chance = attempt.random
    assert len(message) == LENGTHS[kind]
    for _ in range(chance.randint(1, 6)):
        if chance.random() < 0.5:
            body = flip(chance, message[: -MAC1_LEN - MAC2_LEN], *AUTHENTICATED[kind])
            changed = with_mac1(target, body)
        else:
            changed = mutate(chance, message)
            if changed[:-MAC2_LEN] == message[:-MAC2_LEN] and len(changed) == len(message):
                continue  # mac2 alone is other, which nobody looks at without load
        attempt.inputs["message"] = changed
        check_refused(target, changed)


def case(attempt: Attempt) -> None:
    """A handshake between two sites with something hostile before each of its messages."""
    _, near, far = two_sites()
    near.tunnel.handshake_wanted(near.peer, near.now)
    near.tunnel.events()
    initiation = first_datagram(near)
    attempt.inputs["initiation"] = initiation
    attack(attempt, INITIATION, initiation, far)
    assert far.tunnel.receive_datagram(initiation, near.address, far.now) is not None
    far.tunnel.events()
    response = first_datagram(far)
    attempt.inputs["response"] = response
    attack(attempt, RESPONSE, response, near)
    attack(attempt, INITIATION, initiation, far)
    assert near.tunnel.receive_datagram(response, far.address, near.now) is not None
    attempt.inputs["replayed"] = initiation
    check_refused(far, initiation)
