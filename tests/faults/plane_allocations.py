"""A data plane whose allocations fail, one after the other: a process of its own for test_allocations.

Python's objects come from malloc() here (PYTHONMALLOC=malloc), so each of them fails in turn as well. Output: a JSON
object of {operation: allocations that failed}. An AssertionError where a failure is not told, changes something, keeps
the same from being done afterwards, or leaks.
"""

import errno
import gc
import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from pywg._fastpath import Plane, choose_aead, now
from tests.fastpath.plane_harness import FAR_PREFIXES, Addr, Far, PlaneHarness, handshake_message, raw_packet, reply
from tests.faults.allocations import OTHERS, Allocations

ROUNDS = 6
"""Of failures of the same allocation, to see whether each leaves something behind."""
THOUSANDS = [(number.to_bytes(4, "big"), 32) for number in range(1, 3001)]
KEYS = bytes(32), bytes(range(32))
PACKETS = 5
MANY, SPARSELY = 30, 97
NEW_PEER, NEW_INDEX = 77, 0x7000


@dataclass
class Step:
    """An operation on a plane: what it does, and what can be seen of it."""

    act: Callable[[], object]
    state: Callable[[], object]
    again: bool = False
    """What has begun may stay: the same again completes it."""


Operation = Callable[[], AbstractContextManager[Step]]


def attempt(allocations: Allocations, step: Step, at: int) -> bool:
    """Does it with one failing allocation. Whether it was done all the same."""
    try:
        with allocations.failing(at):
            step.act()
    except MemoryError:
        return False
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
        return False
    return True


def once_fails(allocations: Allocations, operation: Operation, at: int, done: object) -> bool:
    """Has one allocation of an operation fail. Whether that left as many blocks as there were after the last time."""
    with operation() as step:
        before = step.state()
        if not attempt(allocations, step, at):
            assert step.again or step.state() == before, f"changed by failing number {at}"
            step.act()
        assert step.state() == done, f"not done after failing number {at}"
    del step, before
    gc.collect()
    live = allocations.live
    same = live == allocations.last_live
    allocations.last_live = live
    return same


def each_fails(allocations: Allocations, operation: Operation) -> int:
    """Has each allocation of an operation fail in turn. How many there are."""
    for _ in range(2):  # some happens once
        with operation() as step:
            before = step.state()
            with allocations.failing():
                step.act()
            done = step.state()
            assert before != done
    count = allocations.seen
    for at in range(1, count + 1):
        assert any(once_fails(allocations, operation, at, done) for _ in range(ROUNDS)), f"leaks by failing number {at}"
    return count


@contextmanager
def making() -> Iterator[Step]:
    """A plane with helpers, of the cipher that allocates most."""
    made: list[Plane] = []
    yield Step(lambda: made.append(Plane(aead="libcrypto", helpers=2)), lambda: len(made))
    made.pop().close()


def on_a_plane(step: Callable[[PlaneHarness, Far], Step]) -> Operation:
    @contextmanager
    def operation() -> Iterator[Step]:
        with PlaneHarness() as harness:
            yield step(harness, Far(harness))

    return operation


def knows(harness: PlaneHarness, peer: int) -> bool:
    try:
        harness.plane.allowed_ips(peer)
    except KeyError:
        return False
    return True


def passes(harness: PlaneHarness, far: Far, index: int) -> bool:
    """Whether a response to this index is taken."""
    before = harness.counter("rx_handshakes"), harness.counter("rx_unknown_index")
    far.send_datagram(handshake_message(2, 92, index))
    harness.until(
        lambda: (harness.counter("rx_handshakes"), harness.counter("rx_unknown_index")) != before, "a response"
    )
    harness.forget()
    return harness.counter("rx_handshakes") > before[0]


def adding_a_peer(harness: PlaneHarness, far: Far) -> Step:
    plane = harness.plane
    return Step(
        lambda: plane.add_peer(NEW_PEER, KEYS[1]),
        lambda: (knows(harness, NEW_PEER), plane.memory()["peers"]),
    )


