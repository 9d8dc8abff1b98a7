"""One interface over a model of its system and of its data plane: what it asks of both, where it has several shards."""

import asyncio
import contextlib
import errno
import io
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from pywg.errors import DeviceError
from pywg.runtime.base.log import Level
from pywg.runtime.base.poller import Poller
from pywg.runtime.base.system import UNCONFINED
from pywg.runtime.daemon import handover as module_of_handover
from pywg.runtime.daemon import interface as module
from pywg.runtime.daemon import take_over
from pywg.runtime.daemon.handover import Handover
from pywg.runtime.daemon.interface import Interface
from pywg.runtime.daemon.notify import Notifier
from pywg.runtime.daemon.options import Given, read_options
from pywg.runtime.daemon.take_over import TakenInterface, Taking
from tests.fake_plane import FakePlane
from tests.lines import StreamOutput
from tests.runtime.device_harness import FakeRefusals, FakeSockets


def any_fd() -> int:
    """One that nothing else has, of a file that nothing else is."""
    return os.memfd_create("any")


@dataclass
class FakeTun:
    """What tun.Tun is to an interface."""

    fds: list[int]
    trouble: str = ""
    persistent: bool = False
    name: str = "wg0"
    vnet_hdr_len: int = 10
    uso: bool = True
    tunnels: bool = False

    @property
    def fd(self) -> int:
        return self.fds[0]

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)
        self.fds = []


@dataclass
class RealSockets(FakeSockets):
    """With descriptors that another process can be given."""

    fds: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.fds = self.fds or [any_fd() for _ in range(2 * self.shards)]
        self.fd4, self.fd6 = self.fds[:2]

    @property
    def pairs(self) -> list[tuple[int, int]]:
        return list(zip(self.fds[::2], self.fds[1::2], strict=True))

    def close(self) -> None:
        if self.open:
            for fd in self.fds:
                os.close(fd)
        super().close()


class FakeWatcher:
    """Of a link and of routes that don't change, and sockets that are none."""

    fd4 = fd6 = -1

    def start(self, _loop: object) -> None: ...
    def close(self) -> None: ...


@dataclass
class FakeSystem:
    """Has no more than `most` queues, and sockets for `most_sockets` shards."""

    most: int = 8
    most_sockets: int = 8
    persistent: bool = False
    """its TUN is one of `ip tuntap add`"""
    unsteered: int = 0
    """the errno of a system whose kernel moves flows between queues"""
    opened: list[tuple[str, object]] = field(default_factory=list)
    sockets: list[RealSockets] = field(default_factory=list)
    spreads: list[str] = field(default_factory=list)
    """what was asked for, and what it was asked about"""
    kept: list[int] = field(default_factory=list)
    """a queue of each TUN whose flows were to stay"""

    def open_tun(self, name: str, *, offload: bool, tunnels: bool, queues: int) -> FakeTun:
        self.opened.append((name, queues))
        return self._tun(queues)

    def take_tun(self, fd: int, *, offload: bool, tunnels: bool, queues: int) -> FakeTun:
        self.opened.append(("taken", queues))
        return self._tun(queues, fd)

    def _tun(self, queues: int, *first: int) -> FakeTun:
        have = min(queues, self.most)
        trouble = f"wg0 has {have} queues, and not {queues}" if have < queues else ""
        return FakeTun([*first, *(any_fd() for _ in range(have - len(first)))], trouble, self.persistent)

    def adopt_tun(self, fds: Sequence[int], **_: object) -> FakeTun:
        return FakeTun(list(fds))

    def open_sockets(self, port: int, fwmark: int, *, shards: int, **_: object) -> RealSockets:
        have = min(shards, self.most_sockets)
        trouble = "one thread receives" if have < shards else ""
        self.sockets.append(RealSockets(port or 40000, fwmark, shards=have, trouble=trouble))
        return self.sockets[-1]

    def adopt_sockets(self, pairs: Sequence[tuple[int, int]]) -> RealSockets:
        self.sockets.append(RealSockets(40000, 0, shards=len(pairs), fds=[fd for pair in pairs for fd in pair]))
        return self.sockets[-1]

    def spread(self, name: str) -> int:
        self.spreads.append(f"set {name}")
        return 3

    def spread_already(self, name: str) -> int:
        self.spreads.append(f"look at {name}")
        return 2

    def keep_flows(self, fd: int) -> None:
        self.kept.append(fd)
        if self.unsteered:
            raise OSError(self.unsteered, os.strerror(self.unsteered))

    def refusals(self, call_later: Any, **_: object) -> FakeRefusals:
        return FakeRefusals(call_later)

    def link_watcher(self, *_: object) -> FakeWatcher:
        return FakeWatcher()

    def route_watcher(self, *_: object, **__: object) -> FakeWatcher:
        return FakeWatcher()

    def unreachables(self, _log: object) -> FakeWatcher:
        return FakeWatcher()

    def damages_equal_tail(self) -> bool:
        return False


