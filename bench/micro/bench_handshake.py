"""The responder's work for one handshake, in the core: initiation in, response out, keypair derived."""

import os
import time
from collections.abc import Callable
from typing import Any

from pywg.core.events import Activity, Endpoint, KeypairDerived
from pywg.core.tunnel import Tunnel
from pywg.dataplane.crypto.secret import Secret

INITIATORS = 500


def _tunnel(now: float) -> Tunnel:
    tunnel = Tunnel(random=os.urandom, wall_ns=time.time_ns, activity=lambda _peer: Activity(0.0, 0.0, 0.0, 0.0))
    tunnel.set_private_key(Secret(os.urandom(32)), now)
    tunnel.up(now)
    return tunnel


def _initiations(responder: Tunnel, now: float) -> list[tuple[bytes, Endpoint]]:
    """One initiation from each of many peers, all of them known to the responder, each from an address of its own."""
    made = []
    assert responder.public_key is not None
    for number in range(INITIATORS):
        initiator = _tunnel(now)
        assert initiator.public_key is not None
        peer = initiator.add_peer(responder.public_key, now)
        responder.add_peer(initiator.public_key, now)
        initiator.handshake_wanted(peer, now)
        (datagram,) = initiator.datagrams_to_send()
        made.append((datagram.data, Endpoint((0x0A000000 + number).to_bytes(4, "big"), 51820)))
    return made


def bench_answer_initiations(benchmark: Any) -> None:
    """500 initiations from 500 peers. 1,000 a second are wanted: the time for all has to stay below 0.5 s."""
    now = 1000.0

    def fresh() -> tuple[tuple[Callable[[], int]], dict[str, object]]:
        responder = _tunnel(now)
        initiations = _initiations(responder, now)

        def answer() -> int:
            derived = 0
            for data, source in initiations:
                responder.receive_datagram(data, source, now)
                derived += sum(isinstance(event, KeypairDerived) for event in responder.events())
                responder.datagrams_to_send()
            return derived

        return (answer,), {}

    derived = benchmark.pedantic(lambda answer: answer(), setup=fresh, rounds=5)
    benchmark.extra_info["handshakes_per_s"] = INITIATORS / benchmark.stats.stats.median
    assert derived == INITIATORS