def fill_indices(harness: PlaneHarness) -> None:
    """With those of keypairs, so that the next index of either table makes it grow."""
    for number in range(1, 32):
        harness.plane.add_peer(1000 + number)
        harness.plane.install_keypair(
            1000 + number, 5000 + number, number, *KEYS, initiator=True, created_at=now(), confirmed=True
        )


def opening_an_index(harness: PlaneHarness, far: Far) -> Step:
    fill_indices(harness)
    return Step(
        lambda: harness.plane.open_index(NEW_INDEX, far.peer),
        lambda: passes(harness, far, NEW_INDEX),
    )


def completing_a_handshake(harness: PlaneHarness, far: Far) -> Step:
    """Its index becomes the keypair's."""
    plane = harness.plane

    def install() -> None:
        plane.install_keypair(far.peer, NEW_INDEX, NEW_INDEX, *KEYS, initiator=True, created_at=now(), confirmed=True)

    fill_indices(harness)
    plane.open_index(NEW_INDEX, far.peer)
    return Step(install, lambda: passes(harness, far, NEW_INDEX))


def attaching_a_tun(harness: PlaneHarness, far: Far) -> Step:
    """With another header than before."""
    plane = harness.plane

    def attach(vnet_hdr_len: int) -> None:
        plane.attach_tun(harness.tun_end.fileno(), vnet_hdr_len=vnet_hdr_len)
        harness.vnet_hdr_len = vnet_hdr_len

    def written() -> int:
        far.send(reply(1))
        return len(harness.tun.recv(1 << 16))

    return Step(lambda: attach(12), written)


def attaching_sockets(harness: PlaneHarness, far: Far) -> Step:
    plane = harness.plane
    return Step(
        lambda: plane.attach_sockets(harness.sockets.fd4, -1),
        lambda: plane.offloads()["udp_gso6"],
    )


def allowing_thousands(harness: PlaneHarness, far: Far) -> Step:
    plane = harness.plane
    return Step(
        lambda: plane.allow_many(far.peer, THOUSANDS),
        lambda: plane.allowed_ips(far.peer),
        again=True,
    )


def reserving(harness: PlaneHarness, far: Far) -> Step:
    plane = harness.plane
    plane.allow_many(far.peer, THOUSANDS)
    done: list[bool] = []

    def reserve() -> None:
        plane.reserve(peers=5000, prefixes=5000)
        done.append(True)

    return Step(reserve, lambda: (len(done), plane.allowed_ips(far.peer)))


def setting_an_endpoint(harness: PlaneHarness, far: Far) -> Step:
    plane = harness.plane
    return Step(
        lambda: plane.set_endpoint(far.peer, (bytes(16), 7, 0, b"", 0)),
        lambda: plane.endpoint(far.peer),
    )


def draining(harness: PlaneHarness, far: Far) -> Step:
    """Two messages, and events of three peers, which must not be lost: a rest is told of by the descriptor."""
    plane = harness.plane
    taken: list[tuple[list[tuple[bytes, Addr]], list[tuple[int, int, int]], int]] = []
    for number in range(2):
        far.send_datagram(handshake_message(1, 148, body=bytes((number,))))
    harness.counted(rx_handshakes=2)
    for peer in range(3):
        plane.add_peer(2000 + peer)
        plane.send_staged(2000 + peer)  # the gate that it takes lets the messages into the queue

    def all_taken() -> tuple[list[bytes], dict[int, int]]:
        while taken and select.select([plane.event_fd], [], [], 0)[0]:
            taken.append(plane.drain())
        messages = [data for some, _, _ in taken for data, _ in some]
        return messages, {peer: flags for _, happened, _ in taken for peer, flags, _ in happened}

    return Step(lambda: taken.append(plane.drain()), all_taken)