class FakeSandbox:
    """Confines nothing."""

    def for_threads(self) -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext(UNCONFINED)


class MadePlane(FakePlane):
    """A model that is made as a plane is."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options
        self.shards = options["shards"]
        self.threads = self.shards * (2 + options["helpers"])
        self.event_fd = os.eventfd(0)

    def close(self) -> None:
        os.close(self.event_fd)


class Life:
    """An interface from its start to its end, in a loop that runs."""

    def __init__(
        self,
        system: FakeSystem,
        environ: Mapping[str, str],
        taken: TakenInterface | None = None,
        **given: Any,
    ) -> None:
        self.system = system
        self.text = io.StringIO()
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("")
        listener.listen()
        environ = {"WG_UAPI_FD": str(listener.detach()), "LOG_LEVEL": "debug", **environ}
        self.options = read_options("wg0", environ, **cast("Given", given))
        self.interface = Interface(self.options, system, taken, output=StreamOutput(self.text))  # type: ignore[arg-type]
        if taken is not None:
            os.close(int(environ["WG_UAPI_FD"]))

    async def start(self) -> MadePlane:
        self.loop = asyncio.get_running_loop()
        self.poller = Poller(self.loop)
        self.interface.follow_link(self.loop, self.poller, Notifier(None))
        plane = self.interface.start_device(FakeSandbox())  # type: ignore[arg-type]
        self.interface.answer(dict)
        assert isinstance(plane, MadePlane)
        return plane

    async def end(self) -> None:
        await self.interface.end()
        self.poller.close()
        self.interface.close()

    def lines(self, level: Level) -> list[str]:
        """What was logged at one level."""
        found = [line.split(" ", 4) for line in self.text.getvalue().splitlines()]
        return [line[4] for line in found if line[0] == f"{level.name}:"]


@pytest.fixture(autouse=True)
def _model(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every descriptor is closed in the end."""
    before = set(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(module, "Plane", MadePlane)
    monkeypatch.setattr(module, "usable_processors", lambda: 4)
    yield
    assert set(os.listdir("/proc/self/fd")) <= before


def lived(
    system: FakeSystem,
    look: Callable[[Life, MadePlane], object],
    environ: Mapping[str, str] | None = None,
    **given: Any,
) -> Life:
    """An interface that has come to its end, at which `look` has looked while it ran."""

    async def run() -> Life:
        life = Life(system, environ or {}, **given)
        plane = await life.start()
        try:
            look(life, plane)
        finally:
            await life.end()
        return life

    return asyncio.run(run())


@pytest.mark.parametrize(("shards", "helpers"), [(1, 11), (2, 4), (4, 1)])
def test_plane_tun_and_sockets_have_as_many_shards_as_are_asked_for(shards: int, helpers: int) -> None:
    def look(life: Life, plane: MadePlane) -> None:
        tun = life.interface.tun
        assert (plane.options["shards"], plane.options["helpers"]) == (shards, helpers)
        assert [plane.tun, *plane.more_queues] == tun.fds
        assert len(tun.fds) == shards
        assert plane.sockets is None
        life.interface.device.up()
        (sockets,) = life.system.sockets
        assert [plane.sockets, *plane.more_pairs] == sockets.pairs
        assert len(sockets.pairs) == shards
        assert life.interface.device.stats()["shards"] == shards
        fds = {*tun.fds, *(fd for pair in sockets.pairs for fd in pair)}
        assert fds < set(life.interface.descriptors())
        life.interface.device.down()
        assert (plane.sockets, plane.more_pairs) == (None, [])

    life = lived(FakeSystem(), look, threads="13", shards=str(shards))
    assert life.system.opened == [("wg0", shards)]
    parts = "" if shards == 1 else f" in {shards} shards"
    assert f"{shards * (2 + helpers)} threads{parts} move packets" in life.lines(Level.INFO)
    assert life.lines(Level.WARNING) + life.lines(Level.ERROR) == []


def test_where_there_are_fewer_queues_the_threads_are_theirs() -> None:
    def look(_: Life, plane: MadePlane) -> None:
        assert (plane.options["shards"], plane.options["helpers"]) == (1, 11)
        assert plane.more_queues == []

    life = lived(FakeSystem(most=1), look, threads="13", shards="4")
    assert life.lines(Level.ERROR) == ["wg0 has 1 queues, and not 4"]


def test_a_tun_of_another_program_is_asked_for_queues() -> None:
    given = any_fd()
    look = {"shards": 0}

    def looks(life: Life, plane: MadePlane) -> None:
        look["shards"] = plane.options["shards"]
        assert (life.interface.tun.fd, len(life.interface.tun.fds)) == (given, 2)

    life = lived(FakeSystem(most=2), looks, {"WG_TUN_FD": str(given), "PYWG_SHARDS": "4"})
    assert life.system.opened == [("taken", 4)]
    assert look["shards"] == 2


def test_fewer_sockets_are_told_of_once_and_once_more_when_they_were_whole_meanwhile() -> None:
    def look(life: Life, plane: MadePlane) -> None:
        life.interface.device.up()
        assert life.interface.device.rebind()
        assert len(life.system.sockets) == 2
        assert plane.sockets == life.system.sockets[1].pairs[0]
        assert plane.more_pairs == []
        assert life.lines(Level.ERROR) == ["one thread receives"]
        for most in (2, 1):
            life.system.most_sockets = most
            assert life.interface.device.rebind()
        assert plane.more_pairs == []

    life = lived(FakeSystem(most_sockets=1), look, shards="2")
    assert life.lines(Level.ERROR) == ["one thread receives"] * 2


def test_more_shards_than_processors_are_had_and_told_of() -> None:
    life = lived(FakeSystem(), lambda _, plane: None, shards="8")
    text = "more shards (8) than processors (4): their threads wait for one another"
    assert life.lines(Level.WARNING) == [text]


def test_a_taken_interface_has_as_many_shards_as_queues() -> None:
    """Whatever its options say, and with the sockets that come."""
    queues, pairs = (any_fd(), any_fd()), [(any_fd(), any_fd()), (any_fd(), any_fd())]

    async def run() -> None:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("")
        listener.listen()
        taken = TakenInterface("wg0", queues, 10, True, False, listener.detach(), -1, keeps_flows=True)
        life = Life(FakeSystem(), {}, taken, shards="8", threads="16")
        plane = await life.start()
        assert (plane.options["shards"], plane.options["helpers"]) == (2, 6)
        assert (life.interface.keeps_flows, life.system.kept) == (True, []), "the interface has the program"
        state = life.interface.device.carried()._replace(port=40000, up=True, in_use=True)
        life.interface.resume(state, pairs)
        assert (plane.tun, plane.more_queues, plane.sockets) == (-1, [], None)
        life.interface.go_on()
        assert (plane.tun, *plane.more_queues) == queues
        assert [plane.sockets, *plane.more_pairs] == pairs
        assert life.lines(Level.WARNING) == []
        await life.end()

    asyncio.run(run())


def steering(look: dict[str, Any]) -> Callable[[Life, MadePlane], None]:
    """Notes what is shown of it, and of which descriptor it was asked."""

    def looks(life: Life, _: MadePlane) -> None:
        look.update(keeps=life.interface.keeps_flows, first=life.interface.tun.fd, asked=life.system.kept)

    return looks


def test_flows_keep_their_queues_where_there_are_several() -> None:
    seen: dict[str, Any] = {}
    life = lived(FakeSystem(), steering(seen), shards="2")
    assert (seen["keeps"], seen["asked"]) == (True, [seen["first"]])
    for system, shards in ((FakeSystem(), "1"), (FakeSystem(most=1), "2")):
        lived(system, steering(seen), shards=shards)
        assert (seen["keeps"], seen["asked"]) == (False, [])
    refused = lived(FakeSystem(unsteered=errno.EPERM), steering(seen), shards="2")
    assert seen["keeps"] is False
    text = "the kernel may move a flow to another queue of wg0: Operation not permitted"
    assert (refused.lines(Level.INFO).count(text), life.lines(Level.INFO).count(text)) == (1, 0)


def test_a_program_that_another_gave_its_tun_is_not_replaced() -> None:
    """Linux does not tell whether there is one. What the service manager has kept is ours."""
    seen: dict[str, Any] = {}
    life = lived(FakeSystem(), steering(seen), {"WG_TUN_FD": str(any_fd()), "PYWG_SHARDS": "2"})
    assert (seen["keeps"], seen["asked"]) == (False, [])
    assert "which queue of wg0 a flow has is left to the program that made it" in life.lines(Level.INFO)
    life = lived(FakeSystem(persistent=True), steering(seen), shards="2")
    assert (seen["keeps"], seen["asked"]) == (False, []), "it would keep ours when this daemon has gone"
    assert "which queue of wg0 a flow has is left to the program that made it" in life.lines(Level.INFO)
    kept = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "tun"}
    assert read_options("wg0", kept, foreground=True).tun_is_ours
    assert not read_options("wg0", {**kept, "WG_TUN_FD": "9"}, foreground=True).tun_is_ours
    assert not read_options("wg0", {}, foreground=True).tun_is_ours


