"""Cryptokey routing (paper section 2): the longest prefix wins, a prefix has one owner, what is removed is freed."""

import random
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.native.state import Table

Network = IPv4Network | IPv6Network
OWNERS = st.integers(0, 3)


class Model:
    """The same table as a plain dict, looked up by trying every prefix."""

    def __init__(self) -> None:
        self.owner_of: dict[Network, int] = {}

    def insert(self, network: Network, owner: int) -> None:
        if self.owner_of.get(network) != owner:
            self.owner_of.pop(network, None)  # a prefix that moves goes to the end of the new owner's list
            self.owner_of[network] = owner

    def remove(self, network: Network, owner: int) -> bool:
        if self.owner_of.get(network) != owner:
            return False
        del self.owner_of[network]
        return True

    def lookup(self, address: IPv4Address | IPv6Address) -> int | None:
        holding = [network for network in self.owner_of if address in network]
        return self.owner_of[max(holding, key=lambda network: network.prefixlen)] if holding else None

    def entries(self, owner: int) -> list[tuple[bytes, int]]:
        return [(n.network_address.packed, n.prefixlen) for n, owned_by in self.owner_of.items() if owned_by == owner]


@st.composite
def addresses(draw: st.DrawFn) -> bytes:
    """Packed addresses that share prefixes of every length with each other."""
    length = draw(st.sampled_from([4, 16]))
    value = int.from_bytes(draw(st.sampled_from([b"\x00", b"\x0a", b"\xff"])) * length, "big")
    for _ in range(draw(st.integers(0, 3))):
        value ^= 1 << draw(st.integers(0, length * 8 - 1))
    return value.to_bytes(length, "big")


@st.composite
def prefixes(draw: st.DrawFn) -> tuple[bytes, int]:
    ip = draw(addresses())
    return ip, draw(st.integers(0, len(ip) * 8))


def network_of(ip: bytes, cidr: int) -> Network:
    return ip_network((ip, cidr), strict=False)


class TableAgainstModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.table = Table()
        self.model = Model()

    @rule(prefix=prefixes(), owner=OWNERS)
    def insert(self, prefix: tuple[bytes, int], owner: int) -> None:
        self.table.insert(*prefix, owner)
        self.model.insert(network_of(*prefix), owner)

    @rule(prefix=prefixes(), owner=OWNERS)
    def remove(self, prefix: tuple[bytes, int], owner: int) -> None:
        assert self.table.remove(*prefix, owner) is self.model.remove(network_of(*prefix), owner)

    @rule(data=st.data(), owner=OWNERS)
    def remove_known(self, data: st.DataObject, owner: int) -> None:
        if self.model.owner_of:
            network = data.draw(st.sampled_from(list(self.model.owner_of)))
            removed = self.table.remove(network.network_address.packed, network.prefixlen, owner)
            assert removed is self.model.remove(network, owner)

    @rule(owner=OWNERS)
    def remove_owner(self, owner: int) -> None:
        self.table.remove_owner(owner)
        for network in [network for network, owned_by in self.model.owner_of.items() if owned_by == owner]:
            self.model.remove(network, owner)

    @rule(ip=addresses())
    def lookup(self, ip: bytes) -> None:
        wanted = self.model.lookup(ip_address(ip))
        assert self.table.lookup(ip) == wanted
        assert [owner for owner in range(4) if self.table.is_of(ip, owner)] == ([] if wanted is None else [wanted])

    @invariant()
    def same_entries(self) -> None:
        for owner in range(4):
            assert self.table.entries(owner) == self.model.entries(owner)

    @invariant()
    def same_edges(self) -> None:
        """The first and last address of each prefix, and their neighbours outside."""
        for network in self.model.owner_of:
            first, last = int(network.network_address), int(network.broadcast_address)
            size = network.max_prefixlen // 8
            for value in (first - 1, first, last, last + 1):
                if 0 <= value < 1 << (size * 8):
                    self.lookup(value.to_bytes(size, "big"))

    @invariant()
    def no_leak(self) -> None:
        count = len(self.model.owner_of)
        families = len({network.version for network in self.model.owner_of})
        assert len(self.table) == count
        assert self.table.nodes() <= 2 * count - families, "a binary trie of n prefixes has fewer than n forks"


TableAgainstModel.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestTableAgainstModel = TableAgainstModel.TestCase


def packed(text: str) -> bytes:
    return ip_address(text).packed


@pytest.mark.dropin("16", "cryptokey routing")
def test_the_most_specific_prefix_owns_the_address() -> None:
    """A peer must not send from a subnet that a more specific peer owns."""
    table = Table()
    table.insert(packed("10.0.0.0"), 8, 1)
    table.insert(packed("10.1.0.0"), 16, 2)
    table.insert(packed("10.1.2.3"), 32, 3)
    assert table.lookup(packed("10.2.0.1")) == 1
    assert table.lookup(packed("10.1.0.1")) == 2
    assert table.lookup(packed("10.1.2.3")) == 3
    assert table.lookup(packed("11.0.0.0")) is None
    for owner, text in ((1, "10.2.0.1"), (2, "10.1.0.1"), (3, "10.1.2.3")):
        assert [other for other in range(1, 4) if table.is_of(packed(text), other)] == [owner]