OPERATIONS: dict[str, Operation] = {
    "making a plane": making,
    "adding a peer": on_a_plane(adding_a_peer),
    "opening an index": on_a_plane(opening_an_index),
    "completing a handshake": on_a_plane(completing_a_handshake),
    "attaching a TUN": on_a_plane(attaching_a_tun),
    "attaching sockets": on_a_plane(attaching_sockets),
    "allowing thousands": on_a_plane(allowing_thousands),
    "reserving": on_a_plane(reserving),
    "draining": on_a_plane(draining),
    "setting an endpoint": on_a_plane(setting_an_endpoint),
}


def each_or_some(count: int, *, each: bool) -> list[int]:
    """The numbers of all allocations, or of the first, the last, and some between."""
    numbers = range(1, count + 1)
    return list(numbers) if each else sorted({*numbers[:MANY], *numbers[::SPARSELY], *numbers[-MANY:]})


def choosing(allocations: Allocations, *, each: bool) -> int:
    """The cipher, in children that have chosen none yet: a lack of memory is no wrong result of it."""

    def in_a_child(at: int) -> tuple[str, int]:
        """What it has chosen or said instead, and how many allocations that took."""
        readable, writable = os.pipe()
        child = os.fork()
        if child == 0:
            answer = "MemoryError"
            try:
                with allocations.failing(at):
                    answer = choose_aead("libcrypto")
            except MemoryError:
                pass
            except Exception as error:  # noqa: BLE001 - the parent tells
                answer = repr(error)
            os.write(writable, f"{allocations.seen} {answer}".encode())
            os._exit(0)
        os.close(writable)
        with open(readable, "rb") as end:
            seen, _, answer = end.read().decode().partition(" ")
        assert os.waitpid(child, 0)[1] == 0
        return answer, int(seen)

    numbers = each_or_some(in_a_child(0)[1], each=each)
    answers = {in_a_child(at)[0] for at in numbers}
    assert answers == {"libcrypto", "MemoryError"}, answers
    return len(numbers)


def carrying(allocations: Allocations, *, each: bool) -> int:
    """Packets, in the threads, of peers with and without a session: what is lost is counted, and the next ones pass."""

    def once(at: int) -> int:
        with PlaneHarness(aead="libcrypto") as harness:
            far = Far(harness, prefixes=FAR_PREFIXES[:1])
            other = Far(harness, 2, prefixes=FAR_PREFIXES[1:], session=False)
            with allocations.failing(at, who=OTHERS):
                for number in range(PACKETS):
                    harness.write(raw_packet(100 + number))
                    harness.write(raw_packet(100 + number, version=6))
                    far.send(reply(number))
                harness.until(lambda: harness.counter("tx_packets") == 2 * PACKETS, "packets read")
                harness.until(
                    lambda: harness.counter("tx_seal_failed") > 0 or harness.counter("tx_datagrams") == PACKETS, "sent"
                )
                harness.until(
                    lambda: harness.counter("rx_packets") + harness.counter("rx_forged") == PACKETS, "received"
                )
            seen = allocations.seen
            lost = [harness.counter(name) for name in ("tx_seal_failed", "rx_forged", "tx_staged_dropped")]
            assert any(lost) == bool(at)
            other.install()
            harness.plane.use_keypair(2, other.local_index)
            assert harness.plane.send_staged(2)
            for _ in range(PACKETS - harness.counter("tx_staged_dropped")):
                other.open()
            assert other.is_silent()
            harness.write(raw_packet(500))
            while far.open().text[:500] != raw_packet(500):
                pass
            far.send(reply(99))
            while harness.read_packets()[-1] != reply(99):
                pass
        return seen

    count = once(0)
    for at in range(1, count + 1):
        once(at)
    return count


if __name__ == "__main__":
    each = "--each" in sys.argv
    allocations = Allocations.of_this_process()
    print(f"choosing a cipher: {choosing(allocations, each=each)}", flush=True)
    for name, operation in OPERATIONS.items():
        print(f"{name}: {each_fails(allocations, operation)}", flush=True)
    print(f"carrying packets: {carrying(allocations, each=each)}", flush=True)
