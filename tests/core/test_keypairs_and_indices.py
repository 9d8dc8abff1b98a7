"""Keypair rotation as Linux's noise.c does it, receiver indices, and the messages' layout."""

import random
import struct
from collections import Counter
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pywg.core.index_table import IndexTable
from pywg.core.keypair import Keypair, Keypairs
from pywg.core.messages import CookieReply, Initiation, Response
from pywg.dataplane.wire.limits import KEYPAIRS_PER_PEER
from tests import paper


def keypair(index: int, *, initiator: bool) -> Keypair:
    return Keypair(index, initiator, 1.0)


def roles(keypairs: Keypairs) -> tuple[int | None, int | None, int | None]:
    previous, current, after = (
        None if it is None else it.local_index for it in (keypairs.previous, keypairs.current, keypairs.next)
    )
    return previous, current, after


def indices(retired: list[Keypair] | None) -> list[int] | None:
    return None if retired is None else [it.local_index for it in retired]


def test_the_data_plane_counts_memory_for_every_role() -> None:
    assert len(fields(Keypairs)) == KEYPAIRS_PER_PEER


def test_an_initiators_keypair_is_current_at_once() -> None:
    keypairs = Keypairs()
    assert keypairs.add(keypair(1, initiator=True)) == []
    assert roles(keypairs) == (None, 1, None)
    assert keypairs.add(keypair(2, initiator=True)) == []
    assert roles(keypairs) == (1, 2, None)
    assert indices(keypairs.add(keypair(3, initiator=True))) == [1]
    assert roles(keypairs) == (2, 3, None)


def test_a_responders_keypair_waits_to_be_confirmed() -> None:
    keypairs = Keypairs()
    keypairs.add(keypair(1, initiator=True))
    keypairs.add(keypair(2, initiator=True))
    assert indices(keypairs.add(keypair(3, initiator=False))) == [1]
    assert roles(keypairs) == (None, 2, 3)
    assert keypairs.confirm(2) is None
    assert keypairs.confirm(3) is keypairs.current
    assert roles(keypairs) == (2, 3, None)
    assert keypairs.confirm(3) is None


def test_a_newer_unconfirmed_keypair_replaces_an_older() -> None:
    keypairs = Keypairs()
    keypairs.add(keypair(1, initiator=False))
    assert indices(keypairs.add(keypair(2, initiator=False))) == [1]
    assert roles(keypairs) == (None, None, 2)


def test_an_initiators_keypair_demotes_an_unconfirmed_one() -> None:
    keypairs = Keypairs()
    keypairs.add(keypair(1, initiator=True))
    keypairs.add(keypair(2, initiator=False))
    assert indices(keypairs.add(keypair(3, initiator=True))) == [1]
    assert roles(keypairs) == (2, 3, None)


class KeypairsMachine(RuleBasedStateMachine):
    """Whatever happens: at most three, each in one role, and every other was reported as retired exactly once."""

    def __init__(self) -> None:
        super().__init__()
        self.keypairs = Keypairs()
        self.added = 0
        self.retired: list[int] = []

    @rule(initiator=st.booleans())
    def add(self, initiator: bool) -> None:
        self.added += 1
        self.retired += indices(self.keypairs.add(keypair(self.added, initiator=initiator))) or []

    @rule()
    def confirm(self) -> None:
        if self.keypairs.next is not None:
            self.keypairs.confirm(self.keypairs.next.local_index)

    @rule()
    def clear(self) -> None:
        self.retired += indices(self.keypairs.clear()) or []

    @invariant()
    def nothing_is_lost(self) -> None:
        alive = [index for index in roles(self.keypairs) if index is not None]
        assert Counter(alive + self.retired) == Counter(range(1, self.added + 1))


TestKeypairsMachine = KeypairsMachine.TestCase


def test_a_keypair_is_usable_for_180_s() -> None:
    it = keypair(1, initiator=True)
    assert it.usable(1.0 + paper.REJECT_AFTER_TIME - 0.1)
    assert not it.usable(1.0 + paper.REJECT_AFTER_TIME)


@pytest.mark.known_bug("Guessable session indices")
def test_indices_are_all_32_random_bits() -> None:
    """Known bug of boringtun: guessable session indices."""
    source = random.Random(1)
    table = IndexTable(source.randbytes)
    drawn = [table.insert(owner) for owner in range(500)]
    again = random.Random(1)
    assert drawn == [struct.unpack("<I", again.randbytes(4))[0] for _ in range(500)]
    assert [table.find(index) for index in drawn] == list(range(500))


def test_an_index_in_use_is_not_given_again() -> None:
    draws = iter([b"\x01\0\0\0", b"\x01\0\0\0", b"\x02\0\0\0", b"\x01\0\0\0"])
    table = IndexTable(lambda length: next(draws))
    assert (table.insert(7), table.insert(8)) == (1, 2)
    table.remove(1)
    assert table.find(1) is None
    assert table.insert(9) == 1
    assert len(table) == 2


@given(
    shards=st.sampled_from([1, 2, 4, 8]),
    owners=st.lists(st.integers(1, 1 << 40), min_size=1, max_size=20),
    carried=st.sets(st.integers(0, 15), max_size=8),
    seed=st.integers(0, 99),
)
def test_the_low_bits_say_whose_peer_it_is(shards: int, owners: list[int], carried: set[int], seed: int) -> None:
    """All other bits are random ones, and indices that another daemon has drawn are as good as ours."""
    source, drawn = random.Random(seed), []

    def draw(length: int) -> bytes:
        drawn.append(source.choice([source.randbytes(length), bytes([source.randrange(16)]) + bytes(length - 1)]))
        return drawn[-1]

    table = IndexTable(draw, shards)
    for index in carried:
        table.take(index, 99)
    before = dict.fromkeys(carried, 99)
    for owner in owners:
        index = table.insert(owner)
        assert index not in before
        assert index % shards == owner % shards
        assert index // shards == int.from_bytes(drawn[-1], "little") // shards
        before[index] = owner
    assert {index: table.find(index) for index in before} == before


def test_messages_are_laid_out_as_in_the_paper() -> None:
    macs = bytes(32)
    key, static, stamp, nothing, nonce, cookie = (
        bytes([number]) * length for number, length in enumerate((32, 48, 28, 16, 24, 32))
    )
    initiation = Initiation(0x11223344, key, static, stamp)
    assert initiation.pack() == b"\x01\0\0\0\x44\x33\x22\x11" + key + static + stamp
    response = Response(0x11223344, 0x55667788, key, nothing)
    assert response.pack() == b"\x02\0\0\0\x44\x33\x22\x11\x88\x77\x66\x55" + key + nothing
    reply = CookieReply(0x11223344, nonce, cookie)
    assert CookieReply.unpack(b"\x03\0\0\0\x44\x33\x22\x11" + nonce + cookie) == reply
    assert Initiation.unpack(initiation.pack() + macs) == initiation
    assert Response.unpack(response.pack() + macs) == response
