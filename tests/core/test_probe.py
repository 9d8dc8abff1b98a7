"""A peer is tried at another endpoint by a handshake beside its session."""

from pywg.core.events import Endpoint, HandshakeCompleted, KeypairDerived, ProbeAnswered
from tests import paper
from tests.simulation import Site, World, two_sites

NOWHERE = Endpoint(bytes([203, 0, 113, 9]), 7)


def established() -> tuple[World, Site, Site]:
    world, near, far = two_sites()
    near.send(b"first")
    world.run(paper.REKEY_TIMEOUT + 1)
    assert far.delivered == [b"first"]
    near.log.clear()
    return world, near, far


def probe(near: Site, to: Endpoint) -> None:
    near.tunnel.probe(near.peer, to, near.now)
    near.pump()


def test_one_that_answers_is_there_with_a_new_session() -> None:
    world, near, far = established()
    near.remote = NOWHERE
    probe(near, far.address)
    world.run(1)
    assert len(near.happened(ProbeAnswered, HandshakeCompleted, KeypairDerived)) == 3
    assert near.remote is not None
    assert near.remote[:2] == far.address[:2]
    near.send(b"second")
    world.run(1)
    assert far.delivered == [b"first", b"second"]


def test_without_an_answer_it_is_as_if_nothing_had_been_sent() -> None:
    world, near, far = established()
    there = near.remote
    probe(near, NOWHERE)
    for number in range(40):
        near.send(b"%d" % number)
        far.send(b"%d" % number)
        world.run(0.5)
    assert (near.remote, len(far.delivered), len(near.delivered)) == (there, 41, 40)
    assert near.happened(ProbeAnswered, HandshakeCompleted, KeypairDerived) == []


def test_none_is_tried_without_a_session_or_beside_another_handshake() -> None:
    _, near, far = two_sites()
    probe(near, far.address)
    near.tunnel.probe(near.peer, far.address, near.now)
    assert near.tunnel.datagrams_to_send() == []
    world, near, far = established()
    probe(near, NOWHERE)
    near.tunnel.probe(near.peer, far.address, near.now)
    assert near.tunnel.datagrams_to_send() == [], "initiations keep their distance"
    world.run(paper.REKEY_TIMEOUT + 1)
    near.tunnel.probe(near.peer, far.address, near.now)
    assert len(near.tunnel.datagrams_to_send()) == 1


def test_a_handshake_that_is_wanted_meanwhile_comes_after_it() -> None:
    world, near, far = established()
    probe(near, NOWHERE)
    near.tunnel.rekey_wanted(near.peer, near.now)
    near.pump()
    assert near.happened(KeypairDerived) == []
    world.run(paper.REKEY_TIMEOUT + 1)
    assert len(near.happened(KeypairDerived)) == 1
    assert near.happened(ProbeAnswered) == []
    assert far.sending is not None