@pytest.mark.parametrize(("taken", "spread"), [(False, (3, "set wg0")), (True, (2, "look at wg0"))])
@pytest.mark.parametrize("asked", [True, False])
def test_how_the_kernel_receives_is_told_after_a_takeover_too(
    taken: bool, spread: tuple[int, str], asked: bool
) -> None:
    async def run() -> None:
        there = None
        if taken:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind("")
            listener.listen()
            there = TakenInterface("wg0", (any_fd(),), 10, True, False, listener.detach(), -1)
        system = FakeSystem()
        life = Life(system, {"PYWG_TUN_RPS": str(int(asked))}, there)
        assert (life.interface._rps, system.spreads) == ((spread[0], [spread[1]]) if asked else (0, []))
        life.interface.close()

    asyncio.run(run())


class StoreNotifier(Notifier):
    def __init__(self) -> None:
        super().__init__(None)
        self.kept: list[tuple[int, str]] = []

    def keep(self, fd: int, name: str) -> None:
        self.kept.append((fd, name))


def test_the_service_manager_keeps_the_first_queue() -> None:
    def look(life: Life, _: MadePlane) -> None:
        notifier = life.interface._notifier = StoreNotifier()
        life.interface.leave_tun()
        assert notifier.kept == [(life.interface.tun.fds[0], "tun")]

    lived(FakeSystem(), look, {"PYWG_STORE_TUN": "1", "PYWG_SHARDS": "4"}, foreground=True)


