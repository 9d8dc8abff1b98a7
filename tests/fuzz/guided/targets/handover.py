"""What a new daemon is told and given by the one that goes: letters, facts, descriptors (SCM_RIGHTS), and the parcel.

It is not confined yet, and most often root. Whatever comes, one refusal (DeviceError) is all that it raises; of what it
refuses no descriptor is left open, nothing is sent and nothing is in use. What it takes is a state: written again and
read again, it is the same. The first bytes of the input say what is given, the last are the parcel.
"""

import os
import socket
import struct
from collections.abc import Callable
from typing import Any

from pywg.core.carried import CURRENT, CarriedKeypair, CarriedPeer, CarriedTimers
from pywg.dataplane.crypto.secret import Secret
from pywg.errors import DeviceError
from pywg.runtime.base import parcel
from pywg.runtime.base.parcel import Reader
from pywg.runtime.daemon import handover
from pywg.runtime.daemon.take_over import TakenInterface, Taking
from pywg.runtime.device import carried
from pywg.runtime.device.carried import DeviceState, Peer
from pywg.runtime.device.plane import KeypairState
from pywg.runtime.net.sockets import adopt_sockets
from pywg.runtime.net.tun import adopt_tun
from pywg.runtime.uapi.socket import MONITOR, from_other
from tests.fuzz.guided.choices import Choices
from tests.runtime.device_harness import DeviceHarness, FakeSockets, clamped, peer_key
from tests.runtime.handing_over import EMPTY, Goer, contents, descriptors, goer, hello

MOST_FDS = 6
MOST_EDITS = 6
parcel.MOST_BYTES = 1 << 20  # a longer parcel is refused, and takes no memory: a fuzzer has half a GiB
TOKENS = (
    *(struct.pack("=I", number) for number in (0, 1, 3, 4, 32, 64, 1032, 1 << 20, (1 << 32) - 1)),
    *(struct.pack("=d", number) for number in (0.0, 999.0, 1000.5, float("inf"), float("nan"), float("-inf"))),
    *(bytes([letter]) for letter in b"HLWRYe"),
    b"errno=-1\n\n",
)


def peer(number: int, *, session: bool) -> Peer:
    """One whose session is a second old."""
    timers = CarriedTimers(0, float("inf"), 1500.0, float("inf"), 0.0, 0.0, 999.0, 0.5)
    roles = (CarriedKeypair(CURRENT, number, True, 999.0, True),) if session else ()
    core = CarriedPeer(
        peer_key(number), Secret(bytes(32)), 25, 17 * 10**17, 999.0, bytes(12), 17 * 10**17, 0.0, timers, roles
    )
    window = bytes(1032)
    keypair = KeypairState(number, 7, Secret(bytes(64)), True, False, 999 * 10**9, 5, window, True, False)
    endpoint = (bytes([192, 0, 2, number]), 51820, 0, b"", 0)
    return Peer(
        core, endpoint, True, [(bytes([10, 0, 0, number]), 32)], (1, 2, 0, 0, 0, 0, 0), [keypair] if session else []
    )


VALID = contents(
    DeviceState(Secret(clamped(1)), 51820, 0, 9, True, True, 1420, [peer(2, session=True), peer(3, session=False)])
)
PARCELS = (VALID, contents(EMPTY), contents(EMPTY, EMPTY), b"")


def run(data: bytes) -> None:
    choices = Choices(data)
    before = descriptors()
    with goer() as old:
        _say(old, choices)
        _take(old)
        assert set(old.heard()) <= set(b"handover=1\n\nLR")
    assert descriptors() == before, "a descriptor is left"


