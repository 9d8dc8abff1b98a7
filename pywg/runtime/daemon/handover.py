"""Handover, the end of the daemon that goes: another process takes over interfaces, sockets and sessions.

On a connection to the configuration socket, after `handover=1`; >: the new daemon, <: this one:

    < H   what there is: how this daemon was started, each interface's TUN, all queues of it, and listening sockets, an
          empty parcel
    > L   the parcel is locked into memory, and all is prepared that may take time or fail; this one serves on
          this one stops: no thread sends or receives, no counter moves (`Device.freeze`); it fills the parcel
    < W   the parcel is full; with it the UDP sockets
    > R   all of it is in place
    < Y   yours: this one never sends again; it wipes its keys, and ends
          the new one begins to send

So at any moment at most one of both may send, and no counter is ever used twice: this one sends until it has stopped,
and again after it has gone on; the new one after Y alone. Whatever fails before Y, or takes longer than it may, lets
this one go on where it was. `errno=N` in place of a letter says so. Afterwards it is the new one's affair: where that
one dies, the tunnel is down as after a crash. It is too where this one dies before Y: the new one can't tell whether it
had gone on meanwhile, so it says what has happened, and ends.

Only root, or the user who started this daemon, is answered: what a client of the socket may have besides is the static
key, and this gives the sessions' keys.
"""

import asyncio
import contextlib
import errno
import os
import socket
import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pywg.errors import DeviceError
from pywg.runtime.base import namespaces
from pywg.runtime.base.loading import uncollected_meanwhile
from pywg.runtime.base.log import Log
from pywg.runtime.base.parcel import SentParcel, Writer
from pywg.runtime.base.poller import Poller
from pywg.runtime.daemon.options import Options
from pywg.runtime.device import carried

if TYPE_CHECKING:
    from pywg.runtime.daemon.interface import Interface

FORMAT, FORMAT_OF_SHARDS = 1, 2
"""Of all that is said here. A new daemon reads its own and older ones; this one says what it writes. That is the first
where each interface has one shard: an older daemon, to which the operator goes back, can read that."""
HELLO, LOCKED, WRITTEN, READY, YOURS = b"H", b"L", b"W", b"R", b"Y"
HEAD = struct.Struct("=II")
"""format, bytes of what follows"""
FACTS = struct.Struct("=QQII")
"""bytes of the parcel, network namespace, PID, interfaces"""
TUN = struct.Struct("=BBBB")
"""bytes of the virtio header, USO, superframes in UDP tunnels, whether there is a monitoring socket"""
QUEUES = struct.Struct("=BB")
"""In the second format alone, after the facts of each TUN: its queues, which come one after the other, and whether a
program of ours keeps each flow in one."""
COUNT = struct.Struct("=B")
"""In the second format alone, with W, for each interface: of the pairs of UDP sockets that follow."""
MOST_DESCRIPTORS = 253
"""With one message: SCM_MAX_FD."""
PREPARES_WITHIN_S = 60.0
"""Seconds that the new daemon may take until this one stops."""
TAKES_WITHIN_S = 5.0
"""Seconds that it may take until it has all in place, for which nothing is sent."""
TAKES_A_PEER_S = 0.001
"""Seconds more for each peer: some forty times what a processor takes that has nothing else to do."""
_SLACK = 1 << 16
_UCRED = struct.Struct("3i")


