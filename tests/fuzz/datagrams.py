"""Datagrams to a live data plane: good ones are delivered once, all others are in exactly one counter."""

import random

from tests.fastpath.plane_harness import DROPS, Far, PlaneHarness, handshake_message, raw_packet, reply
from tests.fuzz.engine import Attempt
from tests.fuzz.mutate import flip, mutate
from tests.paper import COOKIE_REPLY, INITIATION, RESPONSE

DATAGRAMS = 40
REFUSED = (*DROPS, "not_ip", "source_not_allowed", "under_load", "source_limited", "queue_full")


def inner(chance: random.Random) -> bytes:
    """What an authentic peer sends: IP of ours or another's, or anything at all."""
    match chance.randrange(4):
        case 0:
            return raw_packet(chance.randint(20, 200))  # from an address that is not the peer's
        case 1:
            return mutate(chance, reply(DATAGRAMS, chance.randint(24, 200)))  # none of the numbers that count
        case 2:
            return chance.randbytes(chance.randrange(200))
        case _:
            return b""


def outer(chance: random.Random, far: Far) -> bytes:
    """What a stranger sends."""
    match chance.randrange(6):
        case 0:
            return flip(chance, far.message(reply(DATAGRAMS, 100)))
        case 1:
            return mutate(chance, far.message(reply(DATAGRAMS, 100)))
        case 2:
            return mutate(chance, handshake_message(*chance.choice([INITIATION, RESPONSE, COOKIE_REPLY])))
        case 3:
            return flip(chance, handshake_message(*INITIATION), 0, INITIATION[1] - 16)
        case 4:
            return chance.choice([b"\1\0\0\0", b"\2\0\0\0", b"\3\0\0\0", b"\4\0\0\0", b""]) + chance.randbytes(
                chance.choice([0, 12, 27, 28, 60, 88, 144, 500])
            )
        case _:
            return chance.randbytes(chance.randrange(200))


def case(attempt: Attempt) -> None:
    """One plane, one session, some forty datagrams."""
    chance = attempt.random
    wanted: list[bytes] = []
    sent: list[bytes] = []
    attempt.inputs["datagrams"] = sent
    with PlaneHarness(vnet_hdr_len=chance.choice([0, 10, 12])) as harness:
        far = Far(harness)
        far.counter = chance.choice([0, 2**32 - 20, 2**63])
        good: list[bytes] = []
        for number in range(DATAGRAMS):
            match chance.randrange(4):
                case 0:
                    wanted.append(reply(number, chance.randint(24, 1400)))
                    good.append(far.message(wanted[-1]))
                    datagram = good[-1]
                case 1:
                    datagram = far.message(inner(chance))
                case 2 if good:
                    datagram = chance.choice(good)
                case _:
                    datagram = outer(chance, far)
            sent.append(datagram)
            far.send_datagram(datagram)
        harness.until(lambda: harness.counter("rx_datagrams") == DATAGRAMS, "all datagrams")
        harness.until(lambda: accounted(harness) == DATAGRAMS, "a counter for each")
        packets: list[bytes] = []
        while not harness.tun_is_empty():
            packets += harness.read_packets()
        assert [one for one in packets if one in wanted] == wanted
        assert len(packets) == harness.counter("rx_packets")
        harness.plane.remove_peer(far.peer)


def accounted(harness: PlaneHarness) -> int:
    """Datagrams that were delivered, refused for a reason, or handed to the control plane."""
    counters = harness.plane.counters()
    harness.drain()
    refused = sum(counters["rx_" + name] for name in REFUSED)
    return counters["rx_packets"] + counters["rx_keepalives"] + refused + len(harness.messages)