def test_families_do_not_meet() -> None:
    table = Table()
    table.insert(bytes(4), 0, 1)
    assert table.lookup(bytes(16)) is None
    table.insert(bytes(16), 0, 2)
    assert table.lookup(bytes(4)) == 1
    assert table.lookup(bytes(16)) == 2
    assert table.lookup(b"\xff" * 4) == 1
    assert table.lookup(b"\xff" * 16) == 2


def test_a_prefix_moves_to_its_new_owner() -> None:
    table = Table()
    table.insert(packed("192.0.2.0"), 24, 1)
    table.insert(packed("192.0.2.77"), 24, 2)
    assert table.lookup(packed("192.0.2.1")) == 2
    assert table.entries(1) == []
    assert table.entries(2) == [(packed("192.0.2.0"), 24)]
    assert not table.remove(packed("192.0.2.0"), 24, 1), "only its owner can give a prefix up"
    assert table.lookup(packed("192.0.2.1")) == 2
    assert table.remove(packed("192.0.2.0"), 24, 2)
    assert table.lookup(packed("192.0.2.1")) is None


def test_entries_come_in_the_order_they_were_given() -> None:
    table = Table()
    given_order = [(packed(ip), cidr) for ip, cidr in [("10.0.0.0", 8), ("2001:db8::", 32), ("9.9.9.9", 32), ("::", 0)]]
    for ip, cidr in given_order:
        table.insert(ip, cidr, 1)
    table.insert(packed("10.0.0.0"), 8, 1)
    assert table.entries(1) == given_order


@pytest.mark.known_bug("Allowed-IPs trie leak")
@given(st.lists(prefixes(), max_size=40), st.randoms(use_true_random=False))
def test_removal_in_any_order_frees_every_node(inserted: list[tuple[bytes, int]], order: random.Random) -> None:
    table = Table()
    for number, prefix in enumerate(inserted):
        table.insert(*prefix, number)
    order.shuffle(inserted)
    for prefix in inserted:
        for number in range(len(inserted)):
            table.remove(*prefix, number)
    assert len(table) == 0
    assert table.nodes() == 0
    assert table.capacity() == 0


def test_freed_nodes_are_used_again() -> None:
    """The trie of another implementation leaked what was removed."""
    table = Table()
    table.insert(packed("2001:db8::"), 32, 1)
    source = random.Random(7)
    for _ in range(500):
        for _ in range(200):
            table.insert(source.randbytes(4), source.randint(1, 32), 2)
        table.remove_owner(2)
    assert table.nodes() == 1
    assert table.capacity() < 2000
    assert table.remove(packed("2001:db8::"), 32, 1)
    assert table.capacity() == 0, "an empty trie holds no memory"


@pytest.mark.known_bug("Allowed-IPs trie leak")
def test_a_table_that_was_filled_and_emptied_is_as_good_as_new() -> None:
    table = Table()
    source = random.Random(7)
    for owner in range(1000):
        for _ in range(200):
            table.insert(source.randbytes(4), source.randint(1, 32), owner)
        assert 0 < table.nodes() <= 2 * len(table)
        if owner % 3:
            table.remove_owner(owner)
            table.remove_owner(owner - 1)
    for owner in range(1000):
        table.remove_owner(owner)
    assert table.nodes() == 0
    table.insert(packed("10.0.0.0"), 8, 5)
    assert table.lookup(packed("10.1.1.1")) == 5


@pytest.mark.parametrize(("size", "shortest"), [(4, 16), (16, 40)])
def test_many_prefixes_against_a_dict_per_length(size: int, shortest: int) -> None:
    source = random.Random(size)
    bits = size * 8
    table = Table()
    by_length: list[dict[int, int]] = [{} for _ in range(bits + 1)]
    for owner in range(30_000):
        cidr = source.randint(shortest, bits)
        ip = source.randbytes(size)
        table.insert(ip, cidr, owner)
        by_length[cidr][int.from_bytes(ip, "big") >> (bits - cidr)] = owner

    def longest(value: int) -> int | None:
        for cidr in range(bits, -1, -1):
            owner = by_length[cidr].get(value >> (bits - cidr))
            if owner is not None:
                return owner
        return None

    hits = 0
    for cidr in range(shortest, bits + 1):
        for prefix in list(by_length[cidr])[:200]:
            value = (prefix << (bits - cidr)) | source.getrandbits(bits - cidr)
            hits += 1
            assert table.lookup(value.to_bytes(size, "big")) == longest(value)
    assert hits > 1000
    for _ in range(5000):
        value = source.getrandbits(bits)
        assert table.lookup(value.to_bytes(size, "big")) == longest(value)


@pytest.mark.parametrize(
    ("ip", "cidr"), [(b"", 0), (b"\x0a\x00\x00", 8), (bytes(5), 8), (bytes(4), 33), (bytes(16), 129), (bytes(4), -1)]
)
def test_what_is_no_prefix(ip: bytes, cidr: int) -> None:
    table = Table()
    with pytest.raises(ValueError, match=r"an address has|a prefix of"):
        table.insert(ip, cidr, 1)
    with pytest.raises(ValueError, match=r"an address has|a prefix of"):
        table.remove(ip, cidr, 1)
    assert table.nodes() == 0


def test_lookup_wants_an_address() -> None:
    with pytest.raises(ValueError, match="4 or 16 bytes"):
        Table().lookup(b"\x0a\x00\x00\x00\x00")