@pytest.mark.parametrize(("shards", "most_sockets", "up"), [(1, 1, True), (1, 1, False), (4, 4, True), (4, 1, True)])
def test_all_of_it_is_handed_over(monkeypatch: pytest.MonkeyPatch, shards: int, most_sockets: int, up: bool) -> None:
    """By the words of both ends. With one shard they are those that an older daemon knows."""
    ours, theirs = socket.socketpair()
    asked: list[Taking] = []
    found: list[list[tuple[int, int]]] = []

    def take() -> None:
        asked.append(Taking("wg0"))
        ((_, pairs),) = asked[0].states()
        found.append(pairs)
        asked[0].finish()

    async def run() -> None:
        life = Life(FakeSystem(most_sockets=most_sockets), {}, shards=str(shards))
        await life.start()
        if up:
            life.interface.device.up()
        handed: list[int] = []
        handover = Handover(life.options, [life.interface], life.interface.log, handed.append)
        ours.setblocking(False)
        monkeypatch.setattr(take_over, "connect", lambda _interface: theirs)
        comer = threading.Thread(target=take)
        comer.start()
        assert await life.loop.sock_recv(ours, 64) == b"handover=1\n\n"
        await handover.give(ours, life.poller)
        comer.join()
        assert handed == [os.getpid()]
        (its,) = asked[0].interfaces
        assert same(its.queues, life.interface.tun.fds)
        assert its.keeps_flows == life.interface.keeps_flows == (shards > 1)
        given = [fd for pair in life.interface.device.udp_descriptors() for fd in pair]
        assert same([fd for pair in found[0] for fd in pair], given)
        assert len(found[0]) == (most_sockets if up else 0)
        assert asked[0]._form == (1 if shards == 1 else 2)
        for fd in (*its.queues, its.configuration, *(fd for pair in found[0] for fd in pair)):
            os.close(fd)
        asked[0].close()
        await life.end()

    with ours, theirs:
        asyncio.run(run())


def test_more_than_one_message_carries_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before this daemon stops."""
    monkeypatch.setattr(module_of_handover, "MOST_DESCRIPTORS", 5)

    async def run(shards: int) -> None:
        ours, theirs = socket.socketpair()
        life = Life(FakeSystem(), {}, shards=str(shards))
        plane = await life.start()
        ours.setblocking(False)
        handover = Handover(life.options, [life.interface], life.interface.log, lambda _pid: None)
        theirs.close()
        code = errno.E2BIG if shards == 4 else errno.EPIPE
        with ours, pytest.raises(DeviceError) as refused:
            await handover.give(ours, life.poller)
        assert refused.value.errno == code
        assert plane.frozen is None
        await life.end()

    asyncio.run(run(4))
    asyncio.run(run(2))


def same(taken: Sequence[int], given: Sequence[int]) -> bool:
    """Whether they are the same open files, in the same order."""
    return [os.fstat(fd).st_ino for fd in taken] == [os.fstat(fd).st_ino for fd in given]
