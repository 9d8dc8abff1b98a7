"""Peers and keypairs that go: nothing of them is left, neither in the plane nor in memory."""

import ctypes
import gc

import pytest

from pywg._fastpath import HANDSHAKE_WANTED
from pywg.dataplane.crypto.secret import Secret
from tests.fastpath.plane_harness import (
    Far,
    PlaneHarness,
    addr_of,
    flows,
    handshake_message,
    raw_packet,
    reply,
    traffic,
)


def test_unknown_peers_are_key_errors() -> None:
    with PlaneHarness() as harness:
        plane = harness.plane
        for call in (
            lambda: plane.remove_peer(5),
            lambda: plane.set_endpoint(5, None),
            lambda: plane.endpoint(5),
            lambda: plane.clear_source(5),
            lambda: plane.allow_many(5, []),
            lambda: plane.disallow(5, bytes(4), 0),
            lambda: plane.clear_allowed(5),
            lambda: plane.allowed_ips(5),
            lambda: plane.open_index(1, 5),
            lambda: plane.use_keypair(5, None),
            lambda: plane.send_keepalive(5),
            lambda: plane.send_staged(5),
            lambda: plane.drop_staged(5),
            lambda: plane.send_to_peer(5, b""),
            lambda: plane.activity(5),
            lambda: plane.peer_stats(5),
            lambda: plane.handshake_received(5, (bytes(4), 1, 0, b"", 0), 1),
        ):
            with pytest.raises(KeyError):
                call()


def test_peer_ids_are_given_once() -> None:
    with PlaneHarness() as harness:
        Far(harness)
        with pytest.raises(ValueError, match="peer"):
            harness.plane.add_peer(1)


def test_removed_peer_leaves_nothing_behind() -> None:
    with PlaneHarness() as harness:
        far = Far(harness, 1, confirmed=False)
        other = Far(harness, 2, prefixes=[])
        harness.plane.open_index(9, 1)
        far.send(reply(1))
        assert harness.read(1) == [reply(1)]
        harness.plane.use_keypair(1, None)
        for number in range(20):
            harness.write(raw_packet(60, 4, number))
        harness.until(lambda: harness.counter("tx_packets") == 20, "staged")
        other.send(reply(1))
        harness.counted(rx_source_not_allowed=1)
        harness.plane.remove_peer(1)
        harness.counted(tx_staged_dropped=20)
        harness.drain()
        assert {peer for peer, _, _ in harness.happened} == {2}
        far.send(reply(2))
        far.send_datagram(handshake_message(2, 92, 9))
        far.send_datagram(handshake_message(3, 64, 9))
        harness.counted(rx_unknown_index=3)
        harness.write(raw_packet(60))
        harness.counted(tx_no_peer=1)
        harness.plane.add_peer(1)
        assert harness.plane.endpoint(1) is None
        assert harness.plane.allowed_ips(1) == []
        assert harness.plane.peer_stats(1) == (0, 0)


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_events_of_the_others_survive_a_removal(gone: int) -> None:
    """First, middle and last of those that wait to be told."""
    with PlaneHarness() as harness:
        sock = None
        for peer in range(3):
            sock = Far(harness, peer, prefixes=[(bytes([10, 4, peer, 0]), 24)], session=False, sock=sock).sock
            harness.write(raw_packet(60).replace(bytes([10, 0, 0, 2]), bytes([10, 4, peer, 1])))
        harness.until(lambda: harness.counter("tx_packets") == 3, "staged")
        harness.plane.remove_peer(gone)
        last = Far(harness, 3, prefixes=[(bytes([10, 4, 3, 0]), 24)], session=False, sock=sock)
        harness.write(raw_packet(60).replace(bytes([10, 0, 0, 2]), bytes([10, 4, 3, 1])))
        harness.until(lambda: harness.counter("tx_packets") == 4, "one behind those that are left, before any was told")
        harness.heard(last.peer, HANDSHAKE_WANTED)
        assert [peer for peer, _, _ in harness.happened] == [peer for peer in range(4) if peer != gone]


def test_peers_and_keys_come_and_go_under_traffic() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        with traffic(harness, far):
            for number in range(300):
                peer = 100 + number
                harness.plane.add_peer(peer)
                harness.plane.allow_many(peer, [(bytes([10, 0, 0, 2]), 32)])
                harness.plane.set_endpoint(peer, addr_of(far.sock))
                harness.plane.install_keypair(
                    peer, number, 1, bytes(32), bytes(32), initiator=True, created_at=0.0, confirmed=True
                )
                harness.plane.use_keypair(peer, number)
                harness.plane.open_index(1 << 20 | number, peer)
                harness.plane.drain()
                harness.plane.retire_keypair(number)
                harness.plane.allow_many(1, [(bytes([10, 0, 0, 2]), 32)])
                harness.plane.remove_peer(peer)
            flows(harness)


class TestSecrets:
    """Keys lie in the arena while they are in use, and nowhere there afterwards."""

    @staticmethod
    def slot() -> int:
        """Where the next secret is going to be: the arena gives out first what it got back last."""
        secret = Secret(length=64)
        address = ctypes.addressof(ctypes.c_char.from_buffer(secret))
        gc.collect()
        del secret
        gc.collect()
        return address

    @pytest.mark.parametrize("how", ["retire", "remove", "close"])
    def test_keys_are_wiped(self, how: str) -> None:
        with PlaneHarness() as harness:
            far = Far(harness, session=False)
            address = self.slot()
            far.install()
            assert ctypes.string_at(address, 64) == far.key + far.send_key
            if how == "retire":
                harness.plane.retire_keypair(far.local_index)
            elif how == "remove":
                harness.plane.remove_peer(1)
            else:
                harness.plane.close()
            assert ctypes.string_at(address, 64) == bytes(64)

    def test_slots_are_used_again(self) -> None:
        with PlaneHarness() as harness:
            far = Far(harness, session=False)
            address = self.slot()
            for _ in range(2000):
                far.install()
                assert ctypes.string_at(address, 64) == far.key + far.send_key
                harness.plane.retire_keypair(far.local_index)
            assert ctypes.string_at(address, 64) == bytes(64)


def test_index_that_has_become_another_peers_stays() -> None:
    """The core draws no index twice. Should it, the peer that goes takes nothing of the other's with it."""
    with PlaneHarness() as harness:
        first, second = Far(harness, 1, session=False), Far(harness, 2, session=False)
        second.local_index = first.local_index
        first.install()
        second.install()
        harness.plane.open_index(5, 1)
        harness.plane.open_index(5, 2)
        harness.plane.remove_peer(1)
        second.send(reply(1))
        assert harness.read(1) == [reply(1)]
        second.send_datagram(handshake_message(2, 92, 5))
        harness.received(1)