class Handover:
    """Of one process. `handed_over(pid)` is called once, when the interfaces are another's."""

    def __init__(
        self, options: Options, interfaces: Sequence["Interface"], log: Log, handed_over: Callable[[int], None]
    ) -> None:
        self._options = options
        self._all = interfaces
        self._log = log
        self._handed_over = handed_over
        self._namespace = namespaces.of_this_thread()  # the sandbox has no call for these three
        self._pid = os.getpid()
        self._may_ask = {0, os.geteuid()}
        managed = any(name == "NOTIFY_SOCKET" for name, _ in options.environment)
        self._group = control_group() if managed else ""
        self._busy = False

    async def give(self, client: socket.socket, poller: Poller) -> None:
        """Hands over to the client. Raises DeviceError, and then all is as before."""
        pid, uid, _ = _UCRED.unpack(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        if uid not in self._may_ask:
            raise DeviceError(errno.EPERM, f"sessions are handed over to root alone, and not to user {uid}")
        if self._pid == 1:
            raise DeviceError(errno.EOPNOTSUPP, "this daemon is PID 1: its end would be that of its container")
        if self._busy:
            raise DeviceError(errno.EBUSY, "another process is taking over at the moment")
        self._busy = True
        try:
            await self._give(client, poller, pid)
        except OSError as error:
            if isinstance(error, DeviceError):
                raise
            why = f"PID {pid} takes too long" if isinstance(error, TimeoutError) else f"{error.strerror or error}"
            raise DeviceError(error.errno or errno.ETIMEDOUT, f"handover: {why}; this daemon goes on") from error
        finally:
            self._busy = False

    async def _give(self, client: socket.socket, poller: Poller, pid: int) -> None:
        serving = self._serving()
        length = _SLACK + sum(one.device.carried_bytes * 5 // 4 for one in serving)
        parcel = SentParcel()
        try:
            form = FORMAT_OF_SHARDS if any(one.shards > 1 for one in serving) else FORMAT
            hello, fds = self._hello(serving, length, form)
            await _send(poller, client, HELLO + HEAD.pack(form, len(hello)) + hello, [parcel.fd, *fds])
            await _expect(client, poller, LOCKED, PREPARES_WITHIN_S)
            async with contextlib.AsyncExitStack() as locks:
                for one in serving:
                    await locks.enter_async_context(one.sockets.lock)
                if serving != self._serving():
                    raise DeviceError(errno.EAGAIN, "handover: an interface has ended meanwhile")
                given = False

                def thaw(one: "Interface") -> None:
                    if not given and not one.stopped.is_set():  # it may have come to its end meanwhile
                        one.thaw()

                with uncollected_meanwhile(), contextlib.ExitStack() as thawing:
                    for one in serving:
                        thawing.callback(thaw, one)
                        one.freeze()
                    has, udp, peers = self._fill(parcel, serving, length, form)
                    await _send(poller, client, WRITTEN + has, udp)
                    await _expect(client, poller, READY, TAKES_WITHIN_S + TAKES_A_PEER_S * peers)
                    if serving != self._serving():
                        raise DeviceError(errno.EAGAIN, "handover: an interface has ended meanwhile")
                    if client.send(YOURS) != 1:
                        raise DeviceError(errno.EPIPE, "handover: the new daemon has gone")
                    given = True  # whatever happens now, even without memory: the sessions are another's
                self._handed_over(pid)
        finally:
            parcel.wipe()

    def _serving(self) -> list["Interface"]:
        return [one for one in self._all if not one.stopped.is_set()]

    def _hello(self, serving: Sequence["Interface"], length: int, form: int) -> tuple[bytes, list[int]]:
        """What the new daemon has to know before it asks for the rest, and the descriptors with it."""
        text, fds = Writer(), []
        text.put(FACTS, length, self._namespace, self._pid, len(serving))
        text.put_bytes(os.fsencode(self._group))
        for pairs in (self._options.given, self._options.environment):
            text.put_bytes(b"\0".join(os.fsencode(f"{name}={value}") for name, value in pairs))
        for one in serving:
            configuration, monitor = one.sockets.descriptors
            text.put_bytes(os.fsencode(one.name))
            text.put(TUN, one.tun.vnet_hdr_len, one.tun.uso, one.tun.tunnels, monitor >= 0)
            if form != FORMAT:
                text.put(QUEUES, len(one.tun.fds), one.keeps_flows)
            fds += [*one.tun.fds, configuration, *([monitor] if monitor >= 0 else [])]
        return b"".join(map(bytes, text.parts)), fds

    @staticmethod
    def _fill(
        parcel: SentParcel, serving: Sequence["Interface"], length: int, form: int
    ) -> tuple[bytes, list[int], int]:
        """Writes the state of all. Returns which UDP sockets each has (a pair is 1: IPv4, 2: IPv6, or both), their
        descriptors, and the number of peers."""
        contents, has, fds = Writer(), bytearray(), []
        states = [one.device.carried() for one in serving]
        try:
            for state, one in zip(states, serving, strict=True):
                carried.write(state, contents)
                pairs = one.device.udp_descriptors()
                if form != FORMAT:
                    has += COUNT.pack(len(pairs))
                elif not pairs:
                    has.append(0)
                has += bytes(sum(1 << number for number, fd in enumerate(pair) if fd >= 0) for pair in pairs)
                fds += [fd for pair in pairs for fd in pair if fd >= 0]
            if contents.length > length:
                raise DeviceError(errno.EAGAIN, "handover: peers were added meanwhile; try again")
            parcel.write(contents.parts)
        finally:
            for state in states:
                for peer in state.peers:
                    for keypair in peer.keypairs:
                        keypair.keys.wipe()
        return bytes(has), fds, sum(len(state.peers) for state in states)


def control_group(pid: int | str = "self") -> str:
    """That of a process, below where they are mounted; empty where there is no unified hierarchy of them."""
    with contextlib.suppress(OSError, ValueError), open(f"/proc/{pid}/cgroup") as groups:
        for line in groups:
            number, _, group = line.rstrip("\n").split(":", 2)
            if number == "0":
                return group
    return ""


async def _send(poller: Poller, client: socket.socket, data: bytes, fds: Sequence[int]) -> None:
    """Says it, and gives the descriptors. Raises DeviceError, OSError."""
    if len(fds) > MOST_DESCRIPTORS:
        raise DeviceError(errno.E2BIG, f"handover: {len(fds)} descriptors don't fit one message; this daemon goes on")
    await poller.send_with(client, data, fds)


async def _expect(client: socket.socket, poller: Poller, letter: bytes, seconds: float) -> None:
    """Waits for the client to say it. Raises DeviceError, TimeoutError."""
    said = bytearray(1)
    async with asyncio.timeout(seconds):
        with memoryview(said) as into:
            there = await poller.receive_into(client, into)
    if not there:
        raise DeviceError(errno.EPIPE, "handover: the new daemon has given up; this one goes on")
    if said != letter:
        raise DeviceError(errno.EPROTO, "handover: the new daemon says what makes no sense; this one goes on")