def _say(old: Goer, choices: Choices) -> None:
    kinds: tuple[Callable[[], int], ...] = (
        lambda: old.parcel,
        old.any_file,
        lambda: old.udp(together=True),
        lambda: old.udp(socket.AF_INET6, together=True),
        lambda: _kept(old, os.memfd_create("sealed")),
        lambda: _kept(old, socket.socket(socket.AF_UNIX).detach()),
        lambda: _kept(old, socket.socket(type=socket.SOCK_DGRAM).detach()),
        old.udp,
        lambda: old.udp(socket.AF_INET6),
    )

    def fds(usual: tuple[int, ...]) -> list[int]:
        number = choices.number(0, MOST_FDS + 1)
        which = usual if not number else [choices.number(0, len(kinds) - 1) for _ in range(number - 1)]
        return [kinds[one]() for one in which]

    interfaces = choices.number(1, 2)
    monitors = choices.number(0, interfaces)
    names = choices.text() or b"wg0"
    length = choices.one_of((1 << 16, len(VALID), 1, 0, 1 << 40))
    form = choices.one_of((handover.FORMAT, handover.FORMAT_OF_SHARDS, 0))
    given = choices.text()
    queues = choices.one_of((2, 1, 4, 8, 3, 0)) if form == handover.FORMAT_OF_SHARDS else None
    pairs = 1 if queues is None else choices.number(0, queues)
    keeps = queues is not None and choices.number(0, 1) == 1
    said = hello(
        [names] * interfaces,
        length=length,
        form=form,
        monitors=monitors,
        given=given,
        queues=queues,
        keeps_flows=keeps,
    )
    files = interfaces * (1 + (1 if queues is None else queues)) + monitors
    old.say(_edited(said, choices), fds((0, *(1,) * files)))
    of_each = bytes([3] * pairs) if queues is None else bytes([pairs, *[3] * pairs])
    has = choices.text() or of_each * interfaces
    old.say(choices.one_of((b"W", b"Y", b"errno=-110\n\n", b"")) + has, fds((2, 3) * pairs * interfaces))
    old.say(choices.one_of((b"Y", b"W", b"\0")))
    old.fill(_edited(choices.one_of(PARCELS), choices) + choices.rest())
    old.said.shutdown(socket.SHUT_WR)


def _edited(data: bytes, choices: Choices) -> bytes:
    """With some bytes changed, and perhaps cut off."""
    changed = bytearray(data)
    for _ in range(choices.number(0, MOST_EDITS)):
        at, new = choices.number(0, 0xFFFF) % (len(data) + 1), choices.take(choices.number(0, 8))
        changed[at : at + len(new)] = new
    cut = choices.number(0, 0xFFFF)
    return bytes(changed[: len(changed) - cut % (len(changed) + 1)])


def _kept(old: Goer, fd: int) -> int:
    old.own.append(fd)
    return fd


def _take(old: Goer) -> None:
    """As `pywg upgrade` does, with a device that is a model."""
    try:
        taking = Taking("wg0")
    except DeviceError:
        return
    found = []
    try:
        for its in taking.interfaces:
            _adopt(its)
        found = taking.states()
        taking.finish()
    except DeviceError:
        pass
    finally:
        taking.close()
    for state, udp in found:
        _adopt_sockets(udp)
        _resume(state)


def _adopt(its: TakenInterface) -> None:
    """Asks what each descriptor is, and closes it: there is neither a TUN nor a listening socket among them."""
    assert all(0x20 < ord(letter) != 0x7F for letter in its.name), "a name that a terminal would obey"
    tun: dict[str, Any] = {"vnet_hdr_len": its.vnet_hdr_len, "uso": its.uso, "tunnels": its.tunnels}
    for fds, take in (
        (its.queues, lambda: adopt_tun(its.queues, **tun)),
        ((its.configuration,), lambda: from_other(its.configuration, its.name)),
        ((its.monitor,), lambda: from_other(its.monitor, its.name, suffix=MONITOR)),
    ):
        if fds == (-1,):
            continue
        try:
            take()
        except DeviceError:
            for fd in fds:
                os.close(fd)
        else:
            raise AssertionError("what is something else was taken")


def _adopt_sockets(udp: list[tuple[int, int]]) -> None:
    assert all(max(pair) >= 0 for pair in udp)
    if not udp:
        return
    try:
        adopt_sockets(udp).close()
    except DeviceError:
        for pair in udp:
            for fd in pair:
                if fd >= 0:
                    os.close(fd)


def _resume(state: DeviceState) -> None:
    first = DeviceHarness()
    try:
        first.device.resume(state, FakeSockets(1, 0))
    except DeviceError:
        pass
    else:
        again = contents(first.device.carried())
        second = DeviceHarness()
        second.device.resume(carried.read(Reader(memoryview(again))), FakeSockets(1, 0))
        assert contents(second.device.carried()) == again, "what was taken is not what would be told"
    assert first.plane.frozen is not None, "it would seal before it may"
    assert (first.plane.sent, first.plane.sockets) == ([], None), "it sends before it may"
